"""How a training or a sweep ends that was asked to."""

from __future__ import annotations

from typing import Literal

from trainshed.errors import PlatformError


class Stopped(PlatformError):
    """A training or a sweep was asked to stop: it saved and ended before its last step or trial."""

    def __init__(self, step: int, checkpoint: str | None, *, what: Literal["step", "trial", "sample"] = "step") -> None:
        done = f"after step {step}, and saved" if what == "step" else f"with {step:,} {what}s done"
        super().__init__(f"stopped by `platform stop` {done}; `platform resume` goes on from there")
        self.step = step
        self.checkpoint = checkpoint
