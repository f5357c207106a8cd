"""A run as a driver and its workers leave it on disk, without either: for tests of what trackers are told of it."""

import secrets

from trainshed.record.facts import EndFacts
from trainshed.record.results import TrainResult
from trainshed.record.run import Record, now
from trainshed.record.storage import Storage
from trainshed.runtime.training.loop.metric_log import MetricLog

FINGERPRINT = "ab" * 32


class TrackedRun:
    """A training; `steps` writes its rows with the training's own writer, `checkpoint` a manifest."""

    def __init__(self, folder, name=None, *, kind="train", report_to=(), **job):
        name = name or f"tracked-{secrets.token_hex(4)}"
        self.record = Record(Storage.open(folder), name)
        said = {"kind": kind, "name": name, "steps": 40, "optimizer": {"learning_rate": 0.01}, **job}
        self.record.begin(
            {**said, "report_to": list(report_to)}, submission_id="ts-1", created_at=now(), number=0, code={}
        )
        self.doing = 0

    @property
    def storage(self):
        return self.record.storage

    def steps(self, first, last, *, folder=None):
        """Trains from `first` to `last`: what came after `first` - 1 is taken back and done again."""
        self.doing += 1
        log = MetricLog(self.storage, f"{folder or self.record.at()}/metrics.jsonl")
        log.rewind(first - 1)
        for step in range(first, last + 1):
            log.row(**self.row(step))
        log.close()

    def row(self, step):
        """Each doing of a step has a time of its own, and a train_loss that tells which doing it was."""
        held_out = {"validation_loss": 2.0 / step} if step % 10 == 0 else {}
        time = 1_700_000_000 + 1000 * self.doing + step
        return {
            "step": step,
            "time": float(time),
            "train_loss": step + self.doing / 10,
            "order_hash": "f00d",
            **held_out,
        }

    def checkpoint(self, step, *, folder=None):
        place = f"{folder or self.record.at()}/checkpoints/step-{step:07d}/manifest.json"
        self.storage.write_json(place, {"step": step, "files": {}, "metrics": {}})

    def lineage(self):
        self.storage.write_json(
            self.record.at("lineage.json"), {"run_id": self.record.run_id, "fingerprint": FINGERPRINT}
        )

    def end(self, state="succeeded", **said):
        result = None
        if state == "succeeded":
            metrics = {"step": 40, "test_loss": 0.75}
            result = TrainResult(metrics=metrics, model=self.record.at("model"), registered="tales@3")
        self.record.finish(EndFacts(state=state, **said), result)

    def trial(self, number, settings, *, ended=None):
        """A trial of a sweep; its folder."""
        folder = self.record.at(f"trials/trial-{number:05d}")
        self.storage.write_json(f"{folder}/trial.json", {"settings": settings, "began_at": now()})
        if ended is not None:
            self.end_trial(number, **ended)
        return folder

    def end_trial(self, number, **ended):
        folder = self.record.at(f"trials/trial-{number:05d}")
        self.storage.write_json(f"{folder}/ended.json", {"ended_at": now(), **ended})
