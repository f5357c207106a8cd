"""What is said of optimizers when a job is read."""

import pytest
from pydantic import TypeAdapter, ValidationError

from job_texts import TRAIN, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import load_files
from trainshed.spec.training.engines.deepspeed import misfit
from trainshed.spec.training.optimizers import Optimizer, moments

KINDS = ["sgd", "adam", "adamw", "adamw_8bit", "adagrad", "rmsprop", "adafactor", "lion", "muon"]


def made(**fields):
    return TypeAdapter(Optimizer).validate_python({"learning_rate": 0.1, **fields})


def faults(tmp_path, job):
    file = tmp_path / "job.yaml"
    file.write_text(text(job))
    with pytest.raises(SpecError) as caught:
        load_files([file], ())
    return [str(fault).removeprefix(f"{file}:") for fault in caught.value.faults]


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_needs_no_more_than_a_learning_rate(kind):
    assert made(kind=kind).kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_only_those_of_whole_matrices_are_refused_under_zero(kind):
    assert misfit(made(kind=kind), 0) is None
    assert (misfit(made(kind=kind), 2) is not None) == (kind in ("adafactor", "muon"))


def test_muon_under_zero_is_one_line_that_says_what_to_do(tmp_path):
    found = faults(tmp_path, changed(TRAIN, optimizer={"kind": "muon", "learning_rate": 0.02}))
    assert len(found) == 1
    assert found[0].endswith(
        "optimizer muon needs whole matrices, and engine.zero_stage 2 gives it flat pieces; "
        "set engine.zero_stage: 0, or use optimizer adamw"
    )


def test_adafactor_under_fsdp_is_one_line_that_says_what_to_do(tmp_path):
    job = changed(TRAIN, optimizer={"kind": "adafactor", "learning_rate": 0.02}, engine={"kind": "fsdp"})
    assert faults(tmp_path, job)[0].endswith(
        "optimizer adafactor needs whole matrices, and engine.kind fsdp gives it a worker's rows of them; "
        "set engine.kind: ddp, or use optimizer adamw"
    )


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ({"kind": "rmsprob", "learning_rate": 0.1}, "optimizer: unknown kind 'rmsprob'; did you mean 'rmsprop'?"),
        ({"kind": "lion", "learning_rate": 0.1, "momentum": 0.9}, "optimizer.momentum: unknown key"),
        ({"kind": "sgd", "learning_rate": 0.1, "momentum": 1.0}, "optimizer.momentum: input should be less than 1"),
        ({"kind": "adamw", "learning_rate": 0.1, "layer_decay": 0.0}, "layer_decay: input should be greater than 0"),
        (
            {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.0, "nesterov": True},
            "nesterov: true needs momentum over 0, got 0; set momentum: 0.9, or nesterov: false",
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_what_an_optimizer_cannot_be_is_one_line(tmp_path, optimizer, said):
    found = faults(tmp_path, changed(TRAIN, optimizer=optimizer))
    assert len(found) == 1
    assert said in found[0]


def test_moments_are_what_the_optimizer_keeps():
    kept = {kind: moments(made(kind=kind)) for kind in KINDS}
    assert kept == {
        "sgd": 1, "adam": 2, "adamw": 2, "adamw_8bit": 2 * (1 / 4 + 1 / 256), "adagrad": 1, "rmsprop": 1,
        "adafactor": 1, "lion": 1, "muon": 2,
    }  # fmt: skip
    assert moments(made(kind="sgd", momentum=0.0)) == 0
    with pytest.raises(ValidationError):
        made(kind="adamw", learning_rate=0.0)
