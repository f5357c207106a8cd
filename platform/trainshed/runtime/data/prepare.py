"""The prepare job, read top to bottom: find, fingerprint, clean, split, train the tokenizer, make samples, commit.

The result lies at `data/<fingerprint>/`, named by what made it, so that the same job on the same bytes does no work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ray.data

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import (
    DataManifest,
    PreparedFrom,
    ReadingFacts,
    SamplesFacts,
    SourceFacts,
    SplitFacts,
    TokenizerFacts,
)
from trainshed.record.facts import read_facts
from trainshed.record.lineage import sha256
from trainshed.record.results import PrepareResult
from trainshed.record.storage import Storage
from trainshed.runtime.data import examples, packing, sources, splitting, steps, tokenizer
from trainshed.runtime.data.bad_rows import BadRows
from trainshed.runtime.data.columns import by_split
from trainshed.runtime.data.fates import lines_of
from trainshed.runtime.data.formats import said_in, with_format
from trainshed.runtime.data.found import find_files
from trainshed.runtime.data.identity import key_of, libraries_of, what_matters
from trainshed.runtime.data.spelled import TextForm
from trainshed.runtime.data.threads import threads_of_each
from trainshed.runtime.encoding import ConversationEncoder, Marks, SpecialIds
from trainshed.runtime.report import Reporter
from trainshed.runtime.scratch import scratch
from trainshed.runtime.shards import damaged
from trainshed.spec.data.prepare import Characters, Examples, Pack, PrepareJob, TrainBpe
from trainshed.spec.data.sources import places


def prepare(job: PrepareJob, reporter: Reporter) -> PrepareResult:
    """Runs the job and returns its result: where the data lies and its manifest.

    Raises:
        PlatformError: nothing matches the source, rows cannot be read, or a split is too small.
    """
    storage = reporter.record.storage
    found = find_files(job.source)
    if job.format == "auto":
        job = with_format(job, found)
        reporter.log(f"format: {job.format}, by the keys of the first row")
    key = key_of(job, found)
    folder = f"data/{key}"
    there = _intact(storage, folder, reporter)
    if there is not None:
        reporter.log(f"unchanged: the data is already there, made by {there.made_by}; no work done", reused=True)
        return _result(storage, folder, there, reused=True)
    for place, holds in found.holds.items():
        reporter.log(f"{places(job.source)[place]}: {holds}")
    if not found.holds:
        reporter.log("the data is made, no file is read")
    sources.set_up()
    bad_rows = BadRows(storage, folder, job.bad_rows)
    source = SourceFacts(
        fingerprint=key,
        made_by=reporter.record.run_id,
        files=len(found.files),
        holds=found.holds,
        job=PreparedFrom.model_validate(what_matters(job)),
        libraries=libraries_of(job),
    )
    manifest = _Pipeline(job, reporter, storage, folder, bad_rows).run(sources.read(job, found, bad_rows), source)
    storage.write_json(f"{folder}/manifest.json", manifest.as_json())
    return _result(storage, folder, manifest, reused=False)


def _intact(storage: Storage, folder: str, reporter: Reporter) -> DataManifest | None:
    """The manifest of data that is there with every byte; else None, and what must be made anew is said."""
    try:
        manifest = read_facts(storage, f"{folder}/manifest.json", DataManifest)
        wrong = damaged(storage, folder, manifest) if manifest is not None else {}
    except PlatformError:
        manifest = None
        wrong = {"manifest.json": "damaged"}
    if not wrong:
        return manifest
    name, fault = min(wrong.items())
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    reporter.log(f"{storage.address(folder)}/{name}: {fault}{more}; the data is made anew")
    return None


TEXTS = ("text", "text_pair", "target", "messages", "preference")


@dataclass(frozen=True)
class _Pipeline:
    job: PrepareJob
    reporter: Reporter
    storage: Storage
    folder: str
    bad_rows: BadRows

    def run(self, samples: ray.data.Dataset, source: SourceFacts) -> DataManifest:
        """Runs the steps between reading and the manifest; returns the manifest."""
        total = 3 + len(self.job.steps)
        self.reporter.progress("prepare", 0, total, what="read")
        for number, step in enumerate(self.job.steps, 1):
            self.reporter.progress("prepare", number, total, what=step.kind)
            samples = steps.apply(samples, step)
        named = {split for split in splitting.HELD_OUT if split in places(self.job.source)}
        kwargs = {"split": self.job.split, "named": sorted(named)}
        samples = samples.map_batches(
            splitting.split_table, fn_kwargs=kwargs, batch_format="pyarrow", batch_size=None, zero_copy_batch=True
        ).materialize()
        threads = threads_of_each(samples.num_blocks())
        left_out = self.bad_rows.judge(self.reporter)
        done = ", ".join(step.kind for step in self.job.steps) or "reading"
        self.reporter.log(f"{samples.count()} documents after {done}")
        samples, leaks = self._without_leaks(samples, named)
        self.reporter.progress("prepare", total - 2, total, what="tokenizer")
        form, tokenizer_facts = (
            self._tokenizer(samples, threads) if self.job.tokenizer is not None else (None, TokenizerFacts())
        )
        self.reporter.progress("prepare", total - 1, total, what="make samples")
        splits = ("train", "validation", *(("test",) if "test" in named or self.job.split.test > 0 else ()))
        made = self._make(samples, form, splits)
        self.reporter.progress("prepare", total, total, what="done")
        reading = ReadingFacts(has=tuple(self.job.read_fields), format=self.job.format, leaks=leaks)
        if left_out is not None:
            reading = reading.model_copy(update={"bad_rows": left_out})
        return DataManifest.of(source, tokenizer_facts, reading, made)

    def _without_leaks(self, samples: ray.data.Dataset, named: set[str]) -> tuple[ray.data.Dataset, dict[str, int]]:
        """The samples, and how many of training each held-out set has too; by a hash equal texts stay together."""
        if not named and self.job.split.by == "hash":
            return samples, {}
        samples, leaks = splitting.without_leaks(samples, self.job.split)
        taken = "left out of training" if self.job.split.remove_leaks else "kept; see split.remove_leaks"
        for split, count in leaks.items():
            self.reporter.log(f"{count:,} training samples stand in the {split} set too" + f": {taken}" * bool(count))
        return samples, leaks

    def _tokenizer(self, samples: ray.data.Dataset, threads: int) -> tuple[TextForm, TokenizerFacts]:
        """How texts are tokenised, kept beside the data, and what the manifest says of it."""
        fields: list[str] = [name for name in TEXTS if name in self.job.read_fields]
        with scratch("tokenizer") as local:
            made = tokenizer.make(self.job, _texts(samples, fields), local)
            self.storage.upload(local, f"{self.folder}/tokenizer")
            hashes = {path.name: sha256(path.read_bytes()) for path in sorted(local.iterdir()) if path.is_file()}
            obeyed = self.job.special_tokens_in_text == "obeyed"
            form = TextForm(
                made,
                Marks.read(local),
                obeyed,
                threads,
                end=SpecialIds.read(local).eos,
                conversations=ConversationEncoder.read(local, obey=obeyed),
            )
        if "messages" in fields and form.conversations is None:
            raise PlatformError("the tokenizer has no chat template, and the rows are conversations; give it one")
        return form, TokenizerFacts(
            vocab_size=form.ids,
            tokenizer_sha256=hashes["tokenizer.json"],
            tokenizer_files=hashes,
            special_tokens=self.job.special_tokens,
            own_tokenizer=isinstance(self.job.tokenizer, TrainBpe | Characters),
        )

    def _make(self, samples: ray.data.Dataset, form: TextForm | None, splits: tuple[str, ...]) -> SamplesFacts:
        """Shards of every split, and what the manifest says of them."""
        match self.job:
            case PrepareJob(pack=Pack() as spec) if form is not None and not self.job.apart:
                made = packing.pack(samples, form, spec, self.storage, self.folder, splits)
            case PrepareJob(examples=Examples()) | PrepareJob(pack=Pack()):
                made = examples.write(samples, form, self.job, self.storage, self.folder, splits)
            case _:
                raise ValueError("a job says pack or examples, and text has a tokenizer")
        for split, facts in made.splits.items():
            if not facts.samples:
                raise PlatformError(_too_small(split, self.job, facts))
            entropy = facts.unigram_entropy_nats
            said = f", unigram entropy {entropy:.3f} nats per token" if entropy is not None else ""
            self.reporter.log(f"{split}: {facts.samples:,} samples, {facts.tokens:,} tokens{said}")
            for line in lines_of(facts, self.job):
                self.reporter.log(f"{split}: {line}")
        self._say_what_was_found(made)
        return made

    def _say_what_was_found(self, made: SamplesFacts) -> None:
        """What in the data nobody may have thought of."""
        if spelled := made.special_tokens_in_text:
            taken = "obeyed" if self.job.special_tokens_in_text == "obeyed" else "taken as text"
            counts = ", ".join(f"{count:,} {mark}" for mark, count in spelled.items())
            self.reporter.log(f"special tokens that texts spell, {taken}: {counts}; see special_tokens_in_text")
        if changed := made.images_changed:
            self.reporter.log(f"images: {', '.join(f'{count:,} {what}' for what, count in changed.items())}")


def _too_small(split: str, job: PrepareJob, facts: SplitFacts) -> str:
    if job.pack is None or job.apart:
        return f"the {split} split has no samples; give more data or another split.{split}"
    return (
        f"the {split} split has {facts.tokens_left_out} tokens, less than one block of {job.pack.block_size}; "
        f"give more text, a smaller pack.block_size or another split.validation"
    )


def _texts(samples: ray.data.Dataset, fields: list[str]) -> Iterator[str]:
    """What a tokenizer is trained on: the texts of the training split, and their targets."""
    for batch in samples.iter_batches(batch_size=None, batch_format="pyarrow"):
        for _, part in by_split(batch, ("train",)):
            for field in fields:
                for one in part[field].to_pylist():
                    yield from said_in(field, one)


def _result(storage: Storage, folder: str, manifest: DataManifest, *, reused: bool) -> PrepareResult:
    return PrepareResult(data=folder, address=storage.address(folder), reused=reused, manifest=manifest)
