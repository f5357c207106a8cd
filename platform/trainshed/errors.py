"""What can go wrong, and the exit code each kind of trouble ends the command with.

Knows nothing of Ray, files or terminals. Every error carries one line that says where, what, what it got and what
to do; the cli prints that line and nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """What ended a training or a trial; what follows (again, less memory, worse than all others) hangs on it alone."""

    MEMORY = "memory"
    """It was out of memory."""
    DIVERGED = "diverged"
    """Its loss or its gradient was no number any more."""
    LOST = "lost"
    """A process, a machine or the connection to one is gone: no fault of the settings."""
    CODE = "code"
    """An error of the code or the job."""
    UNKNOWN = "unknown"
    """The record does not say, or not in words of this version."""


class PlatformError(Exception):
    """An expected failure: one clear line for the user, no traceback. Exit code 1: the job failed."""

    exit_code = 1


class UsageError(PlatformError):
    """A wrong argument or a name that does not exist. Exit code 2."""

    exit_code = 2


@dataclass(frozen=True)
class Fault:
    """One mistake in a job file: `file:line: key: message`."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SpecError(UsageError):
    """Every fault found in the job files, all at once. Exit code 2."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(set(faults), key=lambda fault: (fault.file, fault.line, fault.key))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class DamagedFile(PlatformError):
    """A file that is not what the platform writes: cut short, of another kind, or a stranger's. Exit code 1."""


class PlanError(PlatformError):
    """The plan says the job cannot fit. Exit code 3."""

    exit_code = 3


class CapacityError(PlatformError):
    """The cluster can never hold what the job asks for. Exit code 4."""

    exit_code = 4


class BudgetReached(PlatformError):
    """A limit of the job's budget was reached before its end; what was done is kept. Exit code 5."""

    exit_code = 5


class ClusterError(PlatformError):
    """The control plane cannot be reached, refused us, or did not start."""


class DivergedError(PlatformError):
    """The loss or the gradient of a step is no number, and going back has not helped: the settings are at fault."""
