"""Learning from comparisons with a decoder: DPO and its kin against a reference, ORPO without one.

A pass is over both answers of each sample, the preferred ones first. The reference is columns of the data, or, under
adapters, the model itself with its adapters off.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
import torch.nn.functional as F

from trainshed.errors import PlatformError
from trainshed.runtime.modalities.text.collation import IGNORED, inputs, pad
from trainshed.runtime.tasks.adapting import add_switch
from trainshed.runtime.tasks.causal_lm import CausalLmTask
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.meters import MeanMeter
from trainshed.runtime.tasks.protocol import AdapterExports, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.routing import refuse_router_loss
from trainshed.spec.training.models.sameness import config_misfit, config_shape
from trainshed.spec.training.preference import Dpo, Orpo
from trainshed.spec.training.train import Training

REFERENCE = ("reference_chosen", "reference_rejected")
"""Columns of the data: the reference's log-probability of each answer, in nats."""


class PreferenceTask:
    """A decoder that learns which of two answers is preferred; see `trainshed.runtime.tasks.Task`."""

    unit = "sample"

    def __init__(self, training: Training, task: Dpo | Orpo, facts: DataFacts) -> None:
        self._task = task
        self._facts = facts
        self._language = CausalLmTask(training, facts)
        refuse_router_loss(self._language.config, task.kind)
        self.shape = config_shape(self._language.config.to_dict())
        self._adapts = training.lora is not None
        if isinstance(task, Dpo) and (why := config_misfit(self._language.config.to_dict(), facts.reference)):
            raise PlatformError(f"data: the reference of {training.data} {why}")

    def make_model(self) -> torch.nn.Module:
        """The model in fp32, without a key-value cache."""
        return self._with_switch(self._language.make_model())

    def make_in_parts(self, place: PartHandler, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """Makes the model as `make_model` does; each part is placed when its weights are there."""
        return self._with_switch(self._language.make_in_parts(place, dtype))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of the weights that it has made."""
        return self._language.remarks

    @property
    def exports(self) -> AdapterExports:
        """What opens an export again, and writes adapters by themselves."""
        return self._language.exports

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:  # noqa: ARG002
        """`input_ids`, `attention_mask` and `labels` `(2 samples, time)`: preferred answers, then the others.

        Where the data has a reference, `reference` `(2 samples,)` are its log-probabilities.
        """
        sides = (("tokens", "loss_mask"), ("rejected", "rejected_mask"))
        tokens = [ids for name, _ in sides for ids in rows[name]]
        masks = [mask for _, name in sides for mask in rows[name]]
        labels = [np.where(mask > 0, ids, IGNORED) for ids, mask in zip(tokens, masks, strict=True)]
        made = {**inputs(tokens, self._facts.pad), "labels": pad(labels, IGNORED)}
        if isinstance(self._task, Dpo) and REFERENCE[0] in rows:
            said = np.concatenate([rows[name] for name in REFERENCE])
            made["reference"] = torch.from_numpy(said.astype(np.float32))
        return made

    def weight(self, batch: Batch) -> float:
        """Samples: pairs of answers."""
        return float(len(batch["labels"]) // 2)

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:  # noqa: ARG002
        """The loss of each pair, summed."""
        return self._measured(forward, batch)["loss"].sum()

    def meter(self) -> Meter:
        """Means over the pairs: loss, how often the preferred answer is ahead, and by how much."""
        return MeanMeter(self._measured, self._task.metrics)

    def of_samples(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:
        """The log-probability of each answer, in nats, by the columns of a reference: `(samples,)` each."""
        chosen, rejected = (-self._language.losses_of_rows(forward, _asked(batch))).chunk(2)
        return dict(zip(REFERENCE, (chosen, rejected), strict=True))

    def log_probabilities_per_token(self, forward: Forward, batch: Batch) -> tuple[torch.Tensor, float]:
        """See `SaysTokens`: of both answers of each sample."""
        lengths = _lengths(batch)
        return -self._language.losses_of_rows(forward, _asked(batch)) / lengths, float(lengths.min())

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """As a language model is exported."""
        self._language.export(state, folder)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:  # noqa: ARG002
        """No figures beside those of the meter."""
        return {}

    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As a language model predicts."""
        return self._language.predict(model, rows)

    def _measured(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:
        """The figures of each pair, by the names of the task's metrics: `(samples,)` each."""
        match self._task:
            case Dpo() as task:
                reference = batch.get("reference")
                if reference is None:  # before the pass that is learnt from, whose activations wait for theirs
                    reference = self._own_reference(forward, batch)
                policy = -self._language.losses_of_rows(forward, _asked(batch))
                return dpo_figures(task, policy, reference, _lengths(batch))
            case Orpo() as task:
                policy = -self._language.losses_of_rows(forward, _asked(batch))
                return orpo_figures(task, policy / _lengths(batch))
            case _:
                assert_never(self._task)

    @torch.no_grad()
    def _own_reference(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """What the model says with its adapters off, and without dropout."""
        return -self._language.losses_of_rows(partial(forward, without_adapters=True), _asked(batch))

    def _with_switch(self, model: torch.nn.Module) -> torch.nn.Module:
        return add_switch(model) if self._adapts else model


def dpo_figures(
    task: Dpo, policy: torch.Tensor, reference: torch.Tensor, lengths: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The figures of pairs, `(pairs,)` each, of log-probabilities `(2 pairs,)`, preferred answers first, in nats.

    Rewards are `beta` times the gain over the reference. `kl` is the mean of that gain over both answers: an estimate
    of the divergence on answers of the data, below 0 where both have become less likely. A tie is half a hit.

    Args:
        task: the loss, with its beta.
        policy: of the model that learns.
        reference: of the one that stands still.
        lengths: tokens of each answer; loss ipo is per token, as its authors and TRL have it.
    """
    gains = policy - reference
    chosen, rejected = gains.chunk(2)
    margin = task.beta * (chosen - rejected)
    match task.loss:
        case "sigmoid":
            right = -F.logsigmoid(margin) * (1 - task.label_smoothing)
            loss = right - F.logsigmoid(-margin) * task.label_smoothing
        case "hinge":
            loss = torch.relu(1 - margin)
        case "ipo":
            own, other = (gains / lengths).chunk(2)
            loss = (own - other - 1 / (2 * task.beta)) ** 2
        case _:
            assert_never(task.loss)
    return {
        "loss": loss,
        "accuracy": (torch.sign(margin) + 1) / 2,
        "margin": margin,
        "chosen_reward": task.beta * chosen,
        "rejected_reward": task.beta * rejected,
        "kl": (chosen + rejected) / 2,
    }


def orpo_figures(task: Orpo, means: torch.Tensor) -> dict[str, torch.Tensor]:
    """The figures of pairs, `(pairs,)` each, of mean log-probabilities per token `(2 pairs,)`, preferred first."""
    odds = means - torch.log1p(-torch.exp(means.clamp(max=-1e-6)))  # an answer that is certain has no finite odds
    chosen, rejected = odds.chunk(2)
    margin = chosen - rejected
    nll = -means.chunk(2)[0]
    return {
        "loss": nll - task.beta * F.logsigmoid(margin),
        "accuracy": (torch.sign(margin) + 1) / 2,
        "margin": margin,
        "chosen_loss": nll,
    }


def _asked(batch: Batch) -> Batch:
    """What the model is given, and the labels."""
    return {name: tensor for name, tensor in batch.items() if name != "reference"}


def _lengths(batch: Batch) -> torch.Tensor:
    """Tokens of each answer `(2 samples,)`: all that count but a row's first, which nothing predicts."""
    return (batch["labels"][:, 1:] != IGNORED).sum(1).clamp(min=1)
