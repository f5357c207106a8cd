"""A run that exported adapters alone has no model to serve: said before anything is handed over."""

import pytest

from job_texts import PREPARE, TRAIN, changed, text
from results_on_disk import finished
from submitting import checked
from trainshed.errors import DamagedFile, SpecError
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files

ADAPTED = changed(TRAIN, model={"kind": "pretrained", "name_or_path": "org/model"}, lora={"rank": 4})
FACTS = {"adapter": {"dtype": "fp32"}}


def serve(model):
    return {"kind": "serve", "name": "answers", "model": model, "auth": {"keys": ["MY_KEY"]}}


def run(folder, *jobs):
    file = folder / "job.yaml"
    file.write_text(text(*jobs))
    return checked(load_files([file]), Storage.open(folder / "storage"))


def ended(folder, **result):
    record = Record(Storage.open(folder / "storage"), "first-261120-000000-abcdef01")
    created = {"submission_id": "ts-1", "created_at": "2026-11-20T00:00:00.000+00:00", "number": 0}
    record.begin({"kind": "train", "name": "first"}, **created)
    finished(record, "succeeded", metrics={}, **result)
    return record


@pytest.mark.parametrize("adapters", ["only", "both", "merged"])
def test_a_training_of_the_same_submission(adapters, tmp_path):
    prepare = changed(PREPARE, tokenizer={"kind": "pretrained", "name_or_path": "org/model"})
    jobs = prepare, changed(ADAPTED, export={"adapters": adapters}), serve("run://model")
    if adapters == "only":
        with pytest.raises(
            SpecError, match=r"job.yaml:\d+: model: run://model exports adapters alone, and there is no"
        ):
            run(tmp_path, *jobs)
    else:
        run(tmp_path, *jobs)


def test_a_training_that_has_ended(tmp_path):
    ended(tmp_path, export=FACTS)
    with pytest.raises(SpecError, match=r"model: run://first exports adapters alone.* say export.adapters: both"):
        run(tmp_path, serve("run://first"))


def test_a_training_of_an_older_version_has_a_model(tmp_path):
    record = ended(tmp_path, model="runs/first-261120-000000-abcdef01/model")
    run(tmp_path, serve("run://first"))
    assert record.outcome.export == {}
    assert record.outcome.folders == ("model",)


def test_a_result_without_any_export_is_damaged(tmp_path):
    record = ended(tmp_path)
    with pytest.raises(DamagedFile, match=r"result.json: model: missing"):
        _ = record.outcome
