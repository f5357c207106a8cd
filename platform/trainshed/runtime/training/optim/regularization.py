"""Regularisation that is neither in the loss nor in the model: penalties, an average of the weights, embeddings.

Penalties and the average hang on the optimizer itself, so they see what it sees: whole weights, or under ZeRO this
worker's flat fp32 pieces of them. No communication is needed, and the average is split over workers as the optimizer's
own state is: it lies in `optimizer.state[weight]["ema"]`, in the weight's shape, so whatever saves the state saves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from trainshed.runtime.training.optim.embeddings import Adversary, add_noise, input_embeddings
from trainshed.spec.training.regularization import Regularization

AVERAGE = "ema"


@dataclass(frozen=True)
class Regularizers:
    """What one training's regularisation asks of the loop."""

    optimizer: torch.optim.Optimizer
    keeps_average: bool
    adversary: Adversary | None

    def passes(self) -> tuple[AbstractContextManager[None], ...]:
        """A context for each forward and backward pass over a share of samples; the first one's loss is the clean."""
        return (nullcontext(),) if self.adversary is None else (self.adversary.watch(), self.adversary.attack())

    @contextmanager
    def averaged(self, refresh: Callable[[], None]) -> Iterator[None]:
        """Inside, the model has its averaged weights; see `swap`."""
        self.swap(refresh)
        try:
            yield
        finally:
            self.swap(refresh)

    def swap(self, refresh: Callable[[], None]) -> None:
        """Changes the weights for their average, or back; nothing where no average is kept.

        `refresh` gives the model what the optimizer steps on, where these are not the same tensors.
        """
        if self.keeps_average:
            swap_average(self.optimizer)
            refresh()


def apply(
    spec: Regularization, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], int]
) -> Regularizers:
    """Hangs everything on a model and its optimizer, when an engine has taken both.

    `step` says which optimizer step (0-based) is being done; the average needs it.
    """
    if spec.embedding_noise:
        add_noise(input_embeddings(model), spec.embedding_noise)
    if spec.l1 or spec.l2:
        penalise(optimizer, l1=spec.l1, l2=spec.l2)
    if spec.ema_decay:
        keep_average(optimizer, lambda: average_decay(spec.ema_decay, step()))
    adversary = Adversary(input_embeddings(model), spec.adversarial) if spec.adversarial else None
    return Regularizers(optimizer, keeps_average=bool(spec.ema_decay), adversary=adversary)


def penalise(optimizer: torch.optim.Optimizer, *, l1: float, l2: float) -> None:
    """Before each step adds l1 x sign(w) + l2 x w to the gradients of the groups that are `penalised`.

    These are the gradients of l1 x sum|w| + l2/2 x sum w^2; they are added after clipping.
    """

    def before(stepped: torch.optim.Optimizer, *_: Any) -> None:
        for group in stepped.param_groups:
            for weight in group["params"] if group["penalised"] else ():
                if weight.grad is not None:
                    weight.grad.add_(weight.detach().sign(), alpha=l1).add_(weight.detach(), alpha=l2)

    optimizer.register_step_pre_hook(before)


def average_decay(decay: float, step: int) -> float:
    """What of the average is kept on a step: `decay`, less in the beginning, when the weights still move fast."""
    return min(decay, (1 + step) / (10 + step))


def keep_average(optimizer: torch.optim.Optimizer, decay: Callable[[], float]) -> None:
    """After each step moves every weight's average 1 - decay of the way to it; it starts as the first step's weight."""

    @torch.no_grad()
    def after(stepped: torch.optim.Optimizer, *_: Any) -> None:
        for group in stepped.param_groups:
            for weight in group["params"]:
                state = stepped.state[weight]
                if AVERAGE in state:
                    state[AVERAGE].lerp_(weight.float(), 1.0 - decay())
                else:
                    state[AVERAGE] = weight.detach().float().clone()

    optimizer.register_step_post_hook(after)


@torch.no_grad()
def swap_average(optimizer: torch.optim.Optimizer) -> None:
    """Every weight that the optimizer steps on for its average, and the average for it; twice is nothing."""
    for weight, state in optimizer.state.items():
        if AVERAGE in state:
            held = weight.float().clone()
            weight.copy_(state[AVERAGE])
            state[AVERAGE].copy_(held)
