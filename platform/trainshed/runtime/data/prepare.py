"""The prepare job, read top to bottom: find, fingerprint, clean, split, train the tokenizer, make samples, commit.

The result lies at `data/<fingerprint>/`, named by what made it, so that the same job on the same bytes does no work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
import ray.data

from trainshed.errors import PlatformError
from trainshed.record.lineage import fingerprint, sha256
from trainshed.record.storage import Storage
from trainshed.runtime.data import examples, packing, sources, steps, tokenizer
from trainshed.runtime.data.bad_rows import BadRows
from trainshed.runtime.data.found import Found, find_files, hash_files
from trainshed.runtime.data.spelled import TextForm
from trainshed.runtime.encoding import Marks
from trainshed.runtime.report import Reporter
from trainshed.runtime.scratch import scratch
from trainshed.spec.prepare import Examples, Pack, PrepareJob, PretrainedTokenizer, Split
from trainshed.spec.sources import places

FORMAT = 3
"""Raised when the same job on the same bytes would give other shards."""

DOCUMENTS_PER_BATCH = 64


def prepare(job: PrepareJob, reporter: Reporter) -> dict[str, Any]:
    """Runs the job and returns its result: where the data lies and its manifest.

    Raises:
        PlatformError: nothing matches the source, rows cannot be read, or a split is too small.
    """
    storage = reporter.record.storage
    found = find_files(job.source)
    key = fingerprint({"format": FORMAT, "job": _what_matters(job), "files": _identities(found)})[:32]
    folder = f"data/{key}"
    manifest = storage.read_json(f"{folder}/manifest.json")
    if manifest is not None:
        reporter.log(f"unchanged: the data is already there, made by {manifest['made_by']}; no work done", reused=True)
        return _result(storage, folder, manifest, reused=True)
    for key, holds in found.holds.items():
        reporter.log(f"{places(job.source)[key]}: {holds}")
    if not found.holds:
        reporter.log("the data is made, no file is read")
    context = ray.data.DataContext.get_current()  # a dataset keeps what stands there when it is made
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    bad_rows = BadRows(storage, folder, job.bad_rows)
    manifest = _Pipeline(job, reporter, storage, folder, bad_rows).run(sources.read(job, found, bad_rows))
    facts = {"fingerprint": key, "made_by": reporter.record.run_id, "files": len(found.files), "holds": found.holds}
    manifest |= {**facts, "job": _what_matters(job)}
    storage.write_json(f"{folder}/manifest.json", manifest)
    return _result(storage, folder, manifest, reused=False)


@dataclass(frozen=True)
class _Pipeline:
    job: PrepareJob
    reporter: Reporter
    storage: Storage
    folder: str
    bad_rows: BadRows

    def run(self, samples: ray.data.Dataset) -> dict[str, Any]:
        """Everything between reading and the manifest; returns the manifest."""
        total = 3 + len(self.job.steps)
        self.reporter.progress("prepare", 0, total, what="read")
        for number, step in enumerate(self.job.steps, 1):
            self.reporter.progress("prepare", number, total, what=step.kind)
            samples = steps.apply(samples, step)
        named = {split for split in ("validation", "test") if split in places(self.job.source)}
        samples = samples.flat_map(_assign_split, fn_kwargs={"split": self.job.split, "named": named}).materialize()
        left_out = self.bad_rows.judge(self.reporter)
        done = ", ".join(step.kind for step in self.job.steps) or "reading"
        self.reporter.log(f"{samples.count()} documents after {done}")
        self.reporter.progress("prepare", total - 2, total, what="tokenizer")
        form, facts = self._tokenizer(samples) if self.job.tokenizer is not None else (None, {})
        self.reporter.progress("prepare", total - 1, total, what="make samples")
        splits = ("train", "validation", *(("test",) if "test" in named or self.job.split.test > 0 else ()))
        made = self._make(samples, form, splits)
        self.reporter.progress("prepare", total, total, what="done")
        return {**facts, "has": list(self.job.read_fields), **made, **left_out}

    def _tokenizer(self, samples: ray.data.Dataset) -> tuple[TextForm, dict[str, Any]]:
        """How texts are tokenised, kept beside the data, and what the manifest says of it."""
        fields: list[str] = [name for name in ("text", "target") if name in self.job.read_fields]
        texts = samples.filter(_is_in, fn_kwargs={"split": "train"}).select_columns(fields)
        with scratch("tokenizer") as local:
            made = tokenizer.make(self.job, _texts(texts, fields), local)
            self.storage.upload(local, f"{self.folder}/tokenizer")
            digest = sha256((local / "tokenizer.json").read_bytes())
            form = TextForm(made, Marks.read(local), self.job.special_tokens_in_text == "obeyed")
        return form, {
            "vocab_size": form.ids,
            "tokenizer_sha256": digest,
            "special_tokens": list(self.job.special_tokens),
            "own_tokenizer": not isinstance(self.job.tokenizer, PretrainedTokenizer),
        }

    def _make(self, samples: ray.data.Dataset, form: TextForm | None, splits: tuple[str, ...]) -> dict[str, Any]:
        """Shards of every split, and what the manifest says of them."""
        match self.job:
            case PrepareJob(pack=Pack() as spec) if form is not None:
                made = packing.pack(samples, form, spec, self.storage, self.folder, splits)
            case PrepareJob(examples=Examples()):
                made = examples.write(samples, form, self.job, self.storage, self.folder, splits)
            case _:
                raise ValueError("a job says pack or examples, and text has a tokenizer")
        for split, facts in made["splits"].items():
            if not facts["samples"]:
                raise PlatformError(_too_small(split, self.job, facts))
            entropy = facts.get("unigram_entropy_nats")
            said = f", unigram entropy {entropy:.3f} nats per token" if entropy is not None else ""
            self.reporter.log(f"{split}: {facts['samples']:,} samples, {facts['tokens']:,} tokens{said}")
        self._say_what_was_found(made)
        return made

    def _say_what_was_found(self, made: dict[str, Any]) -> None:
        """What in the data nobody may have thought of."""
        if spelled := made.get("special_tokens_in_text"):
            taken = "obeyed" if self.job.special_tokens_in_text == "obeyed" else "taken as text"
            counts = ", ".join(f"{count:,} {mark}" for mark, count in spelled.items())
            self.reporter.log(f"special tokens that texts spell, {taken}: {counts}; see special_tokens_in_text")
        if changed := made.get("images_changed"):
            self.reporter.log(f"images: {', '.join(f'{count:,} {what}' for what, count in changed.items())}")


def _too_small(split: str, job: PrepareJob, facts: dict[str, Any]) -> str:
    if job.pack is None:
        return f"the {split} split has no samples; give more data or another split.{split}"
    return (
        f"the {split} split has {facts['tokens_left_out']} tokens, less than one block of {job.pack.block_size}; "
        f"give more text, a smaller pack.block_size or another split.validation"
    )


def _texts(samples: ray.data.Dataset, fields: list[str]) -> Iterator[str]:
    for batch in samples.iter_batches(batch_size=DOCUMENTS_PER_BATCH, batch_format="numpy"):
        for field in fields:
            yield from (str(text) for text in batch[field])


def _assign_split(row: dict[str, Any], split: Split, named: set[str]) -> list[dict[str, Any]]:
    """The row with its split: its file's, else by a hash of what it holds; or cut in pieces, by position."""
    if row["split"]:
        return [row]
    held_out = 0.0 if "validation" in named else split.validation
    tested = 0.0 if "test" in named else split.test
    if split.by == "position":
        return _cut(row, held_out, tested)
    content = row["text"] if "text" in row else row["image"].hex()
    drawn = int.from_bytes(steps.text_key(f"{split.seed}\n{content}")[:8], "big") / 2**64
    chosen = "validation" if drawn < held_out else "test" if drawn < held_out + tested else "train"
    return [{**row, "split": chosen}]


def _cut(row: dict[str, Any], held_out: float, tested: float) -> list[dict[str, Any]]:
    """The beginning to learn from, then the validation, then the test."""
    text = row["text"]
    ends = [round(len(text) * share) for share in (1.0 - held_out - tested, 1.0 - tested, 1.0)]
    pieces = zip(("train", "validation", "test"), [0, *ends], ends, strict=False)
    return [{**row, "text": text[start:end], "split": name} for name, start, end in pieces if end > start]


def _is_in(row: dict[str, Any], split: str) -> bool:
    return bool(row["split"] == split)


def _identities(found: Found) -> list[list[str]]:
    """What a file adds to the data: its content, its split, and an image's class, whatever it is called."""
    classes = [found.classes.get(path, "") for path in found.files]
    return [list(one) for one in zip(hash_files(found), found.splits.values(), classes, strict=True)]


def _what_matters(job: PrepareJob) -> dict[str, Any]:
    """The job without what does not change its output: its name and where the files lie."""
    return job.model_dump(mode="json", exclude={"name": True, "source": {"path", "validation", "test"}})


def _result(storage: Storage, folder: str, manifest: dict[str, Any], *, reused: bool) -> dict[str, Any]:
    return {"data": folder, "address": storage.address(folder), "reused": reused, "manifest": manifest}
