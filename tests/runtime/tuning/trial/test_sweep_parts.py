"""What a sweep is made of: folds, limits, and trials as files."""

import numpy as np
import pytest

from job_texts import TUNE
from tiny_training import TinySamples
from trainshed.errors import PlatformError
from trainshed.record.metric_rows import MetricRow
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.trials import TrialFiles
from trainshed.runtime.shards.folds import split_off
from trainshed.runtime.tuning.report.trial_results import best_of, training_of, trial_result
from trainshed.runtime.tuning.scheduling.stoppers import over_budget
from trainshed.runtime.tuning.trial.failure_kinds import with_half_the_batch
from trainshed.runtime.tuning.trial.folds import FoldedReport
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.stopping import Budget
from trainshed.spec.training.changes import Change
from trials_on_disk import trial_on_disk

JOB = job_from_data(TUNE)


def test_every_sample_is_held_out_in_one_fold_and_learnt_from_in_the_others():
    samples, seen = TinySamples(10), []
    for fold in range(3):
        learnt, held_out = split_off(samples, fold=fold, folds=3, seed=4)
        assert sorted([*learnt.ids, *held_out.ids]) == list(range(10))
        assert len(held_out) in (3, 4)
        assert (held_out.take(np.arange(2))["tokens"] == samples.take(held_out.ids[:2])["tokens"]).all()
        seen += list(held_out.ids)
    assert sorted(seen) == list(range(10))
    assert list(split_off(samples, fold=0, folds=3, seed=5)[1].ids) != list(
        split_off(samples, fold=0, folds=3, seed=4)[1].ids
    )


def test_a_fold_that_runs_counts_with_its_newest_figures(tmp_path):
    trial, said = TrialFiles(Storage.open(tmp_path), "sweep", 2), []
    folded = FoldedReport(trial, 10, said.append)
    folded.report(MetricRow.of({"step": 5, "validation_loss": 4.0}))
    folded.report(MetricRow.of({"step": 10, "validation_loss": 3.0}))
    folded.fold_ended()
    folded.report(MetricRow.of({"step": 10, "validation_loss": 1.0}))
    assert [(row.step, row.values["fold"], row.figure("validation_loss")) for row in said] == [
        (5, 0, 4.0),
        (10, 0, 3.0),
        (20, 1, 2.0),
    ]
    assert said[-1].figure("validation_loss_deviation") == pytest.approx(2**0.5)
    assert trial.held_out() == said


def test_a_fold_counts_with_its_best_step_where_that_is_exported(tmp_path):
    trial, said = TrialFiles(Storage.open(tmp_path), "sweep", 2), []
    folded = FoldedReport(trial, 10, said.append, of_the_best=True)
    folds = [[(5, 3.0, 0.1), (10, float("nan"), 0.2)], [(5, 1.0, 0.3), (10, 1.0, 0.4), (15, 2.0, 0.5)]]
    for fold in folds:
        for step, loss, accuracy in fold:
            folded.report(MetricRow.of({"step": step, "validation_loss": loss, "validation_accuracy": accuracy}))
        folded.fold_ended()
    assert [row.figure("validation_loss") for row in said] == [3.0, 3.0, 2.0, 2.0, 2.0]
    assert said[-1].figure("validation_accuracy") == pytest.approx((0.1 + 0.4) / 2)


def test_half_the_batch_is_twice_the_passes_and_an_odd_one_has_no_half():
    training = JOB.train
    half = with_half_the_batch(training)
    assert (half.workers.per_device, half.accumulation) == (1, 2 * training.accumulation)
    assert half.global_batch_size == training.global_batch_size
    assert with_half_the_batch(half) is None


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(), None),
        (Budget(hours=1.1), None),
        (Budget(hours=1.0), "budget.hours: 1 hours are over"),
        (Budget(device_hours=2.0), "budget.device_hours: 2 device-hours are used up"),
        (Budget(money=6.0, price=3.0), "budget.money: 6 is spent, at 3 for a device-hour"),
        (Budget(money=6.0, price=3.0, currency="USD"), "budget.money: 6 USD is spent, at 3 for a device-hour"),
        (Budget(money=6.0, price=2.9), None),
        (Budget(money=6.0), None),
    ],
)
def test_a_budget_has_a_limit_that_holds(budget, said):
    assert over_budget(budget, 3600.0, 7200.0) == said


def trial(folder, number, losses, **ended):
    return trial_on_disk(folder, JOB.train, number, losses, ended=ended or None)


def test_the_best_trial_is_one_that_did_not_fail(tmp_path):
    files = [
        trial(tmp_path, 0, [5.0, 4.0], state="ended"),
        trial(tmp_path, 1, [3.0], state="failed", kind="code", cause="oops"),
        trial(tmp_path, 2, [3.5]),
    ]
    stories = [trial_result(JOB, one) for one in files]
    assert [one.state for one in stories] == ["ended", "failed", "cut off"]
    assert best_of(JOB, stories).trial == "trial-00000"
    assert stories[0].history == ((5, 5.0), (10, 4.0))
    with pytest.raises(PlatformError, match="1 of 1 failed with: oops"):
        best_of(JOB, stories[1:2])


def test_a_population_writes_out_every_change_of_its_best(tmp_path):
    changes = {"stop_early": {"kind": "pbt", "interval_steps": 5}, "search": {"kind": "random", "trials": 4}}
    population = job_from_data({**TUNE, "train": {**TUNE["train"], "validation": {"every_steps": 5}}, **changes})
    data = {"run://text": Record(Storage.open(tmp_path), "text-1")}
    member = trial(tmp_path, 0, [5.0, 4.0, 3.0], state="ended")
    alone = training_of(population, member, data)
    assert (alone.changes, alone.schedule.kind, alone.data) == ((), "cosine", "run://text-1")
    facts, path = member.facts.as_json(), f"{member.folder}/trial.json"
    taken = [{"from": "trial-00001", "step": 5, "settings": {"optimizer.learning_rate": 0.005}}]
    member.storage.write_json(path, {**facts, "took_over": taken, "first_settings": {"optimizer.learning_rate": 0.007}})
    found = training_of(population, member, data)
    assert found.optimizer.learning_rate == 0.007
    assert found.changes == (Change(step=5, settings={"optimizer.learning_rate": 0.005}),)
    assert found.schedule == alone.schedule
    member.storage.write_json(path, {**facts, "took_over": taken})  # as an earlier version left it
    rates = training_of(population, member, data)
    assert (rates.schedule.kind, rates.optimizer.learning_rate) == ("points", 0.1)
    assert [factor for _, factor in rates.schedule.points] == pytest.approx([1.0, 1 / 2, 1 / 3])
