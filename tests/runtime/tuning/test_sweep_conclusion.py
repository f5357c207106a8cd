"""What a sweep whose trials are over comes to: the best one, whatever became of the rest, and what it leaves behind."""

import pytest

from job_texts import TUNE, changed
from trainshed.errors import PlatformError
from trainshed.record.facts import CodeFacts, EndFacts
from trainshed.record.index import find_finished
from trainshed.record.run import Record, now
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import EndedBy, TrialState
from trainshed.runtime.report import Reporter, Voice
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.conclusion import conclude
from trainshed.runtime.tuning.report.trial_results import best_of, came_to, trial_result
from trainshed.runtime.tuning.scheduling.stoppers import Ceilings, Spent
from trainshed.runtime.tuning.search.searcher import Numbered
from trainshed.spec.load import job_from_data
from trials_on_disk import trial_on_disk


def job(**values):
    return job_from_data(changed(TUNE, **values))


def concluded(folder, sweep, *, budget_over=False, run_id="sweep-1"):
    """`conclude` over the trials of a run in a folder; nothing of it needs a cluster unless a model is exported."""
    record = Record(Storage.open(folder), run_id)
    record.begin(sweep.model_dump(mode="json", by_alias=True), submission_id="ts-1", created_at=now(), number=0)
    reporter, spent = Reporter(record, Voice()), Spent(sweep, record)
    ceilings = Ceilings(sweep.budget, spent, asked=lambda: False, too_many=lambda: None)
    assert ceilings.stop_all() == budget_over
    try:
        return conclude(
            sweep, reporter, plan(sweep, record), ceilings, spent, data={"run://text": record}, code=CodeFacts()
        )
    finally:
        reporter.close()


def plan(sweep, record):
    return WorkerSpec(sweep.train.model_dump(mode="json"), record.storage.uri, "data/1", record.at(), export=False)


@pytest.mark.parametrize(
    ("among", "losses", "states", "best"),
    [
        ("finished", [3.0, 2.0], [TrialState.ENDED, TrialState.EARLY], 0),
        ("all", [3.0, 2.0], [TrialState.ENDED, TrialState.EARLY], 1),
        ("finished", [3.0, 2.0], [TrialState.ENDED, TrialState.CUT], 0),
        ("all", [3.0, 2.0], [TrialState.ENDED, TrialState.CUT], 1),
        ("finished", [3.0, 2.0], [TrialState.EARLY, TrialState.CUT], 1),
        ("finished", [3.0, 2.0, 2.5], [TrialState.ENDED, TrialState.EARLY, TrialState.ENDED], 2),
        ("finished", [3.0, float("nan")], [TrialState.EARLY, TrialState.ENDED], 0),
        ("finished", [3.0, 2.0], [TrialState.EARLY, TrialState.FAILED], 0),
        ("all", [3.0, 2.0], [TrialState.ENDED, TrialState.FAILED], 0),
    ],
)
@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_one_that_came_to_its_end_is_better_than_one_cut_off_unless_the_job_says_otherwise(
    tmp_path, among, losses, states, best, goal
):
    sweep = job(best_among=among, goal=goal)
    sign = 1 if goal == "minimize" else -1
    stories = []
    for number, (loss, state) in enumerate(zip(losses, states, strict=True)):
        ended = None if state == TrialState.CUT else {"state": state}
        stories.append(trial_result(sweep, trial_on_disk(tmp_path, sweep.train, number, [sign * loss], ended=ended)))
    assert best_of(sweep, stories).trial == f"trial-0000{best}"


def test_where_a_training_exports_its_best_step_the_trial_counts_by_that_step(tmp_path):
    sweep = job()
    waits, last = (
        job(train__regularization={"early_stopping": {"restore_best": best}}).train for best in (True, False)
    )
    losses = [4.0, 2.0, 2.0, float("nan"), 3.0]
    whole = {"state": TrialState.ENDED}
    best, plain = (trial_on_disk(tmp_path, one, n, losses, ended=whole) for n, one in enumerate((waits, last)))
    assert (trial_result(sweep, best).value, trial_result(sweep, plain).value) == (2.0, 3.0)
    assert len(trial_result(sweep, best).history) == 5
    assert best_of(sweep, [trial_result(sweep, one) for one in (plain, best)]).trial == best.name


@pytest.mark.parametrize(
    ("best", "losses", "ended", "told"),
    [
        (True, [2.0, 3.0], None, 2.0),
        (True, [2.0, float("nan")], None, 2.0),
        (False, [2.0, 3.0], None, 3.0),
        (False, [2.0, float("nan")], None, None),
        (True, [2.0], None, None),
        (True, [2.0], {"state": TrialState.EARLY, "by": "asha"}, None),
        (True, [2.0], {"state": TrialState.ENDED, "by": EndedBy.ITSELF}, 2.0),
        (False, [2.0], {"state": TrialState.ENDED, "by": EndedBy.ITSELF}, 2.0),
        (True, [], None, None),
    ],
)
def test_a_search_hears_the_figure_that_a_trial_counts_by_and_guesses_only_at_those_that_a_rule_ended(
    tmp_path, best, losses, ended, told
):
    """A trial has 10 steps, and a figure each 5."""
    sweep = job(train__regularization={"early_stopping": {"restore_best": best}})
    trial = trial_on_disk(tmp_path, sweep.train, 0, losses, ended=ended)
    assert came_to(sweep, trial) == told


def test_what_a_trial_counts_by_is_told_in_place_of_its_last_figure():
    tpe = job(search={"kind": "tpe", "trials": 9, "random_trials": 3})

    def handed(*, last, counts):
        asked, found = Numbered(tpe, {}, [], came_to=counts), []
        for number in range(9):
            found.append(asked.suggest(str(number))["settings"])
            asked.on_trial_complete(str(number), {"validation_loss": last(number), "step": 10})
        return found

    plain = handed(last=figure_at, counts=lambda _: None)
    assert handed(last=lambda _: float("nan"), counts=figure_at) == plain
    assert handed(last=lambda number: -figure_at(number), counts=figure_at) == plain
    assert handed(last=lambda number: -figure_at(number), counts=lambda _: None) != plain


def figure_at(number):
    return [3.0, 1.0, 2.0, 5.0, 4.0, 1.5, 2.5, 0.5, 3.5][number]


def test_a_budget_that_ends_before_the_first_figure_is_a_result_with_the_limit_and_nothing_to_go_on_from(tmp_path):
    sweep = job(budget={"hours": 1e-12})
    result = concluded(tmp_path, sweep, budget_over=True)
    assert result.limit == "budget.hours: 1e-12 hours are over"
    assert (result.best, result.trials) == (None, ())
    Record(Storage.open(tmp_path), "sweep-1").finish(EndFacts(state="budget_reached", cause=result.limit), result)
    with pytest.raises(PlatformError, match="no run of that name has a best trial; the newest, sweep-1, is budget_re"):
        find_finished(Storage.open(tmp_path), "run://sweep", "tune")


def test_a_sweep_whose_model_cannot_be_registered_has_a_result_that_others_go_on_from(tmp_path):
    sweep = job(register="mine")
    for number, loss in enumerate([3.0, 2.0]):
        trial_on_disk(tmp_path, sweep.train, number, [loss], sweep="runs/sweep-1", ended={"state": TrialState.EARLY})
    result = concluded(tmp_path, sweep)
    assert result.failure.startswith("register: no trial came to its end with a figure; the best of the others is")
    assert (result.registered, result.best.trial) == (None, "trial-00001")
    assert (tmp_path / "runs" / "sweep-1" / "report.html").exists()
    Record(Storage.open(tmp_path), "sweep-1").finish(EndFacts(state="failed", cause=result.failure), result)
    assert find_finished(Storage.open(tmp_path), "run://sweep", "tune").run_id == "sweep-1"


@pytest.mark.parametrize("population", [False, True])
def test_of_trials_that_are_over_only_the_best_ones_checkpoints_stay_as_many_as_the_job_keeps(tmp_path, population):
    rule = {"kind": "pbt", "interval_steps": 5} if population else {"kind": "none"}
    sweep = job(
        stop_early=rule,
        search__trials=4,
        train__validation={"every_steps": 5},
        train__checkpoint={"keep": 1, "keep_best": 0},
        budget={"hours": 1e-12},
    )
    where = {"sweep": "runs/sweep-1", "checkpoints": (5, 10)}
    best = trial_on_disk(tmp_path, sweep.train, 0, [2.0, 1.0], ended={"state": TrialState.ENDED}, **where)
    other = trial_on_disk(tmp_path, sweep.train, 1, [3.0, 2.0], ended={"state": TrialState.ENDED}, **where)
    cut = trial_on_disk(tmp_path, sweep.train, 2, [3.0], **where)
    other.storage.write(f"{other.folder}/fold-1/checkpoints/step-0000005/part", b"weights")
    concluded(tmp_path, sweep, budget_over=True)
    left = {one.name: sorted(p.name for p in (tmp_path / one.folder).glob("**/step-*")) for one in (best, other, cut)}
    assert left == {best.name: ["step-0000010"], other.name: [], cut.name: ["step-0000005", "step-0000010"]}
