"""The search by evolution: where settings lie in nevergrad's coordinates, and what a mutation starts from."""

import math
from statistics import fmean

import numpy as np
import pytest
from pydantic import TypeAdapter

from job_texts import TUNE, changed
from trainshed.runtime.tuning.search.searcher import Numbered
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.range_values import at_share, share_of
from trainshed.spec.sweep.space import Range, ends

RANGES = [
    {"uniform": [-1.0, 3.0]},
    {"uniform": [0.1, 0.5], "step": 0.1},
    {"log_uniform": [0.0001, 0.1]},
    {"integer": [2, 9]},
    {"integer": [2, 10], "step": 4},
    {"integer": [1, 64], "log": True},
    {"normal": [0.1, 0.2], "within": [0.0, 0.3]},
    {"choice": ["a", {"kind": "cosine"}, 3]},
]
SPACE = {
    "optimizer.learning_rate": {"log_uniform": [0.0001, 0.01]},
    "model.dropout": {"uniform": [0.0, 0.2]},
    "model.layers": {"integer": [1, 9]},
    "schedule.kind": {"choice": ["cosine", "linear", "constant"]},
}
MIDDLE = {
    "optimizer.learning_rate": pytest.approx(0.001),
    "model.dropout": pytest.approx(0.1),
    "model.layers": 5,
    "schedule.kind": "linear",
}

CORNER = {"optimizer.learning_rate": 0.009, "model.dropout": 0.2, "model.layers": 9, "schedule.kind": "constant"}


def searcher(trials=30, earlier=(), start_with=(), **values):
    search = {"kind": "evolution", "trials": trials, "start_with": list(start_with)}
    return Numbered(job_from_data(changed(TUNE, space=SPACE, search=search, **values)), {}, list(earlier))


def changes(one, other):
    return {path for path in SPACE if one[path] != other[path]}


@pytest.mark.parametrize("data", RANGES, ids=str)
def test_a_share_of_a_range_and_its_value_are_the_same_place(data):
    values = TypeAdapter(Range).validate_python(data)
    found = [at_share(values, share) for share in np.linspace(0.0, 1.0, 41)]
    for value in found:
        assert at_share(values, share_of(values, value)) == pytest.approx(value, abs=1e-9), value
    assert found[0] == pytest.approx(ends(values)[0], abs=1e-9)
    assert found[-1] == pytest.approx(ends(values)[-1], abs=1e-9)


def test_whole_numbers_are_equally_likely_and_with_log_their_factors_are():
    shares = np.linspace(0.0005, 0.9995, 1000)
    plain, log = (TypeAdapter(Range).validate_python(RANGES[n]) for n in (3, 5))
    found = [at_share(plain, share) for share in shares]
    assert [found.count(number) for number in range(2, 10)] == [125] * 8
    assert sum(at_share(log, share) < 8 for share in shares) == pytest.approx(
        1000 * np.log(7.5 / 0.5) / np.log(64.5 / 0.5), abs=2
    )


def test_the_first_trial_is_the_middle_of_every_range():
    assert searcher().suggest("0")["settings"] == MIDDLE


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_later_trials_are_the_best_one_changed(goal):
    worse = 1.0 if goal == "minimize" else -1.0
    asked = searcher(goal=goal, start_with=[{}, {}, {}, CORNER])
    found = []
    for number in range(14):
        found.append(asked.suggest(str(number))["settings"])
        asked.on_trial_complete(str(number), {"validation_loss": 0.0 if number == 3 else worse})
    assert found[3] == CORNER
    assert all(1 <= len(changes(one, CORNER)) < len(SPACE) for one in found[4:])
    assert sum(one["model.dropout"] == CORNER["model.dropout"] for one in found[4:]) >= 4, "to the last digit"


def test_the_best_of_an_earlier_sweep_is_where_it_starts():
    worse = {**CORNER, "model.layers": 1, "schedule.kind": "cosine", "model.dropout": 0.01}
    found = searcher(earlier=[(worse, 2.0), (CORNER, 1.0)])
    for number in range(4):
        assert 1 <= len(changes(found.suggest(str(number))["settings"], CORNER)) < len(SPACE)


def test_trials_that_came_to_the_same_teach_the_same_in_any_order():
    asked = [searcher(), searcher()]
    for order, one in zip(([0, 1, 2, 3], [3, 1, 2, 0]), asked, strict=True):
        for number in range(4):
            one.suggest(str(number))
        for number in order:
            one.on_trial_complete(str(number), {"validation_loss": 1.0})
    assert asked[0].suggest("4") == asked[1].suggest("4")


def test_what_was_tried_is_not_tried_again_while_there_is_something_else():
    space = {"schedule.kind": {"choice": ["cosine", "linear"]}, "model.layers": {"integer": [1, 3]}}
    search = {"kind": "evolution", "trials": 6}
    asked = Numbered(job_from_data(changed(TUNE, space=space, search=search)), {}, [])
    found = set()
    for number in range(6):
        found.add(str(asked.suggest(str(number))["settings"]))
        asked.on_trial_complete(str(number), {"validation_loss": float(number)})
    assert len(found) >= 5


def test_it_finds_more_than_random_search_does():
    space = {
        "optimizer.learning_rate": {"log_uniform": [0.0001, 0.1]},
        "optimizer.weight_decay": {"uniform": [0.0, 0.3]},
        "schedule.kind": {"choice": ["cosine", "linear", "constant", "wsd"]},
        "schedule.warmup_steps": {"integer": [0, 4]},
        "model.layers": {"integer": [1, 6]},
        "model.dropout": {"choice": [0.0, 0.1, 0.2]},
    }
    costs = {"cosine": 0.0, "linear": 0.3, "constant": 0.6, "wsd": 0.15, 0.0: 0.0, 0.1: 0.1, 0.2: 0.2}

    def value(settings):
        off = math.log10(settings["optimizer.learning_rate"]) + 3.6
        decay, warmup = settings["optimizer.weight_decay"] - 0.25, settings["schedule.warmup_steps"]
        parts = costs[settings["schedule.kind"]] + costs[settings["model.dropout"]]
        return off**2 + 20 * decay**2 + parts + 0.05 * (6 - settings["model.layers"]) + 0.02 * warmup

    def best(kind, seed):
        search = {"kind": kind, "trials": 30, "seed": seed}
        asked, found = Numbered(job_from_data(changed(TUNE, space=space, search=search)), {}, []), []
        for number in range(30):
            found.append(value(asked.suggest(str(number))["settings"]))
            asked.on_trial_complete(str(number), {"validation_loss": found[-1]})
        return min(found)

    assert fmean(best("evolution", seed) for seed in range(24)) < 0.7 * fmean(
        best("random", seed) for seed in range(24)
    )
