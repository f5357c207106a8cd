"""The prepare job, read top to bottom: find, fingerprint, clean, split, train the tokenizer, tokenise, pack, commit.

The result lies at `data/<fingerprint>/`, named by what made it, so that the same job on the same bytes does no work.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from tokenizers import Tokenizer

from trainshed.errors import PlatformError
from trainshed.record.lineage import fingerprint, sha256
from trainshed.record.storage import Storage
from trainshed.runtime.data import sources, steps, tokenizer
from trainshed.runtime.report import Reporter
from trainshed.runtime.shards import BlockWriter
from trainshed.spec.prepare import PrepareJob, Split

FORMAT = 1
"""Raised when the same job on the same bytes would give other shards."""

SPLITS = ("train", "validation")
DOCUMENTS_PER_BATCH = 64


def prepare(job: PrepareJob, reporter: Reporter) -> dict[str, Any]:
    """Runs the job and returns its result: where the data lies and its manifest.

    Raises:
        PlatformError: nothing matches the source, or a split is too small for one block.
    """
    storage = reporter.record.storage
    fs, files = sources.find_files(job.source)
    made_from = {"format": FORMAT, "job": _what_matters(job), "files": sources.hash_files(fs, files)}
    key = fingerprint(made_from)[:32]
    folder = f"data/{key}"
    manifest = storage.read_json(f"{folder}/manifest.json")
    if manifest is not None:
        reporter.log(f"unchanged: the data is already there, made by {manifest['made_by']}; no work done", reused=True)
        return _result(storage, folder, manifest, reused=True)
    reporter.log(f"{len(files)} files match {job.source.path}")
    manifest = _Pipeline(job, reporter, storage, folder).run(sources.read(job.source, fs, files))
    manifest |= {"fingerprint": key, "made_by": reporter.record.run_id, "files": len(files), "job": _what_matters(job)}
    storage.write_json(f"{folder}/manifest.json", manifest)
    return _result(storage, folder, manifest, reused=False)


@dataclass(frozen=True)
class _Pipeline:
    job: PrepareJob
    reporter: Reporter
    storage: Storage
    folder: str

    def run(self, documents: ray.data.Dataset) -> dict[str, Any]:
        """Everything between reading and the manifest; returns the manifest."""
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        ray.data.DataContext.get_current().enable_progress_bars = False
        total = 3 + len(self.job.steps)
        self.reporter.progress("prepare", 0, total, what="read")
        for number, step in enumerate(self.job.steps, 1):
            self.reporter.progress("prepare", number, total, what=step.kind)
            documents = steps.apply(documents, step)
        documents = documents.map(_assign_split, fn_kwargs={"split": self.job.split}).materialize()
        self.reporter.log(
            f"{documents.count()} documents after {', '.join(s.kind for s in self.job.steps) or 'reading'}"
        )
        self.reporter.progress("prepare", total - 2, total, what="train tokenizer")
        trained, tokenizer_sha256 = self._tokenizer(documents)
        self.reporter.progress("prepare", total - 1, total, what="tokenise and pack")
        splits = self._pack(documents, trained)
        self.reporter.progress("prepare", total, total, what="done")
        return {
            "block_size": self.job.pack.block_size,
            "vocab_size": trained.get_vocab_size(),
            "tokenizer_sha256": tokenizer_sha256,
            "splits": splits,
        }

    def _tokenizer(self, documents: ray.data.Dataset) -> tuple[Tokenizer, str]:
        spec = self.job.tokenizer
        texts = documents.filter(_is_in, fn_kwargs={"split": "train"}).select_columns(["text"])
        trained = tokenizer.train(spec, _texts(texts))
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer.save(trained, spec, self.job.pack.block_size, Path(scratch))
            self.storage.upload(Path(scratch), f"{self.folder}/tokenizer")
            digest = sha256((Path(scratch) / "tokenizer.json").read_bytes())
        return trained, digest

    def _pack(self, documents: ray.data.Dataset, trained: Tokenizer) -> dict[str, Any]:
        vocab, block = trained.get_vocab_size(), self.job.pack.block_size
        writers = {split: BlockWriter(self.storage, self.folder, split, block, vocab) for split in SPLITS}
        encoded = documents.map_batches(
            _Encode, fn_constructor_args=(trained.to_str(),), batch_size=DOCUMENTS_PER_BATCH, concurrency=(1, 8)
        )
        for batch in encoded.iter_batches(batch_size=DOCUMENTS_PER_BATCH, batch_format="numpy"):
            for split, tokens in zip(batch["split"], batch["tokens"], strict=True):
                writers[str(split)].add(np.asarray(tokens, dtype=np.uint32))
        made = {split: writer.close() for split, writer in writers.items()}
        for split, facts in made.items():
            if not facts["blocks"]:
                raise PlatformError(
                    f"the {split} split has {facts['tokens_left_out']} tokens, less than one block of {block}; "
                    f"give more text, a smaller pack.block_size or another split.validation"
                )
            self.reporter.log(
                f"{split}: {facts['blocks']:,} blocks, {facts['tokens']:,} tokens, "
                f"unigram entropy {facts['unigram_entropy_nats']:.3f} nats per token"
            )
        return made


class _Encode:
    """Batches of documents to token ids, each document closed with the end mark; runs in a Ray Data worker."""

    def __init__(self, serialized: str) -> None:
        self._tokenizer = Tokenizer.from_str(serialized)
        self._end = self._tokenizer.token_to_id(tokenizer.END_OF_TEXT)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        encoded = self._tokenizer.encode_batch_fast([str(text) for text in batch["text"]])
        tokens = np.empty(len(encoded), dtype=object)
        for row, one in enumerate(encoded):
            tokens[row] = np.array([*one.ids, self._end], dtype=np.uint32)
        return {"split": batch["split"], "tokens": tokens}


def _texts(documents: ray.data.Dataset) -> Iterator[str]:
    for batch in documents.iter_batches(batch_size=DOCUMENTS_PER_BATCH, batch_format="numpy"):
        yield from (str(text) for text in batch["text"])


def _assign_split(row: dict[str, Any], split: Split) -> dict[str, Any]:
    salted = steps.text_key(f"{split.seed}\n{row['text']}")
    held_out = int.from_bytes(salted[:8], "big") < split.validation * 2**64
    return {"text": row["text"], "split": "validation" if held_out else "train"}


def _is_in(row: dict[str, Any], split: str) -> bool:
    return bool(row["split"] == split)


def _what_matters(job: PrepareJob) -> dict[str, Any]:
    """The job without what does not change its output: its name and where the files lie."""
    return job.model_dump(mode="json", exclude={"name": True, "source": {"path"}})


def _result(storage: Storage, folder: str, manifest: dict[str, Any], *, reused: bool) -> dict[str, Any]:
    return {"data": folder, "address": storage.address(folder), "reused": reused, "manifest": manifest}
