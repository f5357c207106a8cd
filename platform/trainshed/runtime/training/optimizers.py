"""torch optimizers from their spec. Norms, biases and other vectors are not decayed."""

from __future__ import annotations

import torch

from trainshed.spec.optimizers import Optimizer


def build_optimizer(spec: Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW over two groups: matrices with weight decay, vectors without."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=spec.learning_rate, betas=spec.betas, eps=spec.epsilon
    )
