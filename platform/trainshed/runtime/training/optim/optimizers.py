"""torch optimizers from their spec, over the groups of `groups.py`.

Two are not torch's own classes: Adagrad, because DeepSpeed would replace torch's, and Muon with AdamW for what is not a
matrix of a layer. Lion is lion-pytorch's, AdamW in 8 bits is bitsandbytes'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import torch
from lion_pytorch import Lion as LionPytorch
from torch.optim.adagrad import adagrad

from trainshed.runtime.models.four_bit import check_installed
from trainshed.runtime.tasks.weight_roles import ShapeOf, own_shape
from trainshed.runtime.training.optim.parameter_groups import parameter_groups
from trainshed.spec.training.optimizers import (
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    AdamW8bit,
    Lion,
    Muon,
    Optimizer,
    RmsProp,
    Sgd,
)


def build_optimizer(
    spec: Optimizer, model: torch.nn.Module, shape_of: ShapeOf = own_shape, *, growth: float = 1.0
) -> torch.optim.Optimizer:
    """The optimizer of a model's trained weights; whoever steps it sets each group's `lr` to rate x `lr_scale`.

    `shape_of` says a weight's whole shape, where an engine has split it already. `growth` is how many times wider the
    model is than the base of its muP.
    """
    rate = spec.learning_rate
    groups = parameter_groups(
        model,
        shape_of,
        weight_decay=spec.weight_decay,
        layer_decay=spec.layer_decay,
        growth=growth,
        split_layer_matrices=isinstance(spec, Muon),
    )
    match spec:
        case Sgd():
            return torch.optim.SGD(groups, lr=rate, momentum=spec.momentum, nesterov=spec.nesterov)
        case Adam():
            return torch.optim.Adam(groups, lr=rate, betas=spec.betas, eps=spec.epsilon)
        case AdamW():
            return torch.optim.AdamW(groups, lr=rate, betas=spec.betas, eps=spec.epsilon)
        case AdamW8bit():
            return _in_eight_bits(groups, spec)
        case Adagrad():
            return LazyAdagrad(groups, lr=rate, epsilon=spec.epsilon)
        case RmsProp():
            return torch.optim.RMSprop(groups, lr=rate, alpha=spec.smoothing, eps=spec.epsilon, momentum=spec.momentum)
        case Adafactor():
            return torch.optim.Adafactor(groups, lr=rate, d=spec.clip_threshold)
        case Lion():
            lion: torch.optim.Optimizer = LionPytorch(groups, lr=rate, betas=spec.betas)
            return lion
        case Muon():
            return MuonWithAdamW(groups, spec)
        case _:
            assert_never(spec)


def _in_eight_bits(groups: list[dict[str, Any]], spec: AdamW8bit) -> torch.optim.Optimizer:
    check_installed("optimizer.kind: adamw_8bit")
    from trainshed.runtime.training.optim.eight_bit import CountingAdamW8bit  # its library is optional

    return CountingAdamW8bit(groups, lr=spec.learning_rate, betas=spec.betas, eps=spec.epsilon)


class LazyAdagrad(torch.optim.Optimizer):
    """torch's Adagrad, with its state made on the first step instead of at once.

    DeepSpeed puts flat pieces in place of an optimizer's weights. For that it replaces an instance of torch's class by
    a new one made of `defaults` alone (initialize_optimizer_states in its zero/stage_1_and_2.py and stage3.py), which
    has lost each group's weight decay and learning rate, and every hook. This class it leaves alone.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, epsilon: float) -> None:
        super().__init__(groups, {"lr": lr, "eps": epsilon, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; `closure` is called first, as torch's optimizers do."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if "sum" not in self.state[weight]:
                    self.state[weight] |= {"step": torch.tensor(0.0), "sum": torch.zeros_like(weight)}
            states = [self.state[weight] for weight in weights]
            adagrad(
                weights,
                [weight.grad for weight in weights],
                [state["sum"] for state in states],
                [state["step"] for state in states],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                lr_decay=0.0,
                eps=group["eps"],
                maximize=False,
            )
        return loss


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon over the groups with `layer_matrices`, torch's AdamW over the others; one state for both."""

    def __init__(self, groups: list[dict[str, Any]], spec: Muon) -> None:
        super().__init__(groups, {"lr": spec.learning_rate})
        # Each half fills in what its groups do not say, in these very dictionaries; torch shares what it is given.
        matrices, others = self._halves()
        nothing = [torch.nn.Parameter(torch.zeros(0, 0), requires_grad=False)]
        self._muon = torch.optim.Muon(
            nothing,
            lr=spec.learning_rate,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(nothing, lr=spec.learning_rate, betas=spec.betas, eps=spec.epsilon)
        for half, optimizer in ((matrices, self._muon), (others, self._adamw)):
            for group in half:
                group.update({key: value for key, value in optimizer.defaults.items() if key not in group})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both halves; `closure` is called first, as torch's optimizers do."""
        loss = closure() if closure is not None else None
        for half, optimizer in zip(self._halves(), (self._muon, self._adamw), strict=True):
            optimizer.param_groups = half
            optimizer.state = self.state  # anew: loading a state replaces both
            optimizer.step()
        return loss

    def _halves(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        matrices = [group for group in self.param_groups if group["layer_matrices"]]
        return matrices, [group for group in self.param_groups if not group["layer_matrices"]]
