"""What keeps a model from learning its data by heart, and a step from being too large."""

from __future__ import annotations

from trainshed.spec.part import NonNegative, Part, Ratio


class Regularization(Part):
    """What keeps weights and gradients small."""

    label_smoothing: Ratio = 0.0
    """Probability mass spread over all tokens in the training loss; validation loss never has it."""
    max_grad_norm: NonNegative = 1.0
    """Global gradient norm is clipped to this; 0 is off."""
