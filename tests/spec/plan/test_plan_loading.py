"""What a worker needs while it loads: its share and one part where weights are split, else the model in fp32."""

import pytest

from trainshed.errors import PlanError
from trainshed.spec.plan import plan, refuse_what_cannot_fit
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.models import DataSizes, Llama

from .test_plan import training

SIZES = DataSizes(vocab_size=32_000, context=2048)
SHORT = DataSizes(vocab_size=32_000, context=8)
ONE = Llama(layers=16, heads=16, width=2048, feed_forward=5632, tie_embeddings=False)
LAYER, EMBEDDINGS = 4 * 2048**2 + 3 * 2048 * 5632, 32_000 * 2048


def planned(engine, *, precision="bf16", gpus=1.0, count=4):
    made = plan("a", training(model=ONE, engine=engine, precision=precision, gpus=gpus, count=count), SIZES)
    return made.chosen, made.cost.parameters


@pytest.mark.parametrize("engine", [Ddp(), DeepSpeed(zero_stage=0), DeepSpeed(zero_stage=1), DeepSpeed(zero_stage=2)])
def test_an_engine_that_copies_the_weights_has_them_whole_in_fp32_first(engine):
    precision = "fp32" if engine == DeepSpeed(zero_stage=0) else "bf16"
    chosen, count = planned(engine, precision=precision)
    in_half = 2 if isinstance(engine, DeepSpeed) and precision == "bf16" else 4
    assert (chosen.loading_host, chosen.loading_device) == (4 * count, in_half * count)
    chosen, _ = planned(engine, precision=precision, gpus=0)
    assert (chosen.loading_host, chosen.loading_device) == (4 * count, 0)


def test_zero_3_has_its_share_and_the_largest_of_layers_and_embeddings():
    chosen, count = planned(DeepSpeed(zero_stage=3))
    part = 4 * max(LAYER, EMBEDDINGS)  # fresh weights are drawn in fp32
    assert (chosen.loading_host, chosen.loading_device) == (part, 2 * count // 4 + part)
    chosen, _ = planned(DeepSpeed(zero_stage=3), gpus=0)
    assert (chosen.loading_host, chosen.loading_device) == (2 * count // 4 + part, 0)


def test_fsdp_has_its_rows_in_fp32_and_all_that_is_outside_of_layers():
    chosen, count = planned(Fsdp())
    part = 4 * (count - 16 * LAYER)
    assert part == pytest.approx(4 * 2 * EMBEDDINGS, rel=0.01)
    assert (chosen.loading_host, chosen.loading_device) == (part, count + part)


def test_what_does_not_fit_while_it_loads_is_refused():
    """With adapters in bf16, on CPUs, a worker keeps less than the fp32 weights that it begins with."""
    job = training(1, model=ONE, precision="bf16").model_copy(update={"lora": Lora(rank=4)})
    made = plan("a", job, SHORT)
    assert made.chosen.total < made.chosen.loading_host == made.needed
    memory = (made.chosen.total + made.chosen.loading_host) // 2
    tight = job.model_copy(update={"workers": job.workers.model_copy(update={"memory_gb": memory / 1e9})})
    with pytest.raises(PlanError, match="while it loads"):
        refuse_what_cannot_fit(plan("a", tight, SHORT), tight)
