"""What a training holds beside its own model where it draws answers: another model that says them, and their memory."""

from __future__ import annotations

from collections.abc import Sequence

from trainshed.spec.plan.layers import FP32, Layers
from trainshed.spec.training.engines import DeepSpeed, Fsdp
from trainshed.spec.training.grpo import Grpo
from trainshed.spec.training.train import Training

PAGE_TOKENS = 32
"""Keys and values are held in pages of so many."""
WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}


def answering_bytes(training: Training, parameters: int, layers: Sequence[Layers] | None, tokens: int) -> int:
    """Bytes on one worker; 0 where the task draws no answers.

    Keys and values of all answers that are drawn side by side; a copy of the weights where the engine splits them, has
    adapters, or computes in half precision; and the model that the training began with, where `beta` is over 0.
    """
    task = training.task
    if not isinstance(task, Grpo):
        return 0
    width = WIDTHS[training.precision]
    of_token = sum(int(2 * one.kv_share * one.queries) * one.count for one in layers or ())
    pages = -(-tokens // PAGE_TOKENS)
    held = task.answers_at_once * pages * PAGE_TOKENS * width * of_token
    engine = training.engine
    splits = isinstance(engine, Fsdp) or (isinstance(engine, DeepSpeed) and engine.zero_stage in (3, "auto"))
    if splits or training.lora is not None or width < FP32:
        held += width * parameters
    if task.beta and training.lora is None:
        held += FP32 * parameters
    return held
