"""Documents to packed blocks: tokenised by Ray Data, joined and cut in order by one writer for each split."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray.data
from tokenizers import Tokenizer

from trainshed.errors import PlatformError
from trainshed.record.storage import Storage
from trainshed.runtime.data.spelled import MarkFinder, Tally, TextForm
from trainshed.runtime.data.tokenizer import END_OF_TEXT
from trainshed.runtime.shards import BlockWriter
from trainshed.spec.prepare import Pack

DOCUMENTS_PER_BATCH = 64
END_MARKS = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]")
"""How tokenizers mark the end of a document; the first that one knows is used."""


def pack(
    documents: ray.data.Dataset,
    form: TextForm,
    spec: Pack,
    storage: Storage,
    folder: str,
    splits: tuple[str, ...],
) -> dict[str, Any]:
    """Writes the blocks of every split; what the manifest says of them.

    Raises:
        PlatformError: the tokenizer has no end mark.
    """
    ids, end = form.ids, end_mark(form.tokenizer)
    writers = {split: BlockWriter(storage, folder, split, spec.block_size, ids) for split in splits}
    tally = Tally()
    encoded = documents.map_batches(
        _Encode,
        fn_constructor_args=(form.serialized, end, form.finder),
        batch_size=DOCUMENTS_PER_BATCH,
        concurrency=(1, 8),
    )
    for batch in encoded.iter_batches(batch_size=DOCUMENTS_PER_BATCH, batch_format="numpy"):
        for split, tokens in zip(batch["split"], batch["tokens"], strict=True):
            writers[str(split)].add(np.asarray(tokens, dtype=np.uint32))
        tally.add(batch["spelled"])
    made = {split: writer.close() for split, writer in writers.items()}
    return {"form": "packed", "block_size": spec.block_size, "splits": made, **tally.facts}


class _Encode:
    """Batches of documents to token ids, each document closed with the end mark; runs in a Ray Data worker."""

    def __init__(self, serialized: str, end: int, finder: MarkFinder) -> None:
        self._tokenizer = Tokenizer.from_str(serialized)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._end = end
        self._finder = finder

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        texts = [str(text) for text in batch["text"]]
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokens = np.empty(len(encoded), dtype=object)
        for row, one in enumerate(encoded):
            tokens[row] = np.array([*one.ids, self._end], dtype=np.uint32)
        spelled = np.array([self._finder.in_text(text) for text in texts], dtype=object)
        return {"split": batch["split"], "tokens": tokens, "spelled": spelled}


def end_mark(tokenizer: Tokenizer) -> int:
    """The token that closes a document. Raises PlatformError where there is none."""
    for mark in END_MARKS:
        number = tokenizer.token_to_id(mark)
        if number is not None:
            return int(number)
    raise PlatformError(f"the tokenizer has no end mark; one of {', '.join(END_MARKS)} closes a document")
