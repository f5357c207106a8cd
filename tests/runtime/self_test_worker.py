"""One of two gloo workers that are tested whole, and with something broken on purpose.

python self_test_worker.py FOLDER RANK RENDEZVOUS
"""

import json
import os
import sys
from pathlib import Path

FOLDER, RANK, RENDEZVOUS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.environ.update(OMP_NUM_THREADS="1", LOCAL_RANK=str(RANK))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from tiny_training import TinyTask  # noqa: E402
from trainshed.errors import PlatformError  # noqa: E402
from trainshed.runtime.training import engines, self_test  # noqa: E402
from trainshed.runtime.training.host import World  # noqa: E402
from trainshed.runtime.training.optimizers import build_optimizer  # noqa: E402
from trainshed.spec.train import Training  # noqa: E402

WORLD = World(RANK, 2, torch.device("cpu"))


def lame_all_reduce(tensor, *_, **__):
    """Every worker keeps what it had."""


def unscaled(loss, backward):
    """Worker 1's gradients count twice: an average that is none."""
    return backward(loss * (2.0 if RANK == 1 else 1.0))


def what_it_says(case, training):
    broken = case.split()[0]
    whole_reduce = dist.all_reduce
    try:
        if broken == "all-reduce":
            dist.all_reduce = lame_all_reduce
        if broken == "gradients":
            build = engines.build

            def crooked(*arguments):
                engine = build(*arguments)
                backward = engine.backward
                engine.backward = lambda loss: unscaled(loss, backward)
                return engine

            self_test.engines.build = crooked
        if broken == "weights":
            return of_weights(training)
        self_test.self_test(training, WORLD)
        return "passes"
    except PlatformError as error:
        return str(error)
    finally:
        dist.all_reduce = whole_reduce
        if broken == "gradients":
            self_test.engines.build = build


def of_weights(training):
    torch.manual_seed(0)
    engine = engines.build(
        training, TinyTask().make_model, lambda model: build_optimizer(training.optimizer, model), WORLD.device
    )
    self_test.check_weights_agree(engine, training, WORLD)
    if RANK == 1:
        next(engine.model.parameters()).data[0] += 1e-3
    self_test.check_weights_agree(engine, training, WORLD)
    return "passes"


def main():
    dist.init_process_group("gloo", init_method=f"file://{RENDEZVOUS}", rank=RANK, world_size=2)
    said = {}
    for case, document in json.loads((FOLDER / "cases.json").read_text()).items():
        said[case] = what_it_says(case, Training.model_validate_json(json.dumps(document)))
        dist.barrier()
    (FOLDER / f"said-{RANK}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
