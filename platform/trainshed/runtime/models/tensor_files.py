"""The tensors of a folder of safetensors, of which each is read by one of the workers of a training.

Knows files and torch's process group; knows nothing of models.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import first_line
from trainshed.spec.training.models.folder import Stored, stored_tensors, weight_files

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Types of tensors in safetensors' words; scaled 8-bit floats need what is not read here."""
PIECE_BYTES = 2**22
"""Of a tensor that is read and sent in pieces: it is never whole beside the parameter that it fills."""


class TensorFiles:
    """The tensors of a folder; each is read by one of the workers."""

    def __init__(self, folder: Path, source: str) -> None:
        """Raises PlatformError where a type cannot be read, or the workers have different files."""
        self.stored: Mapping[str, Stored] = stored_tensors(folder)
        self._source = source
        self._files = {name: file for file in weight_files(folder) for name in stored_tensors(folder, (file,))}
        self._owners = {name: number for number, name in enumerate(sorted(self.stored))}
        strange = sorted({one.dtype for one in self.stored.values()} - set(TYPES))
        if strange:
            raise PlatformError(f"{source}: has weights of type {strange[0]}; {', '.join(TYPES)} can be trained on")
        self._agree()

    def empty(self, name: str, rows: slice | None = None, *, device: str = "cpu") -> torch.Tensor:
        """A tensor of the shape and type of a stored one, or of some of its rows."""
        one = self.stored[name]
        shape = one.shape if rows is None else (rows.stop - rows.start, *one.shape[1:])
        return torch.empty(shape, dtype=TYPES[one.dtype], device=device)

    def shared(self, name: str) -> torch.Tensor:
        """A tensor as it is stored, on every worker; one has read it. Raises PlatformError where it cannot be read."""
        return self._sent(name, None)

    def shared_rows(self, name: str) -> Iterator[torch.Tensor]:
        """A tensor as `shared` gives it, a large one in pieces: whole rows, those of its first dimension."""
        one = self.stored[name]
        rows = one.shape[0] if one.shape else 1
        step = max(1, PIECE_BYTES // max(1, math.prod(one.shape[1:]) * TYPES[one.dtype].itemsize))
        if step >= rows:
            yield self._sent(name, None)
            return
        for start in range(0, rows, step):
            yield self._sent(name, slice(start, min(start + step, rows)))

    def _sent(self, name: str, rows: slice | None) -> torch.Tensor:
        if _alone():
            return self._read(name, rows)
        owner = self._owners[name] % dist.get_world_size()
        tensor = self._read(name, rows) if dist.get_rank() == owner else self.empty(name, rows)
        wire = tensor.to("cuda") if dist.get_backend() == "nccl" else tensor
        dist.broadcast(wire.reshape(-1).view(torch.uint8), owner)
        return wire.cpu()

    def _read(self, name: str, rows: slice | None) -> torch.Tensor:
        """Opened anew each time: a file that stays mapped counts as this worker's memory, as far as it was read."""
        file = self._files[name]
        try:
            with safe_open(file, framework="pt") as opened:
                part = opened.get_slice(name)[rows or ...]
                tensor: torch.Tensor = part.clone()
        except (OSError, SafetensorError) as error:
            raise PlatformError(f"{self._source}: {file.name}: {name} cannot be read: {first_line(error)}") from error
        return tensor

    def _agree(self) -> None:
        if _alone():
            return
        own = sorted((name, one.shape, one.dtype) for name, one in self.stored.items())
        said: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(said, hashlib.sha256(repr(own).encode()).hexdigest())
        for worker, one in enumerate(said):
            if one != said[0]:
                raise PlatformError(
                    f"{self._source}: worker {worker} has other weights by that name than worker 0; the path must lead "
                    "to the same files on every node"
                )


def _alone() -> bool:
    return not dist.is_initialized() or dist.get_world_size() == 1
