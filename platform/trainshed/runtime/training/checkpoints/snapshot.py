"""A worker's part of the training state, copied into one buffer that is a safetensors file but for its header.

The copy is all that training waits for. Names in the file: `weights/NAME`, `state/KEY/NAME`, `odd/KEY/NAME` (state of a
whole parameter in a shape of its own), `buffer/NAME`; the metadata says where each piece starts in its parameter and
holds the optimizer's single numbers. The layout is that of the safetensors format (huggingface.co/docs/safetensors):
the library reads it, but writing with it would copy every tensor once more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from trainshed.runtime.training.engines import Engine
from trainshed.runtime.training.engines.pieces import Piece, odd_tensors_of, scalars_of, share_of, tensors_of

DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNMENT = 8


@dataclass
class Snapshot:
    """One worker's state at one step. The buffer is used again for the next one."""

    worker: int
    workers: int
    header: bytes = b""
    buffer: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))

    def take(self, engine: Engine) -> None:
        """Copies this worker's part; training may go on when it returns."""
        starts: dict[str, int] = {}
        scalars: dict[str, dict[str, float]] = {}
        entries: list[tuple[str, torch.Tensor]] = []
        for piece in self._pieces(engine):
            starts[piece.name] = piece.start
            scalars[piece.name] = scalars_of(piece, engine.state)
            entries.append((f"weights/{piece.name}", piece.values))
            entries += [(f"state/{key}/{piece.name}", part) for key, part in tensors_of(piece, engine.state)]
        if self.worker == 0:
            whole = [piece for piece in engine.pieces() if piece.shared]
            entries += [
                (f"odd/{key}/{one.name}", odd) for one in whole for key, odd in odd_tensors_of(one, engine.state)
            ]
            entries += [(f"buffer/{name}", tensor) for name, tensor in engine.buffers().items()]
        self._lay_out(entries, {"starts": starts, "scalars": scalars, "counters": engine.counters()})

    def _pieces(self, engine: Engine) -> list[Piece]:
        shares = (share_of(piece, worker=self.worker, workers=self.workers) for piece in engine.pieces())
        return [share for share in shares if share is not None]

    def _lay_out(self, entries: list[tuple[str, torch.Tensor]], facts: Mapping[str, object]) -> None:
        head: dict[str, Any] = {"__metadata__": {key: json.dumps(value) for key, value in facts.items()}}
        end = 0
        for name, tensor in entries:
            size = tensor.numel() * tensor.element_size()
            head[name] = {
                "dtype": DTYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [end, end + size],
            }
            end += size
        if self.buffer.numel() != end:
            self.buffer = torch.empty(end, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        for name, tensor in entries:
            first, last = head[name]["data_offsets"]
            self.buffer[first:last].copy_(tensor.detach().reshape(-1).view(torch.uint8), non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        text = json.dumps(head).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        self.header = len(text).to_bytes(8, "little") + text

    def write_to(self, stream: Any, digest: Any) -> int:
        """Writes the file and feeds its hash; the number of bytes."""
        content = memoryview(self.buffer.numpy().data)
        for part in (memoryview(self.header), content):
            digest.update(part)
            stream.write(part)
        return len(self.header) + len(content)
