"""A machine is lost, another comes: the training goes on with what is there, and its losses are the same."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtime.training.engines.test_engine_contract import prepare, train_losses
from runtime.training.engines.test_engine_contract import run as run_without_ray
from trainshed.spec.training.models import Gpt2
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.saving import Checkpoints, Validation
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

STEPS = 50_000
COMPARED = 150
TRAINING = Training(
    model=Gpt2(layers=2, heads=2, width=64),
    data="run://text",
    optimizer=AdamW(learning_rate=0.001),
    workers=Workers(count=(1, 2), per_device_batch_size=2),
    global_batch_size=8,
    steps=STEPS,
    checkpoint=Checkpoints(every_steps=10),
    validation=Validation(every_steps=STEPS, max_samples=4),
)


def with_validation(folder):
    """The samples that are learnt from are those held out: a worker opens both."""
    file = folder / "data" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(
        json.dumps({**manifest, "splits": {**manifest["splits"], "validation": manifest["splits"]["train"]}})
    )
    return folder


def test_a_training_goes_on_with_one_machine_less_and_takes_in_a_new_one(tmp_path):
    folder = with_validation(prepare(tmp_path, TRAINING))
    with tempfile.TemporaryDirectory(prefix="ts-", dir="/tmp") as short:  # Ray's sockets have short names only
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("shrinking_cluster.py"), folder, short],
            capture_output=True,
            text=True,
            timeout=800,
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    print(done.stdout)
    assert facts["groups"] == [2, 1, 2], facts
    assert facts["steps_lost"] <= 20
    assert facts["grown_from_step"] == facts["last_step_before"], "growing lost a step"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, facts["step"] + 1))
    (tmp_path / "undisturbed").mkdir()
    clean = run_without_ray(prepare(tmp_path / "undisturbed", TRAINING), {"workers.count": 2}, stop_after=COMPARED)
    assert len(rows) > COMPARED
    assert [row["order_hash"] for row in rows[:COMPARED]] == [row["order_hash"] for row in clean[:COMPARED]]
    # One worker adds up in another order than two, and training amplifies the last digit.
    assert train_losses(rows)[:COMPARED] == pytest.approx(train_losses(clean)[:COMPARED], rel=1e-3)
