"""E1: every task x engine x {fresh, existing weights} x {1, 2 workers} x accumulation {1, 4} against plain torch.

    .venv/bin/python benchmarks/matrix.py [--precision bf16] [--only dpo orpo]

Losses and gradient norms of four steps, with dropout wherever a model has it, must equal those of one process of plain
torch to 1e-5; with bf16, under ZeRO-1 to 3 and fsdp, the losses those of plain torch in bf16 with fp32 masters to 1e-3
and the norms to 3e-2, at a rate of 1e-4 (at one of 1e-2 a weight that rounds the other way moves these small models by
more: plain torch in fp32 and in bf16 are as far apart). A cell that fails is printed, and none is left out: what an
engine refuses (recurrent networks under fsdp) is no cell.
Writes E1.json or E1-bf16.json; with --only, some of the tasks, nothing.
"""

import argparse
import dataclasses
import itertools
import json
import sys
import tempfile
from pathlib import Path

from results import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from forking import run_workers
from matrix_worker import BATCH, plain, train_all
from task_cases import CASES, exported
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.workers import Workers

ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in range(4)}}
TASKS = (
    "causal_lm-llama", "causal_lm-pretrained-lora", "causal_lm-conversations", "causal_lm-conversations-blocks",
    "causal_lm-target", "masked_lm", "seq2seq_lm-t5", "seq2seq_lm-bart", "text_classification",
    "text_classification-pairs", "multi_label", "regression", "image_classification", "lstm_classifier",
    "dpo", "dpo-ipo-pretrained-dropout", "dpo-lora", "orpo", "reward_model",
)  # fmt: skip
SPLITTING = ("fsdp", "zero-1", "zero-2", "zero-3")
ALLOWED = {"fp32": (1e-5, 1e-5), "bf16": (1e-3, 3e-2)}
"""Of losses and of gradient norms, as a part of them."""
RATE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS, metavar="TASK")
    asked = parser.parse_args()
    precision = asked.precision
    with tempfile.TemporaryDirectory(prefix="matrix-") as place:
        rows = []
        for workers in (1, 2):
            folder = Path(place) / str(workers)
            folder.mkdir()
            cells = dict(cells_of(folder, workers, precision, asked.only))
            run_workers(train_all, workers, folder, folder / "rendezvous", cells, logs=folder, limit_s=1500)
            rows += [checked(name, case, workers, folder) for name, case in cells.items()]
    allowed = ALLOWED[precision]
    wrong = [(name, apart) for name, *apart in rows if any(map(float.__gt__, apart, allowed))]
    for name, apart in wrong:
        print(f"{name}: losses {apart[0]:.2e} and norms {apart[1]:.2e} apart, {allowed} is allowed")
    equal = len(rows) - len(wrong)
    largest = ", ".join(f"{max(apart):.1e}" for apart in list(zip(*rows, strict=True))[1:])
    print(f"{len(rows)} cells, {equal} equal; the largest differences of losses and norms: {largest}")
    if asked.only is not TASKS:
        return
    what = (
        f"cells of task x engine x weights x workers x accumulation equal to plain torch, {precision}, of {len(rows)}"
    )
    name = "E1" if precision == "fp32" else "E1-bf16"
    command = f"python benchmarks/matrix.py --precision {precision}"
    write_result(name, what, ">= 100 %", [equal / len(rows)], command=command, pairs=[])


def cells_of(folder: Path, workers: int, precision: str, tasks):
    """By name; what belongs to one task shares its data and its existing weights."""
    for task in tasks:
        (folder / task).mkdir()
        case = CASES[task](folder / task / "tokenizer")
        variants = {"": case}
        if case.training.model.kind not in ("pretrained", "lstm") and case.training.task.kind != "custom":
            there = exported(case, folder / task / "tokenizer")
            further = case.training.model_copy(update={"model": there, "freeze": ()})
            variants["-existing"] = dataclasses.replace(case, training=further)
        for (kind, one), engine, passes in itertools.product(variants.items(), ENGINES, (1, 4)):
            if case.training.model.kind == "lstm" and engine == "fsdp":
                continue
            if precision == "bf16" and engine not in SPLITTING:
                continue
            slow = {"optimizer": AdamW(learning_rate=RATE)} if precision == "bf16" else {}
            changes = slow | {
                "engine": ENGINES[engine],
                "precision": precision,
                "workers": Workers(count=workers, per_device_batch_size=BATCH // (workers * passes)),
            }
            training = one.training.model_copy(update=changes)
            yield f"{task}{kind}-{engine}-{workers}x{passes}", dataclasses.replace(one, training=training)


REFERENCES: dict = {}


def checked(name: str, case, workers: int, folder: Path) -> tuple[str, float, float]:
    """How far a cell's losses and norms are from plain torch's, as a part of them."""
    key = (workers, case.training.workers.per_device, id(case.samples), case.training.model.model_dump_json())
    key += (case.training.engine.kind == "deepspeed" and case.training.precision == "bf16",)
    if key not in REFERENCES:
        REFERENCES[key] = plain(case, workers)
    found = json.loads((folder / f"{name}.json").read_text())
    losses, norms = (
        max(
            abs(one[column] - other[column]) / abs(other[column])
            for one, other in zip(found, REFERENCES[key], strict=True)
        )
        for column in (0, 1)
    )
    return name, losses, norms


if __name__ == "__main__":
    main()
