"""The load-balancing loss of a mixture of experts (arXiv 2101.03961): it is trained on, and not measured by.

A configuration asks for it with `output_router_logits: true`, as transformers has it.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig

from trainshed.errors import PlatformError

ASKED = "output_router_logits"
COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")


class RouterLoss:
    """A configuration's loss over its routers, or none."""

    def __init__(self, config: PreTrainedConfig) -> None:
        """Raises PlatformError where it is asked for and the configuration has no coefficient of it."""
        self._kind = config.model_type
        self._coefficient: float | None = None
        if getattr(config, ASKED, False) is not True:
            return
        name = next((name for name in COEFFICIENTS if hasattr(config, name)), None)
        if name is None:
            raise PlatformError(_none_there(self._kind))
        coefficient = getattr(config, name)
        if isinstance(coefficient, bool) or not isinstance(coefficient, int | float) or not 0 <= coefficient < 1e6:
            raise PlatformError(f"model: {name} is {coefficient!r}; it is a number, 0 or more")
        self._coefficient = float(coefficient)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of the figures."""
        if self._coefficient is None:
            return ()
        return (
            f"train_loss has {self._coefficient:g} x the routers' load-balancing loss in it, validation_loss has not",
        )

    def add(self, loss: torch.Tensor, outputs: Any, units: float) -> torch.Tensor:
        """A loss that is a sum over `units`, and the routers' in the same measure.

        Raises:
            PlatformError: the model gives none.
        """
        if self._coefficient is None:
            return loss
        found = getattr(outputs, "aux_loss", None)
        if not isinstance(found, torch.Tensor):
            raise PlatformError(_none_there(self._kind))
        return loss + self._coefficient * units * found.float()


def refuse_router_loss(config: PreTrainedConfig, task: str) -> None:
    """Refuses the router loss for tasks whose models give none: a setting that would never be used is not taken.

    Raises:
        PlatformError: the configuration asks for it.
    """
    if getattr(config, ASKED, False) is True:
        raise PlatformError(
            f"model: {ASKED} is true, and {task} has no use for it: the routers' loss is part of causal_lm only; "
            "say false, or leave it out"
        )


def refuse_unused(settings: dict[str, Any]) -> None:
    """A coefficient that a job gives must be used.

    Raises:
        PlatformError: the job gives one without asking for the loss.
    """
    given = [name for name in (*COEFFICIENTS, "router_z_loss_coef") if name in settings]
    if given and settings.get(ASKED) is not True:
        raise PlatformError(
            f"model.settings.{given[0]}: it is used only with {ASKED}: true, in causal_lm; say that, or leave it out"
        )


def _none_there(kind: str) -> str:
    return f"model: {ASKED} is true, and a {kind} gives no loss of its routers; say false, or leave it out"
