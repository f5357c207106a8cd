"""DeepSpeed ZeRO 0 to 3 behind the Engine protocol. The only file that knows DeepSpeed.

The process group is there already (Ray Train's, or the trial's own). DeepSpeed loads its state with pickle, so it only
ever reads folders that this installation wrote.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainshed.spec.train import Training

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # must stand before the import below

import deepspeed
from deepspeed.ops import __compatible_ops__

TAG = "state"


class DeepSpeedEngine:
    """A model under ZeRO; see `trainshed.runtime.training.engines.Engine`."""

    def __init__(
        self,
        training: Training,
        make_model: Callable[[], torch.nn.Module],
        make_optimizer: Callable[[torch.nn.Module], Any],
        device: torch.device,
    ) -> None:
        if device.type == "cpu":
            # Compiled on first use otherwise: a minute, and an error where there is no compiler. gloo serves as well.
            __compatible_ops__["deepspeed_shm_comm"] = False
        self._stage = training.engine.zero_stage
        model = make_model().to(device)
        if training.precision == "bf16":
            model = model.to(torch.bfloat16)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=model,
            optimizer=make_optimizer(model),
            config=_config(training, sum(p.numel() for p in model.parameters())),
            dist_init_required=False,
        )

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
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_scale"]
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float(norm) if norm is not None else 0.0

    def refresh(self) -> None:
        """The model's weights from those that the optimizer steps on, after something else has changed them."""
        if self._stage in (1, 2):
            self._optimizer.update_lp_params()
        elif self._stage == 3:
            for group in range(len(self._optimizer.fp32_partitioned_groups_flat)):
                self._optimizer._reassign_or_swap_out_partitioned_parameters(group)
            if kept := self._optimizer.persistent_parameters:  # small ones, which every worker holds whole
                kept[0].partition(kept)
                kept[0].all_gather(kept)

    def train(self, *, on: bool) -> None:
        """Dropout on or off."""
        self._engine.train(on)

    def save(self, folder: Path) -> None:
        """Writes this worker's part: the model's by worker 0 (or by each, stage 3), the optimizer's by each."""
        self._engine.save_checkpoint(str(folder), tag=TAG, save_latest=False)

    def load(self, folder: Path) -> None:
        """Reads what `save` of as many workers wrote.

        Raises:
            RuntimeError: the folder is of another number of workers or another stage.
        """
        loaded, _ = self._engine.load_checkpoint(str(folder), tag=TAG)
        if loaded is None:
            raise RuntimeError(f"{folder} holds no training state of {self._engine.world_size} workers")

    def export(self) -> dict[str, torch.Tensor] | None:
        """The whole model's weights on worker 0; stage 3 gathers them from all."""
        if self._stage == 3:
            state = self._engine._zero3_consolidated_16bit_state_dict()  # public only as a file writer
        else:
            state = self._engine.module.state_dict()
        if torch.distributed.get_rank() != 0:
            return None
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _config(training: Training, parameters: int) -> dict[str, Any]:
    """DeepSpeed's own configuration of a training."""
    zero = {
        "stage": training.engine.zero_stage,
        "reduce_bucket_size": max(1 << 20, min(parameters, 5 * 10**8)),
        "allgather_bucket_size": max(1 << 20, min(parameters, 5 * 10**8)),
    }
    if training.engine.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "train_micro_batch_size_per_gpu": training.workers.per_device_batch_size,
        "gradient_accumulation_steps": training.accumulation * training.regularization.passes,
        "gradient_clipping": training.regularization.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": training.precision == "bf16"},
        "steps_per_print": 10**9,
    }
