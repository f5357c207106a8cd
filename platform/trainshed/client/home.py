"""Where this laptop keeps what the platform remembers between commands.

Knows one directory. Does not know what lies in it: each part of the client names its own files there.
"""

from __future__ import annotations

from pathlib import Path

from trainshed.environment import home_folder


def platform_home() -> Path:
    """The platform's own directory: `PLATFORM_HOME`, or `~/.trainshed`; made readable for its owner alone.

    Raises:
        UsageError: it cannot be told where that is.
    """
    home = home_folder()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home
