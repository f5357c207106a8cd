"""FLOP of a step, and devices by the names that torch gives them."""

import pytest
import torch

from trainshed.runtime.training.loop.utilisation import peak_of, step_flops
from trainshed.spec.devices import gpu_type, peak_flops
from trainshed.spec.training.models import Gpt2, Pretrained


def test_a_step_of_gpt3_is_what_palm_counts():
    """175 B parameters: 6 N + 12 L H Q T FLOP a token (arXiv 2204.02311, appendix B, equation for FLOPs per token)."""
    shape = Gpt2(layers=96, heads=96, width=12_288)
    a_token = step_flops(shape, 175 * 10**9, samples=1, time=2048) / 2048
    assert a_token == pytest.approx(6 * 175e9 + 12 * 96 * 96 * 128 * 2048)


def test_without_known_layers_only_parameters_count():
    assert step_flops(Pretrained(name_or_path="org/model"), 10, samples=2, time=3) == 360


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla V100-SXM2-16GB", "V100-16GB"),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_device_is_known_by_the_name_torch_gives_it(name, kind):
    assert gpu_type(name) == kind


def test_a_peak_is_of_its_precision():
    assert peak_flops("H100", "bf16") == 989e12
    assert peak_flops("T4", "bf16") is None
    assert peak_of(torch.device("cpu"), "bf16") is None
