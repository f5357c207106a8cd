"""Workers that cannot train together are found before the first step, and the cause is named."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_training import tiny_training
from trainshed.spec.engines import Ddp, DeepSpeed
from trainshed.spec.workers import Workers

pytestmark = pytest.mark.slow

CASES = {
    "whole ddp": "passes",
    "whole zero-0": "passes",
    "whole zero-1": "passes",
    "whole zero-2": "passes",
    "whole zero-3": "passes",
    "whole zero-2 bf16": "passes",
    "all-reduce zero-2": "all-reduce over 2 workers gave",
    "gradients ddp": "a step of 2 workers is not the step of one",
    "gradients zero-1": "a step of 2 workers is not the step of one",
    "weights ddp": "the workers hold different weights of",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What two workers said in each case; both must say the same kind of thing."""
    folder = tmp_path_factory.mktemp("self-test")
    cases = {}
    for case in CASES:
        words = case.split()
        engine = Ddp() if words[1] == "ddp" else DeepSpeed(zero_stage=int(words[1][-1]))
        fields = {"engine": engine, "precision": "bf16" if "bf16" in words else "fp32", "self_test": True}
        workers = Workers(count=2, per_device_batch_size=2)
        cases[case] = tiny_training(**fields, workers=workers, global_batch_size=8).model_dump(mode="json")
    (folder / "cases.json").write_text(json.dumps(cases))
    worker = Path(__file__).with_name("self_test_worker.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(worker.parents[1]), *sys.path])}
    rendezvous = folder / f"rendezvous-{secrets.token_hex(4)}"
    started = [
        subprocess.Popen([sys.executable, worker, folder, str(rank), rendezvous], env=environment) for rank in range(2)
    ]
    for process in started:
        assert process.wait(timeout=240) == 0
    both = [json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2)]
    return {case: [one[case] for one in both] for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_the_self_test_says_what_is_broken(said, case):
    assert CASES[case] in said[case][0]
    assert CASES[case] in said[case][1]
