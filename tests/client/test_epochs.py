"""Epochs become steps when the data is there: at submit, or on the cluster; the schedule and the sweep follow them."""

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from prepared_on_disk import prepared
from submitting import checked, planned
from trainshed.cli.plan_page import print_plans
from trainshed.client.pack import pack
from trainshed.client.plan import plan
from trainshed.errors import SpecError
from trainshed.record.cluster import ClusterName
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import begin_runs
from trainshed.runtime.__main__ import _resolve
from trainshed.runtime.training.loop.order import Order
from trainshed.spec.load import job_from_data, load_files
from trainshed.spec.sweep.epochs import steps_of, with_steps

LONG = changed(TRAIN, steps=None, epochs=2.5, schedule={"kind": "constant"}, global_batch_size=4)
"""The data on disk has 16 samples: four steps an epoch."""


@pytest.fixture
def storage(tmp_path):
    storage = Storage.open(tmp_path / "storage")
    prepared(storage, "text", 1)
    return storage


def loaded(folder, *jobs):
    file = folder / "job.yaml"
    file.write_text(text(*jobs))
    return load_files([file])


@pytest.mark.parametrize(
    ("epochs", "samples", "batch", "steps"),
    [(1, 16, 4, 4), (2.5, 16, 4, 10), (3, 17, 4, 12), (0.01, 16, 4, 1), (0.5, 1000, 1, 500), (1, 3, 4, 1)],
)
def test_an_epoch_is_as_many_steps_as_the_order_of_samples_has_in_one(epochs, samples, batch, steps):
    assert steps_of(epochs, samples=samples, global_batch_size=batch) == steps
    if samples >= batch and epochs == 1:
        assert Order(samples, batch, 0).steps_per_epoch == steps


def test_the_run_is_handed_over_with_steps_and_keeps_the_epochs_that_were_asked(storage, tmp_path, capsys):
    made = plan(checked(loaded(tmp_path, LONG), storage))
    job = made.loaded[0].job
    assert (job.steps, job.epochs) == (10, None)
    assert (made.plans[0].steps, made.plans[0].tokens) == (10, 10 * 4 * 8)
    submission = pack(made, storage, ClusterName(url="http://127.0.0.1:8265")).submission
    begin_runs(submission, storage)
    record = Record(storage, submission.runs[0].run_id)
    assert record.job["job"]["steps"] == 10
    assert record.job["asked"]["epochs"] == 2.5
    print_plans(made.plans, as_json=False)
    assert "320 tokens in all, 10 steps" in capsys.readouterr().out


def test_data_that_is_yet_to_be_made_leaves_the_epochs_to_the_cluster(tmp_path, capsys):
    settled, plans = planned(loaded(tmp_path, PREPARE, LONG), Storage.open(tmp_path / "storage"))
    assert (settled[1].job.steps, settled[1].job.epochs) == (None, 2.5)
    assert (plans[0].steps, plans[0].tokens, plans[0].flops) == (None, None, None)
    assert plans[0].cost.parameters
    print_plans(plans, as_json=False)
    assert "2.5 epochs, whose steps are counted when the data is there" in capsys.readouterr().out


def test_a_schedule_that_does_not_fit_the_steps_is_refused_at_the_line_of_the_epochs(storage, tmp_path):
    job = changed(LONG, schedule={"kind": "cosine", "warmup_steps": 11})
    with pytest.raises(SpecError) as caught:
        checked(loaded(tmp_path, job), storage)
    (fault,) = caught.value.faults
    assert (tmp_path / "job.yaml").read_text().splitlines()[fault.line - 1] == "epochs: 2.5"
    assert fault.message.startswith("2.5 epochs of 16 samples are 10 steps: ")
    assert "schedule.warmup_steps must not be over steps: 11 is over 10" in fault.message


def test_a_sweeps_trials_have_the_steps_of_its_epochs_and_learn_from_part_of_the_samples_in_folds(storage, tmp_path):
    sweep = changed(TUNE, train__steps=None, train__epochs=2, train__global_batch_size=4)
    for folds, steps in ((None, 8), (4, 6)):
        job = sweep if folds is None else changed(sweep, folds=folds)
        (own,), _ = planned(loaded(tmp_path, job), storage)
        assert own.job.train.steps == steps
        assert own.job.steps_of_a_trial == steps * (folds or 1)


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (changed(TRAIN, epochs=2), "epochs: steps is given too, 10; leave one of them out"),
        (changed(TRAIN, steps=None), "steps: missing; say steps, or epochs"),
        (changed(LONG, epochs=0), "epochs: "),
        (
            changed(TUNE, train__steps=None, train__epochs=1, space={"global_batch_size": {"choice": [4, 8]}}),
            "train.epochs: with global_batch_size in the space they are other numbers of steps for each trial",
        ),
        (
            changed(TUNE, train__steps=None, train__epochs=1, space={"data": {"choice": ["run://text", "run://b"]}}),
            "train.epochs: with data in the space",
        ),
        (
            changed(LONG, changes=[{"step": 2, "settings": {"optimizer.weight_decay": 0.1}}]),
            "changes: they are at steps of a known number; say steps",
        ),
    ],
)
def test_exactly_one_length_is_said_and_all_trials_have_it(job, said, tmp_path):
    with pytest.raises(SpecError, match=said.split(":")[0]) as caught:
        loaded(tmp_path, job)
    assert any(said in f"{fault.key}: {fault.message}" for fault in caught.value.faults), caught.value.faults


def test_a_sweep_ends_too_early_for_its_rule_only_when_its_steps_are_counted(storage, tmp_path):
    rule = {"kind": "asha", "grace_steps": 8, "reduction": 2}
    sweep = changed(TUNE, train__steps=None, train__epochs=2, train__global_batch_size=4, stop_early=rule)
    with pytest.raises(SpecError, match=r"2 epochs of 16 samples are 8 steps: .*8 is not under 8"):
        checked(loaded(tmp_path, sweep), storage)


def test_the_best_of_a_sweep_over_epochs_is_trained_for_its_steps_or_for_others(storage, tmp_path):
    sweep = changed(TUNE, train__steps=None, train__epochs=2, train__global_batch_size=4)
    final = {"kind": "train", "name": "final", "from_best": "run://sweep"}
    longer = {**final, "name": "longer", "steps": 30}
    bound = checked(loaded(tmp_path, sweep, final, longer), storage)
    assert [(one.full.steps, one.full.epochs) for one in bound.jobs[1:]] == [(8, None), (30, None)]


def test_the_driver_writes_down_what_epochs_have_come_to_and_what_was_asked(storage):
    record = Record(storage, "model-261120-000000-abcdef01")
    created = {"submission_id": "ts-1", "created_at": "2026-11-20T00:00:00.000+00:00", "number": 0}
    record.begin(LONG, **created)
    for _ in range(2):  # a driver that starts again finds it done
        _resolve(record, with_steps(job_from_data(LONG), 16))
        assert (record.job["job"]["steps"], record.job["job"]["epochs"]) == (10, None)
        assert record.job["asked"] == LONG
        assert record.facts.submission_id == "ts-1"


def test_what_an_older_version_wrote_reads_as_it_did():
    job = job_from_data(TRAIN)
    assert (job.steps, job.epochs, job.total_steps) == (10, None, 10)
    assert with_steps(job, 99) is job
