"""Which settings a trial gets: by its number, whatever happened to drivers; and what is learnt from trials."""

import math

import optuna
import pytest

from job_texts import TUNE, changed
from trainshed.runtime.tuning.search.curves import Curves
from trainshed.runtime.tuning.search.searcher import Numbered
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.range_values import at_share
from trainshed.spec.sweep.space import Integer

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
    "gp": {"kind": "gp", "trials": 12, "random_trials": 9},  # it takes a fifth of a second a trial
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
    assert again == whole
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
    found = all_trials(Numbered(job({"kind": kind, "trials": 24, "random_trials": 8}), {}, []), 24)
    mean = lambda trials: sum(map(value_of, trials)) / len(trials)  # noqa: E731
    assert mean(found[-8:]) < 0.7 * mean(found[:8])


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
    seeds = range(1 if search["kind"] == "gp" else 6)
    cold, warm = (
        [one for seed in seeds for one in all_trials(Numbered(job({**search, "seed": seed}), {}, earlier), 4)]
        for earlier in ([], known)
    )
    if search["kind"] == "gp":  # which looks first where nobody has been, among the better of two schedules
        assert {one["schedule"]["kind"] for one in warm} == {"constant"} < {one["schedule"]["kind"] for one in cold}
    else:
        assert sum(map(value_of, warm)) < 0.7 * sum(map(value_of, cold))


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    "search", [{"kind": "tpe", "random_trials": 1}, {"kind": "gp", "random_trials": 1}, {"kind": "evolution"}]
)
def test_a_metric_that_is_no_number_ends_nothing(search, value):
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


SMALL = {"schedule.kind": {"choice": ["cosine", "linear"]}, "model.layers": {"integer": [1, 3]}}
RARE = {
    "model.width": {"choice": [8, 16, 24, 32, 40, 48, 50, 64]},
    "model.heads": {"choice": [1, 2, 4]},
    "optimizer.learning_rate": {"log_uniform": [0.0001, 0.1]},
}


def in_space(space, search, **values):
    return job_from_data(changed(TUNE, space=space, search=search, **values))


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_small_space_is_gone_through_once_and_then_the_search_ends_with_a_notice(kind):
    said = []
    first = {"random_trials": 50} if kind in ("tpe", "gp", "cma_es") else {}
    asked = Numbered(
        in_space(SMALL, {**SEARCHES[kind], "trials": 50, **first}),
        {},
        [],
        sink=lambda event: said.append(event.message),
    )
    found = []
    while (config := asked.suggest(str(len(found)))) != asked.FINISHED:
        found.append(str(sorted(config["settings"].items())))
        asked.on_trial_complete(str(config["number"]), {"validation_loss": float(len(found))})
    assert len(found) == len(set(found)) == 6
    assert said == [
        "the search ends after 6 of 50 trials: every combination of the space that can be a trial was tried"
    ]
    assert asked.suggest("one-more") == asked.FINISHED
    assert len(said) == 1


@pytest.mark.parametrize("kind", SEARCHES)
def test_no_search_hands_out_what_cannot_be_a_trial(kind):
    start = [{"model.width": 50, "model.heads": 2}, {"model.heads": 4}]
    search = {**SEARCHES[kind], "trials": 12, "start_with": start}
    job = in_space(RARE, search, constraints=["model.width >= 40", "model.width % model.heads == 0"])
    asked = Numbered(job, {}, [])
    found = [asked.suggest(str(number))["settings"] for number in range(12)]
    for settings in found:
        assert settings["model.width"] >= 40
        assert settings["model.width"] % settings["model.heads"] == 0
    assert (found[0]["model.width"], found[0]["model.heads"], found[1]["model.heads"]) == (50, 2, 4)
    assert asked.refused > 0
    again = Numbered(job, dict(enumerate(found[:8])), [])
    assert [again.suggest(str(number))["settings"] for number in range(12)] == found
    assert again.refused == asked.refused, "counted anew by a driver that goes on"


def test_a_grid_leaves_out_what_cannot_be_a_trial_and_counts_it():
    space = {path: RARE[path] for path in ("model.width", "model.heads")}
    asked = Numbered(in_space(space, {"kind": "grid"}), {}, [])
    assert len(all_trials_of_grid(asked)) == 23
    assert asked.refused == 1


@pytest.mark.parametrize("kind", ["tpe", "gp", "cma_es", "genetic", "evolution"])
def test_trials_of_an_earlier_sweep_that_cannot_be_trials_here_are_not_told(kind):
    said = []
    known = [({"model.width": 64, "model.heads": heads, "optimizer.learning_rate": 0.01}, 1.0) for heads in (1, 4)]
    job = in_space(RARE, {**SEARCHES[kind], "trials": 2}, constraints=["model.heads > 1"])
    Numbered(job, {}, known, sink=lambda event: said.append(event.message))
    assert said == ["1 trials of earlier sweeps cannot be trials of this one: they are not told"]


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_whole_numbers_by_their_factors_are_drawn_as_optuna_draws_them(kind):
    """38.7 % are under 10: no number is drawn twice, so that only so many small ones are left in a long sweep."""
    space = {"model.width": {"integer": [1, 10**6], "log": True}}
    one_head = {"kind": "gpt2", "layers": 1, "heads": 1, "width": 8}
    job = in_space(space, {**SEARCHES[kind], "trials": 100, "seed": 5}, train__model=one_head)
    asked = Numbered(job, {}, [])
    found = [asked.suggest(str(number))["settings"]["model.width"] for number in range(100)]
    assert 35 <= sum(width < 1000 for width in found) <= 65
    share = sum(at_share(Integer(integer=(1, 1000), log=True), n / 1000) < 10 for n in range(1000)) / 1000
    assert share == pytest.approx(math.log(9.5 / 0.5) / math.log(1000.5 / 0.5), abs=0.002), "0.009 without the factors"


def test_settings_to_start_with_that_stand_twice_are_tried_once():
    start = [{"model.layers": 2, "schedule.kind": "linear"}] * 2
    found = [Numbered(in_space(SMALL, {"kind": "random", "trials": 6, "start_with": start}), {}, [])]
    handed = [found[0].suggest(str(number))["settings"] for number in range(6)]
    assert handed[0] == start[0]
    assert len({str(sorted(one.items())) for one in handed}) == 6


BARE = {
    "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=7),
    "gp": lambda: optuna.samplers.GPSampler(n_startup_trials=9, seed=7),
    "cma_es": lambda: optuna.samplers.CmaEsSampler(n_startup_trials=4, seed=7, warn_independent_sampling=False),
}


@pytest.mark.parametrize("kind", BARE)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sweep_draws_what_the_bare_sampler_draws(kind):
    """One sampler for the whole sweep, with its history and its random numbers: to the last digit."""
    space = {
        "optimizer.learning_rate": {"log_uniform": [0.0001, 0.1]},
        "optimizer.weight_decay": {"uniform": [0.0, 1.0]},
        "schedule.kind": {"choice": ["cosine", "linear"]},
    }
    first = {"tpe": 10, "gp": 9, "cma_es": 4}[kind]
    search = {"kind": kind, "trials": 30, "random_trials": first, "seed": 7}
    asked = Numbered(in_space(space, search), {}, [])
    study, drawn = optuna.create_study(sampler=BARE[kind]()), []
    for number in range(12 if kind == "gp" else 30):
        settings, trial = asked.suggest(str(number))["settings"], study.ask()
        bare = {
            "optimizer.learning_rate": trial.suggest_float("optimizer.learning_rate", 0.0001, 0.1, log=True),
            "optimizer.weight_decay": trial.suggest_float("optimizer.weight_decay", 0.0, 1.0),
            "schedule.kind": trial.suggest_categorical("schedule.kind", ["cosine", "linear"]),
        }
        drawn.append(settings == bare)
        value = value_of({**settings, "schedule": {"kind": settings["schedule.kind"]}})
        asked.on_trial_complete(str(number), {"validation_loss": value})
        study.tell(trial, value)
    assert all(drawn)
