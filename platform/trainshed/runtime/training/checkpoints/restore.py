"""Reading a checkpoint back into any engine: each piece takes the overlaps from the parts of all workers that wrote it.

The number of workers, the ZeRO stage and the engine may have changed since. Parts are safetensors, so nothing in them
is code; a file is opened only after its hash was found right.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open

from trainshed.errors import PlatformError
from trainshed.record.checkpoints import METRIC, Checkpoint, all_checkpoints, by_loss, fault_of
from trainshed.record.events import CheckpointRefused, Sink
from trainshed.record.storage import Storage
from trainshed.runtime.scratch import scratch
from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.engines.pieces import Piece
from trainshed.runtime.training.host import World

log = logging.getLogger("trainshed.training")


def newest_whole(storage: Storage, folder: str, world: World, sink: Sink) -> Checkpoint | None:
    """The newest checkpoint whose every file has its hash; workers share the reading and agree on the answer.

    One that does not is passed over, and that is told with the reason.
    """
    return _first_whole([one.step for one in all_checkpoints(storage, folder)], storage, folder, world, sink)


def best_whole(storage: Storage, folder: str, world: World, sink: Sink) -> Checkpoint | None:
    """The complete checkpoint with the lowest validation loss; of equal ones the newest."""
    steps = [one.step for one in by_loss(all_checkpoints(storage, folder), METRIC)]
    return _first_whole(steps, storage, folder, world, sink)


def _first_whole(steps: list[int], storage: Storage, folder: str, world: World, sink: Sink) -> Checkpoint | None:
    """The first of these; worker 0's list counts."""
    for step in _from_first(steps, world):
        one = next((one for one in all_checkpoints(storage, folder) if one.step == step), None)
        mine = one.files[world.worker :: world.workers] if one is not None else []
        faults = [fault for file in mine if (fault := fault_of(one, file))] if one is not None else ["it is gone"]
        said = [fault for each in _from_all(faults, world) for fault in each]
        if not said:
            return one
        log.error("checkpoint of step %d is passed over: %s", step, said[0])
        if world.worker == 0:
            sink(CheckpointRefused(step=step, cause=said[0]))
    return None


def restore(checkpoint: Checkpoint, engine: Engine) -> None:
    """Puts the state of a checkpoint into the engine, and the engine into training mode.

    Raises:
        PlatformError: the checkpoint does not hold all of a parameter or buffer that the engine has, or holds others.
    """
    with scratch("restore") as copy:
        local = checkpoint.storage.download(checkpoint.path, copy)
        parts = [_Part.open(local / file) for file in checkpoint.files]
        _refuse_another_model(parts, engine)
        _forget_what_was_not_there(engine.pieces(), parts, engine)
        for piece in engine.pieces():
            _fill_weights(piece, parts)
            _fill_state(piece, parts, engine)
            _fill_odd(piece, parts, engine)
        _fill_buffers(parts, engine)
        engine.set_counters(parts[0].counters)
    engine.refresh()
    engine.train(on=True)


def restore_weights(checkpoint: Checkpoint, engine: Engine) -> None:
    """Puts the weights of another training's checkpoint into an engine whose optimizer has not stepped.

    Raises:
        PlatformError: a file is not what was saved, or the weights are not those of a model of this shape.
    """
    if faults := [fault for file in checkpoint.files if (fault := fault_of(checkpoint, file))]:
        raise PlatformError(f"init_from: {faults[0]}")
    with scratch("restore") as copy:
        local = checkpoint.storage.download(checkpoint.path, copy)
        parts = [_Part.open(local / file) for file in checkpoint.files]
        _refuse_another_model(parts, engine)
        for piece in engine.pieces():
            _fill_weights(piece, parts)
        _fill_buffers(parts, engine)
    engine.refresh()
    engine.train(on=True)


@dataclass(frozen=True)
class _Part:
    """One worker's file."""

    file: Any
    buffers: tuple[str, ...]
    states: dict[str, list[str]]
    """Parameter to the keys of the optimizer's state that the file has for it."""
    odd: dict[str, list[str]]
    """As `states`, for state in a shape of its own."""
    starts: dict[str, int]
    scalars: dict[str, dict[str, float]]
    counters: dict[str, float]

    @staticmethod
    def open(path: Path) -> _Part:
        file = safe_open(str(path), framework="pt")
        facts = {key: json.loads(value) for key, value in file.metadata().items()}  # type: ignore[no-untyped-call]
        kinds: dict[str, dict[str, list[str]]] = {"state": {}, "odd": {}}
        names = list(file.keys())  # type: ignore[no-untyped-call]
        for name in names:
            kind, _, rest = name.partition("/")
            if kind in kinds:
                key, _, parameter = rest.partition("/")
                kinds[kind].setdefault(parameter, []).append(key)
        buffers = tuple(name.removeprefix("buffer/") for name in names if name.startswith("buffer/"))
        return _Part(file, buffers, kinds["state"], kinds["odd"], facts["starts"], facts["scalars"], facts["counters"])

    def overlap(self, piece: Piece) -> tuple[int, int] | None:
        """First and last element of the parameter that both this part and the piece hold."""
        if piece.name not in self.starts:
            return None
        start = self.starts[piece.name]
        length = self.file.get_slice(f"weights/{piece.name}").get_shape()[0]
        first = max(start, piece.start)
        last = min(start + length, piece.start + len(piece))
        return (first, last) if first < last else None


def _refuse_another_model(parts: list[_Part], engine: Engine) -> None:
    """What the model has no place for would be dropped, and a buffer that is not there would stay as it began."""
    trained = {name for name, parameter in engine.model.named_parameters() if parameter.requires_grad}
    buffers = set(engine.buffers())
    saved = {f"buffer {name}" for part in parts for name in part.buffers} | {
        name for part in parts for name in part.starts
    }
    known = trained | {f"buffer {name}" for name in buffers}
    if strangers := sorted(saved - known):
        raise PlatformError(
            f"the checkpoint holds {strangers[0]} and {len(strangers) - 1} more that the model does not have; it is of "
            "another model"
        )
    if gone := sorted(known - trained - saved):
        raise PlatformError(f"the checkpoint lacks {gone[0]} and {len(gone) - 1} more; it is of another model")


def _fill_buffers(parts: list[_Part], engine: Engine) -> None:
    own = engine.buffers()
    for part in parts:
        for name in set(part.buffers) & set(own):
            own[name].copy_(part.file.get_tensor(f"buffer/{name}").view_as(own[name]))


def _overlaps(piece: Piece, parts: list[_Part]) -> Iterator[tuple[_Part, slice, slice]]:
    """The parts that hold some of a piece: where in the piece it goes, and where in the part it stands."""
    for part in parts:
        span = part.overlap(piece)
        if span is not None:
            first, last = span
            start = part.starts[piece.name]
            yield part, slice(first - piece.start, last - piece.start), slice(first - start, last - start)


def _fill_weights(piece: Piece, parts: list[_Part]) -> None:
    filled = 0
    for part, inside, there in _overlaps(piece, parts):
        piece.values[inside].copy_(part.file.get_slice(f"weights/{piece.name}")[there])
        filled += inside.stop - inside.start
    if filled != len(piece):
        raise PlatformError(
            f"the checkpoint holds {filled} of {len(piece)} elements of {piece.name}; it is of another model"
        )


def _fill_state(piece: Piece, parts: list[_Part], engine: Engine) -> None:
    """What the optimizer remembers of a piece."""
    for part, inside, there in _overlaps(piece, parts):
        state = engine.state[piece.owner]
        for key in part.states.get(piece.name, ()):
            stored = part.file.get_slice(f"state/{key}/{piece.name}")[there]
            _state_tensor(state, key, piece, stored.dtype)[inside].copy_(stored)
        for key, value in part.scalars[piece.name].items():
            old = state.get(key)
            state[key] = torch.full_like(old, value) if isinstance(old, torch.Tensor) else torch.tensor(value)


def _forget_what_was_not_there(pieces: list[Piece], parts: list[_Part], engine: Engine) -> None:
    """An optimizer that had not stepped when the checkpoint was taken remembers nothing after it."""
    if not any(part.scalars.get(piece.name) or part.states.get(piece.name) for piece in pieces for part in parts):
        engine.state.clear()


def _fill_odd(piece: Piece, parts: list[_Part], engine: Engine) -> None:
    for part in parts:
        for key in part.odd.get(piece.name, ()):
            engine.state[piece.owner][key] = part.file.get_tensor(f"odd/{key}/{piece.name}").to(piece.owner.device)


def _state_tensor(state: dict[str, Any], key: str, piece: Piece, dtype: torch.dtype) -> torch.Tensor:
    """The 1-D view of the optimizer's state that belongs to a piece; made where the optimizer has not stepped yet."""
    if key not in state:
        state[key] = torch.zeros_like(piece.owner, dtype=dtype, memory_format=torch.preserve_format)
    whole: torch.Tensor = state[key]
    return whole.view(-1)[piece.offset : piece.offset + len(piece)]


def _from_first(value: Any, world: World) -> Any:
    held = [value]
    if world.workers > 1:
        dist.broadcast_object_list(held, src=0)
    return held[0]


def _from_all(value: Any, world: World) -> list[Any]:
    held: list[Any] = [value] * world.workers
    if world.workers > 1:
        dist.all_gather_object(held, value)
    return held
