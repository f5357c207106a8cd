"""Labels for texts with an LSTM: embedding, layers, mean and maximum over time, a linear classifier.

The one model here that is not of transformers: `export` writes safetensors and config.json, `load` opens them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers.modeling_outputs import SequenceClassifierOutput

from trainshed.errors import PlatformError
from trainshed.runtime.modalities.text.collation import inputs
from trainshed.runtime.tasks.adapting import freeze
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.labels import Labels
from trainshed.runtime.tasks.number_types import written_in
from trainshed.runtime.tasks.protocol import Batch, Exports, Forward, Meter, Samples
from trainshed.runtime.tasks.weights import copy_tokenizer
from trainshed.spec.training.models import Lstm
from trainshed.spec.training.tasks import LstmClassifier
from trainshed.spec.training.train import Training

MODEL_TYPE = "trainshed_lstm"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class LstmShape:
    """The network's shape, as config.json has it."""

    vocab_size: int
    labels: tuple[str, ...]
    width: int
    hidden: int
    layers: int
    bidirectional: bool
    dropout: float
    embedding_dropout: float


class LstmNetwork(torch.nn.Module):
    """`forward(input_ids, attention_mask)`, both `(batch, time)`, gives `.logits` `(batch, labels)`."""

    def __init__(self, shape: LstmShape) -> None:
        super().__init__()
        self.shape = shape
        between = shape.dropout if shape.layers > 1 else 0.0
        self.embedding = torch.nn.Embedding(shape.vocab_size, shape.width)
        self.lstm = torch.nn.LSTM(
            shape.width,
            shape.hidden,
            shape.layers,
            batch_first=True,
            dropout=between,
            bidirectional=shape.bidirectional,
        )
        self.word_dropout = torch.nn.Dropout(shape.embedding_dropout)
        self.dropout = torch.nn.Dropout(shape.dropout)
        features = 2 * shape.hidden * (2 if shape.bidirectional else 1)
        self.classifier = torch.nn.Linear(features, len(shape.labels))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
        """Padding is never read: sequences are packed, and mean and maximum are over real tokens."""
        embedded = self.embedding(input_ids)
        kept = self.word_dropout(torch.ones_like(embedded[..., :1]))  # whole words
        lengths = attention_mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(embedded * kept, lengths, batch_first=True, enforce_sorted=False)
        with torch.autocast("cpu", enabled=False):  # under it, torch has no LSTM without gradients in half precision
            hidden = self.lstm(packed)[0]
        states, _ = pad_packed_sequence(hidden, batch_first=True, total_length=input_ids.shape[1])
        real = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * real).sum(1) / real.sum(1).clamp(min=1)
        top = states.masked_fill(real == 0, torch.finfo(states.dtype).min).max(1).values
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(torch.cat([mean, top], dim=-1))))


class LstmTask:
    """An LSTM that labels texts; see `trainshed.runtime.tasks.Task`."""

    unit = "sample"

    def __init__(self, training: Training, task: LstmClassifier, facts: DataFacts) -> None:
        if not isinstance(training.model, Lstm):
            raise PlatformError(f"model: lstm_classifier cannot train a {training.model.kind}")
        self._facts = facts
        self._freeze = training.freeze
        self._dtype = training.export.dtype
        self._labels = Labels("single_label", facts, task.class_weights)
        fields = training.model.model_dump(exclude={"kind"})
        self._shape = LstmShape(vocab_size=facts.vocab_size, labels=facts.labels, **fields)

    def make_model(self) -> torch.nn.Module:
        """The network in fp32."""
        network = LstmNetwork(self._shape)
        if self._freeze:
            freeze(network, self._freeze)
        return network

    @property
    def exports(self) -> Exports:
        """What opens an export again."""
        return LstmExports()

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:  # noqa: ARG002
        """`input_ids`, `attention_mask`, `labels`. Nothing is drawn."""
        return {**inputs(rows["tokens"], self._facts.pad), "labels": self._labels.tensor(rows["label"])}

    def weight(self, batch: Batch) -> float:
        """Samples, with the weights of their classes."""
        return self._labels.weight(batch)

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy, summed."""
        return self._labels.loss(_logits(forward, batch), batch["labels"], label_smoothing=label_smoothing)

    def meter(self) -> Meter:
        """Loss and the figures of a classification."""
        return self._labels.meter(_logits)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json and the tokenizer; `load` opens the folder."""
        dtype = written_in(self._dtype, torch.float32)
        save_file({name: one.to(dtype) for name, one in state.items()}, folder / WEIGHTS, metadata={"format": "pt"})
        config = {"model_type": MODEL_TYPE, **dataclasses.asdict(self._shape)}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        copy_tokenizer(self._facts.text_folder, folder)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:  # noqa: ARG002
        """No figures beside those of the meter."""
        return {}

    @torch.no_grad()
    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The label and scores of each text."""
        texts = self._facts.encoder.texts([row["text"] for row in rows])
        return self._labels.answers(model(**inputs(texts, self._facts.pad)).logits)


class LstmExports:
    """See `trainshed.runtime.tasks.protocol.Exports`."""

    def open_export(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The network, computing in `dtype`."""
        return load(folder).to(dtype)


def load(folder: Path) -> LstmNetwork:
    """The network that `export` wrote, in evaluation mode.

    Raises:
        PlatformError: the folder holds another model, or not all of its weights.
    """
    config = json.loads((folder / CONFIG).read_text())
    if config.pop("model_type", None) != MODEL_TYPE:
        raise PlatformError(f"{folder}: config.json is not of a {MODEL_TYPE}; open it with transformers")
    network = LstmNetwork(LstmShape(**config | {"labels": tuple(config["labels"])}))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise PlatformError(f"{folder}: {WEIGHTS} does not hold the weights of its {CONFIG}: {faults}") from error
    return network.eval()


def _logits(forward: Forward, batch: Batch) -> torch.Tensor:
    logits: torch.Tensor = forward(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits
