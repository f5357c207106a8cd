"""The bare tool that `benchmarks/train.py` measures against: torchrun and DeepSpeed, nothing of this platform.

    torchrun --standalone --nproc_per_node 2 benchmarks/bare_train.py SETTINGS.json

Same model, data, seed, order, threads and DeepSpeed settings as the job; prints one JSON line with the losses, the
seconds of each step and the time when the first one ended.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist
import torch.nn.functional as F
from deepspeed.ops import __compatible_ops__
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig


def main(settings: dict) -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    blocks = read_blocks(Path(settings["data"]))
    torch.manual_seed(settings["seed"])
    model = AutoModelForCausalLM.from_config(LlamaConfig(**settings["model"]), attn_implementation="sdpa")
    model.load_state_dict(load_file(settings["weights"]), strict=False)
    model.tie_weights()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(0.9, 0.95))
    __compatible_ops__["deepspeed_shm_comm"] = False
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, config=settings["deepspeed"], dist_init_required=False
    )
    batch, per_device = settings["global_batch_size"], settings["global_batch_size"] // world
    order = np.random.default_rng([settings["seed"], 0]).permutation(len(blocks))
    losses, seconds, first = [], [], None
    began = time.perf_counter()
    for step in range(settings["steps"]):
        ids = order[step * batch : (step + 1) * batch][rank * per_device : (rank + 1) * per_device]
        tokens = torch.from_numpy(blocks[ids].astype(np.int64))
        logits = engine(tokens).logits[:, :-1].float()
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        engine.backward(loss)
        engine.step()
        mean = loss.detach().double()
        dist.all_reduce(mean)
        losses.append(float(mean) / world)
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        first = first or time.time()
    if rank == 0:
        print(json.dumps({"losses": losses, "seconds": seconds, "first_step_at": first}), flush=True)


def read_blocks(folder: Path) -> np.ndarray:
    manifest = json.loads((folder / "manifest.json").read_text())
    shards = [
        pa.ipc.open_file(pa.memory_map(str(folder / shard["file"]))).read_all()["tokens"].chunk(0).flatten().to_numpy()
        for shard in manifest["splits"]["train"]["shards"]
    ]
    return np.concatenate(shards).reshape(-1, manifest["block_size"])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
