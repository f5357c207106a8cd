"""Workers that cannot train together are found before the first step, and the cause is named.

Every fault, in the precisions, at the rates and under the engines that people use: each cell is refused with its cause,
and each whole one passes.
"""

import itertools
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_training import tiny_training
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.self_test import self_test
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp, Offload
from trainshed.spec.training.optimizers import Adafactor, Adagrad, Adam, AdamW, Lion, Muon, RmsProp, Sgd
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.workers import Workers

pytestmark = pytest.mark.slow

FAULTS = {
    "negated": "gradients are negated",
    "third": "gradients are 0.333 times what they should be",
    "twice": "gradients are 2 times what they should be (summed over the workers, not averaged)",
    "sixteen": "gradients are 16 times what they should be",
    "crooked": "the gradients of worker 1 count 2 times",
    "dropped": "only the gradients of worker 0 are applied, the others' are lost",
    "last-pass": "the gradients of the last pass of a step are lost",
    "unaveraged": "not averaged",
    "layer": "the gradient of outer.weight is lost",
    "stale": "from before",
}
ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in range(4)}}
RATES = (1e-5, 1e-4, 1e-3)
OPTIMIZERS = [Sgd, Adam, AdamW, Adagrad, RmsProp, Lion]
WHOLE = [Adafactor, Muon]
OTHER = {
    "all-reduce": "all-reduce over 2 workers gave",
    "all-gather": "all-gather over 2 workers gave",
    "optimizer": "its gradients agree, but a step of adamw is off by 50% of its change",
    "weights": "the workers hold different weights of",
}


def allowed():
    """The precisions and engines that a job file may name together."""
    for precision, engine in itertools.product(("fp32", "bf16"), ENGINES):
        if (precision, engine) != ("bf16", "zero-0"):
            yield precision, engine


def training_of(precision, engine, optimizer, **fields):
    """Two workers, of two passes a step each."""
    defaults = {"self_test": True, "workers": Workers(count=2, per_device_batch_size=2), "global_batch_size": 8}
    return tiny_training(**{**defaults, "precision": precision, "engine": engine, "optimizer": optimizer, **fields})


def broken_cells(rates):
    """One rate of each fault, precision and engine, each rate about as often; with more rates all of them."""
    for number, (fault, (precision, engine)) in enumerate(itertools.product(FAULTS, allowed())):
        for rate in rates or [RATES[number % len(RATES)]]:
            optimizer = AdamW(learning_rate=rate)
            yield f"{fault} {precision} {engine} {rate:g}", fault, training_of(precision, ENGINES[engine], optimizer)


def whole_cells(*, all_of_them):
    """Every optimizer that an engine takes, with and without clipping, of one to six passes; or two for each engine."""
    for number, (precision, engine) in enumerate(allowed()):
        kinds = OPTIMIZERS + (WHOLE if engine in ("ddp", "zero-0") else [])
        chosen = {2 * number % len(kinds), (2 * number + 1) % len(kinds)}
        for place, kind in enumerate(kinds):
            if not all_of_them and place not in chosen:
                continue
            for rate in RATES if all_of_them else [RATES[(number + place) % 3]]:
                limit, batch = (1.0, 0.0, 0.1)[(number + place) % 3], (4, 8, 24)[place % 3]
                fields = {"global_batch_size": batch, "regularization": Regularization(max_grad_norm=limit)}
                optimizer = kind(learning_rate=rate, weight_decay=0.1)
                name = f"whole {precision} {engine} {optimizer.kind} {rate:g} clipped at {limit:g}, batch {batch}"
                yield name, training_of(precision, ENGINES[engine], optimizer, **fields)
    off = DeepSpeed(zero_stage=2, offload=Offload(optimizer="cpu"))
    yield "whole fp32 offloaded", training_of("fp32", off, AdamW(learning_rate=1e-4))


def said_by_two(folder, cases):
    """What two workers said in each case, one after another; both must say the same."""
    documents = {name: (fault, training.model_dump(mode="json")) for name, fault, training in cases}
    (folder / "cases.json").write_text(json.dumps(documents))
    worker = Path(__file__).with_name("self_test_worker.py")
    paths = os.pathsep.join([str(worker.parents[1]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    rendezvous = folder / f"rendezvous-{secrets.token_hex(4)}"
    logs = [folder / f"worker-{rank}.log" for rank in range(2)]
    started = []
    for rank, log in enumerate(logs):
        with log.open("w") as stream:
            command = [sys.executable, worker, folder, str(rank), rendezvous]
            started.append(subprocess.Popen(command, env=environment, stdout=stream, stderr=stream))
    try:
        for process, log in zip(started, logs, strict=True):
            assert process.wait(timeout=900) == 0, log.read_text()[-3000:]
    finally:
        for process in started:
            process.kill()
    both = [json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2)]
    return {name: [one[name] for one in both] for name in documents}


OTHER_CELLS = [
    *((f"{fault} zero-1", fault, training_of("fp32", ENGINES["zero-1"], AdamW(learning_rate=1e-4))) for fault in OTHER),
    *(
        (f"{fault} ddp", fault, training_of("fp32", Ddp(), AdamW(learning_rate=1e-4)))
        for fault in ("weights", "optimizer")
    ),
    *(
        (f"{fault} fsdp", fault, training_of("fp32", Fsdp(), AdamW(learning_rate=1e-4)))
        for fault in ("all-gather", "optimizer")
    ),
]
SOME = [
    *broken_cells(()),
    *((name, "none", training) for name, training in whole_cells(all_of_them=False)),
    *OTHER_CELLS,
]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    return said_by_two(tmp_path_factory.mktemp("self-test"), SOME)


@pytest.mark.parametrize("case", [name for name, fault, _ in SOME if fault == "none"])
def test_workers_that_are_whole_pass(said, case):
    assert said[case] == ["passes", "passes"]


@pytest.mark.parametrize(("case", "fault"), [(name, fault) for name, fault, _ in SOME if fault != "none"])
def test_the_self_test_says_what_is_broken(said, case, fault):
    assert all(({**FAULTS, **OTHER}[fault]) in one for one in said[case]), said[case]
    assert said[case][0] == said[case][1]


@pytest.mark.faults
def test_every_fault_is_found_and_every_optimizer_passes_at_every_rate(tmp_path):
    whole = ((name, "none", training) for name, training in whole_cells(all_of_them=True))
    cases, wanted = [*broken_cells(RATES), *whole], {**FAULTS, "none": "passes"}
    found = said_by_two(tmp_path, cases)
    wrong = {name: found[name] for name, fault, _ in cases if not all(wanted[fault] in one for one in found[name])}
    assert wrong == {}


def test_one_worker_has_nobody_to_disagree_with():
    alone = training_of("fp32", Ddp(), AdamW(learning_rate=1e-4), workers=Workers(count=1, per_device_batch_size=2))
    before = torch.random.get_rng_state()
    assert self_test(alone, World(0, 1, torch.device("cpu"))) is None
    assert torch.equal(torch.random.get_rng_state(), before), "it draws nothing that a training would draw"
    assert not torch.distributed.is_initialized(), "it needs no group"
