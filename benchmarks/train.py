"""T1, T2, T6: training through `platform submit` against bare torchrun and DeepSpeed, interleaved A B A B.

    .venv/bin/python benchmarks/train.py [--pairs 5] [--steps 25]

T1 = tokens/s of A / tokens/s of B, from the median step after the warm-up.
T2 = (submit to the end of the first optimizer step) - (start of torchrun to the end of its first step), on a running
cluster. Both sides train the same model on the same batches; the run fails where their losses differ.
T6 = speed-up of A from one worker to two / that of B. Writes benchmarks/results/T1.json, T2.json and T6.json. The
cluster and storage are its own, in a temporary folder.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from own_cluster import BIN, ClusterCpu, OwnCluster
from results import write_result

HERE = Path(__file__).parent
WARM_UP = 5
BATCH = 8
BLOCK = 128
VOCAB = 2048
RATE = 1e-3
LAYERS, HEADS, WIDTH, INNER = 6, 6, 384, 1024

PREPARE = {
    "kind": "prepare",
    "name": "text",
    "source": {"kind": "text_files", "path": "python-stdlib"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": VOCAB},
    "pack": {"block_size": BLOCK},
}
TRAIN = {
    "kind": "train",
    "name": "through-platform",
    "model": {"kind": "llama", "layers": LAYERS, "heads": HEADS, "width": WIDTH, "feed_forward": INNER},
    "data": "run://text",
    "optimizer": {"kind": "adamw", "learning_rate": RATE, "weight_decay": 0.1, "betas": [0.9, 0.95]},
    "engine": {"kind": "deepspeed", "zero_stage": 2},
    "workers": {"count": 2, "per_device_batch_size": BATCH // 2},
    "global_batch_size": BATCH,
    "validation": {"every_steps": 1000, "max_samples": 8},
    "checkpoint": {"every_steps": 1000, "keep": 1},
}


WEIGHTS = "initial.safetensors"
MODEL = {
    "vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0, "use_cache": False, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "hidden_size": WIDTH, "intermediate_size": INNER,
    "max_position_embeddings": BLOCK, "tie_word_embeddings": True,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    with OwnCluster() as cluster:
        cluster.submit(PREPARE)
        keep_initial_weights(cluster.home)
        pairs, ones = [], []
        for number in range(options.pairs):
            pairs.append(one_pair(cluster, options.steps, number, workers=2))
            ones.append(one_pair(cluster, options.steps, number, workers=1))
    command = f"python benchmarks/train.py --pairs {options.pairs} --steps {options.steps}"
    what = (
        f"tokens/s through platform submit / bare torchrun + deepspeed, 2 workers, ZeRO-2, {parameters() / 1e6:.1f} M"
    )
    write_result("T1", what, ">= 0.98", [a["speed"] / b["speed"] for a, b in pairs], command=command, pairs=pairs)
    late = "seconds from submit to the first optimizer step, minus the bare script's, on a running cluster"
    what = "speed-up from 1 worker to 2, tokens/s / bare torchrun's, same model and global batch"
    ups = [
        (two[0]["speed"] / one[0]["speed"]) / (two[1]["speed"] / one[1]["speed"])
        for two, one in zip(pairs, ones, strict=True)
    ]
    write_result("T6", what, ">= 0.97", ups, command=command, pairs=ones)
    write_result("T2", late, "<= 8", [a["first_s"] - b["first_s"] for a, b in pairs], command=command, pairs=pairs)


def one_pair(cluster: OwnCluster, steps: int, number: int, *, workers: int) -> tuple[dict, dict]:
    """A then B; their losses must be the same."""
    a = through_platform(cluster, steps, workers)
    b = bare(cluster.home, cluster.environment, steps, workers)
    worst = max(abs(x - y) / y for x, y in zip(a["losses"], b["losses"], strict=True))
    if worst > 1e-4:
        raise SystemExit(f"the two sides do not train the same: losses differ by {worst:.1e}")
    print(f"pair {number}, {workers} worker(s): {show(a)} | {show(b)} | losses within {worst:.0e}", flush=True)
    return a, b


def keep_initial_weights(home: Path) -> None:
    """The weights that the platform draws for seed 0, for the bare script to begin with."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, LlamaConfig

    from trainshed.runtime.tasks.making import made_in_parts

    torch.manual_seed(0)
    model = made_in_parts(lambda: AutoModelForCausalLM.from_config(LlamaConfig(**MODEL), dtype=torch.float32))
    save_file({name: weight.detach().clone() for name, weight in model.named_parameters()}, home / WEIGHTS)


def through_platform(cluster: OwnCluster, steps: int, workers: int) -> dict:
    started = time.time()
    with ClusterCpu(cluster.home) as cpu:
        share = {"count": workers, "per_device_batch_size": BATCH // workers}
        run = cluster.submit({**TRAIN, "steps": steps, "workers": share})
    rows = [json.loads(line) for line in (cluster.folder(run) / "metrics.jsonl").read_text().splitlines()]
    seconds, losses = [row["step_time_s"] for row in rows], [row["train_loss"] for row in rows]
    return side(losses, seconds, rows[0]["time"] - started, cpu.seconds)


def bare(home: Path, environment: dict, steps: int, workers: int) -> dict:
    data = next(path.parent for path in (home / "data").glob("*/manifest.json"))
    count = parameters()
    settings = {
        "data": str(data), "weights": str(home / WEIGHTS),
        "seed": 0, "learning_rate": RATE, "global_batch_size": BATCH, "steps": steps,
        "model": MODEL,
        "deepspeed": {
            "train_micro_batch_size_per_gpu": BATCH // workers,
            "gradient_accumulation_steps": 1, "gradient_clipping": 1.0,
            "zero_optimization": {"stage": 2, "reduce_bucket_size": count, "allgather_bucket_size": count},
            "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False, "steps_per_print": 10**9,
        },
    }  # fmt: skip
    file = home / "bare.json"
    file.write_text(json.dumps(settings))
    command = [BIN / "torchrun", "--standalone", "--nproc_per_node", str(workers), HERE / "bare_train.py", file]
    before, started = os.times(), time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"losses"')))
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return side(said["losses"], said["seconds"], said["first_step_at"] - started, cpu)


def side(losses: list, seconds: list, first_s: float, cpu_s: float) -> dict:
    speed = BATCH * BLOCK / statistics.median(seconds[WARM_UP:])
    return {"losses": losses, "speed": speed, "first_s": first_s, "cpu_s": cpu_s}


def show(one: dict) -> str:
    return f"{one['speed']:6.0f} tokens/s, first step after {one['first_s']:5.1f} s, {one['cpu_s']:5.1f} CPU-s"


def parameters() -> int:
    return VOCAB * WIDTH + LAYERS * (4 * WIDTH**2 + 3 * WIDTH * INNER + 2 * WIDTH) + WIDTH


if __name__ == "__main__":
    main()
