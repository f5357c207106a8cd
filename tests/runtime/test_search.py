"""Which settings a trial gets: by its number, whatever happened to drivers; and what is learnt from trials."""

import math

import pytest

from job_texts import TUNE, changed
from trainshed.runtime.tuning.curves import Curves
from trainshed.runtime.tuning.search import Numbered
from trainshed.spec.load import job_from_data

SPACE = {
    "optimizer.learning_rate": {"log_uniform": [0.0001, 0.1]},
    "optimizer.weight_decay": {"normal": [0.1, 0.1], "within": [0.0, 0.3]},
    "model.layers": {"integer": [1, 4]},
    "schedule": {"choice": [{"kind": "cosine", "warmup_steps": 2}, {"kind": "constant"}]},
    "schedule.floor": {"uniform": [0.0, 0.5], "when": {"schedule.kind": ["cosine"]}},
}
STEPS = 5
SEARCHES = {
    "random": {"kind": "random", "trials": 12},
    "tpe": {"kind": "tpe", "trials": 12, "random_trials": 4},
    "gp": {"kind": "gp", "trials": 12, "random_trials": 4},
    "cma_es": {"kind": "cma_es", "trials": 12},
    "genetic": {"kind": "genetic", "trials": 12, "population": 4},
    "evolution": {"kind": "evolution", "trials": 12},
}


def job(search, **values):
    return job_from_data(changed(TUNE, space=SPACE, search=search, **values))


def value_of(settings):
    """Lower nearer to a rate of 0.01, and for a constant schedule."""
    distance = abs(math.log10(settings["optimizer.learning_rate"] / 0.01))
    return distance + (settings["schedule"]["kind"] == "cosine")


def all_trials(searcher, count, *, metric="validation_loss"):
    found = []
    for number in range(count):
        config = searcher.suggest(f"trial-{number}")
        assert config["number"] == number
        found.append(config["settings"])
        searcher.on_trial_complete(f"trial-{number}", {metric: value_of(config["settings"])})
    return found


def plain(settings):
    return {path: str(value) if isinstance(value, dict) else value for path, value in settings.items()}


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_that_goes_on_hands_out_what_it_would_have(kind):
    asked = job(SEARCHES[kind])
    whole = all_trials(Numbered(asked, {}, []), 12)
    again = all_trials(Numbered(asked, dict(enumerate(whole[:7])), []), 12)
    assert again[:7] == whole[:7]
    if kind in (
        "random",
        "tpe",
        "gp",
        "evolution",
    ):  # the others keep a population, which is made anew of what has ended
        assert [plain(one) for one in again] == [pytest.approx(plain(one)) for one in whole]
    assert len({str(settings) for settings in whole}) == 12
    assert all_trials(Numbered(job({**SEARCHES[kind], "seed": 1}), {}, []), 12) != whole
    assert Numbered(asked, {}, []).suggest("x") is not None


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_trial_is_a_training_and_conditions_hold(kind):
    for settings in all_trials(Numbered(job(SEARCHES[kind]), {}, []), 12):
        assert ("schedule.floor" in settings) == (settings["schedule"]["kind"] == "cosine")
        assert 0.0 <= settings["optimizer.weight_decay"] <= 0.3
        assert isinstance(settings["model.layers"], int)


def test_a_search_ends_after_its_trials():
    searcher = Numbered(job({"kind": "random", "trials": 2}), {}, [])
    all_trials(searcher, 2)
    assert searcher.suggest("one-more") == searcher.FINISHED


def test_a_grid_goes_through_its_points_in_order():
    space = {"model.layers": {"integer": [1, 2]}, "schedule.kind": {"choice": ["cosine", "linear"]}}
    searcher = Numbered(job_from_data(changed(TUNE, space=space, search={"kind": "grid"})), {}, [])
    found = all_trials_of_grid(searcher)
    assert found == [(1, "cosine"), (1, "linear"), (2, "cosine"), (2, "linear")]


def all_trials_of_grid(searcher):
    found = []
    while (config := searcher.suggest(f"trial-{len(found)}")) != searcher.FINISHED:
        found.append(tuple(config["settings"].values()))
    return found


@pytest.mark.parametrize("kind", SEARCHES)
def test_settings_to_start_with_come_first_and_the_rest_of_them_is_drawn(kind):
    start = [{"optimizer.learning_rate": 0.02, "model.layers": 3}, {"schedule": {"kind": "constant"}}]
    first, second, third = all_trials(Numbered(job({**SEARCHES[kind], "start_with": start}), {}, []), 3)
    assert (first["optimizer.learning_rate"], first["model.layers"]) == (pytest.approx(0.02), 3)
    assert second["schedule"] == {"kind": "constant"}
    assert "schedule.floor" not in second
    assert "optimizer.weight_decay" in first.keys() & third.keys()


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_a_search_that_learns_goes_where_the_better_trials_were(kind):
    found = all_trials(Numbered(job({"kind": kind, "trials": 40, "random_trials": 8}), {}, []), 40)
    mean = lambda trials: sum(map(value_of, trials)) / len(trials)  # noqa: E731
    assert mean(found[-10:]) < 0.7 * mean(found[:8])


@pytest.mark.parametrize(
    "search", [{"kind": "tpe", "random_trials": 4}, {"kind": "gp", "random_trials": 4}, {"kind": "evolution"}]
)
def test_trials_of_an_earlier_sweep_are_known_at_the_start(search):
    search = {**search, "trials": 4}
    known = [
        ({"optimizer.learning_rate": 0.01 * (1 + n / 50), "optimizer.weight_decay": 0.1, "model.layers": 2,
          "schedule": {"kind": "constant"}}, n / 50)
        for n in range(12)
    ] + [
        ({"optimizer.learning_rate": 0.0002 * (1 + n), "optimizer.weight_decay": 0.1, "model.layers": 2,
          "schedule": {"kind": "cosine", "warmup_steps": 2}, "schedule.floor": 0.1}, 3.0 + n)
        for n in range(12)
    ]  # fmt: skip
    cold = all_trials(Numbered(job(search), {}, []), 4)
    warm = all_trials(Numbered(job(search), {}, known), 4)
    if search["kind"] == "gp":  # which looks first where nobody has been, among the better of two schedules
        assert {one["schedule"]["kind"] for one in warm} == {"constant"} < {one["schedule"]["kind"] for one in cold}
    else:
        assert sum(map(value_of, warm)) < 0.7 * sum(map(value_of, cold))


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    "search", [{"kind": "tpe", "random_trials": 1}, {"kind": "gp", "random_trials": 1}, {"kind": "evolution"}]
)
def test_a_metric_that_is_no_number_teaches_nothing_and_ends_nothing(search, value):
    searcher = Numbered(job({**search, "trials": 4}), {}, [])
    for number in range(4):
        assert searcher.suggest(f"trial-{number}")["number"] == number
        searcher.on_trial_complete(f"trial-{number}", {"validation_loss": value})
    assert searcher.suggest("one-more") == searcher.FINISHED


def test_a_trial_that_ended_early_is_told_as_what_it_would_have_come_to():
    curves = Curves(last=30)
    assert curves.end(0) is None
    curves.add(0, 10, 5.0)
    assert curves.end(0) == 5.0, "nobody has gone further"
    for number, (first, second, last) in enumerate([(4.0, 3.0, 2.0), (4.5, 3.6, 2.9), (4.2, 3.9, 3.0)], 1):
        curves.add(number, 10, first)
        curves.add(number, 20, second)
        curves.add(number, 30, last)
    assert curves.end(0) == pytest.approx(5.0 - 1.6)
    curves.add(0, 20, 4.0)
    assert curves.end(0) == pytest.approx(4.0 - 0.9)
    assert curves.end(2) == 2.9


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_a_search_learns_from_what_early_stopping_cut_short_as_from_the_rest(kind):
    """All curves fall by one a step, so that what was cut short says as much as what was not."""

    def handed(length_of_the_fourth):
        search = {"kind": kind, "trials": 12, "random_trials": 5}
        searcher, found = Numbered(job(search, train__steps=STEPS), {}, []), []
        for number in range(12):
            settings = searcher.suggest(str(number))["settings"]
            found.append(plain(settings))
            length = length_of_the_fourth if number == 3 else STEPS
            looks = [{"step": at, "validation_loss": value_of(settings) + STEPS - at} for at in range(1, length + 1)]
            for look in looks:
                searcher.on_trial_result(str(number), look)
            searcher.on_trial_complete(str(number), looks[-1])
        return found

    assert handed(2) == [pytest.approx(one) for one in handed(STEPS)]
