"""What a sweep may search, and what of it is refused at submit with the document's line."""

import itertools
import random
import tracemalloc

import pytest

from job_texts import PREPARE, TUNE, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import load_files, outside_references
from trainshed.spec.sweep.possible import Possible, key
from trainshed.spec.sweep.range_values import at_share, contains, count, pick_at_random, point
from trainshed.spec.sweep.space import Normal, draw
from trainshed.spec.sweep.space_check import fits
from trainshed.spec.training.train import Training

COSINE = {"kind": "cosine", "warmup_steps": 3}
CONDITIONAL = {
    "schedule": {"choice": [COSINE, {"kind": "constant"}]},
    "schedule.floor": {"uniform": [0.0, 0.5], "step": 0.25, "when": {"schedule.kind": ["cosine"]}},
}


def load(folder, *jobs):
    file = folder / "job.yaml"
    file.write_text(text(*jobs))
    return load_files([file])


def sweep(folder, space, **values):
    return load(folder, PREPARE, changed(TUNE, space=space, **values))[1].job


REFUSED = {
    "an empty space": ({"space": {}}, "space: "),
    "a path that is not there": ({"space": {"optimizer.rate": {"uniform": [0.0, 1.0]}}}, "unknown path"),
    "a range upside down": ({"space": {"optimizer.learning_rate": {"uniform": [2.0, 1.0]}}}, "low under high"),
    "a value that cannot stand there": (
        {"space": {"optimizer.weight_decay": {"uniform": [-1.0, 0.5]}}},
        "space.optimizer.weight_decay: ",
    ),
    "a fraction for a whole number": (
        {"space": {"model.layers": {"uniform": [1.0, 2.0], "step": 0.5}}},
        "model.layers",
    ),
    "a log range from 0": ({"space": {"model.layers": {"integer": [0, 4], "log": True}}}, "needs bounds above 0"),
    "a bell without bounds": ({"space": {"optimizer.weight_decay": {"normal": [0.1, 0.1]}}}, "within"),
    "a condition that never holds": (
        {"space": {"schedule.warmup_steps": {"integer": [0, 3], "when": {"schedule.kind": "wsd"}}}},
        "when.schedule.kind: is never wsd in this sweep",
    ),
    "a condition on nothing": (
        {"space": {"schedule.warmup_steps": {"integer": [0, 3], "when": {"schedule.knd": "wsd"}}}},
        "when.schedule.knd: unknown path; did you mean 'kind'?",
    ),
    "a space in which nothing can stand together": (
        {"space": {"model.heads": {"choice": [3, 5]}, "model.width": {"choice": [32, 34]}}},
        "space.model.heads: ",
    ),
    "a constraint that nothing keeps": (
        {"constraints": ["optimizer.learning_rate > 1"]},
        "constraints: nothing in it can be a trial: 1000 settings were drawn, and all are refused; the first: the "
        "constraint `optimizer.learning_rate > 1` does not hold (with optimizer.learning_rate",
    ),
    "a constraint that no combination keeps": (
        {"space": {"model.layers": {"integer": [1, 4]}}, "constraints": ["model.layers > 4"]},
        "constraints: nothing in it can be a trial: all 4 combinations are refused; the first: the constraint "
        "`model.layers > 4` does not hold (with model.layers 1)",
    ),
    "a value that stands twice": (
        {"space": {"model.dropout": {"choice": [0.1, 0.1, 0.2]}}},
        "space.model.dropout: choice has 0.1 twice; write each value once",
    ),
    "a whole number that is written in two ways": (
        {"space": {"model.dropout": {"choice": [0, 0.0]}}},
        "space.model.dropout: choice has 0 twice; write each value once",
    ),
    "a start that cannot stand together": (
        {
            "space": {"model.width": {"choice": [32, 50]}, "model.heads": {"choice": [2, 4]}},
            "search__start_with": [{"model.width": 32}, {"model.width": 50, "model.heads": 4}],
        },
        "search.start_with.1: cannot be a trial: ",
    ),
    "a start that a constraint forbids": (
        {
            "space": {"model.layers": {"integer": [1, 4]}, "model.dropout": {"uniform": [0.0, 0.2]}},
            "constraints": ["model.layers < 4"],
            "search__start_with": [{"model.layers": 4}],
        },
        "search.start_with.0: cannot be a trial: the constraint `model.layers < 4` does not hold",
    ),
    "a variant with a wrong field": (
        {"space": {"schedule": {"choice": [COSINE, {"kind": "constant", "floor": 0.1}]}}},
        "floor",
    ),
    "a grid without an end": ({"search": {"kind": "grid"}}, "a grid goes through choice, integer"),
    "a metric that is never reported": (
        {"metric": "validation_f1"},
        "causal_lm does not report 'validation_f1'; it reports validation_loss, validation_perplexity",
    ),
    "a metric that a task of one's own does not say it gives": (
        {
            "train__task": {"kind": "custom", "path": "mine:Task", "metrics": ["bleu"]},
            "metric": "validation_f1",
        },
        "custom does not report 'validation_f1'; it reports validation_loss, validation_bleu, train_loss; "
        "what else its meter gives belongs into train.task.metrics",
    ),
    "a start outside of the space": (
        {"search__start_with": [{"optimizer.learning_rate": 1.0}]},
        "search.start_with.0: optimizer.learning_rate: 1.0 is not in its range",
    ),
    "a population that changes the model": (
        {
            "space": {"model.layers": {"integer": [1, 2]}},
            "stop_early": {"kind": "pbt", "interval_steps": 5},
            "search__trials": 4,
            "train__validation": {"every_steps": 5},
        },
        "pbt changes settings in the middle of a training; model.layers cannot change there",
    ),
    "a population of two": (
        {"stop_early": {"kind": "pbt", "interval_steps": 5}, "train__validation": {"every_steps": 5}},
        "needs a population of 4 or more, got 2",
    ),
    "a population of twins": (
        {
            "space": {"optimizer.weight_decay": {"choice": [0.0, 0.1, 0.2]}},
            "stop_early": {"kind": "pbt", "interval_steps": 5},
            "search__trials": 4,
            "train__validation": {"every_steps": 5},
        },
        "space: pbt needs 4 or more members that differ; the space has 3",
    ),
    "a population that is never looked at": (
        {
            "stop_early": {"kind": "pbt", "interval_steps": 10},
            "search__trials": 4,
            "train__validation": {"every_steps": 5},
            "train__steps": 10,
        },
        "multiple of train.validation.every_steps, 5, and under train.steps, 10, got 10",
    ),
    "a bandit that is looked at once": (
        {
            "stop_early": {"kind": "pb2", "interval_steps": 10},
            "search__trials": 4,
            "train__validation": {"every_steps": 5},
            "train__steps": 20,
        },
        "and under half of train.steps, 10, got 10",
    ),
    "another number of workers": (
        {"space": {"workers.count": {"choice": [1, 2]}}},
        "space.workers.count: all trials of a sweep get the same workers",
    ),
    "money at no price": ({"budget": {"money": 5.0, "price": 0.0}}, "money needs a price above 0"),
    "a folded model to register": ({"folds": 2, "register": "best"}, "a trial of folds is several trainings"),
}


@pytest.mark.parametrize("case", list(REFUSED), ids=str)
def test_what_cannot_be_searched_is_refused_with_its_line(case, tmp_path):
    changes, said = REFUSED[case]
    with pytest.raises(SpecError) as caught:
        load(tmp_path, PREPARE, changed(TUNE, **changes))
    assert said in str(caught.value)
    assert all(line.startswith(f"{tmp_path}/job.yaml:") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("trials", {"stop_early": {"kind": "pbt", "interval_steps": 5}, "train__validation": {"every_steps": 5}}),
        ("grace_steps", {"stop_early": {"kind": "asha", "grace_steps": 1000}}),
        ("register", {"folds": 2, "register": "best"}),
    ],
)
def test_a_rule_over_several_keys_points_at_the_one_that_it_names(key, changes, tmp_path):
    with pytest.raises(SpecError) as caught:
        load(tmp_path, changed(TUNE, **changes))
    lines = (tmp_path / "job.yaml").read_text().splitlines()
    (fault,) = [fault for fault in caught.value.faults if key in fault.message]
    assert key in lines[fault.line - 1]


ONES = {"choice": [1, 2]}
NOT_SEARCHED = {
    "init_from": {"choice": ["run://first", "run://second"]},
    "steps": ONES,
    "epochs": {"choice": [1, 2]},
    "validation.every_steps": ONES,
    "validation.max_samples": ONES,
    "validation": {"choice": [{"every_steps": 5}]},
    "recovery.attempts": ONES,
    "recovery": {"choice": [{"attempts": 1}]},
    "self_test": {"choice": [True, False]},
    "checkpoint.every_steps": ONES,
    "max_failures": ONES,
    "export.dtype": {"choice": ["fp32", "bf16"]},
    "changes": {"choice": [[{"step": 2, "settings": {"optimizer.weight_decay": 0.2}}]]},
    "workers": {"choice": [{"count": 2}]},
    "workers.hang_timeout_s": {"choice": [60, 70]},
    "task.kind": {"choice": ["causal_lm"]},
    "task": {"choice": [{"kind": "causal_lm"}]},
    "data": {"uniform": [0.0, 1.0]},
}


@pytest.mark.parametrize("path", list(NOT_SEARCHED))
def test_what_all_trials_share_cannot_be_searched(path, tmp_path):
    with pytest.raises(SpecError) as caught:
        sweep(tmp_path, {path: NOT_SEARCHED[path], **TUNE["space"]})
    (fault,) = caught.value.faults
    lines = (tmp_path / "job.yaml").read_text().splitlines()
    assert fault.key == f"space.{path}"
    assert lines[fault.line - 1].strip().startswith(f"{path}:")


@pytest.mark.parametrize("field", sorted(Training.model_fields))
def test_every_field_of_a_training_is_searched_or_refused_and_none_is_ignored(field, tmp_path):
    searched = {
        "model.layers": ONES,
        "data": {"choice": ["run://text"]},
        "lora": {"choice": [None, {"rank": 4}]},
        "freeze": {"choice": [[], ["transformer.wte.*"]]},
        "optimizer.weight_decay": {"uniform": [0.0, 0.1]},
        "schedule.warmup_steps": ONES,
        "regularization.label_smoothing": {"uniform": [0.0, 0.1]},
        "engine.zero_stage": {"choice": [1, 2]},
        "precision": {"choice": ["fp32"]},
        "workers.per_device_batch_size": ONES,
        "global_batch_size": {"choice": [8, 16]},
        "seed": ONES,
    }
    own = {path: values for path, values in searched.items() if path.split(".")[0] == field}
    assert own or field in {path.split(".")[0] for path in NOT_SEARCHED}, "nobody has thought of it"
    if own:
        assert list(sweep(tmp_path, own).space) == list(own)


@pytest.mark.parametrize(
    ("space", "values", "said"),
    [
        ({"seed": ONES}, {"folds": 3}, "the seed says which samples each fold holds out"),
        ({"data": {"choice": ["run://text"]}}, {"folds": 3}, "with folds each trial holds out a part of its own data"),
        ({"data": {"choice": ["run://text"]}}, {"metric": "train_loss"}, "say a metric of held-out data"),
        ({"data": {"choice": ["text"]}}, {}, "say run://NAME"),
        ({"data": {"choice": ["run://text", "run://sweep"]}}, {}, "run://sweep stands later in the file"),
        ({"data": {"choice": ["run://short", "run://text"]}}, {}, "run://short: model.context: 40 is under"),
    ],
)
def test_trials_are_compared_on_the_same_held_out_samples_of_data_that_fits(space, values, said, tmp_path):
    short = changed(PREPARE, name="short", pack={"block_size": 128})
    job = changed(TUNE, space=space, train__model__context=40, **values)
    fits = changed(PREPARE, pack={"block_size": 32})
    with pytest.raises(SpecError) as caught:
        outside_references(load(tmp_path, fits, short, job))
    (fault,) = caught.value.faults
    assert said in fault.message
    path = next(iter(space))
    assert (tmp_path / "job.yaml").read_text().splitlines()[fault.line - 1].strip() == f"{path}:"


def test_a_setting_is_drawn_only_where_its_condition_holds(tmp_path):
    job = sweep(tmp_path, CONDITIONAL)
    seen = set()
    for number in range(40):
        settings, training = draw(job.space, job.train, pick_at_random(random.Random(number)))
        assert ("schedule.floor" in settings) == (training.schedule.kind == "cosine")
        seen.add(settings.get("schedule.floor"))
        if training.schedule.kind == "cosine":
            assert training.schedule.warmup_steps == 3
            assert training.schedule.floor == settings["schedule.floor"]
    assert seen == {None, 0.0, 0.25, 0.5}


def test_a_grid_has_every_combination_once_and_none_of_what_is_not_set(tmp_path):
    job = sweep(tmp_path, {**CONDITIONAL, "model.layers": {"integer": [1, 2]}}, search={"kind": "grid"})
    found = list(Possible(job).combinations())
    assert len(found) == job.trials == len(set(map(key, found))) == 2 * (3 + 1)
    assert sum("schedule.floor" in one for one in found) == 6


WIDTHS = {"choice": [8, 16, 24, 32, 40, 48, 50, 64]}
RARE = {"model.width": WIDTHS, "model.heads": {"choice": [1, 2, 4]}}


def test_one_rare_combination_that_cannot_be_is_left_out_of_a_sweep(tmp_path):
    job = sweep(tmp_path, RARE, search={"kind": "grid"})
    possible = Possible(job)
    found = list(possible.combinations())
    assert len(found) == job.trials == 23
    assert {"model.width": 50, "model.heads": 4} not in found
    assert possible.refused == 1
    assert "(with model.width 50, model.heads 4)" in possible.why


def test_values_that_need_two_others_of_the_space_are_accepted(tmp_path):
    space = {
        "model.width": {"choice": [32, 33]},
        "model.heads": {"choice": [2, 3]},
        "model.layers": {"integer": [1, 2]},
    }
    job = sweep(tmp_path, space, search={"kind": "grid"})
    found = {(one["model.width"], one["model.heads"]) for one in Possible(job).combinations()}
    assert found == {(32, 2), (33, 3)}


@pytest.mark.parametrize("kept", ["model.width % model.heads == 0", "model.width <= 40 and model.heads != 4"])
def test_constraints_hold_for_every_combination_of_a_grid(kept, tmp_path):
    job = sweep(tmp_path, RARE, search={"kind": "grid"}, constraints=[kept])
    expected = [
        (width, heads)
        for width in WIDTHS["choice"]
        for heads in (1, 2, 4)
        if width % heads == 0 and ("<=" not in kept or (width <= 40 and heads != 4))
    ]
    assert [tuple(one.values()) for one in Possible(job).combinations()] == expected
    assert job.trials == len(expected)


def test_a_grid_of_a_million_combinations_is_gone_through_one_by_one(tmp_path):
    space = {
        "model.width": {"integer": [4, 400], "step": 4},
        "model.layers": {"integer": [1, 100]},
        "schedule.warmup_steps": {"integer": [0, 9]},
        "optimizer.weight_decay": {"uniform": [0.0, 0.9], "step": 0.1},
    }
    tracemalloc.start()
    job = sweep(tmp_path, space, search={"kind": "grid", "trials": 10})
    first = list(itertools.islice(Possible(job).combinations(), job.trials))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Possible(job).size == 1_000_000
    assert job.trials == 10
    assert [one["optimizer.weight_decay"] for one in first] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert peak < 5e6, "517 MB with all of them at once"


def test_trials_of_another_sweep_are_taken_only_where_they_can_be_trials_here(tmp_path):
    possible = Possible(
        sweep(tmp_path, {**RARE, "model.dropout": {"uniform": [0.0, 0.3]}}, constraints=["model.heads > 1"])
    )
    fitting = {"model.width": 32, "model.heads": 2, "model.dropout": 0.1}
    assert possible.allows(fitting)
    for wrong in ({"model.heads": 1}, {"model.width": 50, "model.heads": 4}, {"model.layers": 2}):
        assert not possible.allows({**fitting, **wrong})
    assert possible.refused == 0, "nobody drew them here"


def test_a_bell_is_cut_at_its_bounds_and_not_heaped_there():
    bell = Normal(normal=(0.1, 0.1), within=(0.0, 0.2))
    values = [bell.at_share(share / 100) for share in range(101)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 0.2)
    assert len({round(value, 9) for value in values}) == 101
    assert [bell.share_of(value) for value in values] == pytest.approx([share / 100 for share in range(101)], abs=1e-9)


def test_points_of_a_range(tmp_path):
    job = sweep(
        tmp_path,
        {
            "optimizer.weight_decay": {"uniform": [0.0, 0.3], "step": 0.1},
            "model.layers": {"integer": [1, 6], "step": 2},
            "optimizer.learning_rate": {"log_uniform": [0.001, 0.1]},
        },
    )
    decay, layers = ([point(values, n) for n in range(count(values))] for values in list(job.space.values())[:2])
    assert decay == [0.0, 0.1, 0.2, 0.3], "to the last digit"
    assert layers == [1, 3, 5]
    assert count(job.space["optimizer.learning_rate"]) is None
    assert [at_share(job.space["optimizer.weight_decay"], share) for share in (0.0, 0.5, 0.99, 1.0)] == [
        0,
        0.2,
        0.3,
        0.3,
    ]
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        for values in job.space.values():
            assert contains(values, at_share(values, share))


def test_a_stepped_range_has_its_last_value_however_it_was_worked_out(tmp_path):
    values = {"uniform": [0.0, 0.3], "step": 0.1}
    start = [{"optimizer.weight_decay": 0.1 * 3}]  # 0.30000000000000004
    job = sweep(tmp_path, {"optimizer.weight_decay": values}, search__start_with=start)
    assert fits(job.space, start[0])
    assert not fits(job.space, {"optimizer.weight_decay": 0.3001})


def test_trials_of_another_sweep_fit_where_every_setting_lies_in_the_space(tmp_path):
    space = sweep(tmp_path, CONDITIONAL).space
    assert fits(space, {"schedule": COSINE, "schedule.floor": 0.3})
    assert fits(space, {"schedule": {"kind": "constant"}})
    assert not fits(space, {"schedule": COSINE, "schedule.floor": 0.6})
    assert not fits(space, {"schedule": COSINE, "model.layers": 1})
    assert not fits(space, {"schedule.floor": 0.3})


def test_figures_but_losses_are_maximized_where_no_goal_is_given(tmp_path):
    job = sweep(tmp_path, TUNE["space"], metric="validation_accuracy")
    assert job.mode == "max"
    assert sweep(tmp_path, TUNE["space"], metric="validation_perplexity").mode == "min"
    assert sweep(tmp_path, TUNE["space"], metric="validation_loss", goal="maximize").mode == "max"
