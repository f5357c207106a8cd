"""Losses of a head's logits in Liger's fused kernel, where it is installed. The only file that knows the library.

It makes the logits chunk by chunk as `chunked` does, and their loss and gradient in one pass over each (Hsu et al.,
arXiv 2410.10989).
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch

from trainshed.runtime.modalities.text.collation import IGNORED


def fused_losses(
    head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float
) -> torch.Tensor | None:
    """Loss and whether it was right, `(tokens, 2)`, of states `(tokens, width)`.

    None where Liger cannot say: it is not there, there is no GPU, or the head is more than a linear layer.
    """
    if not (hidden.is_cuda or _interpreted()) or not _is_installed() or not _is_plain(head):
        return None
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    loss = LigerFusedLinearCrossEntropyLoss(
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="none",
        return_token_accuracy=True,
        accum_dtype=torch.float32,
    )
    said = loss(head.weight, hidden, targets, head.bias)
    return torch.stack([said.loss, said.token_accuracy], dim=-1)


def _is_plain(head: torch.nn.Module) -> bool:
    """Whether nothing stands beside its weights, as adapters would."""
    return isinstance(head, torch.nn.Linear) and type(head).forward is torch.nn.Linear.forward


@cache
def _is_installed() -> bool:
    return find_spec("liger_kernel") is not None and find_spec("triton") is not None


def _interpreted() -> bool:
    """Whether Triton runs its kernels in Python, on any device."""
    return os.environ.get("TRITON_INTERPRET") == "1"
