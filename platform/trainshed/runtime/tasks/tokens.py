"""What a prediction of tokens is: its loss, and how many there are. Shared by every task that predicts tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from trainshed.runtime.modalities.text.collation import IGNORED


def token_loss(logits: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy in nats, summed over the targets that count.

    Args:
        logits: `(samples, time, vocabulary)`.
        targets: token ids `(samples, time)`; `IGNORED` counts for nothing.
        label_smoothing: share of the probability that is spread over the vocabulary.
    """
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )


def losses_of_tokens(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats of each target, `(samples, time)`; 0 where it does not count; see `token_loss`."""
    each = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return each.view_as(targets)


@dataclass(frozen=True)
class TokenSums:
    """What a model came to over a batch of tokens."""

    losses: torch.Tensor
    """`(samples,)` in nats, summed over the targets of each that count."""
    right: torch.Tensor
    """`(samples, time)`: where the likeliest token is the target."""
    targets: torch.Tensor
    """`(samples, time)`; `IGNORED` counts for nothing."""


def token_sums(logits: torch.Tensor, targets: torch.Tensor) -> TokenSums:
    """Of logits `(samples, time, vocabulary)` and their targets `(samples, time)`."""
    return TokenSums(losses_of_tokens(logits, targets).sum(1), logits.argmax(-1) == targets, targets)


def counted(targets: torch.Tensor) -> float:
    """How many targets count."""
    return float((targets != IGNORED).sum())
