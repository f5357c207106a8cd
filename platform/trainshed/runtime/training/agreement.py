"""Does an export say what the trained model says? The same held-out samples through both, one at a time.

The trained model answers under its engine, as the loop validates it; the export as it is loaded for serving. Both
compute in the training's precision, so that a difference is one of weights, not of rounding. Of tokens the figure is
the log-probability of a sample's own tokens, in nats per token; of labels and values it is the logits.
"""

from __future__ import annotations

import numpy as np
import torch

from trainshed.record.results import AgreementFacts
from trainshed.runtime.tasks import Batch, Forward, Samples, Task
from trainshed.runtime.tasks.protocol import SaysTokens
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.shares import batch_of, sum_over_workers

SAMPLES = 50
TOLERANCE = 1e-4
TOLERANCE_OF_HALF = 2e-2
UNITS = 32
"""Tokens over which single roundings of half precision even out; of fewer the mean varies as chance has it."""


@torch.no_grad()
def answers(task: Task, samples: Samples, forward: Forward, *, seed: int, world: World) -> torch.Tensor:
    """What a model says of the first samples: `(samples, figures + 1)`; how many units they are of stands last.

    Every worker calls it, and `forward` as often as the others; the answers are the same on each.
    """
    count = min(len(samples), SAMPLES)
    table = torch.zeros(0, 1, dtype=torch.float64)
    for start in range(0, count, world.workers):
        number = start + world.worker
        ids = np.array([min(number, count - 1)])
        row = _answer(task, forward, batch_of(task, samples, ids, (seed,), world))
        if start == 0:
            table = torch.zeros(count, len(row), dtype=torch.float64)
        if number < count:
            table[number] = row
    return sum_over_workers(table, world)


def agreement(trained: torch.Tensor, exported: torch.Tensor, *, of_tokens: bool, half: bool) -> AgreementFacts:
    """How far two models' answers are apart where it counts most.

    `of_tokens`: log-probabilities, compared as they are; other figures are compared in parts of the largest, or of 1.
    `half`: one of the two was rounded to bf16 or fp16.
    """
    said = trained[:, :-1]
    again = exported[:, :-1]
    scale = torch.ones(len(said)) if of_tokens else said.abs().amax(1).clamp(min=1.0)
    same = (said == again) | (said.isnan() & again.isnan())
    apart = (said - again).abs() / scale[:, None]
    apart = apart.masked_fill(apart.isnan(), torch.inf).masked_fill(same, 0.0).amax(1)
    allowed = torch.full((len(said),), TOLERANCE, dtype=torch.float64)
    if half:
        allowed = TOLERANCE_OF_HALF * (UNITS / trained[:, -1].clamp(min=1, max=UNITS)).sqrt()
    worst = int((apart / allowed).argmax())
    column = int((said[worst] - again[worst]).abs().argmax())
    return AgreementFacts(
        samples=len(said),
        measure="log-probability per token" if of_tokens else "logits",
        sample=worst,
        trained=float(said[worst, column]),
        exported=float(again[worst, column]),
        difference=float(apart[worst]),
        tolerance=float(allowed[worst]),
    )


def _answer(task: Task, forward: Forward, batch: Batch) -> torch.Tensor:
    """What a model says of one sample, and of how many units."""
    if isinstance(task, SaysTokens):
        means, units = task.log_probabilities_per_token(forward, batch)
        return torch.cat([means.cpu().double(), torch.tensor([units], dtype=torch.float64)])
    heard = []

    def listening(**given: torch.Tensor) -> object:
        heard.append(forward(**given))
        return heard[-1]

    loss = task.loss(listening, batch, label_smoothing=0.0)
    units = task.weight(batch)
    logits = getattr(heard[-1], "logits", None) if heard else None
    if task.unit != "token" and isinstance(logits, torch.Tensor) and logits.dim() == 2:
        said = logits.flatten()
    else:
        said = -loss.reshape(1) / units if units else loss.new_zeros(1)
    return torch.cat([said.cpu().double(), torch.tensor([units], dtype=torch.float64)])
