"""Prediction of hidden tokens with the encoders of transformers (arXiv 1810.04805)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForMaskedLM

from trainshed.errors import PlatformError
from trainshed.runtime.modalities.text.collation import IGNORED, inputs, pad
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.meters import TokenMeter
from trainshed.runtime.tasks.protocol import AdapterExports, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.routing import refuse_router_loss
from trainshed.runtime.tasks.tokens import counted, token_loss, token_sums
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.tasks import MaskedLm
from trainshed.spec.training.train import Training

MASKED = 0.8
REPLACED = 0.9
"""Of the chosen tokens: up to the first share hidden, up to the second another token, the rest as they are."""


class MaskedLmTask:
    """An encoder that restores hidden tokens; see `trainshed.runtime.tasks.Task`."""

    unit = "token"

    def __init__(self, training: Training, task: MaskedLm, facts: DataFacts) -> None:
        if facts.special.mask is None:
            raise PlatformError("task: masked_lm needs a tokenizer with a mask token, and the data's has none")
        self._mask = facts.special.mask
        self._facts = facts
        self._probability = task.mask_probability
        config = configuration(training.model, facts)
        refuse_router_loss(config, "masked_lm")
        self._model = TransformersModel(AutoModelForMaskedLM, config, training, facts)
        self._special = np.array(sorted(facts.special.all), dtype=np.int64)
        self._ordinary = np.setdiff1d(np.arange(facts.vocab_size), self._special)

    def make_model(self) -> torch.nn.Module:
        """The model in fp32."""
        return self._model.make()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of the weights it has made: a head that is new."""
        return self._model.remarks

    @property
    def exports(self) -> AdapterExports:
        """What opens an export again, and writes adapters by themselves."""
        return self._model

    def make_in_parts(self, place: PartHandler, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """Makes the model as `make_model` does; each part is placed when its weights are there."""
        return self._model.make(place, dtype)

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:
        """`input_ids`, `attention_mask`, and `labels` where a token was hidden; drawn from each sample's key."""
        hidden = []
        labels = []
        for tokens, key in zip(rows["tokens"], keys, strict=True):
            ids, truth = self._hide(tokens, np.random.default_rng(key))
            hidden.append(ids)
            labels.append(truth)
        return {**inputs(hidden, self._facts.pad), "labels": pad(labels, IGNORED)}

    def weight(self, batch: Batch) -> float:
        """Hidden tokens."""
        return counted(batch["labels"])

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy of the hidden tokens, summed."""
        logits, targets = _predictions(forward, batch)
        return token_loss(logits, targets, label_smoothing=label_smoothing)

    def meter(self) -> Meter:
        """Loss, perplexity, accuracy over hidden tokens."""
        return TokenMeter(lambda forward, batch: token_sums(*_predictions(forward, batch)), sequences=False)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json and the tokenizer."""
        self._model.export(state, folder)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:  # noqa: ARG002
        """No figures beside those of the meter."""
        return {}

    @torch.no_grad()
    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The likeliest tokens at each text's mask tokens, with their probabilities."""
        texts = self._facts.encoder.texts([row["text"] for row in rows])
        probabilities = model(**inputs(texts, self._facts.pad)).logits.float().softmax(-1)
        answers = []
        for row, ids in enumerate(texts):
            best = probabilities[row, np.flatnonzero(ids == self._mask)].max(-1)
            words = [self._facts.encoder.decode([int(token)]) for token in best.indices]
            answers.append({"tokens": words, "probabilities": best.values.tolist()})
        return answers

    def _hide(
        self, tokens: np.ndarray[Any, Any], draw: np.random.Generator
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Tokens with some hidden, and the truth where they are; at least one is chosen of those that may be."""
        allowed = np.flatnonzero(~np.isin(tokens, self._special))
        chosen = allowed[draw.random(len(allowed)) < self._probability]
        if len(chosen) == 0 and len(allowed):
            chosen = draw.choice(allowed, 1)
        fate = draw.random(len(chosen))
        others = draw.choice(self._ordinary, len(chosen))
        hidden = tokens.copy()
        truth = np.full(len(tokens), IGNORED, dtype=np.int64)
        truth[chosen] = tokens[chosen]
        hidden[chosen] = np.where(fate < MASKED, self._mask, np.where(fate < REPLACED, others, tokens[chosen]))
        return hidden, truth


def _predictions(forward: Forward, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    logits = forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits, batch["labels"]
