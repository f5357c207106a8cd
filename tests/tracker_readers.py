"""What stands in a tracker, as its own reader says: TensorBoard's accumulator, MLflow's client, W&B's files."""

import json
import os
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from waiting import wait_for


@dataclass
class Seen:
    """One run there."""

    figures: dict = field(default_factory=dict)
    """Metric to a list of steps and values, in order."""
    params: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)
    state: str | None = None
    parent: str | None = None


class TensorBoardReader:
    kind = "tensorboard"
    live = True
    """Whether a step is there before a checkpoint holds it."""

    def __init__(self, run):
        self.run = run

    def settings(self):
        return "tensorboard"

    def runs(self):
        folder = Path(self.run.storage.path(self.run.record.at("tensorboard")))
        key = self.run.record.run_id
        found = {}
        for inner in sorted({file.parent for file in folder.rglob("events.*")}):
            found[key if inner == folder else f"{key}-{inner.name}"] = self._seen(inner, nested=inner != folder)
        return found

    def _seen(self, folder, *, nested):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        read.Reload()
        figures = {tag: [(one.step, one.value) for one in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
        told = {tag: read.summary_metadata[tag].plugin_data.content for tag in read.Tags()["tensors"]}
        start = HParamsPluginData.FromString(told["_hparams_/session_start_info"]).session_start_info
        params = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
        tags = {}
        for tag in ("train", "tune", "trial", "end"):
            for tensor in read.Tensors(tag) if tag in told else ():
                tags |= _named(tensor.tensor_proto.string_val[0].decode())
        state = tags.get("outcome")
        assert ("_hparams_/session_end_info" in told) == (state == "finished")
        return Seen(figures, params, tags, state, self.run.record.run_id if nested else None)


class WandbReader:
    kind = "wandb"
    live = False

    def __init__(self, run):
        self.run = run

    def settings(self):
        return {"kind": "wandb", "mode": "offline", "project": "tests"}

    def runs(self):
        from trainshed.runtime.trackers.wandb import records

        folder = Path(self.run.storage.path(self.run.record.at()))
        found = {}
        files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
        last = {file.stem: file for file in files}  # one before it may have lost its writer
        wait_for(lambda: all(_is_whole(records(file)) for file in last.values()), limit_s=30)  # W&B writes behind
        for file in files:
            key = file.stem.removeprefix("run-")
            seen = found.setdefault(key, Seen())
            seen.state = None
            for record in records(file):
                self._add(seen, record)
        return found

    def _add(self, seen, record):
        match record.WhichOneof("record_type"):
            case "history":
                for item in record.history.item:
                    name = item.key or ".".join(item.nested_key)
                    if not name.startswith("_"):
                        row = (record.history.step.num, json.loads(item.value_json))
                        seen.figures.setdefault(name, []).append(row)
            case "run":
                seen.parent = record.run.run_group if record.run.job_type == "trial" else None
                self._said(seen, record.run.config.update)
            case "config":
                self._said(seen, record.config.update)
            case "summary":
                for item in record.summary.update:
                    seen.tags[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
            case "exit":
                seen.state = {0: "finished", 1: "failed"}.get(record.exit.exit_code, "killed")

    def _said(self, seen, items):
        for item in items:
            name = item.key or ".".join(item.nested_key)
            (seen.tags if name.startswith("trainshed.") else seen.params)[name] = json.loads(item.value_json)


class MlflowReader:
    kind = "mlflow"
    live = False

    def __init__(self, run, server):
        self.run = run
        self.server = server

    def settings(self):
        return {"kind": "mlflow", "tracking_uri": self.server.address, "experiment": str(self.run.storage.root)}

    def runs(self):
        from mlflow.entities import ViewType
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self.server.address)
        experiment = client.get_experiment_by_name(self.settings()["experiment"])
        if experiment is None:
            return {}
        found = {}
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            key = run.data.tags["trainshed.key"]
            assert key not in found, f"two runs of {key}"
            figures = {
                name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            }
            state = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed", "RUNNING": None}[run.info.status]
            parent = run.data.tags.get("mlflow.parentRunId")
            above = None if parent is None else client.get_run(parent).data.tags["trainshed.key"]
            found[key] = Seen(figures, dict(run.data.params), dict(run.data.tags), state, above)
        return found


class MlflowServer:
    """A real server on a SQLite file; it ends with its whole group of processes."""

    def __init__(self, command, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.command, self.folder, self.process = command, folder, None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        store = f"sqlite:///{self.folder}/mlflow.db"
        words = ["server", "--backend-store-uri", store, "--port", str(self.port), "--workers", "1"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.command, *words, *artifacts],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            )
        wait_for(self._answers, limit_s=240)
        return self

    def stop(self, number=signal.SIGKILL):
        os.killpg(self.process.pid, number)
        self.process.wait()

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        try:
            return httpx.get(f"{self.address}/health", timeout=30).status_code == 200
        except httpx.HTTPError:
            return False


def _is_whole(records):
    return any(record.WhichOneof("record_type") == "exit" for record in records)


def _named(text):
    found = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(": ")
        found[name] = json.loads(value)
    return found
