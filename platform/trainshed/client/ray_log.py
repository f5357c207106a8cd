"""What a log says was wrong. Knows how Python, Ray's C++ and its command line print an error; nothing of what ran."""

from __future__ import annotations

import re
from pathlib import Path

MAX_CHARACTERS = 300
_TAIL = ", last available logs (truncated to 20,000 chars):\n"
_ERROR = re.compile(
    r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit|Timeout): "  # the last line of a traceback
    r"|^Exception: "
    r"|^(?:error|fatal|panic)\b[: ]"
    r"|^\[[^\]]*\b[EF] \d+ \d+\] "  # Ray's own: [2026-11-27 17:16:10,123 E 812 812] (gcs_server) ...
    r"|\b(?:ERROR|CRITICAL|FATAL)\b",
    re.IGNORECASE,
)


def error_in(log: Path) -> str:
    """The last line that is an error, and where the log is. That a line is the last one makes it no cause."""
    found = last_error(log.read_text(errors="replace")) if log.exists() else None
    return f"{found or 'its log names no error'} (log: {log})"


def last_error(text: str) -> str | None:
    """The last line of a log that is an error."""
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line[:MAX_CHARACTERS] for line in lines if _ERROR.search(line)), None)


def without_log(message: str) -> str:
    """What Ray says of a job that failed, where it adds the end of the job's log: with the error in it alone."""
    head, mark, tail = message.partition(_TAIL)
    if not mark:
        return message
    error = last_error(tail)
    return head if error is None else f"{head}: {error}"
