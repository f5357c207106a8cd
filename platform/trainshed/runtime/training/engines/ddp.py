"""torch's DistributedDataParallel behind the Engine protocol: every worker holds everything (arXiv 2006.15704).

The second engine keeps the border honest: what the loop asks of an engine is what two of them can give. It needs
nothing but torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from trainshed.runtime.models.four_bit import whole_shape, whole_weight
from trainshed.runtime.training.engines.engine import (
    HALF,
    Held,
    MakeInParts,
    MakeModel,
    MakeOptimizer,
    passes_of_step,
    persistent_buffers,
    save_activations,
    tensors_of,
)
from trainshed.runtime.training.engines.frozen import FrozenWeights
from trainshed.runtime.training.engines.pieces import Piece, State
from trainshed.spec.training.train import Training

NO_CLIP = float("inf")


class DdpEngine:
    """A model copied to every worker; see `trainshed.runtime.training.engines.engine.Engine`."""

    splits_weights = False
    offloads = False
    input_dtype = torch.float32  # autocast makes of it what it needs

    def __init__(
        self,
        training: Training,
        make_model: MakeModel,
        make_optimizer: MakeOptimizer,
        device: torch.device,
        *,
        make_in_parts: MakeInParts | None = None,
    ) -> None:
        self._half = HALF.get(training.precision)
        if training.lora is None:
            self.model = make_model().to(device)
        else:
            frozen = FrozenWeights(self._half, device, four_bits=training.lora.quantize_base == "nf4")
            made = make_model() if make_in_parts is None else make_in_parts(frozen.part, torch.float32)
            self.model = frozen.model(made).to(device)
        if training.engine.activation_checkpointing:
            save_activations(self.model)
        self.optimizer = make_optimizer(self.model, self.shape_of)
        if training.engine.compile:
            self.model.compile()
        workers = dist.get_world_size() if dist.is_initialized() else 1
        devices = [device] if device.type == "cuda" else None
        self._ddp = DistributedDataParallel(self.model, device_ids=devices) if workers > 1 else None
        self._passes = passes_of_step(training, workers)
        self._done = 0
        self._max_norm = training.regularization.max_grad_norm or NO_CLIP
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self.train(on=True)  # existing weights come in evaluation mode

    @property
    def state(self) -> State:
        """The optimizer's own memory, by parameter."""
        return self.optimizer.state

    def shape_of(self, parameter: torch.Tensor) -> torch.Size:
        """The parameter's own shape; of 4 bits that of the weights they stand for."""
        return whole_shape(parameter)

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output; gradients meet only in the last pass of a step. Without gradients no worker waits."""
        learns = self._ddp is not None and torch.is_grad_enabled()
        with self._alone(), self._autocast():
            return (self._ddp if learns else self.model)(**batch)  # type: ignore[misc]

    def backward(self, loss: torch.Tensor) -> None:
        """Adds one pass's gradients; DDP averages over the workers in the last one."""
        with self._alone():
            self._scaler.scale(loss / self._passes).backward()  # type: ignore[no-untyped-call]
        self._done = (self._done + 1) % self._passes

    def step(self, learning_rate: float) -> float:
        """Clips and applies; the global gradient norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        self._scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._max_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=False)
        return float(norm)

    def train(self, *, on: bool) -> None:
        """Dropout on or off."""
        self.model.train(on)

    def pieces(self) -> list[Piece]:
        """Every trainable parameter, whole."""
        return [
            Piece(name, 0, parameter.detach().view(-1), parameter, 0, shared=True)
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        ]

    def held(self) -> Held:
        """Everything, whole."""
        weights = list(self.model.parameters())
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        return Held([*weights], gradients, tensors_of(self.optimizer))

    def buffers(self) -> dict[str, torch.Tensor]:
        """The model's persistent buffers."""
        return persistent_buffers(self.model)

    def counters(self) -> dict[str, float]:
        """The loss scale, where there is one."""
        return {"loss_scale": float(self._scaler.get_scale())} if self._scaler.is_enabled() else {}

    def set_counters(self, counters: dict[str, float]) -> None:
        """Puts the loss scale back."""
        if self._scaler.is_enabled() and "loss_scale" in counters:
            self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": counters["loss_scale"]})

    def refresh(self) -> None:
        """The pieces are the working weights; what an interrupted step had added is dropped."""
        self.optimizer.zero_grad(set_to_none=False)
        self._done = 0

    def export(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights on worker 0."""
        if dist.is_initialized() and dist.get_rank() != 0:
            return None
        held = {**dict(self.model.named_parameters(remove_duplicate=False)), **self.buffers()}
        return {name: whole_weight(tensor).cpu().contiguous() for name, tensor in held.items()}

    def _alone(self) -> AbstractContextManager[Any]:
        """Gradients stay on this worker but in the last pass of a step."""
        last = self._done == self._passes - 1
        return nullcontext() if self._ddp is None or last else self._ddp.no_sync()

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, self._half) if self._half is not None else nullcontext()
