"""How a population's settings change: within their ranges, on their steps, and to what can be a trial."""

import random

import pytest
from ray.tune.experiment import Trial

from job_texts import TUNE, changed
from trainshed.runtime.tuning.scheduling.mutation import made_possible, mutated
from trainshed.runtime.tuning.scheduling.schedulers import scheduler_of, seeded
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.possible import Possible
from trainshed.spec.sweep.range_values import count, point

SPACE = {
    "optimizer.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "optimizer.weight_decay": {"uniform": [0.0, 0.6], "step": 0.1},
    "schedule.warmup_steps": {"integer": [1, 9], "step": 2},
    "regularization.max_grad_norm": {"normal": [1.0, 0.5], "within": [0.5, 2.0]},
}
START = {
    "optimizer.learning_rate": 0.09,
    "optimizer.weight_decay": 0.1,
    "schedule.warmup_steps": 1,
    "regularization.max_grad_norm": 1.9,
}
STEPPED = ("optimizer.weight_decay", "schedule.warmup_steps")


def population(kind="pbt", space=SPACE, **values):
    values = {"train__validation": {"every_steps": 5}, "train__steps": 40, **values}
    search = {"kind": "random", "trials": 4, "seed": 1}
    return job_from_data(
        changed(TUNE, space=space, search=search, stop_early={"kind": kind, "interval_steps": 10}, **values)
    )


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)


def on_its_steps(job, settings):
    return all(
        settings[path] in [point(job.space[path], number) for number in range(count(job.space[path]))]
        for path in STEPPED
    )


@pytest.mark.parametrize("resample", [0.0, 0.25, 1.0])
def test_a_change_lies_in_its_range_and_on_its_steps(resample):
    job, settings = population(), dict(START)
    for _ in range(200):
        settings = mutated(Possible(job), settings, resample=resample)
        assert on_its_steps(job, settings), settings
        assert 1e-4 <= settings["optimizer.learning_rate"] <= 1e-1
        assert 0.5 <= settings["regularization.max_grad_norm"] <= 2.0
        assert isinstance(settings["schedule.warmup_steps"], int)


def test_a_step_that_rounds_to_nothing_is_a_whole_one():
    found = {mutated(Possible(population()), START, resample=0.0)["optimizer.weight_decay"] for _ in range(50)}
    assert found == {0.0, 0.2}, "0.08 and 0.12 are both nearest to what it was"


def test_whole_numbers_by_their_factors_are_drawn_anew_as_they_were_at_first():
    job = population(space={"schedule.warmup_steps": {"integer": [1, 1000], "log": True}}, train__steps=2000)
    found = [mutated(Possible(job), {"schedule.warmup_steps": 500}, resample=1.0) for _ in range(400)]
    share = sum(one["schedule.warmup_steps"] < 10 for one in found) / 400
    assert 0.3 < share < 0.48, "0.009 where every number is equally likely"


@pytest.mark.parametrize(
    "kept", ["optimizer.weight_decay <= 0.3", "optimizer.learning_rate * 100 < schedule.warmup_steps"]
)
def test_a_change_keeps_the_constraints(kept):
    job, settings = population(constraints=[kept]), {**START, "optimizer.learning_rate": 0.005}
    possible = Possible(job)
    for _ in range(100):
        settings = mutated(possible, settings, resample=0.25)
        assert possible.allows(settings)
    assert possible.refused > 0


def test_what_a_bandit_chose_is_put_on_the_steps_and_made_possible():
    job = population("pb2", {path: SPACE[path] for path in ("optimizer.learning_rate", *STEPPED)})
    chosen = {"optimizer.learning_rate": 0.3, "optimizer.weight_decay": 0.2500001, "schedule.warmup_steps": 4.4}
    placed = made_possible(Possible(job), job.space, chosen, else_={})
    assert placed == {"optimizer.learning_rate": 0.1, "optimizer.weight_decay": 0.3, "schedule.warmup_steps": 5}
    forbidden = population("pb2", job.model_dump(mode="json")["space"], constraints=["optimizer.weight_decay < 0.3"])
    placed = made_possible(Possible(forbidden), job.space, chosen, else_={})
    assert placed["optimizer.weight_decay"] < 0.3
    assert on_its_steps(job, placed)


class Members:
    """Four members of a population, as Ray Tune's controller has them for its scheduler."""

    def __init__(self, job, scheduler):
        self.scheduler, self.trials, self.search_alg = scheduler, [], None
        scheduler.set_search_properties("validation_loss", "min")
        for number in range(4):
            trial = Trial("sweep", stub=True, trial_id=f"{number:05d}", config={"settings": dict(START)})
            trial.custom_trial_name = f"trial-{number:05d}"
            trial.config["settings"] = {path: START[path] for path in job.space}
            trial.config["settings"]["optimizer.learning_rate"] = 0.01 * (number + 1)
            scheduler.on_trial_add(self, trial)
            self.trials.append(trial)


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_members_that_go_on_from_others_get_steps_and_constraints(kind):
    space = {path: SPACE[path] for path in ("optimizer.learning_rate", *STEPPED)}
    job = population(kind, space, constraints=["optimizer.weight_decay < 0.5"])
    seeded(job)
    possible = Possible(job)
    members = Members(job, scheduler_of(job, possible))
    for step in (10, 20, 30):
        for number, trial in enumerate(members.trials):
            state = members.scheduler._trial_state[trial]
            look = {"step": step, "validation_loss": 5.0 - number * step / 10}
            members.scheduler._save_trial_state(state, step, look, trial)
        config, _ = members.scheduler._get_new_config(members.trials[0], members.trials[3])
        assert on_its_steps(job, config["settings"]), config
        assert possible.allows(config["settings"])
        members.trials[0].config = config
        if kind == "pb2":
            last = members.scheduler.data.iloc[-1]
            learnt = {path: last[f"settings/{path}"] for path in space}
            assert learnt == pytest.approx(config["settings"]), "the bandit learns from what the member got"


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_a_member_that_fails_before_its_first_figure_ends_nobody_and_teaches_nothing(kind):
    space = {path: SPACE[path] for path in ("optimizer.learning_rate", *STEPPED)}
    job = population(kind, space)
    members = Members(job, scheduler_of(job, failed={0, 1}.__contains__))
    assert members.scheduler.on_trial_result(members, members.trials[0], {}) == "CONTINUE"
    members.scheduler._save_trial_state(
        members.scheduler._trial_state[members.trials[1]], 10, {"step": 10, "validation_loss": 0.1}, members.trials[1]
    )
    for trial in members.trials[:2]:
        members.scheduler.on_trial_complete(members, trial, {})
    if kind == "pb2":
        assert len(members.scheduler.data) == 0
