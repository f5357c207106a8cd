"""Liger's kernel, run by Triton's interpreter, answers as all logits at once do, under engines that move weights too.

Liger needs Triton, of a gigabyte, which a CPU build of torch does not bring: pip install 'trainshed[liger]' triton.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from paths import ROOT
from trainshed.runtime.tasks.fused import fused_losses

LACKING = find_spec("liger_kernel") is None or find_spec("triton") is None
SUITES = "tests/runtime/tasks/test_chunked.py", "tests/runtime/training/engines/test_engine_contract.py"
CASES = "losses_and_gradients_are_those or every_decoder or in_chunks_train_like"


ONE = """
import torch
from trainshed.runtime.tasks.fused import fused_losses
head, states, targets = torch.nn.Linear(16, 50, bias=False), torch.randn(12, 16), torch.randint(0, 50, (12,))
said = fused_losses(head, states, targets, label_smoothing=0.1)
wanted = torch.nn.functional.cross_entropy(head(states), targets, label_smoothing=0.1, reduction="none")
torch.testing.assert_close(said[:, 0], wanted)
assert torch.equal(said[:, 1].bool(), head(states).argmax(-1) == targets)
"""


@pytest.mark.faults  # minutes: the interpreter is a thousand times slower than the kernel
@pytest.mark.skipif(LACKING, reason="liger is not installed: pip install 'trainshed[liger]' triton")
def test_every_test_of_logits_in_chunks_holds_with_liger():
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", ONE], env=env, check=True)
    command = [sys.executable, "-m", "pytest", "-q", *SUITES, "-k", CASES]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nobody_is_asked(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    head = torch.nn.Linear(4, 9)
    assert fused_losses(head, torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), label_smoothing=0.0) is None
