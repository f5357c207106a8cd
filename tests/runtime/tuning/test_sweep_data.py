"""Trials over several data sets: bound once, and each trained on its own."""

import pytest

from job_texts import TUNE, changed
from prepared_on_disk import prepared
from process_group import end_group
from results_on_disk import finished
from trainshed.errors import PlatformError
from trainshed.record.index import find_finished
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import Submission
from trainshed.record.trials import TrialFiles
from trainshed.runtime.__main__ import Driver
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.data import bound, folders
from trainshed.runtime.tuning.report.trial_results import training_of
from trainshed.runtime.tuning.search.prior_trials import known_before
from trainshed.runtime.tuning.trial.spec import TrialSpec
from trainshed.runtime.tuning.trial.training import Link, _to_its_end
from trainshed.runtime.watch.heartbeat import Heartbeats, HeartbeatSender
from trainshed.spec.document.override import override
from trainshed.spec.load import job_from_data

SWEEP = changed(
    TUNE,
    train__data="run://low",
    train__model={"kind": "gpt2", "layers": 1, "heads": 1, "width": 8},
    train__engine={"kind": "ddp"},
    train__workers={"count": 1, "per_device_batch_size": 4},
    train__global_batch_size=4,
    train__steps=4,
    train__validation={"every_steps": 4},
    train__self_test=False,
    space={"data": {"choice": ["run://low", "run://high"]}},
)
JOB = job_from_data(SWEEP)


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


def found_in(storage):
    return lambda target: find_finished(storage, target, "prepare")


def test_a_sweep_that_goes_on_reads_the_runs_that_it_has_read(storage):
    sweep = Record(storage, "sweep-1")
    prepared(storage, "low", 1)
    prepared(storage, "high", 2)
    first = bound(JOB, sweep, found_in(storage))
    prepared(storage, "high", 5, day=2)
    assert found_in(storage)("run://high").run_id.startswith("high-261122")
    again = bound(JOB, sweep, found_in(storage))
    assert {name: run.run_id for name, run in again.items()} == {name: run.run_id for name, run in first.items()}


def test_a_training_that_goes_on_reads_the_run_that_it_has_read(storage):
    training = Record(storage, "train-1")
    prepared(storage, "low", 1)
    submission = Submission(submission_id="ts-1", storage=storage.uri, runs=(), created_at="2026-11-27", code={})
    first = Driver(submission)._data("run://low", training)
    prepared(storage, "low", 5, day=2)
    assert found_in(storage)("run://low").run_id.startswith("low-261122")
    assert Driver(submission)._data("run://low", training).run_id == first.run_id
    assert Driver(submission)._data("run://low", Record(storage, "train-2")).run_id != first.run_id


@pytest.mark.parametrize("hostile", [{"run://low": "../../etc"}, {"run://low": "run://../x"}, ["run://low"], 7])
def test_what_storage_says_of_bound_runs_is_no_path(storage, hostile):
    sweep = Record(storage, "sweep-1")
    storage.write_json(sweep.at("data.json"), hostile)
    with pytest.raises(PlatformError, match=r"data\.json: not a list of runs by reference"):
        bound(JOB, sweep, found_in(storage))


@pytest.mark.parametrize("made", [{"data": "../../etc"}, {"manifest": {}}, {"state": "failed"}])
def test_a_bound_run_that_has_made_no_data_any_more_is_refused(storage, made):
    sweep, low = Record(storage, "sweep-1"), prepared(storage, "low", 1)
    prepared(storage, "high", 2)
    bound(JOB, sweep, found_in(storage))
    storage.write_json(low.at("result.json"), {**low.result, **made})
    with pytest.raises(PlatformError):
        folders(bound(JOB, sweep, found_in(storage)))


def test_data_whose_held_out_samples_differ_ends_the_sweep_before_its_first_trial(storage):
    prepared(storage, "low", 1)
    prepared(storage, "high", 2, held_out=4)
    with pytest.raises(PlatformError, match=r"space\.data: run://low and run://high do not compare: other samples"):
        bound(JOB, Record(storage, "sweep-1"), found_in(storage))
    assert not storage.exists("runs/sweep-1/data.json"), "the data can be prepared again"


def test_nothing_is_taken_of_an_earlier_sweep_on_something_else_and_that_is_said(storage):
    prepared(storage, "low", 1)
    prepared(storage, "high", 2)
    data = bound(JOB, Record(storage, "sweep-1"), found_in(storage))
    trials = [{"settings": {"data": "run://high"}, "value": 0.9, "state": "ended", "trial": "trial-00000"}]
    said = []
    for number, values in enumerate([{}, {"metric": "validation_accuracy"}, {"train__steps": 8}]):
        sweep = Record(storage, f"before-{number}")
        created = {"submission_id": "ts-1", "created_at": "2026-11-20T00:00:00.000+00:00", "number": 0}
        sweep.begin(changed(SWEEP, **values), **created)
        finished(sweep, "succeeded", trials=trials, best=None)
        known = known_before(JOB, data, [sweep], sink=lambda event: said.append(event.message))
        assert known == ([({"data": "run://high"}, 0.9)] if not values else [])
    assert said == [
        "learn_from: 1 trials of before-0 are taken",
        "learn_from: nothing of before-1 is taken: metric is validation_accuracy there and validation_loss here",
        "learn_from: nothing of before-2 is taken: train.steps is 8 there and 4 here",
    ]


@pytest.mark.slow
def test_each_trial_trains_on_the_data_that_its_settings_name_and_the_best_names_the_run(storage, local_ray):
    sweep = Record(storage, "sweep-1")
    prepared(storage, "low", 1)
    high = prepared(storage, "high", 2)
    runs = bound(JOB, sweep, found_in(storage))
    worker = WorkerSpec({}, storage.uri, "data/nowhere", sweep.at(), export=False)
    plan = TrialSpec(worker, folders(runs), 0, None, None, None, gpu_share=0.0)
    first_losses, beats = [], local_ray.remote(num_cpus=0)(Heartbeats).remote()
    try:
        for number, name in enumerate(["run://low", "run://high", "run://low"]):
            trial, settings = TrialFiles(storage, sweep.at(), number), {"data": name}
            training, sender = override(JOB.train, settings), HeartbeatSender(beats, number)
            _to_its_end(training, trial, plan, Link(lambda row: None, 0, sender), settings=settings)
            sender.end()
            assert trial.ended is None, trial.ended
            first_losses.append(trial.rows()[0].figure("train_loss"))
    finally:
        end_group()
        local_ray.kill(beats)
    assert first_losses[0] == first_losses[2] != first_losses[1]
    best = training_of(JOB, TrialFiles(storage, sweep.at(), 1), runs)
    assert best.data == f"run://{high.run_id}"
    assert found_in(storage)(best.data).run_id == high.run_id
