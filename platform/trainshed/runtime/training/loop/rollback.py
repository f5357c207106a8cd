"""What follows from a loss that is NaN, infinite or a spike: back to the last checkpoint, and around the batch."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

from trainshed.errors import DivergedError
from trainshed.record.events import RolledBack
from trainshed.runtime.training.loop.loss_guard import LossFault
from trainshed.runtime.training.loop.order import Ids, batch_number
from trainshed.runtime.training.loop.state import Parts, State
from trainshed.runtime.training.loop.stepper import StepDone

log = logging.getLogger("trainshed.training")


def judge(parts: Parts, done: StepDone) -> LossFault | None:
    """What is wrong with a step's loss or gradient; None: nothing."""
    # Under fp16 a norm that overflows is the loss scaler's business: it leaves the step out by itself.
    norm = 0.0 if parts.training.precision == "fp16" else done.grad_norm
    return parts.guard.judge(done.loss, norm)


def roll_back(parts: Parts, state: State, fault: LossFault, ids: Ids, done: StepDone) -> bool:
    """Restores the last checkpoint and leaves the guilty batches out; False: the step stands as it is.

    A spike stands where there is nothing to go back to, or it was gone back often enough.

    Raises:
        DivergedError: the loss or its gradient is no number, and going back is not possible or has not helped.
    """
    policy = parts.training.recovery
    step = state.progress.step
    back = parts.keeper.resume(parts.engine) if state.rollbacks < policy.attempts else None
    if back is None:
        if fault is LossFault.SPIKE:
            return False
        raise DivergedError(_hopeless(step + 1, done, ids, state.rollbacks))
    state.rollbacks += 1
    first = max(0, step - policy.skip_steps + 1)
    guilty = [batch_number(number, state.progress.left_out) for number in range(first, step + 1)]
    left_out = tuple(sorted({*state.progress.left_out, *guilty}))
    state.progress = replace(back, left_out=left_out)
    parts.guard.forget()
    log.warning("step %d: %s: %s; back to step %d", step + 1, fault, _figures(done), back.step)
    parts.metric_log.rewind(back.step)
    parts.sink(
        RolledBack(
            verdict=str(fault),
            step=step + 1,
            loss=str(done.loss),
            grad_norm=str(done.grad_norm),
            back_to=back.step,
            samples=tuple(int(number) for batch in guilty for number in parts.order.batch(batch)),
        )
    )
    return True


def _figures(done: StepDone) -> str:
    """The loss; the norm of the gradient where it is that which is no number."""
    if math.isfinite(done.loss) and not math.isfinite(done.grad_norm):
        return f"the norm of the gradient is {done.grad_norm} at a loss of {done.loss:g}"
    return f"the loss is {done.loss:g}"


def _hopeless(step: int, done: StepDone, ids: Ids, rollbacks: int) -> str:
    samples = ", ".join(map(str, ids[:8])) + (" ..." if len(ids) > 8 else "")
    return (
        f"step {step}: {_figures(done)} after {rollbacks} rollback(s); samples {samples}; lower the learning rate, "
        "look at these samples, or raise recovery.attempts"
    )
