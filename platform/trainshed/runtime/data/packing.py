"""Documents to packed blocks: tokenised by Ray Data, joined and cut in order by one writer for each split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import SamplesFacts
from trainshed.record.storage import Storage
from trainshed.runtime.data.columns import by_split
from trainshed.runtime.data.spelled import MarkFinder, Tally, TextForm
from trainshed.runtime.data.threads import use_threads
from trainshed.runtime.encoding import Affixes, TextEncoder
from trainshed.runtime.modalities.text.columns import lists, pieces
from trainshed.runtime.shards import BlockWriter
from trainshed.spec.data.prepare import Pack


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
        PlatformError: the tokenizer has no end token.
    """
    writers = {split: BlockWriter(storage, folder, split, spec.block_size, form.ids) for split in splits}
    tally = Tally()
    encoded = documents.map_batches(
        encode,
        fn_kwargs={
            "serialized": form.serialized,
            "end": end_of_document(form),
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


def encode(
    table: pa.Table, serialized: str, end: int | None, finder: MarkFinder, threads: int = 1
) -> Iterator[pa.Table]:
    """The token ids of each document, begun and closed as the model expects; runs in a Ray Data worker."""
    use_threads(threads)
    encoder = _opened(serialized, end)
    for piece in pieces(table, "text"):
        texts = piece["text"].to_pylist()
        tokens = lists(encoder.documents(texts))
        spelled = pa.array([finder.in_text(text) for text in texts], pa.string())
        yield pa.table({"split": piece["split"], "tokens": tokens, "spelled": spelled})


def end_of_document(form: TextForm) -> int | None:
    """The token that closes a document, where the tokenizer does not close texts by itself.

    Raises:
        PlatformError: there is none.
    """
    if form.end is None and not Affixes.of(form.tokenizer).after:
        raise PlatformError(
            "the tokenizer has no end token: tokenizer_config.json names no eos_token and no sep_token, and a document "
            "would run into the next one"
        )
    return form.end


@lru_cache(maxsize=1)
def _opened(serialized: str, end: int | None) -> TextEncoder:
    """Parsed once in each worker process: that takes a second where there are 150,000 tokens."""
    return TextEncoder(serialized, max_tokens=None, end=end)
