"""What keeps a model from learning its data by heart, and a step from being too large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from trainshed.spec.document.part import Count, NonNegative, Part, Ratio


class EarlyStopping(Part):
    """Ends a training whose validation loss no longer falls."""

    patience: Count = 3
    """Validations in a row without a better loss, after which the training ends."""
    min_delta: NonNegative = 0.0
    """A loss is better where it is under the best so far by more than this."""
    restore_best: bool = True
    """What is exported are the weights of the lowest validation loss, saved when it was taken; false: the last ones."""

    def should_stop(self, losses: Sequence[float]) -> bool:
        """Whether the validation losses so far, oldest first, end the training; one that is NaN is not better."""
        best = math.inf
        waited = 0
        for loss in losses:
            better = loss < best - self.min_delta
            best, waited = (loss, 0) if better else (best, waited + 1)
        return waited >= self.patience


class Regularization(Part):
    """Regularization of weights, gradients and inputs; all but gradient clipping is off by default."""

    label_smoothing: Ratio = 0.0
    """Probability mass spread over all tokens in the training loss; validation loss never has it."""
    max_grad_norm: NonNegative = 1.0
    """Global gradient norm is clipped to this; 0 is off."""
    l1: NonNegative = 0.0
    """This times the sum of absolute weights is added to the loss, for matrices alone and outside of clipping."""
    l2: NonNegative = 0.0
    """Half of this times the sum of squared weights is added to the loss, as for `l1`."""
    embedding_noise: NonNegative = 0.0
    """NEFTune's alpha (arXiv 2310.05914), 5 to 15: uniform noise on embeddings in training; 0 is off."""
    adversarial: NonNegative = 0.0
    """Norm of each sample's shift of embeddings that hurts most (FGM, arXiv 1605.07725); doubles the work; 0 is off."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of a running average of the weights, which validation and export then use; 0 is off."""
    early_stopping: EarlyStopping | None = None
    """Ends the training where validation loss no longer falls; off where it is not given."""

    @property
    def passes(self) -> int:
        """Forward and backward passes over each share of a step: a clean one, and one under attack where there is."""
        return 2 if self.adversarial else 1
