"""One trial: a training with drawn settings. One worker trains in the trial's own process, several under Ray Train.

A trial that was cut off goes on from its checkpoint; one that had ended is told again from its record, and nothing is
trained twice. Its identity is its name: the settings of a population's member change while it runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.tune
import torch
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]

from trainshed.errors import FailureKind
from trainshed.record.checkpoints import FOLDER as CHECKPOINTS
from trainshed.record.checkpoints import METRIC
from trainshed.record.events import Event, describe
from trainshed.record.facts import Settings
from trainshed.record.metric_rows import MetricRow, read_rows
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import EndedBy, Taken, TrialEnd, TrialState
from trainshed.record.trials import TrialFiles, number_of
from trainshed.runtime.cause import cause_of
from trainshed.runtime.failure import kind_of
from trainshed.runtime.training.ended import Notice
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.loop import log
from trainshed.runtime.training.ray_train.fit import fit
from trainshed.runtime.training.ray_train.rendezvous import LOOPBACK, listen_on
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.runtime.tuning.trial.failure_kinds import with_half_the_batch
from trainshed.runtime.tuning.trial.folds import FoldedReport, folder_of
from trainshed.runtime.tuning.trial.population import Exchange
from trainshed.runtime.tuning.trial.spec import TrialSpec
from trainshed.runtime.watch.heartbeat import HeartbeatSender
from trainshed.spec.document.override import override
from trainshed.spec.plan.limits import usable
from trainshed.spec.training.train import Training

Report = Callable[[MetricRow], None]


@dataclass(frozen=True)
class Link:
    """How a trial talks to its sweep."""

    report: Report
    """Tune hears of held-out figures, and may end or pause the trial there."""
    heard: int
    """Tune has heard of the steps up to this one."""
    sender: HeartbeatSender | None
    """Of a trial in its own process; several workers have pulses of their own."""


def train_trial(config: dict[str, Any], plan: TrialSpec) -> None:
    """A trial from where it is to its end, early or not; see `entry.run_trial`."""
    number = number_of(ray.tune.get_context().get_trial_name())
    trial = TrialFiles(Storage.open(plan.worker.storage), plan.worker.folder, number)
    exchange = Exchange(trial, plan.interval) if plan.interval is not None else None
    report = exchange.report if exchange is not None else _report
    if trial.ended is not None:
        for row in trial.held_out() if trial.failure is None else ():  # what failed is no figure to anybody
            _report(row)
        return
    keep_to_its_share(plan.gpu_share)
    base = Training.model_validate_json(json.dumps(plan.worker.training), strict=True)
    settings = dict(config["settings"])
    if exchange is not None and exchange.is_over(base.total_steps):
        return
    taken = exchange.take_over(settings) if exchange is not None else None
    heard = exchange.heard(base.total_steps) if exchange is not None else 0
    training = override(base, settings, file="space")
    sender = HeartbeatSender(plan.heartbeats, number) if training.workers.max_count == 1 else None
    try:
        _to_its_end(training, trial, plan, Link(report, heard, sender), settings=settings, taken=taken)
    finally:
        if sender is not None:
            sender.end()


def _to_its_end(
    training: Training,
    trial: TrialFiles,
    plan: TrialSpec,
    link: Link,
    *,
    settings: Settings,
    taken: Taken | None = None,
) -> None:
    """Trains; what fails is answered as its kind asks.

    Raises:
        Exception: a process or machine was lost: Ray Tune starts the trial again.
    """
    for _ in range(plan.memory_retries + 1):
        trial.begin(settings, training, taken)
        try:
            stopped_itself = _train(training, trial, plan, link)
        except Exception as error:
            kind = kind_of(error)
            half = with_half_the_batch(training)
            if kind is FailureKind.LOST:
                raise  # Tune starts it again, and it goes on from its checkpoint
            if kind is FailureKind.MEMORY and half is not None:
                log.warning("%s is out of memory: again with %d sample(s) a pass", trial.name, half.workers.per_device)
                training = half
                continue
            trial.end(TrialEnd(state=TrialState.FAILED, kind=kind, cause=cause_of(error)))
        else:
            if stopped_itself:  # Tune sees a trial without its last step; what ends one at a rule never comes here
                trial.end(TrialEnd(state=TrialState.ENDED, by=EndedBy.ITSELF))
        return
    cause = f"out of memory, also with {training.workers.per_device} sample(s) a pass"
    trial.end(TrialEnd(state=TrialState.FAILED, kind=FailureKind.MEMORY, cause=cause))


def _train(training: Training, trial: TrialFiles, plan: TrialSpec, link: Link) -> bool:
    """Runs a whole trial; returns whether it, or one of its folds, ended by its own early stopping."""
    worker = dataclasses.replace(plan.worker, data=plan.data[training.data])
    if plan.folds is None:
        own = dataclasses.replace(worker, folder=trial.folder)
        _train_once(training, own, link)
        return _stopped_itself(training, own)
    folded = FoldedReport(trial, training.total_steps, link.report, of_the_best=training.exports_best)
    stopped_itself = False
    of_a_fold = dataclasses.replace(link, report=folded.report)
    for fold in range(plan.folds):
        own = dataclasses.replace(worker, folder=folder_of(trial, fold), fold=(fold, plan.folds))
        _train_once(training, own, of_a_fold)
        folded.fold_ended()
        trial.storage.delete(f"{own.folder}/{CHECKPOINTS}")
        stopped_itself = stopped_itself or _stopped_itself(training, own)
    return stopped_itself


def _stopped_itself(training: Training, plan: WorkerSpec) -> bool:
    """Whether a training that has come to its end did so before its last step, which only its own rule makes it do."""
    rows = read_rows(Storage.open(plan.storage), f"{plan.folder}/metrics.jsonl")
    return training.regularization.early_stopping is not None and rows[-1].step < training.total_steps


def _train_once(training: Training, plan: WorkerSpec, link: Link) -> None:
    """One training. What it had measured before it was cut off goes first, where Tune has not heard of it."""
    own = dataclasses.replace(plan, training=training.model_dump(mode="json"))
    rows = read_rows(Storage.open(own.storage), f"{own.folder}/metrics.jsonl")
    held_out = [row for row in rows if row.is_held_out]
    for row in held_out:
        if row.step > link.heard:
            link.report(row)
    if held_out and held_out[-1].step >= training.total_steps:
        return
    if training.workers.max_count > 1:
        fit(
            own,
            training,
            sink=_log,
            callbacks=[PassOn(link.report)],
            place=ray.util.get_current_placement_group(),
        )
        return
    if not dist.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it
        listen_on(LOOPBACK)
        dist.init_process_group("nccl" if training.workers.gpus else "gloo", store=HashStore(), rank=0, world_size=1)
    assert link.sender is not None
    run_worker(own, TrialHost(link.report, link.sender, steps=training.total_steps))


def _log(event: Event) -> None:
    """Writes to the trial's own log: the sweep hears of a trial by its figures."""
    if (words := describe(event)) is not None:
        log.warning("%s", words)


def keep_to_its_share(share: float) -> None:
    """Where trials share a GPU: torch's allocator is out of memory at this one's part, and the others keep theirs."""
    if 0 < share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(fraction_of(torch.cuda.get_device_properties(0).total_memory, share))


def fraction_of(memory_bytes: int, share: float) -> float:
    """What torch's allocator may take of a device with so many bytes; the rest of the share is CUDA's."""
    return usable(memory_bytes, share) / memory_bytes


def _report(row: MetricRow) -> None:
    ray.tune.report(row.numbers)  # Tune and its schedulers need no more


class PassOn(ray.train.UserCallback):  # type: ignore[misc]
    """Hands to Tune what the workers of a trial report at each validation; Ray Train's controller runs here."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:  # noqa: ARG002
        """Called when all workers have reported; a checkpoint's report has no figures."""
        if METRIC in metrics[0]:
            self._report(MetricRow.of(metrics[0]))


class TrialHost:
    """The host of a one-worker trial; see `trainshed.runtime.training.host.Host`."""

    def __init__(self, report: Report, sender: HeartbeatSender, *, steps: int) -> None:
        device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.world = World(0, 1, device)
        self._report = report
        self._pulse = sender
        self._steps = steps

    def notice(self) -> Notice | None:
        """Tune ends a trial where it reports."""
        return None

    def stepped(self, step: int) -> None:
        """The next heartbeat says so; Tune hears of held-out figures only."""
        self._pulse.step = step
        self._pulse.phase = "training" if step < self._steps else "ending"

    def validated(self, metrics: dict[str, Any]) -> None:
        """Tune hears every held-out figure, and may end the trial here."""
        self._report(MetricRow.of(metrics))

    def committed(self, path: str, metrics: dict[str, Any]) -> None:
        """The trial's files say it."""
