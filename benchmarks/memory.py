"""T5: bytes of model states that a worker really holds / the plan's formula, under ZeRO and fsdp, for four shapes.

    .venv/bin/python benchmarks/memory.py [--shapes gpt2 llama bert t5]

Two gloo workers train two steps of two passes under each engine; between the passes of the second step the storages of
parameters, gradients and optimizer states are walked (`runtime/training/loop/memory_use.py`, as in every training). The
run fails where the states do not fall strictly with the stage. Writes benchmarks/results/T5.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from results import write_result

WORKERS, BATCH, TOKENS, VOCAB = 2, 2, 64, 4096
SHAPES = {
    "gpt2": {"kind": "gpt2", "layers": 4, "heads": 6, "width": 384},
    "llama": {"kind": "llama", "layers": 4, "heads": 6, "width": 384},
    "bert": {"kind": "bert", "layers": 4, "heads": 6, "width": 384},
    "t5": {"kind": "t5", "layers": 2, "heads": 6, "width": 384},
}
ENGINES = {
    **{f"ZeRO-{stage}": {"kind": "deepspeed", "zero_stage": stage} for stage in range(4)},
    "fsdp": {"kind": "fsdp"},
    "fsdp, gradients kept whole": {"kind": "fsdp", "reduce_each_pass": False},
}
STAGES = 4
"""The first engines: of these each holds less than the one before."""
TASKS = {"bert": "masked_lm", "t5": "seq2seq_lm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--worker", nargs=3, metavar=("RANK", "FOLDER", "SHAPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(int(options.worker[0]), Path(options.worker[1]), options.worker[2])
    ratios = []
    for shape in options.shapes:
        facts = measure(shape)
        measured = [one["measured_bytes"] for one in facts][:STAGES]
        if sorted(set(measured), reverse=True) != measured:
            raise SystemExit(f"{shape}: states do not fall strictly with the stage: {measured}")
        ratios += [one["ratio"] for one in facts]
    what = f"state bytes per worker measured / formula, ZeRO and fsdp, {', '.join(options.shapes)}, {WORKERS} workers"
    command = f"python benchmarks/memory.py --shapes {' '.join(options.shapes)}"
    write_result("T5", what, "0.95 to 1.10", ratios, command=command, pairs=[])


def measure(shape: str) -> list:
    """What worker 0 found under each engine."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, __file__, "--worker"]
        workers = [
            subprocess.Popen(
                [*command, str(rank), folder, shape],
                env={**environment, "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(WORKERS)
        ]
        errors = [process.communicate()[1] for process in workers]
        if any(process.returncode for process in workers):
            raise SystemExit("\n".join(error[-2000:] for error in errors))
        facts = json.loads((Path(folder) / "facts.json").read_text())
    for name, one in zip(ENGINES, facts, strict=True):
        held = ", ".join(f"{kind} {count / 1e6:.1f}" for kind, count in one["measured"].items())
        print(f"{shape:6} {name}: {one['measured_bytes'] / 1e6:6.1f} MB ({held}), x {one['ratio']:.3f}", flush=True)
    return facts


def worker(rank: int, folder: Path, shape: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORKERS)
    facts = [two_steps(rank, shape, engine) for engine in ENGINES.values()]
    if rank == 0:
        (folder / "facts.json").write_text(json.dumps(facts))
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort


def two_steps(rank: int, shape: str, engine: dict) -> dict:
    import torch

    from trainshed.record.events import to_nobody
    from trainshed.runtime.training import engines
    from trainshed.runtime.training.host import World
    from trainshed.runtime.training.loop.memory_use import PlanCheck
    from trainshed.runtime.training.optim.optimizers import build_optimizer
    from trainshed.spec.training.train import Training

    job = {
        "task": {"kind": TASKS.get(shape, "causal_lm")},
        "model": SHAPES[shape],
        "data": "run://none",
        "optimizer": {"kind": "adamw", "learning_rate": 1e-3},
        "engine": engine,
        "workers": {"count": WORKERS, "per_device_batch_size": BATCH},
        "global_batch_size": 2 * BATCH * WORKERS,
        "steps": 2,
    }
    training = Training.model_validate_json(json.dumps(job), strict=True)
    torch.manual_seed(0)
    device = torch.device("cpu")
    made = engines.build(training, lambda: build(training.model), partial(build_optimizer, training.optimizer), device)
    check = PlanCheck(training, made, World(rank, WORKERS, device), to_nobody)
    for _ in range(training.steps):
        for _ in range(2):
            tokens = torch.randint(2, VOCAB, (BATCH, TOKENS))
            answers = {"labels": tokens} if shape == "t5" else {}
            logits = made.forward(input_ids=tokens, **answers).logits
            made.backward(torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()))
            check.passed(2)
        made.step(1e-3)
        check.stepped()
    return check.facts


def build(shape: object) -> object:
    """The model that transformers makes of a shape, without data."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    from trainshed.runtime.encoding import SpecialIds
    from trainshed.runtime.tasks.configuration import configuration
    from trainshed.runtime.tasks.facts import DataFacts

    class Facts(DataFacts):
        special = SpecialIds(eos=0, bos=0, pad=1, mask=None, cls=None, all=frozenset((0, 1)))

    classes = {"bert": AutoModelForMaskedLM, "t5": AutoModelForSeq2SeqLM}
    config = configuration(shape, Facts(VOCAB, TOKENS, None, max_target_tokens=TOKENS))
    return classes.get(shape.kind, AutoModelForCausalLM).from_config(config)


if __name__ == "__main__":
    main()
