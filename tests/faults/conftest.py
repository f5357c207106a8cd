"""One long-lived local cluster, and a training on it that faults are injected into."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import small_jobs
from e2e.conftest import Platform
from small_jobs import prepare, write, write_texts
from waiting import wait_for

EVERY_STEPS = 20
TRAIN = {
    **small_jobs.TRAIN,
    "name": "model",
    "model": {"kind": "gpt2", "layers": 2, "heads": 2, "width": 64, "dropout": 0.1},
    "data": "run://days",
    "engine": {"kind": "deepspeed", "zero_stage": 2},
    "workers": {"count": 2, "per_device_batch_size": 4, "hang_timeout_s": 15, "spares": True},
    "global_batch_size": 16,
    "validation": {"every_steps": 1000, "max_samples": 8},
    "checkpoint": {"every_steps": EVERY_STEPS},
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    write_texts(folder, "days", animals=("dog", "cat"), verb="sat", count=120)
    return folder


@pytest.fixture(scope="session")
def platform(tmp_path_factory, folder):
    made = platform_at(tmp_path_factory.mktemp("home"))
    made.run("submit", write(folder, prepare("days", block_size=32)))
    yield made
    made.run("cluster", "down")


def platform_at(home, storage=None):
    """The command with a home of its own, whose cluster's processes can be told to fail from within."""
    inject = str(Path(__file__).parent / "inject")
    paths = os.pathsep.join([inject, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PLATFORM_HOME": str(home),
        "PLATFORM_STORAGE": str(storage or home),
        "PYTHONPATH": paths,
        "FAULT_FILE": str(home / "fault"),
    }
    for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_API_KEY"):
        environment.pop(name, None)
    return Platform(home, environment)


@dataclass
class Run:
    """A training that is looked at from outside: its files and its processes."""

    platform: Platform
    run_id: str

    @property
    def folder(self):
        return Path(self.platform.environment["PLATFORM_STORAGE"]) / "runs" / self.run_id

    @property
    def rows(self):
        """metrics.jsonl, but a line that is being written."""
        file = self.folder / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    @property
    def step(self):
        rows = self.rows
        return rows[-1]["step"] if rows else 0

    @property
    def result(self):
        file = self.folder / "result.json"
        return json.loads(file.read_text()) if file.exists() else None

    def notes(self, event):
        file = self.folder / "notes.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [one for one in map(json.loads, lines) if one["event"] == event]

    def events(self, event):
        """What its driver said of that kind, over all its drivers."""
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        return [one for one in map(json.loads, lines) if one["event"] == event]

    @property
    def said(self):
        return (self.folder / "logs" / "driver.log").read_text()

    def workers(self):
        """Worker processes by rank: their own heartbeat line in the driver's log names them in order."""
        stands = [line for line in self.said.splitlines() if "worker(s) stand after" in line]
        pids = [int(pid) for pid in stands[-1].split("processes ")[1].split(", ")]
        return [psutil.Process(pid) for pid in pids]

    def driver(self):
        return self.process("trainshed.runtime submission.json")

    def process(self, title):
        """The first process of the cluster whose command line says that."""
        head = psutil.Process(self.platform.json("cluster", "up")["pid"])
        for child in head.children(recursive=True):
            try:
                words = " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            if title in words and "/sh " not in words:
                return child
        raise AssertionError(f"no process {title!r}")

    def goes_on_from(self, step, *, limit_s=180):
        """Waits until a step after `step` is done; the row of it."""
        return wait_for(
            lambda: next((row for row in self.rows[step:] if row["step"] > step), None) or self._ended(),
            limit_s=limit_s,
            every_s=0.05,
        )

    def _ended(self):
        result = self.result
        assert result is None or result["state"] == "succeeded", result
        return

    def tell(self, process, kind):
        """Makes a process fail from within."""
        (self.platform.home / "fault").write_text(kind)
        process.send_signal(signal.SIGUSR1)

    def losses(self):
        return [(row["step"], row["train_loss"], row["order_hash"]) for row in self.rows]


@pytest.fixture(scope="session")
def start(platform, folder):
    """Starts a training with these fields changed; returns it once it has done some steps."""

    def start(name, *, wait=True, **changes):
        file = write(folder, {**TRAIN, "name": name, **changes})
        run = Run(platform, platform.json("submit", file, "--detach")["runs"][0])
        if wait:
            wait_for(lambda: run.step > 5 and "worker(s) stand after" in run.said, every_s=0.2)
        return run

    return start


def ended(run, *, limit_s=600):
    """Waits for the end of a run; its result."""
    return wait_for(lambda: run.result, limit_s=limit_s)
