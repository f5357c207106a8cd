"""A training and a sweep that report to trackers, on a real cluster; to MLflow where its server is there."""

import importlib.util
import json
import os
import shutil
from dataclasses import dataclass

import pytest

from small_jobs import TRAIN, write
from small_sweeps import SWEEP, driver_of
from tracker_readers import MlflowReader, MlflowServer, TensorBoardReader, WandbReader
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from waiting import wait_for

LACKING = [library for library in ("tensorboard", "wandb") if importlib.util.find_spec(library) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,  # the contract and the processes of trackers are in make test, without a cluster
    pytest.mark.skipif(bool(LACKING), reason=f"not installed: pip install 'trainshed[{','.join(LACKING)}]'"),
]

STEPS = 300
TRACKED = {
    **TRAIN,
    "data": "run://weeks",
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "per_device_batch_size": 2},
    "global_batch_size": 8,
    "steps": STEPS,
    "checkpoint": {"every_steps": 20},
    "validation": {"every_steps": 50, "max_samples": 8},
}


@dataclass
class OnDisk:
    """A run as its trackers' readers want it."""

    record: Record

    @property
    def storage(self):
        return self.record.storage


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MLflow's server; None where it is not installed."""
    command = os.environ.get("MLFLOW_COMMAND") or shutil.which("mlflow")
    if command is None or importlib.util.find_spec("mlflow") is None:
        yield None
        return
    started = MlflowServer(command, tmp_path_factory.mktemp("mlflow")).start()
    yield started
    started.stop()


def readers(server, platform, run):
    on_disk = OnDisk(Record(Storage.open(platform.home), run))
    found = [TensorBoardReader(on_disk), WandbReader(on_disk)]
    return found if server is None else [*found, MlflowReader(on_disk, server)]


def settings(server, platform):
    """What the readers of any run of this storage read."""
    return [reader.settings() for reader in readers(server, platform, "any")]


def test_a_training_whose_driver_dies_three_times_is_one_run_with_each_step_once(platform, weeks, server):
    job = {**TRACKED, "name": "tracked", "report_to": settings(server, platform)}
    platform.run("submit", write(weeks, job), "--detach")
    folder = platform.folder("tracked")
    metrics = folder / "metrics.jsonl"
    for done in (50, 120, 190):
        wait_for(lambda done=done: metrics.exists() and metrics.read_text().count("\n") > done, limit_s=240)
        victim = wait_for(lambda: driver_of(platform))
        victim.kill()
        victim.wait()
    wait_for(lambda: platform.has_ended(folder.name), limit_s=300)
    shown = platform.json("show", "tracked")
    losses = {row["step"]: row["train_loss"] for row in shown["metrics"]}
    assert sorted(losses) == list(range(1, STEPS + 1))
    for reader in readers(server, platform, folder.name):
        runs = wait_for(reader.runs)
        assert list(runs) == [folder.name], reader.kind
        figures = runs[folder.name].figures["train_loss"]
        assert [step for step, _ in figures] == list(range(1, STEPS + 1)), reader.kind
        assert [value for _, value in figures] == pytest.approx(list(losses.values()), rel=1e-4), reader.kind
        assert runs[folder.name].state == "finished"
        assert runs[folder.name].tags["trainshed.lineage"] == shown["lineage"]["fingerprint"]
        assert str(runs[folder.name].params["optimizer.learning_rate"]) == "0.003"
    events = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events.count("tracker_began") == len(job["report_to"])
    assert events.count("tracker_left") == 0


def test_a_sweep_is_a_run_above_its_trials(platform, weeks, server):
    job = {**SWEEP, "name": "tracked-sweep", "report_to": settings(server, platform)}
    platform.run("submit", write(weeks, job))
    folder = platform.folder("tracked-sweep")
    trials = {trial["trial"]: trial for trial in platform.json("show", "tracked-sweep")["result"]["trials"]}
    for reader in readers(server, platform, folder.name):
        runs = {key: seen for key, seen in reader.runs().items() if key.startswith(folder.name)}
        assert sorted(runs) == [folder.name, *(f"{folder.name}-{trial}" for trial in sorted(trials))], reader.kind
        assert runs[folder.name].state == "finished"
        for name, trial in trials.items():
            seen = runs[f"{folder.name}-{name}"]
            assert seen.parent == folder.name
            (path,) = [path for path in trial["settings"] if path == "optimizer.learning_rate"]
            assert float(seen.params[path]) == pytest.approx(trial["settings"][path])
            rows = [json.loads(line) for line in (folder / "trials" / name / "metrics.jsonl").read_text().splitlines()]
            assert [step for step, _ in seen.figures["train_loss"]] == [row["step"] for row in rows], reader.kind
