"""Next-token prediction with the decoder models of transformers.

Packed blocks count every token; samples with a target count only the target's, conversations only what the assistant
says (supervised fine-tuning).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from trainshed.errors import PlatformError
from trainshed.runtime.encoding import ConversationEncoder
from trainshed.runtime.modalities.text.collation import IGNORED, inputs, pad
from trainshed.runtime.tasks.blocks import block_batch, refuse_where_documents_meet
from trainshed.runtime.tasks.chunked import ChunkedHead
from trainshed.runtime.tasks.configuration import configuration
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.fitting import positions
from trainshed.runtime.tasks.generating import as_text, ends_of, generated, prompts_and_truths
from trainshed.runtime.tasks.making import PartHandler
from trainshed.runtime.tasks.meters import TokenMeter
from trainshed.runtime.tasks.protocol import AdapterExports, Answered, Batch, Forward, Meter, Samples
from trainshed.runtime.tasks.routing import RouterLoss
from trainshed.runtime.tasks.tokens import TokenSums, counted, losses_of_tokens, token_loss, token_sums
from trainshed.runtime.tasks.weights import TransformersModel
from trainshed.spec.training.train import Training

Array = np.ndarray[Any, Any]


class CausalLmTask:
    """A decoder that predicts each token from those before it; see `trainshed.runtime.tasks.Task`."""

    unit = "token"

    def __init__(self, training: Training, facts: DataFacts) -> None:
        self._facts = facts
        self._shape = training.model
        longest = facts.block_size + facts.max_target_tokens
        shape = training.model
        if "context" in type(shape).model_fields and shape.context is None:
            shape = shape.model_copy(update={"context": longest})
        config = configuration(shape, facts)
        most = positions(config)
        if most is not None and most < longest:
            raise PlatformError(
                f"model.context: the model takes {most} tokens, a sample and its target have "
                f"up to {longest}; prepare shorter ones or raise it"
            )
        if facts.apart:
            refuse_where_documents_meet(config)
        self.config = config
        self._routers = RouterLoss(config)
        self._model = TransformersModel(AutoModelForCausalLM, config, training, facts)
        self._head = ChunkedHead(config)

    def make_model(self) -> torch.nn.Module:
        """The model in fp32, without a key-value cache."""
        model = self._model.make()
        self._head.put_on(model)
        return model

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of its loss, and of the weights it has made: a head that is new."""
        return (*self._routers.remarks, *self._model.remarks)

    @property
    def exports(self) -> AdapterExports:
        """What opens an export again, and writes adapters by themselves."""
        return self._model

    def plain_weights(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What an engine has exported, with the adapters in the weights."""
        return self._model.plain_weights(state)

    def make_in_parts(self, place: PartHandler, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """Makes the model as `make_model` does; each part is placed when its weights are there."""
        model = self._model.make(place, dtype)
        self._head.put_on(model)
        return model

    def batch(self, rows: dict[str, Any], *, keys: list[tuple[int, ...]]) -> Batch:  # noqa: ARG002
        """`input_ids` of blocks `(batch, time)`; of samples also `attention_mask` and `labels`. Nothing is drawn.

        Blocks of documents that are kept apart have `position_ids` in place of a mask.
        """
        tokens = rows["tokens"]
        if isinstance(tokens, np.ndarray):
            return {"input_ids": torch.from_numpy(tokens)}
        if "lengths" in rows:
            masks = rows.get("loss_mask")
            return block_batch(tokens, rows["lengths"], masks, size=self._facts.block_size, fill=self._facts.pad)
        if "loss_mask" in rows:
            masks = rows["loss_mask"]
            labels = [np.where(mask > 0, own, IGNORED) for own, mask in zip(tokens, masks, strict=True)]
            return {**inputs(tokens, self._facts.pad), "labels": pad(labels, IGNORED)}
        if "target" not in rows:
            return {**inputs(tokens, self._facts.pad), "labels": pad(tokens, IGNORED)}
        prompts = [self._facts.encoder.opened(own) for own in tokens]
        pairs = list(zip(prompts, rows["target"], strict=True))
        labels = [np.concatenate([np.full(len(prompt), IGNORED), target]) for prompt, target in pairs]
        whole = [np.concatenate([prompt, target]) for prompt, target in pairs]
        return {**inputs(whole, self._facts.pad), "labels": pad(labels, IGNORED)}

    def weight(self, batch: Batch) -> float:
        """Tokens that are predicted: all but the first of each sample, or those of the target."""
        if "labels" in batch:
            return counted(batch["labels"][:, 1:])
        samples, time = batch["input_ids"].shape
        return float(samples * (time - 1))

    def loss(self, forward: Forward, batch: Batch, *, label_smoothing: float) -> torch.Tensor:
        """Cross-entropy of each token given those before, summed; the routers' loss too where the model asks for it."""
        outputs, targets = self._outputs(forward, batch, label_smoothing=label_smoothing)
        if self._head.answered:
            loss = outputs.logits[..., 0].sum()
        else:
            loss = token_loss(outputs.logits[:, :-1], targets, label_smoothing=label_smoothing)
        return self._routers.add(loss, outputs, self.weight(batch))

    def losses_of_rows(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """Cross-entropy of each row's targets given what stands before them, summed: `(rows,)`, in nats."""
        return self.losses_of_tokens(forward, batch).sum(1)

    def losses_of_tokens(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """The same of each token but a row's first: `(rows, time - 1)`; 0 where it is no target."""
        outputs, targets = self._outputs(forward, batch)
        if self._head.answered:
            losses: torch.Tensor = outputs.logits[:, :-1, 0]
            return losses
        return losses_of_tokens(outputs.logits[:, :-1], targets)

    def meter(self) -> Meter:
        """Loss, perplexity, accuracy."""
        return TokenMeter(self._measured, sequences=False)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json, generation_config.json and the tokenizer."""
        self._model.export(state, folder)

    def examine(self, folder: Path, samples: Samples) -> dict[str, float]:  # noqa: ARG002
        """No figures beside those of the meter."""
        return {}

    def answers(self, model: Any, rows: dict[str, Any], *, max_new_tokens: int) -> list[Answered]:
        """See `GivesAnswers`; of samples with targets, and of conversations."""
        pairs = prompts_and_truths(rows, self._facts.encoder)
        said = generated(
            model,
            [prompt for prompt, _ in pairs],
            pad=self._facts.pad,
            ends=ends_of(self._shape, self._facts.text_folder),
            max_new_tokens=max_new_tokens,
            window=positions(self.config),
        )
        encoder = self._facts.encoder
        return [as_text(encoder, prompt, own, truth) for (prompt, truth), own in zip(pairs, said, strict=True)]

    def longest_answer(self, rows: dict[str, Any]) -> int:
        """See `GivesAnswers`."""
        return max(len(truth) for _, truth in prompts_and_truths(rows, self._facts.encoder))

    def _outputs(self, forward: Forward, batch: Batch, *, label_smoothing: float = 0.0) -> tuple[Any, torch.Tensor]:
        """What the model says of a batch, and the tokens that all but the last predict."""
        given = {name: tensor for name, tensor in batch.items() if name != "labels"}
        targets = batch.get("labels", batch["input_ids"])[:, 1:]
        with self._head.asked(F.pad(targets, (0, 1), value=IGNORED), label_smoothing=label_smoothing):
            return forward(**given), targets

    def _measured(self, forward: Forward, batch: Batch) -> TokenSums:
        outputs, targets = self._outputs(forward, batch)
        if not self._head.answered:
            return token_sums(outputs.logits[:, :-1], targets)
        answers = outputs.logits[:, :-1]
        return TokenSums(answers[..., 0].sum(1), answers[..., 1] > 0, targets)

    @torch.no_grad()
    def predict(self, model: torch.nn.Module, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The log-probability of each row's tokens after the first, in nats, and its likeliest next token.

        A row has a `text`, or `messages` (and `tools`): a question, encoded as the endpoint encodes it, or a
        conversation that ends with an answer, of which the answer's tokens count.
        """
        asked = [self._asked(row) for row in rows]
        texts = [ids for ids, _ in asked]
        batch = inputs(texts, self._facts.pad)
        targets = pad([np.where(counts, ids, IGNORED) for ids, counts in asked], IGNORED)[:, 1:]
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
        losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=IGNORED, reduction="none").sum(1)
        following = [int(logits[row, len(ids) - 1].argmax()) for row, ids in enumerate(texts)]
        return [
            {"log_probability": -float(loss), "next": self._facts.encoder.decode([token])}
            for loss, token in zip(losses, following, strict=True)
        ]

    def _asked(self, row: dict[str, Any]) -> tuple[Array, Array]:
        """A row's tokens, and which of them count.

        Raises:
            PlatformError: messages, and the tokenizer has no chat template.
        """
        if "messages" not in row:
            ids = self._facts.encoder.prompts([row["text"]])[0]
            return ids, np.ones(len(ids), dtype=bool)
        encoder = self._conversations
        if encoder is None:
            raise PlatformError("predict: the rows have messages, and the data's tokenizer has no chat template")
        messages = row["messages"]
        if messages[-1].get("role") == "assistant":
            learnt = encoder.learnt(messages, tools=row.get("tools"), learn="last")
            return learnt.ids, learnt.mask
        ids = np.array(encoder.question(messages, tools=row.get("tools")))
        return ids, np.ones(len(ids), dtype=bool)

    @cached_property
    def _conversations(self) -> ConversationEncoder | None:
        return ConversationEncoder.read(self._facts.text_folder, obey=self._facts.special_tokens_obeyed)
