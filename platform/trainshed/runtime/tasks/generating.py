"""Answers that a model generates for samples of prepared data: prompts as they were learnt, decoded greedily.

Prompts are the tokens of the data, so nothing is encoded again: an answer is judged on the very prompt that a training
of the same data sees. Knows decoders; encoder-decoders have their prompt apart, see `seq2seq_lm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainshed.runtime.encoding import TOKENIZER, ConversationEncoder, TextEncoder, named_ends
from trainshed.runtime.modalities.text.collation import inputs
from trainshed.runtime.tasks.protocol import Answered
from trainshed.spec.document.locations import is_directory
from trainshed.spec.training.models import Model, Pretrained

Ids = np.ndarray[Any, Any]


def prompts_and_truths(rows: dict[str, Any], encoder: TextEncoder) -> list[tuple[Ids, Ids]]:
    """The tokens up to where an answer begins, and the answer's, of samples with targets or of conversations.

    Of a conversation the last thing that the assistant says is the answer. A sample without one has an empty answer.
    """
    if "target" in rows:
        return [(encoder.opened(ids), target) for ids, target in zip(rows["tokens"], rows["target"], strict=True)]
    return [_last_turn(ids, mask) for ids, mask in zip(rows["tokens"], rows["loss_mask"], strict=True)]


def ends_of(model: Model, tokenizer: Path) -> tuple[int, ...]:
    """Every token that ends an answer: what the model's own files name, and its chat template closes a turn with."""
    own = isinstance(model, Pretrained) and is_directory(model.name_or_path)
    folder = Path(model.name_or_path) if isinstance(model, Pretrained) and own else tokenizer
    folder = folder if (folder / TOKENIZER).is_file() else tokenizer
    encoder = ConversationEncoder.read(folder, obey=False)
    return named_ends(folder) if encoder is None else encoder.ends


@torch.no_grad()
def generated(
    model: Any, prompts: Sequence[Ids], *, pad: int, ends: Sequence[int], max_new_tokens: int, window: int | None
) -> list[list[int]]:
    """What a decoder says after each prompt, without the token that ends it. `window`: tokens that the model holds."""
    given = _on_the_left(inputs(prompts, pad))
    room = max_new_tokens
    if window is not None:
        room = min(room, window - given["input_ids"].shape[1])
    if room < 1:
        return [[] for _ in prompts]
    device = next(model.parameters()).device
    made = model.generate(
        **{name: tensor.to(device) for name, tensor in given.items()},
        max_new_tokens=room,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        pad_token_id=pad,
        eos_token_id=list(ends) or -1,
    )
    said = made[:, given["input_ids"].shape[1] :].tolist()
    return [_up_to_the_end(ids, frozenset(ends)) for ids in said]


def as_text(encoder: TextEncoder, prompt: Ids, said: Sequence[int], truth: Ids) -> Answered:
    """All three decoded, without special tokens."""
    texts = [encoder.decode(list(map(int, ids))) for ids in (prompt, said, truth)]
    return Answered(*texts)


def _last_turn(ids: Ids, mask: Ids) -> tuple[Ids, Ids]:
    counted = np.flatnonzero(mask > 0)
    if not len(counted):
        return ids, ids[:0]
    end = counted[-1] + 1
    skipped = np.flatnonzero(mask[:end] <= 0)
    start = skipped[-1] + 1 if len(skipped) else 0
    return ids[:start], ids[start:end]


def _on_the_left(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Padding before the prompts: a decoder goes on from the last token of each."""
    order = given["attention_mask"].sort(dim=1, stable=True).indices
    return {name: tensor.gather(1, order) for name, tensor in given.items()}


def _up_to_the_end(ids: list[int], ends: frozenset[int]) -> list[int]:
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return ids[:stop]
