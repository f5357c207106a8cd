"""Where this laptop keeps what the platform remembers between commands.

Knows one directory. Does not know what lies in it: each part of the client names its own files there.
"""

from __future__ import annotations

import os
from pathlib import Path

from trainshed.errors import UsageError


def platform_home() -> Path:
    """The platform's own directory: `PLATFORM_HOME`, or `~/.trainshed`; made readable for its owner alone.

    Raises:
        UsageError: it cannot be told where that is.
    """
    given = os.environ.get("PLATFORM_HOME") or "~/.trainshed"
    try:
        home = Path(given).expanduser().absolute()
    except RuntimeError as error:  # a user that does not exist
        raise UsageError(f"PLATFORM_HOME: {given}: {error}; give another folder") from None
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home
