"""How far a training is: all that a checkpoint must say beside weights and optimizer. The rest follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from trainshed.record.facts import CheckpointFacts

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

    def manifest(self, metrics: dict[str, JsonValue]) -> CheckpointFacts:
        """What a checkpoint says that is taken now, before its files are there."""
        return CheckpointFacts(
            step=self.step,
            order_hash=self.order_hash,
            left_out=self.left_out,
            held_out=self.held_out,
            metrics=metrics,
            files={},
        )

    @staticmethod
    def of(manifest: CheckpointFacts) -> Progress:
        """Reads what `manifest` gave."""
        return Progress(
            manifest.step, manifest.order_hash or NOTHING_SEEN, manifest.left_out, tuple(map(float, manifest.held_out))
        )
