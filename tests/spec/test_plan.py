"""The plan's arithmetic."""

import pytest

from trainshed.errors import PlanError
from trainshed.spec.engines import DeepSpeed
from trainshed.spec.models import DataSizes, Gpt2
from trainshed.spec.optimizers import AdamW
from trainshed.spec.plan import plan, refuse_what_cannot_fit
from trainshed.spec.train import Training
from trainshed.spec.workers import Workers

SIZES = DataSizes(vocab_size=512, context=64)


def training(stage, **workers):
    return Training(
        model=Gpt2(layers=2, heads=2, width=64),
        data="run://text",
        optimizer=AdamW(learning_rate=0.001),
        engine=DeepSpeed(zero_stage=stage),
        workers=Workers(**{"count": 2, "per_device_batch_size": 4, **workers}),
        global_batch_size=16,
        steps=10,
    )


def test_batch_arithmetic():
    made = plan("a", training(1), SIZES)
    assert (made.accumulation, made.tokens_per_step, made.tokens) == (2, 1024, 10240)


def test_states_fall_strictly_from_stage_1_to_3():
    totals = [stage.total for stage in plan("a", training(1), SIZES).stages]
    assert totals[1] > totals[2] > totals[3]


def test_states_are_those_measured_of_deepspeed_on_two_workers():
    """3.7 M parameters in fp32: parameters 14.2 MB, moments 14.2 MB and master weights 7.1 MB a worker in stage 1."""
    parameters, stage = 3_550_000, plan("a", training(1), SIZES)
    from trainshed.spec.plan import states

    one = states(training(1), parameters, 1)
    assert stage.chosen.zero_stage == 1
    assert one.parameters == pytest.approx(14.2e6)
    assert one.optimizer == pytest.approx(14.2e6 + 7.1e6)


def test_what_cannot_fit_is_refused_with_a_stage_that_would():
    made = plan("a", training(1, memory_gb=0.0015), SIZES)
    with pytest.raises(PlanError, match=r"workers\.memory_gb") as caught:
        refuse_what_cannot_fit(made)
    assert "engine.zero_stage: 3 would fit" in str(caught.value)


def test_what_fits_is_not_refused():
    made = plan("a", training(1, memory_gb=1), SIZES)
    assert made.memory_bytes is not None
    assert made.chosen.total < made.memory_bytes
    refuse_what_cannot_fit(made, machine_bytes=10**9)
