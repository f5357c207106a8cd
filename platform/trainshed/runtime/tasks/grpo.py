"""Learning from a reward with a decoder: groups of its own answers, each compared with the mean of its group.

A batch is made of answers that the weights of this step give: they are drawn before its first pass, and each has the
log-probabilities that it was drawn with. What is drawn for a prompt depends on the seed, the step and the sample alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainshed.runtime.generation.answers import Answer
from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.modalities.text.collation import IGNORED, inputs, pad
from trainshed.runtime.tasks.adapting import add_switch
from trainshed.runtime.tasks.causal_lm import CausalLmTask
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.generating import Ids, ends_of, prompts_and_truths
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.meters import MeanMeter
from trainshed.runtime.tasks.protocol import AdapterExports, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.reward import Reward, Scored
from trainshed.runtime.tasks.routing import refuse_router_loss
from trainshed.runtime.tasks.sampler import Policy, Sampler
from trainshed.spec.training.grpo import Grpo
from trainshed.spec.training.train import Training

SUMS = ("tokens", "answers", "reward", "ended", "ratio", "kl", "clipped")
EPSILON = 1e-4
"""Beside the spread of a group's rewards, as TRL has it: a group of equal rewards teaches nothing."""
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class GrpoTask:
    """A decoder that learns from the rewards of its own answers; see `trainshed.runtime.tasks.Task`."""

    unit = "sample"

    def __init__(self, training: Training, task: Grpo, facts: DataFacts) -> None:
        self._task = task
        self._facts = facts
        self._seed = training.seed
        longest = facts.block_size + task.max_new_tokens
        asking = replace(facts, block_size=longest, max_target_tokens=0)
        self._language = CausalLmTask(training, asking)
        refuse_router_loss(self._language.config, task.kind)
        self._adapts = training.lora is not None
        self._ends = ends_of(training.model, facts.text_folder)
        self._sampler = Sampler(
            self._language.config,
            self._language.plain_weights if self._adapts else None,
            ends=self._ends,
            longest=longest,
            at_once=task.answers_at_once,
            half=HALF.get(training.precision),
        )
        self._reward = Reward(task.reward, timeout_s=task.reward_timeout_s)
        self._standing: torch.nn.Module | None = None
        self._sums: dict[str, float] = {}

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

    def sync(self, policy: Policy, device: torch.device) -> None:
        """The weights that answer from here on are the policy's as they are now; every worker calls it."""
        self._sampler.sync(policy, device)

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:
        """The answers to these prompts, a group for each, `(samples x group, time)`.

        `input_ids`, `attention_mask` and `labels` (the answers); `drawn` `(rows, time - 1)`, the log-probability that
        each token was drawn with; `advantages`, `rewards` and `ended` `(rows,)`.
        """
        pairs = prompts_and_truths(rows, self._facts.encoder)
        asked = [prompt.tolist() for prompt, _ in pairs for _ in range(self._task.group_size)]
        drawing = [self._sampling(key, number) for key in keys for number in range(self._task.group_size)]
        answers = self._sampler.answers(asked, drawing)
        rewards = torch.tensor(self._rewards(pairs, answers), dtype=torch.float64).view(len(keys), -1)
        spread = rewards.std(1, keepdim=True)
        advantages = (rewards - rewards.mean(1, keepdim=True)) / (spread + EPSILON)
        whole = [np.concatenate([prompt, one.tokens]) for prompt, one in zip(asked, answers, strict=True)]
        labels = [
            np.concatenate([np.full(len(prompt), IGNORED), one.tokens])
            for prompt, one in zip(asked, answers, strict=True)
        ]
        made = {**inputs(whole, self._facts.pad), "labels": pad(labels, IGNORED)}
        drawn = torch.zeros(made["labels"][:, 1:].shape)
        for row, (prompt, one) in enumerate(zip(asked, answers, strict=True)):
            drawn[row, len(prompt) - 1 : len(prompt) - 1 + len(one.tokens)] = torch.tensor(one.log_probabilities)
        ended = torch.tensor([float(one.ended) for one in answers])
        figures = {"advantages": advantages.flatten().float(), "rewards": rewards.flatten().float(), "ended": ended}
        return {**made, "drawn": drawn, **figures}

    def weight(self, batch: Batch) -> float:
        """Samples: prompts."""
        return float(len(batch["labels"]) // self._task.group_size)

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:  # noqa: ARG002
        """The clipped surrogate of the answers' advantages, a mean over each answer's tokens and each group, summed."""
        reference = self._reference(forward, batch) if self._task.beta else None
        policy = -self._language.losses_of_tokens(forward, _asked(batch))
        counts = batch["labels"][:, 1:] != IGNORED
        lengths = counts.sum(1).clamp(min=1)
        ratio = torch.exp((policy - batch["drawn"]) * counts)
        clipped = ratio.clamp(1 - self._task.clip, 1 + self._task.clip)
        advantages = batch["advantages"][:, None]
        each = -torch.minimum(ratio * advantages, clipped * advantages)
        apart = torch.zeros_like(policy)
        if reference is not None:
            apart = torch.exp((reference - policy) * counts) - (reference - policy) * counts - 1
            each = each + self._task.beta * apart
        self._remember(batch, counts, ratio=ratio, kl=apart, clipped=(ratio != clipped).float())
        rows = (each * counts).sum(1) / lengths
        return rows.sum() / self._task.group_size

    def figures(self, add: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """What the passes of a step came to, over all workers: `add` sums over them. See `DrawsAnswers`."""
        total = add(torch.tensor([self._sums.get(name, 0.0) for name in SUMS], dtype=torch.float64))
        self._sums = {}
        sums = dict(zip(SUMS, total.tolist(), strict=True))
        of_tokens = {name: sums[name] / sums["tokens"] for name in ("ratio", "kl", "clipped")}
        of_answers = {name: sums[name] / sums["answers"] for name in ("reward", "ended")}
        return {**of_answers, "answer_tokens": sums["tokens"] / sums["answers"], **of_tokens}

    def meter(self) -> Meter:
        """Means over held-out prompts: reward, its spread within a group, length, and how many answers ended."""
        return MeanMeter(self._judged, self._task.metrics)

    def log_probabilities_per_token(self, forward: Forward, batch: Batch) -> tuple[torch.Tensor, float]:
        """See `SaysTokens`."""
        lengths = (batch["labels"][:, 1:] != IGNORED).sum(1).clamp(min=1)
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

    def _judged(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """The figures of each prompt, `(samples,)` each."""
        groups = batch["rewards"].view(-1, self._task.group_size)
        lengths = (batch["labels"] != IGNORED).sum(1).float().view_as(groups)
        return {
            "loss": -groups.mean(1),
            "reward": groups.mean(1),
            "reward_spread": groups.std(1),
            "answer_tokens": lengths.mean(1),
            "ended": batch["ended"].view_as(groups).mean(1),
        }

    def _rewards(self, pairs: list[tuple[Ids, Ids]], answers: list[Answer]) -> list[float]:
        """Of a group of answers to each prompt, beside what the data has as its answer."""
        size = self._task.group_size
        asked = []
        for number, (prompt, expected) in enumerate(pairs):
            texts = (self._text(prompt), self._text(expected))
            asked += [Scored(texts[0], self._text(one.tokens), texts[1]) for one in answers[number * size :][:size]]
        return self._reward.of(asked)

    def _text(self, tokens: Any) -> str:
        return self._facts.encoder.decode([int(one) for one in tokens if int(one) not in self._ends])

    def _sampling(self, key: tuple[int, ...], number: int) -> Sampling:
        """The model's own distribution, and a seed for this answer of this sample at this step."""
        digest = blake2b(repr((*key, number)).encode(), digest_size=6).digest()
        return Sampling(max_tokens=self._task.max_new_tokens, seed=int.from_bytes(digest, "big"))

    @torch.no_grad()
    def _reference(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """The log-probability of each token by the model that the training began with, `(rows, time - 1)`."""
        if self._adapts:
            return -self._language.losses_of_tokens(partial(forward, without_adapters=True), _asked(batch))
        if self._standing is None:
            device = batch["labels"].device
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self._seed)  # fresh weights are those that the training began with
                standing = self._language.make_model()
            self._standing = standing.requires_grad_(requires_grad=False).eval().to(device)
        return -self._language.losses_of_tokens(self._standing, _asked(batch))

    def _remember(self, batch: Batch, counts: torch.Tensor, **of_tokens: torch.Tensor) -> None:
        tokens = counts.sum()
        sums = {name: (one.detach().double() * counts).sum() for name, one in of_tokens.items()}
        sums |= {"tokens": tokens, "answers": torch.tensor(len(counts)), "reward": batch["rewards"].sum()}
        sums |= {"ended": batch["ended"].sum()}
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def _with_switch(self, model: torch.nn.Module) -> torch.nn.Module:
        return add_switch(model) if self._adapts else model


def _asked(batch: Batch) -> Batch:
    """What the model is given, and the labels."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
