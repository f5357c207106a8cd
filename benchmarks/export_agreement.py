"""F2: what a trained model says of 50 held-out samples against what its export says, loaded as serving loads it.

    .venv/bin/python benchmarks/export_agreement.py

Every task of the contract suite after 12 steps: fresh weights, existing ones, adapters that are merged; under ddp, fsdp
and ZeRO-1 to 3. The figure is the largest difference of a log-probability per token (of classifiers, of a logit, as a
part of the largest). Writes F2.json (fp32) and F2-bf16.json.
"""

import secrets
import sys
import tempfile
from pathlib import Path

import torch.distributed as dist
from results import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from engine_worker import begin
from runtime.training.test_export import trained, under
from task_cases import CASES
from trainshed.record.storage import Storage
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp

ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in (1, 2, 3)}}
FIGURES = {"fp32": ("F2", "<= 1e-4"), "bf16": ("F2-bf16", "<= 2e-2")}
COMMAND = "python benchmarks/export_agreement.py"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        begin(0, 1, Path(scratch) / "rendezvous")
        for precision, (name, goal) in FIGURES.items():
            found = differences(Path(scratch), precision)
            what = f"trained model against its export on 50 samples, {len(found)} tasks x engines, largest difference"
            write_result(name, f"{what}, {precision}", goal, found, command=COMMAND, pairs=[])
        dist.destroy_process_group()


def differences(scratch: Path, precision: str) -> list[float]:
    """Of every task under every engine that takes it."""
    found = []
    for name, made in CASES.items():
        for kind, engine in ENGINES.items():
            if name.startswith("lstm") and kind == "fsdp":
                continue
            place = scratch / secrets.token_hex(4)
            place.mkdir()
            one, stepped = trained(under(made(place / "tokenizer"), engine, precision=precision))
            said = one.answers(stepped)
            facts = one.write(stepped.export(), said, Storage.open(place), "run").export["model"].agreement
            if facts is not None:
                found.append(facts.difference)
                print(f"{name}, {kind}, {precision}: {facts.difference:.1e} of {facts.tolerance:g}", flush=True)
    return found


if __name__ == "__main__":
    main()
