"""What a training leaves as its model: written, compared with what was trained, hashed, and only then put into storage.

A folder without its manifest.json, which comes last, is no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainshed.errors import PlatformError, UsageError
from trainshed.record.lineage import sha256
from trainshed.record.names import ExportName
from trainshed.record.results import ADAPTER, AgreementFacts, ExportFacts
from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.models.files import weights_sha256
from trainshed.runtime.scratch import scratch
from trainshed.runtime.tasks.number_types import written_in
from trainshed.runtime.tasks.protocol import SaysTokens
from trainshed.runtime.training.agreement import agreement, answers
from trainshed.runtime.training.engines import HALF, Engine
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.loop.validation import evaluating
from trainshed.spec.training.models.folder import stored_type
from trainshed.spec.training.tasks import Custom
from trainshed.spec.training.train import Training

MODEL: ExportName = "model"
SHOWN_TOKENS = 16
TYPES = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}
"""Names of types in safetensors, and in a job."""

State = dict[str, torch.Tensor]
Open = Callable[[Path, torch.dtype], torch.nn.Module]


@dataclass(frozen=True)
class Written:
    """What an export came to."""

    metrics: dict[str, Any] = field(default_factory=dict)
    """The hash of the weights, and what the task finds out from the exported model."""
    export: Mapping[ExportName, ExportFacts] = field(default_factory=dict)
    """By the folder."""


@dataclass(frozen=True)
class Trained:
    """A training at its end: all that an export is made of but the weights."""

    training: Training
    task: tasks.Task
    facts: tasks.DataFacts
    splits: Splits
    world: World

    def answers(self, engine: Engine) -> torch.Tensor | None:
        """What the trained model says of held-out samples; None where the export cannot be asked the same.

        Every worker calls it.
        """
        if not hasattr(self.task, "exports") or not len(self.splits.validation):
            return None
        with evaluating(engine):
            return self._asked(engine.forward, self.world)

    def write(self, state: State, said: torch.Tensor | None, storage: Storage, folder: str) -> Written:
        """Writes `model/`, `adapter/` or both; worker 0 calls it. `said` is what the trained model said.

        Raises:
            PlatformError: it does not say the same; nothing is written.
        """
        spec = self.training.export
        found: dict[str, Any] = {}
        exported: dict[ExportName, ExportFacts] = {}
        with scratch("export") as local:
            if spec.writes_adapters:
                exported[ADAPTER] = self._adapters(state, _made(local / ADAPTER), said)
            if spec.writes_model:
                exported[MODEL] = self._model(state, _made(local / MODEL), said)
                found = self._examined(local / MODEL)
            digest = ""
            for name, facts in exported.items():
                digest = _put(local / name, storage, f"{folder}/{name}", facts)
        return Written({**found, "model_sha256": digest}, exported)

    def _model(self, state: State, place: Path, said: torch.Tensor | None) -> ExportFacts:
        self.task.export(self._of_custom(state), place)
        dtype = _type_of(place)
        if said is None:
            return ExportFacts(dtype=dtype)
        exports: Any = self.task.exports  # type: ignore[attr-defined]  # it was asked for them
        return ExportFacts(dtype=dtype, agreement=self._compared(exports.open_export, place, said, dtype))

    def _adapters(self, state: State, place: Path, said: torch.Tensor | None) -> ExportFacts:
        exports: Any = self.task.exports  # type: ignore[attr-defined]  # every task that trains adapters has them
        exports.export_adapters(state, place)
        dtype = "bf16" if self.training.export.dtype == "bf16" else "fp32"
        if said is None:
            return ExportFacts(dtype=dtype)
        return ExportFacts(dtype=dtype, agreement=self._compared(exports.open_adapters, place, said, dtype))

    def _asked(self, forward: tasks.Forward, world: World) -> torch.Tensor:
        return answers(self.task, self.splits.validation, forward, seed=self.training.seed, world=world)

    def _compared(self, opened: Open, place: Path, said: torch.Tensor, written: str | None) -> AgreementFacts:
        """Raises PlatformError where the export says something else than what was trained."""
        computes_in = HALF.get(self.training.precision, torch.float32)
        again = self._of_export(partial(opened, place, computes_in))
        half = computes_in != torch.float32 or written != "fp32"
        facts = agreement(
            said, again, of_tokens=self.task.unit == "token" or isinstance(self.task, SaysTokens), half=half
        )
        if not facts.difference <= facts.tolerance:
            raise PlatformError(_disagrees(facts, self._shown(facts.sample), place.name))
        return facts

    def _of_export(self, opened: Callable[[], torch.nn.Module]) -> torch.Tensor:
        """On the device of the training, whose arithmetic it then has; on the CPU where there is no room."""
        try:
            return self._asked(opened().to(self.world.device), World(0, 1, self.world.device))
        except torch.OutOfMemoryError:
            return self._asked(opened(), World(0, 1, torch.device("cpu")))

    def _of_custom(self, state: State) -> State:
        """The weights as a task of the user's own writes them, if it has its own way to."""
        if not isinstance(self.training.task, Custom) or hasattr(self.task, "exports"):
            return state
        dtype = written_in(self.training.export.dtype, torch.float32)
        return {name: one.to(dtype) if one.is_floating_point() else one for name, one in state.items()}

    def _examined(self, place: Path) -> dict[str, float]:
        splits = self.splits
        held_out, prefix = (splits.validation, "validation") if splits.test is None else (splits.test, "test")
        return {f"{prefix}_{name}": value for name, value in self.task.examine(place, held_out).items()}

    def _shown(self, number: int) -> str:
        """The beginning of a sample, where it is text."""
        tokens = self.splits.validation.take(np.array([number])).get("tokens")
        if tokens is None or self.facts.tokenizer is None:
            return ""
        return f" ({self.facts.encoder.decode(list(map(int, tokens[0][:SHOWN_TOKENS])))!r})"


def _disagrees(facts: AgreementFacts, shown: str, name: str) -> str:
    """One line: which sample, how far apart, and what is left."""
    return (
        f"export: the exported {name} does not say what the trained one says: for sample {facts.sample} of the "
        f"validation split{shown} the {facts.measure} is {facts.exported:.6g} and was {facts.trained:.6g}: "
        f"{facts.difference:.2g} apart, and {facts.tolerance:.2g} is allowed. Nothing was exported; the trained "
        "weights are in the newest checkpoint"
    )


def _type_of(folder: Path) -> str | None:
    """The type that most of the weights have; None where they are in files of the user's own."""
    try:
        found = stored_type(folder)
    except UsageError:
        return None
    return TYPES.get(found, found)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _put(local: Path, storage: Storage, folder: str, facts: ExportFacts) -> str:
    """Uploads a folder, its manifest last; the hash of its weights."""
    hashes = {path.name: sha256(path.read_bytes()) for path in sorted(local.iterdir())}
    storage.upload(local, folder)
    storage.write_json(f"{folder}/manifest.json", {"files": hashes, "export": facts.as_json()})
    return weights_sha256(hashes)
