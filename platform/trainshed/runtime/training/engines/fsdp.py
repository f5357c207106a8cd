"""torch's fully_shard (FSDP2, arXiv 2304.11277) behind the Engine protocol: a worker has its rows of all parameters.

A layer's weights are gathered before its pass and split again after it. The optimizer steps on the rows themselves,
plain fp32 tensors that share their memory with what fully_shard gathers from: they are the master weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from trainshed.errors import PlatformError
from trainshed.runtime.tasks.weight_roles import layers_of, own_shape
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
from trainshed.runtime.training.engines.pieces import Piece, State
from trainshed.spec.training.engines import Fsdp
from trainshed.spec.training.train import Training


class FsdpEngine:
    """A model in shards; see `trainshed.runtime.training.engines.engine.Engine`."""

    splits_weights = True
    offloads = False
    input_dtype = torch.float32  # fully_shard casts what comes into the model

    def __init__(
        self,
        training: Training,
        make_model: MakeModel,
        make_optimizer: MakeOptimizer,
        device: torch.device,
        *,
        make_in_parts: MakeInParts | None = None,
    ) -> None:
        assert isinstance(training.engine, Fsdp)
        split = _Split(training.engine, HALF.get(training.precision), device)
        self.model = split.model(make_model() if make_in_parts is None else make_in_parts(split.part, torch.float32))
        if training.engine.activation_checkpointing:
            save_activations(self.model)
        self._parameters: dict[str, torch.nn.Parameter] = dict(self.model.named_parameters())
        self.optimizer = make_optimizer(self.model, self.shape_of)
        self._rows = {name: _rows_of(parameter) for name, parameter in self._parameters.items()}
        rows = {id(parameter): self._rows[name] for name, parameter in self._parameters.items()}
        for group in self.optimizer.param_groups:
            group["params"] = [rows[id(parameter)] for parameter in group["params"]]
        self._passes = passes_of_step(training, dist.get_world_size())
        self._reduces_each_pass = training.engine.reduce_each_pass
        self._done = 0
        self._max_norm = training.regularization.max_grad_norm
        self._device = device
        self.train(on=True)  # existing weights come in evaluation mode

    @property
    def state(self) -> State:
        """The optimizer's own memory, by this worker's rows of each parameter."""
        return self.optimizer.state

    def shape_of(self, parameter: torch.Tensor) -> torch.Size:
        """The parameter's own shape: a distributed tensor has that of the whole."""
        return own_shape(parameter)

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output; every worker must call it as often, for each gathers what the others hold."""
        return self.model(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds one pass's gradients; fully_shard averages over the workers, in the last pass at the latest."""
        last = self._done == self._passes - 1
        assert isinstance(self.model, FSDPModule)
        self.model.set_requires_gradient_sync(last or self._reduces_each_pass)
        (loss / self._passes).backward()  # type: ignore[no-untyped-call]
        self._done = (self._done + 1) % self._passes

    def step(self, learning_rate: float) -> float:
        """Clips and applies; the global gradient norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        for name, parameter in self._parameters.items():
            self._rows[name].grad = None if parameter.grad is None else _local(parameter.grad)
        norm = self._norm()
        if self._max_norm:
            clip_grads_with_norm_(self._rows.values(), self._max_norm, norm)
        self.optimizer.step()
        self._forget_gradients()
        return float(norm)

    def train(self, *, on: bool) -> None:
        """Dropout on or off; what an evaluation has left whole is split again."""
        self.model.train(on)
        self._split_again()

    def pieces(self) -> list[Piece]:
        """The local rows of every trainable parameter, which lie one after another in it."""
        worker = dist.get_rank()
        workers = dist.get_world_size()
        made = []
        for name, parameter in self._parameters.items():
            if parameter.requires_grad:
                whole = self.shape_of(parameter)
                rows = self._rows[name]
                most = -(-whole[0] // workers)  # as torch.chunk cuts: the last workers may have fewer, or none
                start = min(worker * most, whole[0]) * whole[1:].numel()
                made.append(Piece(name, start, rows.detach().view(-1), rows, 0, shared=False))
        return [piece for piece in made if len(piece)]

    def held(self) -> Held:
        """The local rows, their gradients, and whole gradients that wait for the last pass of a step."""
        gradients = [_local(one.grad) for one in self._parameters.values() if one.grad is not None]
        waiting = [gradient for one in _inside(self.model) for gradient in _whole_gradients(one)]
        return Held([*self._rows.values()], [*gradients, *waiting], tensors_of(self.optimizer))

    def buffers(self) -> dict[str, torch.Tensor]:
        """The model's persistent buffers."""
        return persistent_buffers(self.model)

    def counters(self) -> dict[str, float]:
        """No counters."""
        return {}

    def set_counters(self, counters: dict[str, float]) -> None:
        """The loss scale of another engine means nothing here."""

    def refresh(self) -> None:
        """Weights are gathered anew from the rows; what an interrupted step had added is dropped."""
        self._forget_gradients()
        for one in _inside(self.model):
            one.unsharded_accumulated_grad = None
            if hasattr(one, "_unsharded_param"):
                one._unsharded_param.grad = None
        self._split_again()
        self._done = 0

    def export(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights on worker 0, gathered one by one."""
        first = dist.get_rank() == 0
        state = {}
        for name, tensor in self.model.state_dict().items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if first:
                state[name] = whole.detach().cpu().contiguous()
        return state if first else None

    def _norm(self) -> torch.Tensor:
        """The norm of the whole gradient, of which each worker has its rows."""
        own = get_total_norm([rows.grad for rows in self._rows.values() if rows.grad is not None])
        squares = own.to(self._device, torch.float64) ** 2
        dist.all_reduce(squares)
        return squares.sqrt()

    def _forget_gradients(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.grad = self._rows[name].grad = None

    def _split_again(self) -> None:
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


class _Split:
    """How a model is taken apart: each layer by itself, then what is outside of layers."""

    def __init__(self, spec: Fsdp, half: torch.dtype | None, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where fully_shard puts what it splits
        self._mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        self._policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
        self._spec = spec

    def part(self, part: torch.nn.Module, *, layer: bool) -> None:
        """A layer at once; another part waits for the end, for a head may have an embedding's weights."""
        if layer and any(True for _ in part.parameters()):
            if self._spec.compile:
                part.compile()
            self._shard(part, reshards=self._spec.reshard_after_forward)

    def model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The layers that are whole yet, then the rest, which is gathered once for both passes."""
        layers = [layer for _, layer in layers_of(model)]
        for layer in layers:
            if not isinstance(layer, FSDPModule):
                self.part(layer, layer=True)
        if self._spec.compile and not layers:
            model.compile()
        self._shard(model, reshards=False)
        return model

    def _shard(self, part: torch.nn.Module, *, reshards: bool) -> None:
        single = [name for name, parameter in part.named_parameters() if parameter.dim() == 0]
        if single:
            raise PlatformError(
                f"engine.kind: fsdp splits parameters by rows, and {single[0]} is a single number; say deepspeed or ddp"
            )
        recurrent = [name for name, module in part.named_modules() if isinstance(module, torch.nn.RNNBase)]
        if recurrent:  # torch's kernel reads weights from a list of its own, and learns from none that are gathered
            raise PlatformError(
                f"engine.kind: fsdp cannot train the recurrent network {recurrent[0] or 'that the model is'}; say "
                "deepspeed or ddp"
            )
        fully_shard(part, mesh=self._mesh, reshard_after_forward=reshards, mp_policy=self._policy)


def _rows_of(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """The local rows as a tensor that an optimizer steps on; it shares the memory of the distributed one."""
    return torch.nn.Parameter(_local(parameter), requires_grad=parameter.requires_grad)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    assert isinstance(tensor, DTensor)
    with torch.no_grad():
        local: torch.Tensor = tensor.to_local()
    return local


def _inside(model: torch.nn.Module) -> Iterator[Any]:
    """fully_shard's own record of each parameter; nothing public says where it keeps a gradient that waits."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            for group in module._get_fsdp_state()._fsdp_param_groups:
                yield from group.fsdp_params


def _whole_gradients(one: Any) -> list[torch.Tensor]:
    """The gradients of one parameter that passes have added and that are not yet reduced and split."""
    kept = [one.unsharded_accumulated_grad]
    if hasattr(one, "_unsharded_param"):
        kept.append(one._unsharded_param.grad)
    return [gradient for gradient in kept if gradient is not None]
