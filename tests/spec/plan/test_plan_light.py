"""What the plan counts of a base in fewer bits where it knows no more of a model than its size."""

import pytest

from trainshed.spec.plan.adapters import light_weights
from trainshed.spec.plan.model import cost_of
from trainshed.spec.plan.states import need, needed
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, DdpLayout, Fsdp
from trainshed.spec.training.models import DataSizes, Pretrained
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

QWEN = {"parameters": 7_615_616_512, "linear": 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944), "vocab": 152_064}
GIB = 2**30


def training(lora, engine=Ddp()):  # noqa: B008
    return Training(
        model=Pretrained(name_or_path="Qwen/Qwen2.5-7B-Instruct", num_parameters=QWEN["parameters"]),
        data="run://data",
        lora=lora,
        engine=engine,
        precision="bf16",
        optimizer=AdamW(learning_rate=1e-4),
        workers=Workers(count=1, gpus=1, per_device_batch_size=1),
        global_batch_size=1,
        steps=10,
    )


def test_of_a_hub_s_model_the_part_in_4_bits_is_guessed_from_its_size():
    sizes = DataSizes(vocab_size=QWEN["vocab"], context=1024)
    count, held = light_weights(training(Lora(quantize_base="nf4")), QWEN["parameters"], sizes)
    assert count == pytest.approx(QWEN["linear"], rel=0.1)
    assert held / count == pytest.approx(0.516, abs=0.001)
    assert light_weights(training(Lora()), QWEN["parameters"], sizes) == (0, 0), "its files may be in fp32"
    assert light_weights(training(Lora(), Fsdp()), QWEN["parameters"], sizes) == (0, 0)


@pytest.mark.parametrize(("lora", "fits"), [(Lora(quantize_base="nf4"), True), (Lora(), False)], ids=["nf4", "whole"])
def test_a_model_of_7_billion_weights_fits_a_gpu_of_24_gb_in_4_bits_alone(lora, fits):
    asked = training(lora)
    made = need(
        asked, cost_of(asked, DataSizes(vocab_size=QWEN["vocab"], context=1024)), DdpLayout(), 1, checkpointing=True
    )
    assert (needed(made, asked.workers) < 20 * GIB) == fits
