"""Where this laptop keeps what the platform remembers between commands.

Knows one directory. Does not know what lies in it: each part of the client names its own files there.
"""

from __future__ import annotations

import os
from pathlib import Path


def platform_home() -> Path:
    """The platform's own directory: `PLATFORM_HOME`, or `~/.trainshed`; made readable for its owner alone."""
    home = Path(os.environ.get("PLATFORM_HOME") or "~/.trainshed").expanduser().absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home
