"""A sweep over data sets that are in storage: each is found, fits, and is compared before anything is handed over."""

import pytest

from job_texts import TUNE, changed, text
from results_on_disk import finished
from submitting import checked as all_checked
from submitting import planned
from trainshed.errors import SpecError
from trainshed.record.bound import bind
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files

OVER_DATA = changed(TUNE, train__data="run://tiny", space={"data": {"choice": ["run://tiny", "run://other"]}})


LEARNS = {"search": {"kind": "tpe", "trials": 2, "learn_from": ["run://before"]}}


def created(day):
    return {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:00.000+00:00", "number": 0}


def prepared(folder, name, *, held_out="22", block_size=32, vocab_size=512, day=1):
    record = Record(Storage.open(folder), f"{name}-26112{day}-000000-abcdef01")
    record.begin({"kind": "prepare", "name": name}, **created(day))
    splits = {
        "train": {"samples": 50, "shards": []},
        "validation": {"samples": 5, "shards": [{"file": "validation-00000.arrow", "sha256": held_out}]},
    }
    manifest = {
        "form": "packed",
        "block_size": block_size,
        "vocab_size": vocab_size,
        "tokenizer_sha256": "aa",
        "own_tokenizer": True,
        "fingerprint": f"{name} {day}",
        "splits": splits,
    }
    finished(record, "succeeded", data=f"data/{name}", manifest=manifest)
    return record


def checked(folder, job=OVER_DATA):
    file = folder / "job.yaml"
    file.write_text(text(job))
    loaded, storage = load_files([file]), Storage.open(folder)
    all_checked(loaded, storage)
    return planned(loaded, storage)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (None, "run://other is neither an earlier document here nor a run"),
        ({"held_out": "33"}, "run://tiny and run://other do not compare: other samples are held out"),
        ({"block_size": 64}, "run://tiny and run://other do not compare: they differ in their block size"),
        ({"block_size": 2048}, "run://other: model.context: 1024 is under the data's pack.block_size, 2048"),
    ],
)
def test_a_data_set_that_is_not_there_or_does_not_compare_is_refused_at_its_line(tmp_path, other, said):
    prepared(tmp_path, "tiny")
    if other is not None:
        prepared(tmp_path, "other", **other)
    with pytest.raises(SpecError) as caught:
        checked(tmp_path, changed(OVER_DATA, train__model__context=1024))
    (fault,) = caught.value.faults
    assert said in fault.message
    assert (tmp_path / "job.yaml").read_text().splitlines()[fault.line - 1].strip() == "data:"


def test_data_sets_that_compare_are_taken(tmp_path):
    prepared(tmp_path, "tiny")
    prepared(tmp_path, "other")
    settled, _ = checked(tmp_path)
    assert settled[0].job.data_sets == ("run://tiny", "run://other")


def swept(folder, data, **values):
    """A sweep that ended, on data that it bound."""
    sweep = Record(Storage.open(folder), "before-261120-000000-abcdef01")
    sweep.begin(changed(TUNE, name="before", **values), **created(0))
    bind(sweep, {"run://text": data})
    finished(sweep, "succeeded", best={"trial": "trial-00000", "settings": {}, "training": {}}, trials=[])


def test_a_search_that_learns_from_figures_of_something_else_is_refused_at_its_line(tmp_path):
    first = prepared(tmp_path, "text")
    swept(tmp_path, first)
    learns = changed(TUNE, **LEARNS)
    assert checked(tmp_path, learns)
    accuracy = changed(learns, metric="validation_accuracy")
    prepared(tmp_path, "text", day=2)
    for job, said in (
        (accuracy, "run://before: metric is validation_loss there and validation_accuracy here; leave it out"),
        (learns, "run://before: it was on other data, run://text, than run://text; leave it out"),
    ):
        with pytest.raises(SpecError) as caught:
            checked(tmp_path, job)
        (fault,) = caught.value.faults
        assert fault.message == said
        assert "learn_from" in (tmp_path / "job.yaml").read_text().splitlines()[fault.line - 1]
