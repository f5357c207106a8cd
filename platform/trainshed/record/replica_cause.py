"""Why a replica did not start, out of what Serve says of it: a traceback in prose, the reason at its end."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CAUSE = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Exit)): *(.+)$")
_SHOWN_CHARACTERS = 500


def replica_cause(messages: Sequence[str]) -> str | None:
    """The last exception that the messages name, else what they say, in one line; None where they are empty."""
    for line in reversed("\n".join(messages).splitlines()):
        if found := _CAUSE.match(line.strip()):
            kind, text = found.groups()
            return text if kind.endswith("PlatformError") else f"{kind}: {text}"
    return " ".join(" ".join(messages).split())[:_SHOWN_CHARACTERS] or None
