"""A model with one score for a text or conversation, learnt from comparisons (Bradley and Terry; arXiv 2203.02155)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification

from trainshed.runtime.encoding import ConversationEncoder
from trainshed.runtime.modalities.text.collation import inputs
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.meters import MeanMeter
from trainshed.runtime.tasks.protocol import AdapterExports, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.routing import refuse_router_loss
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.train import Training


class RewardModelTask:
    """A score that is higher for the preferred of two answers; see `trainshed.runtime.tasks.Task`."""

    unit = "sample"

    def __init__(self, training: Training, facts: DataFacts) -> None:
        self._facts = facts
        self._names = training.task.metrics
        config = configuration(training.model, facts, problem="regression")
        refuse_router_loss(config, training.task.kind)
        self._model = TransformersModel(AutoModelForSequenceClassification, config, training, facts, labelled=True)

    def make_model(self) -> torch.nn.Module:
        """The model in fp32."""
        return self._model.make()

    def make_in_parts(self, place: PartHandler, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """Makes the model as `make_model` does; each part is placed when its weights are there."""
        return self._model.make(place, dtype)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of the weights that it has made: a head that is new."""
        return self._model.remarks

    @property
    def exports(self) -> AdapterExports:
        """What opens an export again, and writes adapters by themselves."""
        return self._model

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:  # noqa: ARG002
        """`input_ids` and `attention_mask` `(2 samples, time)`: the preferred texts, then the others."""
        return inputs([*rows["tokens"], *rows["rejected"]], self._facts.pad)

    def weight(self, batch: Batch) -> float:
        """Samples: pairs of texts."""
        return float(len(batch["input_ids"]) // 2)

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:  # noqa: ARG002
        """How unlikely the preferences are, in nats, summed."""
        return self._measured(forward, batch)["loss"].sum()

    def meter(self) -> Meter:
        """Means over the pairs: loss, how often the preferred text is ahead, by how much, and the scores."""
        return MeanMeter(self._measured, self._names)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json and the tokenizer, as a regression of one number."""
        self._model.export(state, folder)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:  # noqa: ARG002
        """No figures beside those of the meter."""
        return {}

    @torch.no_grad()
    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The score of each conversation that ends with an answer, or of each `prompt` with its `completion`."""
        scores = model(**inputs([self._ids(row) for row in rows], self._facts.pad)).logits
        return [{"value": float(score)} for score in scores[:, 0]]

    def _measured(self, forward: Forward, batch: Batch) -> dict[str, torch.Tensor]:
        """The figures of each pair, `(samples,)` each."""
        chosen, rejected = forward(**batch).logits[:, 0].float().chunk(2)
        margin = chosen - rejected
        return {
            "loss": -F.logsigmoid(margin),
            "accuracy": (torch.sign(margin) + 1) / 2,
            "margin": margin,
            "chosen_score": chosen,
            "rejected_score": rejected,
        }

    def _ids(self, row: dict[str, Any]) -> np.ndarray[Any, Any]:
        chat = ConversationEncoder.read(self._facts.text_folder, obey=self._facts.special_tokens_obeyed)
        if "messages" in row and chat is not None:
            return chat.learnt(row["messages"], tools=row.get("tools"), learn="last").ids
        encoder = self._facts.encoder
        return np.concatenate([*encoder.prompts([row["prompt"]]), *encoder.targets([row["completion"]], None)])
