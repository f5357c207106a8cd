"""What a training may learn. How each is learnt stands in `runtime/tasks`."""

from __future__ import annotations

from typing import Literal

from trainshed.spec.part import Part


class CausalLm(Part):
    """Predict the next token; loss is the mean cross-entropy in nats per token."""

    kind: Literal["causal_lm"] = "causal_lm"


Task = CausalLm
