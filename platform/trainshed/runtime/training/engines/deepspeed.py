"""DeepSpeed ZeRO 0 to 3 behind the Engine protocol. The only file that knows DeepSpeed.

The process group is there already (Ray Train's, or the trial's own). Checkpoints are ours: DeepSpeed says where each
piece of state lies, and never reads or writes a file.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.utils import get_total_norm

from trainshed.runtime.training.engines.engine import (
    HALF,
    Held,
    MakeInParts,
    MakeModel,
    MakeOptimizer,
    parameter_count,
    passes_of_step,
    save_activations,
    tensors_of,
)
from trainshed.runtime.training.engines.masters import to_working_copy, whole_masters
from trainshed.runtime.training.engines.pieces import Piece, State
from trainshed.spec.training.engines import NOTHING, DeepSpeed
from trainshed.spec.training.engines.deepspeed import bucket_numbers
from trainshed.spec.training.train import Training

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # must stand before the import below

import deepspeed
from deepspeed.ops import __compatible_ops__
from deepspeed.runtime import compiler

GRADIENTS = ("averaged_gradients", "all_grad_tensors", "grad_partitions_flat_buffer")
"""Where DeepSpeed's optimizers keep gradients between passes, each stage its own way."""


def _import_muon_uncompiled() -> None:
    """DeepSpeed's own Muon, which it looks for in every training and which no job of ours takes.

    It compiles itself as it is imported, and that alone loads torch's compiler: over a second of every start.
    """
    compiled = compiler.compile
    compiler.compile = lambda: compiler.dummy_decorator
    try:
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    finally:
        compiler.compile = compiled


_import_muon_uncompiled()


class DeepSpeedEngine:
    """A model under ZeRO; see `trainshed.runtime.training.engines.engine.Engine`."""

    def __init__(
        self,
        training: Training,
        make_model: MakeModel,
        make_optimizer: MakeOptimizer,
        device: torch.device,
        *,
        make_in_parts: MakeInParts | None = None,
    ) -> None:
        if device.type == "cpu":
            # Compiled on first use otherwise: a minute, and an error where there is no compiler. gloo serves as well.
            __compatible_ops__["deepspeed_shm_comm"] = False
        assert isinstance(training.engine, DeepSpeed)
        self._stage = int(training.engine.zero_stage)
        self.splits_weights = self._stage == 3
        self.offloads = training.engine.offload != NOTHING
        self.input_dtype = dtype = HALF.get(training.precision, torch.float32)
        if self._stage == 3 and make_in_parts is not None:
            self.model = make_in_parts(
                lambda part, *, layer: _split(to_working_copy(part, device, dtype), training, dtype),  # noqa: ARG005
                dtype,
            )
        else:
            self.model = to_working_copy(make_model(), device, dtype)
        self._names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        if training.engine.activation_checkpointing:
            save_activations(self.model)
        self.optimizer = make_optimizer(self.model, self.shape_of)
        self._engine, self._zero, _, _ = deepspeed.initialize(
            model=self.model,
            optimizer=self.optimizer,
            config=_config(training, parameter_count(self)),
            dist_init_required=False,
        )
        if training.engine.compile:
            self._engine.compile()
        self.train(on=True)  # existing weights come in evaluation mode

    @property
    def state(self) -> State:
        """The optimizer's own memory, by the tensors that it steps on: parameters, or flat partitions of them."""
        return self.optimizer.state

    def shape_of(self, parameter: torch.Tensor) -> torch.Size:
        """Stage 3 leaves an empty tensor in the place of a parameter, and its shape beside it."""
        shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
        return shape

    def forward(self, **batch: torch.Tensor) -> Any:
        """The model's output for a batch's tensors by name."""
        return self._engine(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds one pass's gradients; DeepSpeed divides by the passes of a step."""
        self._engine.backward(loss)
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()  # counts the pass; weights move in `step`

    def step(self, learning_rate: float) -> float:
        """Clips and applies; the global gradient norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        before = self._norm_of_whole() if self._stage == 0 else None
        self._engine.step()
        norm = self._engine.get_global_grad_norm() if before is None else before
        if norm is None:
            return 0.0
        return float(norm) if norm >= 0 else math.nan  # DeepSpeed says -1 of one that is no number

    def train(self, *, on: bool) -> None:
        """Dropout on or off."""
        self._engine.train(on)

    def pieces(self) -> list[Piece]:
        """Whole parameters in stage 0, flat fp32 partitions in stages 1 to 3."""
        trainable = [p for p in self._engine.module.parameters() if p.requires_grad]
        make = {0: self._whole, 1: self._fragment, 2: self._fragment, 3: self._partition}[self._stage]
        made = (make(self._names[id(parameter)], parameter) for parameter in trainable)
        return [piece for piece in made if piece is not None and len(piece)]

    def held(self) -> Held:
        """Parameters whole or in part; gradients wherever a stage gathers them; masters and moments."""
        weights = list(self.model.parameters())
        parts = [part for weight in weights if (part := getattr(weight, "ds_tensor", None)) is not None]
        kept = [getattr(weight, where, None) for weight in weights for where in ("grad", "grad_accum")]
        kept += [tensor for where in GRADIENTS for tensor in _tensors(getattr(self._zero, where, None))]
        masters = _tensors(getattr(self._zero, "fp32_partitioned_groups_flat", None))
        gradients = [tensor for tensor in kept if tensor is not None]
        return Held([*weights, *parts], gradients, [*tensors_of(self.optimizer), *masters])

    def buffers(self) -> dict[str, torch.Tensor]:
        """The model's persistent buffers."""
        module = self._engine.module
        stored = {name for part, _ in module.named_modules() for name in _buffers_of(module, part)}
        return {name: buffer for name, buffer in module.named_buffers() if name in stored}

    def counters(self) -> dict[str, float]:
        """The loss scale of fp16."""
        scaler = getattr(self._zero, "loss_scaler", None)
        return {"loss_scale": float(scaler.cur_scale)} if self._engine.fp16_enabled() and scaler is not None else {}

    def set_counters(self, counters: dict[str, float]) -> None:
        """Puts the loss scale back."""
        scaler = getattr(self._zero, "loss_scaler", None)
        if scaler is not None and "loss_scale" in counters:
            scaler.cur_scale = counters["loss_scale"]

    def refresh(self) -> None:
        """The working weights from the fp32 partitions; what an interrupted step had added is dropped."""
        if self._stage in (1, 2):
            self._zero.update_lp_params()
        elif self._stage == 3:
            for group in range(len(self._zero.fp32_partitioned_groups_flat)):
                self._zero._reassign_or_swap_out_partitioned_parameters(group)
            if whole := self._zero.persistent_parameters:  # small ones, which stay gathered between steps
                whole[0].partition(whole)  # else they would not be gathered anew
                whole[0].all_gather(whole)
        self._engine.zero_grad()

    def export(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights on worker 0: fp32 masters of what is trained, all else as it is computed with."""
        if self._stage == 3:
            state = self._engine._zero3_consolidated_16bit_state_dict()  # public only as a file writer
        else:
            state = self._engine.module.state_dict()
        masters = self._masters() if self._stage else {}
        if dist.get_rank() != 0:
            return None
        own = {name: self._names.get(id(one)) for name, one in self.model.state_dict(keep_vars=True).items()}
        whole = {name: masters.get(own[name] or name, tensor) for name, tensor in state.items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in whole.items()}

    def _masters(self) -> dict[str, torch.Tensor]:
        """What is trained, by its first name in the model, on worker 0."""
        trained = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        shapes = {name: self.shape_of(parameter) for name, parameter in trained.items()}
        return whole_masters(self.pieces(), shapes, self._engine.device)

    def _norm_of_whole(self) -> torch.Tensor:
        """The gradient norm of stage 0, which DeepSpeed does not say: one that is no number would pass unseen."""
        return get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])

    def _whole(self, name: str, parameter: Any) -> Piece:
        return Piece(name, 0, parameter.detach().view(-1), parameter, 0, shared=True)

    def _fragment(self, name: str, parameter: Any) -> Piece | None:
        """Stages 1 and 2: parameters lie end to end in one flat tensor a group, cut evenly over the workers."""
        link = parameter._hp_mapping
        if link is None:
            return None
        owner = self.optimizer.param_groups[link.param_group_index]["params"][0]
        inside = link.get_hp_fragment_address()
        outside = link.lp_fragment_address
        return Piece(name, outside.start, link.get_hp_fragment().detach(), owner, inside.start, shared=False)

    def _partition(self, name: str, parameter: Any) -> Piece:
        """Stage 3: each parameter is cut evenly over the workers, the last part padded."""
        group, offset, size = self._zero.grad_position[self._zero.get_param_id(parameter)]
        owner = self._zero.fp32_partitioned_groups_flat[group]
        start = dist.get_rank() * size
        length = max(0, min(size, parameter.ds_numel - start))
        return Piece(name, start, owner.detach()[offset : offset + length], owner, offset, shared=False)


def _tensors(held: Any) -> list[torch.Tensor]:
    """The tensors in what may be a tensor, or lists and dictionaries of them."""
    if isinstance(held, torch.Tensor):
        return [held]
    if isinstance(held, dict):
        held = list(held.values())
    return [tensor for one in held for tensor in _tensors(one)] if isinstance(held, list | tuple) else []


def _split(part: torch.nn.Module, training: Training, dtype: torch.dtype) -> None:
    """Leaves this worker its share of a part's parameters; those that are split already stay as they are."""
    config = _config(training, sum(p.numel() for p in part.parameters()))
    deepspeed.zero.Init(module=part, mem_efficient_linear=False, config_dict_or_path=config, dtype=dtype)


def _place(place: str, folder: str | None) -> dict[str, Any]:
    """DeepSpeed's words for where something lives; pinned memory is for copies to a GPU."""
    return {"device": place, "pin_memory": torch.cuda.is_available(), **({"nvme_path": folder} if folder else {})}


def _buffers_of(module: torch.nn.Module, part: str) -> list[str]:
    """Full names of the buffers of one submodule that a state dict holds."""
    submodule = module.get_submodule(part)
    own = set(submodule._buffers) - submodule._non_persistent_buffers_set
    return [f"{part}.{name}" if part else name for name in own]


def _config(training: Training, parameters: int) -> dict[str, Any]:
    """DeepSpeed's own configuration of a training."""
    assert isinstance(training.engine, DeepSpeed)
    zero: dict[str, Any] = {
        "stage": training.engine.zero_stage,
        "reduce_bucket_size": bucket_numbers(parameters),
        "allgather_bucket_size": bucket_numbers(parameters),
    }
    if training.engine.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    offload = training.engine.offload
    if offload.optimizer != "none":
        zero["offload_optimizer"] = _place(offload.optimizer, offload.nvme_path)
    if offload.parameters != "none":
        zero["offload_param"] = _place(offload.parameters, offload.nvme_path)
    return {
        "train_micro_batch_size_per_gpu": training.workers.per_device,
        "gradient_accumulation_steps": passes_of_step(training, dist.get_world_size()),
        "gradient_clipping": training.regularization.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": training.precision == "bf16"},
        "fp16": {"enabled": training.precision == "fp16"},
        "steps_per_print": 10**9,
    }
