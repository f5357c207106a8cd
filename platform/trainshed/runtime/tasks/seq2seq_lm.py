"""A target text for a text, with the encoder-decoders of transformers: translation, summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM

from trainshed.errors import PlatformError
from trainshed.runtime.modalities.text.collation import IGNORED, inputs, pad
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.meters import TokenMeter
from trainshed.runtime.tasks.protocol import AdapterExports, Answered, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.routing import refuse_router_loss
from trainshed.runtime.tasks.tokens import counted, token_loss, token_sums
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.tasks import Seq2SeqLm
from trainshed.spec.training.train import Training

GENERATED_AT_ONCE = 64


class Seq2SeqLmTask:
    """An encoder-decoder that produces targets; see `trainshed.runtime.tasks.Task`."""

    unit = "token"

    def __init__(self, training: Training, task: Seq2SeqLm, facts: DataFacts) -> None:
        self._facts = facts
        self._generated_samples = task.generated_samples
        config = configuration(training.model, facts)
        refuse_router_loss(config, "seq2seq_lm")
        start = getattr(config, "decoder_start_token_id", None)
        if start is None:
            raise PlatformError(f"model: a {config.model_type} says no decoder_start_token_id; seq2seq_lm needs one")
        self._start = int(start)
        self._model = TransformersModel(AutoModelForSeq2SeqLM, config, training, facts)

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

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:  # noqa: ARG002
        """`input_ids`, `attention_mask`, `decoder_input_ids` (the target, one later) and `labels`. Nothing is drawn."""
        shifted = [np.concatenate([[self._start], target[:-1]]) for target in rows["target"]]
        return {
            **inputs(rows["tokens"], self._facts.pad),
            "decoder_input_ids": pad(shifted, self._facts.pad),
            "labels": pad(rows["target"], IGNORED),
        }

    def weight(self, batch: Batch) -> float:
        """Tokens of the targets, their end marks included."""
        return counted(batch["labels"])

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy of the target's tokens, summed."""
        logits, targets = _predictions(forward, batch)
        return token_loss(logits, targets, label_smoothing=label_smoothing)

    def meter(self) -> Meter:
        """Loss, perplexity, accuracy over tokens, and whole targets right."""
        return TokenMeter(lambda forward, batch: token_sums(*_predictions(forward, batch)), sequences=True)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json, generation_config.json and the tokenizer."""
        self._model.export(state, folder)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:
        """exact_match: the share of the first samples whose target is what the exported model generates, greedily."""
        count = min(len(samples), self._generated_samples)
        if count == 0:
            return {}
        model = AutoModelForSeq2SeqLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False).eval()
        right = 0
        for first in range(0, count, GENERATED_AT_ONCE):
            rows = samples.take(np.arange(first, min(first + GENERATED_AT_ONCE, count)))
            wanted = [self._facts.encoder.decode(target.tolist()) for target in rows["target"]]
            right += sum(
                said == truth for said, truth in zip(self._generate(model, rows["tokens"]), wanted, strict=True)
            )
        return {"exact_match": right / count}

    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The target generated greedily for each text."""
        texts = self._facts.encoder.texts([row["text"] for row in rows])
        return [{"text": text} for text in self._generate(model, texts)]

    def longest_answer(self, rows: dict[str, Any]) -> int:
        """See `GivesAnswers`."""
        return max(map(len, rows["target"]))

    def answers(self, model: Any, rows: dict[str, Any], *, max_new_tokens: int) -> list[Answered]:
        """See `GivesAnswers`."""
        decode = self._facts.encoder.decode
        said = self._generate(model, rows["tokens"], max_new_tokens=max_new_tokens)
        of_rows = zip(rows["tokens"], said, rows["target"], strict=True)
        return [Answered(decode(prompt.tolist()), own, decode(truth.tolist())) for prompt, own, truth in of_rows]

    @torch.no_grad()
    def _generate(
        self, model: Any, texts: list[np.ndarray[Any, Any]], *, max_new_tokens: int | None = None
    ) -> list[str]:
        device = next(model.parameters()).device
        given = {name: tensor.to(device) for name, tensor in inputs(texts, self._facts.pad).items()}
        longest = max_new_tokens or self._facts.max_target_tokens
        made = model.generate(**given, max_new_tokens=longest, do_sample=False, num_beams=1, use_cache=True)
        return [self._facts.encoder.decode(ids[1:].tolist()) for ids in made]


def _predictions(forward: Forward, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    given = {name: tensor for name, tensor in batch.items() if name != "labels"}
    return forward(**given).logits, batch["labels"]
