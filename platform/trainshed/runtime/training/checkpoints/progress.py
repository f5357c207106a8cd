"""How far a training is: all that a checkpoint must say beside weights and optimizer. The rest follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NOTHING_SEEN = "0" * 16


@dataclass(frozen=True)
class Progress:
    """The state of the loop between two steps."""

    step: int = 0
    """Optimizer steps done."""
    order_hash: str = NOTHING_SEEN
    """Over the samples of all steps done; see `trainshed.runtime.training.loop.order.chained_hash`."""
    left_out: tuple[int, ...] = ()
    """Global batches that are passed over, because the loss broke on them."""
    held_out: tuple[float, ...] = ()
    """Every validation loss so far, oldest first."""

    def facts(self) -> dict[str, Any]:
        """As plain data, for a manifest."""
        return {
            "step": self.step,
            "order_hash": self.order_hash,
            "left_out": list(self.left_out),
            "held_out": list(self.held_out),
        }

    @staticmethod
    def of(facts: dict[str, Any]) -> Progress:
        """Reads what `facts` gave."""
        return Progress(
            int(facts["step"]), str(facts["order_hash"]), tuple(facts["left_out"]), tuple(facts["held_out"])
        )
