"""E1: every task x engine x {fresh, existing weights} x {1, 2 workers} x accumulation {1, 4} against plain torch.

    .venv/bin/python benchmarks/matrix.py

Losses and gradient norms of four steps, with dropout wherever a model has it, must equal those of one process of plain
torch to 1e-5; bf16 under ZeRO-1 to 3 and fsdp those of fp32 to 5e-2 of the loss. A cell that fails is printed, and
none is left out: what an engine refuses (recurrent networks under fsdp) is no cell. Writes E1.json.
"""

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
from trainshed.spec.training.workers import Workers

ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in range(4)}}
TASKS = (
    "causal_lm-llama", "causal_lm-pretrained-lora", "causal_lm-conversations", "causal_lm-conversations-blocks",
    "causal_lm-target", "masked_lm", "seq2seq_lm-t5", "seq2seq_lm-bart", "text_classification",
    "text_classification-pairs", "multi_label", "regression", "image_classification", "lstm_classifier",
)  # fmt: skip
SPLITTING = ("fsdp", "zero-1", "zero-2", "zero-3")
PRECISE, HALF = 1e-5, 5e-2


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="matrix-") as place:
        rows = []
        for workers in (1, 2):
            folder = Path(place) / str(workers)
            folder.mkdir()
            cells = dict(cells_of(folder, workers))
            run_workers(train_all, workers, folder, folder / "rendezvous", cells, logs=folder, limit_s=1500)
            rows += [checked(name, case, workers, folder) for name, case in cells.items()]
    equal = sum(apart <= tolerance for _, apart, tolerance in rows)
    for name, apart, tolerance in rows:
        if apart > tolerance:
            print(f"{name}: {apart:.2e} apart, {tolerance:g} is allowed")
    print(f"{len(rows)} cells, {equal} equal; largest of fp32 {max(a for _, a, t in rows if t == PRECISE):.1e}")
    what = f"cells of task x engine x weights x workers x accumulation equal to plain torch, of {len(rows)}"
    write_result("E1", what, ">= 100 %", [equal / len(rows)], command="python benchmarks/matrix.py", pairs=[])


def cells_of(folder: Path, workers: int):
    """By name; what belongs to one task shares its data and its existing weights."""
    for task in TASKS:
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
            for precision in ("fp32", "bf16") if engine in SPLITTING and passes == 4 else ("fp32",):
                per_device = BATCH // (workers * passes)
                changes = {
                    "engine": ENGINES[engine],
                    "precision": precision,
                    "workers": Workers(count=workers, per_device_batch_size=per_device),
                }
                training = one.training.model_copy(update=changes)
                name = f"{task}{kind}-{engine}-{workers}x{passes}-{precision}"
                yield name, dataclasses.replace(one, training=training)


REFERENCES: dict = {}


def checked(name: str, case, workers: int, folder: Path) -> tuple[str, float, float]:
    """How far a cell's losses and norms are from plain torch's, as a part of them; bf16's losses alone."""
    key = (workers, case.training.workers.per_device, id(case.samples), case.training.model.model_dump_json())
    if key not in REFERENCES:
        REFERENCES[key] = plain(case, workers)
    found = json.loads((folder / f"{name}.json").read_text())
    columns = 2 if case.training.precision == "fp32" else 1
    pairs = [
        (a, b)
        for one, other in zip(found, REFERENCES[key], strict=True)
        for a, b in zip(one[:columns], other, strict=False)
    ]
    return name, max(abs(a - b) / abs(b) for a, b in pairs), PRECISE if columns == 2 else HALF


if __name__ == "__main__":
    main()
