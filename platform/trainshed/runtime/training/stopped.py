"""How a training ends that was asked to."""

from __future__ import annotations

from trainshed.errors import PlatformError


class Stopped(PlatformError):
    """A training was asked to stop: it saved and ended before its last step."""

    def __init__(self, step: int, checkpoint: str | None) -> None:
        super().__init__(
            f"stopped by `platform stop` after step {step}, and saved; `platform resume` goes on from there"
        )
        self.step = step
        self.checkpoint = checkpoint
