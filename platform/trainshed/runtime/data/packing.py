"""Documents to packed blocks: tokenised by Ray Data, joined and cut in order by one writer for each split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from tokenizers import Tokenizer

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import SamplesFacts
from trainshed.record.storage import Storage
from trainshed.runtime.data.columns import by_split
from trainshed.runtime.data.spelled import MarkFinder, Tally, TextForm
from trainshed.runtime.data.threads import use_threads
from trainshed.runtime.data.tokenizer import END_OF_TEXT
from trainshed.runtime.modalities.text.columns import lists, pieces
from trainshed.runtime.shards import BlockWriter
from trainshed.spec.data.prepare import Pack

END_MARKS = (END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]")
"""How tokenizers mark the end of a document; the first that one knows is used."""


def pack(
    documents: ray.data.Dataset,
    form: TextForm,
    spec: Pack,
    storage: Storage,
    folder: str,
    splits: tuple[str, ...],
) -> SamplesFacts:
    """Writes the blocks of every split; what the manifest says of them.

    Raises:
        PlatformError: the tokenizer has no end mark.
    """
    writers = {split: BlockWriter(storage, folder, split, spec.block_size, form.ids) for split in splits}
    tally = Tally()
    encoded = documents.map_batches(
        encode,
        fn_kwargs={
            "serialized": form.serialized,
            "end": end_mark(form.tokenizer),
            "finder": form.finder,
            "threads": form.threads,
        },
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
    )
    for batch in encoded.iter_batches(batch_format="pyarrow", batch_size=None):
        for split, part in by_split(batch, splits):
            tokens = part["tokens"].combine_chunks().flatten().to_numpy()
            writers[split].extend(tokens, documents=part.num_rows)
        tally.add(batch.filter(pc.not_equal(batch["spelled"], ""))["spelled"].to_pylist())
    made = {split: writer.close() for split, writer in writers.items()}
    return tally.said_of(SamplesFacts(form="packed", block_size=spec.block_size, splits=made))


def encode(table: pa.Table, serialized: str, end: int, finder: MarkFinder, threads: int = 1) -> Iterator[pa.Table]:
    """The token ids of each document, closed with the end mark; runs in a Ray Data worker."""
    use_threads(threads)
    tokenizer = _opened(serialized)
    for piece in pieces(table, "text"):
        texts = piece["text"].to_pylist()
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokens = lists([[*one.ids, end] for one in encoded])
        spelled = pa.array([finder.in_text(text) for text in texts], pa.string())
        yield pa.table({"split": piece["split"], "tokens": tokens, "spelled": spelled})


def end_mark(tokenizer: Tokenizer) -> int:
    """The token that closes a document. Raises PlatformError where there is none."""
    for mark in END_MARKS:
        number = tokenizer.token_to_id(mark)
        if number is not None:
            return int(number)
    raise PlatformError(f"the tokenizer has no end mark; one of {', '.join(END_MARKS)} closes a document")


@lru_cache(maxsize=1)
def _opened(serialized: str) -> Tokenizer:
    """Parsed once in each worker process: that takes a second where there are 150,000 tokens."""
    tokenizer = Tokenizer.from_str(serialized)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
