"""Labels for texts and images with the encoders of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from trainshed.runtime.modalities.image.collation import Pixels, pixels_of
from trainshed.runtime.modalities.text.collation import inputs, pad
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.labels import Labels
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.protocol import AdapterExports, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.routing import refuse_router_loss
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.tasks import ImageClassification, TextClassification
from trainshed.spec.training.train import Training


class ClassificationTask:
    """An encoder with a classifier on it; see `trainshed.runtime.tasks.Task`."""

    unit = "sample"

    def __init__(self, training: Training, task: TextClassification | ImageClassification, facts: DataFacts) -> None:
        self._facts = facts
        of_text = isinstance(task, TextClassification)
        problem = task.problem if isinstance(task, TextClassification) else "single_label"
        self._labels = Labels(problem, facts, task.class_weights)
        auto = AutoModelForSequenceClassification if of_text else AutoModelForImageClassification
        config = configuration(training.model, facts, problem=problem)
        refuse_router_loss(config, task.kind)
        self._pixels = Pixels()  # -1 to 1, as ViT's own image processor has it
        if facts.image is not None and isinstance(training.model, Pretrained):
            self._pixels = pixels_of(training.model, *facts.image)
        self._has_types = getattr(config, "type_vocab_size", 1) > 1
        self._model = TransformersModel(auto, config, training, facts, labelled=True)

    def make_model(self) -> torch.nn.Module:
        """The model in fp32."""
        return self._model.make()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of its images, and of the weights it has made: a head that is new."""
        of_images = () if self._pixels.remark is None else (self._pixels.remark,)
        return (*of_images, *self._model.remarks)

    @property
    def exports(self) -> AdapterExports:
        """What opens an export again, and writes adapters by themselves."""
        return self._model

    def make_in_parts(self, place: PartHandler, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """Makes the model as `make_model` does; each part is placed when its weights are there."""
        return self._model.make(place, dtype)

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:  # noqa: ARG002
        """`input_ids` and `attention_mask`, or `pixel_values`; and `labels`. Nothing is drawn.

        Pairs of texts have `token_type_ids` where the model tells texts apart by them.
        """
        return {**self._inputs(rows), "labels": self._labels.tensor(rows["label"])}

    def weight(self, batch: Batch) -> float:
        """Samples, with the weights of their classes."""
        return self._labels.weight(batch)

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """The problem's loss, summed."""
        return self._labels.loss(_logits(forward, batch), batch["labels"], label_smoothing=label_smoothing)

    def meter(self) -> Meter:
        """Loss and the problem's figures."""
        return self._labels.meter(_logits)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json with the labels' names, and the tokenizer or how pixels are read."""
        self._model.export(state, folder)
        if self._facts.image is not None:
            size, channels = self._facts.image
            self._pixels.save(folder, size=size, channels=channels)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:  # noqa: ARG002
        """No figures beside those of the meter."""
        return {}

    @torch.no_grad()
    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The label and scores of each text or image."""
        if self._facts.image is not None:
            columns: dict[str, Any] = {"pixels": np.stack([row["image"] for row in rows])}
        else:
            columns = self._encoded(rows)
        return self._labels.answers(model(**self._inputs(columns)).logits)

    def _inputs(self, rows: dict[str, Any]) -> Batch:
        if "pixels" in rows:
            return {"pixel_values": self._pixels.values(rows["pixels"])}
        given = inputs(rows["tokens"], self._facts.pad)
        if "type_ids" in rows and self._has_types:
            given["token_type_ids"] = pad(rows["type_ids"], 0)
        return given

    def _encoded(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Texts, or pairs of texts, as the data has them."""
        texts = [row["text"] for row in rows]
        if "text_pair" not in rows[0]:
            return {"tokens": self._facts.encoder.texts(texts)}
        made = self._facts.encoder.pairs(texts, [row["text_pair"] for row in rows], cut="right")
        return {"tokens": [ids for ids, _ in made], "type_ids": [types for _, types in made]}


def _logits(forward: Forward, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = forward(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
    return logits
