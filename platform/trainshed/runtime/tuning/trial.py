"""One trial: a training with drawn settings. One worker trains in the trial's own process, several under Ray Train.

A Train run inside a trial costs about 20 s before its first step; a one-worker trial has no need of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import ray.tune
import torch
import torch.distributed as dist
from ray.tune.integration.ray_train import TuneReportCallback
from torch.distributed import HashStore  # type: ignore[attr-defined]

from trainshed.record.storage import Storage
from trainshed.runtime.training.fit import fit
from trainshed.runtime.training.host import Notice, World
from trainshed.runtime.training.loop import log
from trainshed.runtime.training.plan import WorkerPlan
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.tuning.space import with_settings
from trainshed.spec.train import Training


def run_trial(config: dict[str, Any], *, plan: WorkerPlan) -> None:
    """Tune's entry point: `config` holds the settings by dotted path; `plan` is the sweep's training."""
    base = Training.model_validate_json(json.dumps(plan.training), strict=True)
    training = with_settings(base, config)
    folder = f"{plan.folder}/trials/{trial_name(ray.tune.get_context().get_trial_id())}"
    facts = {"settings": config, "training": training.model_dump(mode="json")}
    Storage.open(plan.storage).write_json(f"{folder}/trial.json", facts)
    own = dataclasses.replace(plan, training=facts["training"], folder=folder)
    if training.workers.max_count > 1:
        fit(own, training, say=log.warning, callbacks=[TuneReportCallback()])
        return
    if not dist.is_initialized():
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it
        dist.init_process_group("nccl" if training.workers.gpus else "gloo", store=HashStore(), rank=0, world_size=1)
    run_worker(own, TrialHost())


def trial_name(trial_id: str) -> str:
    """`trial-00003` of Tune's `a1b2c_00003`."""
    return f"trial-{trial_id.rsplit('_', 1)[-1]}"


class TrialHost:
    """The host of a one-worker trial; see `trainshed.runtime.training.host.Host`."""

    def __init__(self) -> None:
        device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.world = World(0, 1, device)

    def notice(self) -> Notice | None:
        """Tune ends a trial where it reports."""
        return None

    def stepped(self, step: int) -> None:
        """Tune hears of held-out losses only."""

    def validated(self, metrics: dict[str, Any]) -> None:
        """Tune hears every held-out loss, and may end the trial here."""
        ray.tune.report(metrics)

    def committed(self, path: str, metrics: dict[str, Any]) -> None:
        """Trials keep no state."""
