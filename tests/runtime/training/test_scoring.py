"""A pass that only measures: the same figures for any number of workers, and none is measured twice."""

import numpy as np
import pytest
import torch

from forking import run_workers
from scoring_worker import EndingHost, figures, measure, measure_all
from task_cases import SAMPLES, SHAPE, batch_of, model_of, preference_case, preferring_case
from trainshed.runtime.training.host import World
from trainshed.runtime.training.scoring.worker import answering
from trainshed.spec.training.engines import Ddp, Fsdp
from trainshed.spec.training.models import Gpt2, Llama
from trainshed.spec.training.preference import Dpo

ALONE = World(0, 1, torch.device("cpu"))
FILES = [f"train-{chunk:05d}.arrow" for chunk in range(4)]


@pytest.fixture
def case(tmp_path):
    return preference_case(tmp_path / "tokenizer", Dpo(), Llama(**SHAPE))


def wanted(case):
    """What the model says of each sample by itself."""
    model, _ = model_of(case)
    with torch.no_grad():
        each = [case.task.of_samples(model, batch_of(case, np.array([number]))) for number in range(SAMPLES)]
    return {name: np.array([float(one[name]) for one in each]) for name in each[0]}


def check(found, case):
    said = wanted(case)
    assert found.keys() == said.keys()
    for name, values in said.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_sample_has_its_own_figures_for_any_number_of_workers(workers, tmp_path):
    """Existing weights with dropout, which stays off, under both engines; 48 is no multiple of three times 8."""
    (tmp_path / "other").mkdir()
    dropping = preferring_case(tmp_path / "other" / "tokenizer", Gpt2(**SHAPE, dropout=0.2))
    fresh = preference_case(tmp_path / "tokenizer", Dpo(), Llama(**SHAPE))
    cells = {
        f"{name}-{engine.kind}": (case, engine, "fp32")
        for name, case in (("dropping", dropping), ("fresh", fresh))
        for engine in (Ddp(), Fsdp())
    }
    run_workers(measure_all, workers, tmp_path, tmp_path / "rendezvous", cells, logs=tmp_path)
    for name, (case, _, _) in cells.items():
        check(figures(tmp_path / name, SAMPLES, tmp_path / "copy"), case)


def test_in_half_precision_the_figures_are_near(case, tmp_path):
    measure(case, ALONE, tmp_path, precision="bf16")
    for name, values in wanted(case).items():
        found = figures(tmp_path, SAMPLES, tmp_path / "copy")[name]
        np.testing.assert_allclose(found, values, rtol=2e-2)
        assert not np.array_equal(found, values.astype(np.float32)), "that was no bf16"


def test_what_was_measured_before_a_restart_is_kept(case, tmp_path):
    host = EndingHost(ALONE, after=20)
    assert measure(case, ALONE, tmp_path, host=host) == (26, "stop")
    assert sorted(one.name for one in (tmp_path / "scores").iterdir()) == FILES[:2]
    before = (tmp_path / "scores" / FILES[0]).stat().st_mtime_ns
    counts = []
    assert measure(case, ALONE, tmp_path, counts=counts) == (SAMPLES, None)
    assert sum(counts) == SAMPLES - 26, "samples were measured twice"
    assert (tmp_path / "scores" / FILES[0]).stat().st_mtime_ns == before
    check(figures(tmp_path, SAMPLES, tmp_path / "copy"), case)


@pytest.mark.parametrize("why", ["stop", "leave"])
def test_it_ends_behind_the_file_in_which_it_was_told_to(why, case, tmp_path):
    assert measure(case, ALONE, tmp_path, host=EndingHost(ALONE, after=1, why=why)) == (13, why)


def test_no_gradient_and_no_optimizer_is_there(case):
    engine = answering(case.training.model_copy(update={"engine": Ddp()}), case.task, ALONE)
    assert not any(one.requires_grad for one in engine.model.parameters())
    assert not engine.model.training
    engine.train(on=True)
    assert not engine.model.training
    assert not hasattr(engine, "optimizer")
