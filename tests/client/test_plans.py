"""`auto` is answered before a job is handed over; what was asked is kept."""

from pathlib import Path

import pytest
import yaml

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from trainshed.client.check import plans
from trainshed.client.submit import _submission
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import begin_runs
from trainshed.spec.load import load_files

ROOT = Path(__file__).parents[2]
AUTO = {"engine": {"kind": "deepspeed", "zero_stage": "auto"}, "workers__per_device_batch_size": "auto"}
FROM_BEST = {
    "kind": "train",
    "name": "final",
    "from_best": "run://sweep",
    "workers": {"count": 2, "per_device_batch_size": "auto"},
}


@pytest.fixture
def planned(tmp_path):
    sweep = changed(TUNE, **{f"train__{key}": value for key, value in AUTO.items()})
    file = tmp_path / "job.yaml"
    file.write_text(text(PREPARE, changed(TRAIN, **AUTO), sweep, FROM_BEST))
    storage = Storage.open(tmp_path / "storage")
    return plans(load_files([file]), storage, machine_bytes=16 * 10**9), storage


def test_every_document_is_handed_over_with_numbers(planned):
    (settled, _), _ = planned
    for one in settled:
        said = one.job.model_dump_json().replace('"concurrent":"auto"', "")  # which the cluster answers
        assert "auto" not in said
    final = settled[3].job
    assert final.workers.per_device_batch_size == 4
    assert final.engine is None, "what the document leaves to the best trial stays with it"


def test_trials_that_run_side_by_side_share_the_machine(tmp_path):
    def limit(concurrent):
        file = tmp_path / "job.yaml"
        file.write_text(text(PREPARE, changed(TUNE, search__concurrent=concurrent)))
        return plans(load_files([file]), Storage.open(tmp_path), machine_bytes=16 * 10**9)[1][0].limit.bytes

    assert limit(2) < limit(1) / 2
    assert limit(1) >= limit("auto") > 0


def test_the_run_keeps_what_was_asked(planned):
    (settled, made), storage = planned
    submission, _ = _submission(settled, storage, "code")
    begin_runs(submission, storage)
    prepare, train = (Record(storage, run.run_id).job for run in submission.runs[:2])
    assert "asked" not in prepare
    assert train["asked"]["engine"]["zero_stage"] == "auto"
    assert train["job"]["engine"]["zero_stage"] == made[0].chosen.layout.zero_stage
    assert train["job"]["workers"]["per_device_batch_size"] == 4
    assert yaml.safe_dump(train["job"])


@pytest.mark.parametrize("file", sorted(ROOT.glob("jobs/*.yaml")), ids=lambda file: file.name)
def test_every_job_file_we_ship_can_be_planned(file, tmp_path):
    settled, made = plans(load_files([file]), Storage.open(tmp_path))
    assert made
    assert all("auto" not in str(one.job.engine) for one in settled if hasattr(one.job, "engine"))


@pytest.mark.parametrize(
    ("name", "weights", "tokens"), [("sft-7b-lora", 7.6e9, 64 * 2048), ("pretrain-1b", 1.2e9, None)]
)
def test_a_gpu_sized_job_file_has_a_plan_with_figures(name, weights, tokens, tmp_path):
    (found,) = plans(load_files([ROOT / "jobs" / f"{name}.yaml"]), Storage.open(tmp_path))[1]
    assert found.cost.parameters == pytest.approx(weights, rel=0.2)
    assert tokens in (None, found.tokens_per_step), "an answer is read after its question"
    assert found.chosen in found.table
    assert found.chosen.states < found.limit.bytes
