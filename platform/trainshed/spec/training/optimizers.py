"""Optimizers a training may name. Their arithmetic is torch's; see `runtime/training/optim/optimizers.py`.

Norms, biases and other vectors are never decayed. Weight decay is decoupled from the gradient (arXiv 1711.05101) where
a class says so, and added to the gradient, as an L2 penalty is, where it does not.
"""

from __future__ import annotations

from typing import Annotated, Literal, assert_never

from pydantic import Field, model_validator

from trainshed.spec.document.part import NonNegative, Part, Positive

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
BLOCK = 256
"""Moments in 8 bits that have one scale, an fp32 number."""
LayerDecay = Annotated[float, Field(gt=0.0, le=1.0)]


class Sgd(Part):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    momentum: Beta = 0.9
    nesterov: bool = False
    """The gradient is taken where the momentum will have led; needs `momentum` over 0."""
    weight_decay: NonNegative = 0.0
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov: true needs momentum over 0, got 0; set momentum: 0.9, or nesterov: false")
        return self


class Adam(Part):
    """Adam (arXiv 1412.6980); weight decay is an L2 penalty in the gradient."""

    kind: Literal["adam"] = "adam"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class AdamW(Part):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class AdamW8bit(Part):
    """AdamW whose moments are in 8 bits, block by block (arXiv 2110.02861). Needs GPUs, engine ddp and bitsandbytes."""

    kind: Literal["adamw_8bit"] = "adamw_8bit"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class Adagrad(Part):
    """Adagrad (Duchi et al. 2011): each weight's rate falls with the squares of its gradients so far."""

    kind: Literal["adagrad"] = "adagrad"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.0
    epsilon: Positive = 1e-10
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class RmsProp(Part):
    """RMSprop (Hinton 2012): each weight's rate falls with the running mean of its squared gradients."""

    kind: Literal["rmsprop"] = "rmsprop"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    momentum: Beta = 0.0
    smoothing: Beta = 0.99
    """Of the running mean of squares; torch calls it alpha."""
    weight_decay: NonNegative = 0.0
    epsilon: Positive = 1e-8
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class Adafactor(Part):
    """Adafactor (arXiv 1804.04235): a matrix's second moment is kept as one row and one column. Decoupled decay."""

    kind: Literal["adafactor"] = "adafactor"
    learning_rate: Positive
    """The peak, relative to each matrix's own size; the schedule multiplies it."""
    weight_decay: NonNegative = 0.0
    clip_threshold: Positive = 1.0
    """A matrix's update is scaled down where its root mean square is over this; torch calls it d."""
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class Lion(Part):
    """Lion (arXiv 2302.06675): the sign of a momentum; a third to a tenth of AdamW's rate. Decoupled decay."""

    kind: Literal["lion"] = "lion"
    learning_rate: Positive
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.1
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


class Muon(Part):
    """Muon for the layers' matrices, AdamW for all else; both at AdamW's rate (arXiv 2502.16982). Decoupled decay."""

    kind: Literal["muon"] = "muon"
    learning_rate: Positive
    """The peak of both; Muon's update is scaled to the size that AdamW's has."""
    momentum: Beta = 0.95
    nesterov: bool = True
    """The gradient is taken where the momentum will have led."""
    weight_decay: NonNegative = 0.1
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """AdamW's, for embeddings, head and vectors."""
    epsilon: Positive = 1e-8
    """AdamW's."""
    layer_decay: LayerDecay = 1.0
    """Each layer's learning rate is this times the rate of the layer above it; the head has all of it."""


Optimizer = Annotated[
    Sgd | Adam | AdamW | AdamW8bit | Adagrad | RmsProp | Adafactor | Lion | Muon,
    Field(discriminator="kind"),
]


def needs_whole_matrices(optimizer: Optimizer) -> bool:
    """Whether an optimizer works with rows and columns, of which an engine that splits weights may leave none."""
    return isinstance(optimizer, Adafactor | Muon)


def mup_misfit(optimizer: Optimizer) -> str | None:
    """Why an optimizer does not go with muP, in one line; None where it does.

    The rates of muP that `runtime/training/optim/parameter_groups.py` gives are for updates whose size does not depend
    on that of the gradient (arXiv 2203.03466, table 8). A penalty in the gradient would weigh more the wider the model
    is.
    """
    if not isinstance(optimizer, Adam | AdamW | AdamW8bit | Lion):
        return f"model.mup_base_width goes with optimizer adam, adamw or lion, got {optimizer.kind}; say adamw"
    if isinstance(optimizer, Adam) and optimizer.weight_decay:
        return (
            f"optimizer.weight_decay of adam, {optimizer.weight_decay:g}, is a penalty in the gradient, whose effect "
            "model.mup_base_width cannot keep from width to width; say adamw, or weight_decay: 0.0"
        )
    return None


def moments(optimizer: Optimizer) -> float:
    """What an optimizer keeps for each weight, in fp32 numbers; at most, where it keeps less for some."""
    match optimizer:
        case Sgd():
            return 1 if optimizer.momentum else 0
        case Adam() | AdamW() | Muon():
            return 2
        case RmsProp():
            return 2 if optimizer.momentum else 1
        case AdamW8bit():
            return 2 * (1 / 4 + 1 / BLOCK)
        case Adagrad() | Adafactor() | Lion():
            return 1
        case _:
            assert_never(optimizer)
