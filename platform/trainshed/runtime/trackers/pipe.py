"""The words between the driver and the process that feeds a tracker: lines over its standard input and output."""

from __future__ import annotations

ENDED = b"ended"
"""From the driver: the run has its result."""
EVENT_MARK = "@@tracker "
"""To the driver, before an event as JSON; libraries print there too."""
