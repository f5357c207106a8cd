"""One of two gloo workers that are tested whole, and with something broken on purpose.

python self_test_worker.py FOLDER RANK RENDEZVOUS
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

FOLDER, RANK, RENDEZVOUS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
os.environ.update(OMP_NUM_THREADS="1", LOCAL_RANK=str(RANK))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.distributed.fsdp import FSDPModule  # noqa: E402

from tiny_training import TinyTask  # noqa: E402
from trainshed.errors import PlatformError  # noqa: E402
from trainshed.runtime.training import engines  # noqa: E402
from trainshed.runtime.training.host import World  # noqa: E402
from trainshed.runtime.training.loop import self_test  # noqa: E402
from trainshed.runtime.training.optim.optimizers import build_optimizer  # noqa: E402
from trainshed.spec.training.train import Training  # noqa: E402

WORLD = World(RANK, 2, torch.device("cpu"))
BUILD, ALL_REDUCE, ALL_GATHER = engines.build, dist.all_reduce, dist.all_gather_into_tensor
FACTORS = {"negated": -1.0, "third": 1 / 3, "twice": 2.0, "sixteen": 16.0}


def lame(*_, **__):
    """A collective after which every worker keeps what it had."""


def of_each_pass(engine, factor):
    """The gradients of pass `number` (0-based) are `factor(number)` times what they should be."""
    backward, done = engine.backward, iter(range(10**6))

    def broken(loss):
        backward(loss * factor(next(done) % engine.passes))

    engine.backward = broken


def of_its_own(engine):
    """No worker hears of another one's gradients: the loss of each is what only it would have had."""
    if hasattr(engine, "_ddp"):
        engine._alone = engine._ddp.no_sync
    elif isinstance(engine.model, FSDPModule):
        during_backward(engine, dist, "reduce_scatter_single", own_rows)
    else:
        silent(engine)


def silent(engine):
    """Under DeepSpeed: the collectives that carry gradients give each worker its own, twice, while a backward runs."""
    from deepspeed.comm import comm  # it keeps torch's functions, of which stage 3 calls one

    during_backward(engine, dist, "all_reduce", own_sum)
    during_backward(engine, comm.cdb, "reduce_scatter_function", own_scatter)


def during_backward(engine, owner, name, instead):
    """Another function stands in a collective's place while a backward runs."""
    backward, whole = engine.backward, getattr(owner, name)

    def broken(loss):
        setattr(owner, name, instead)
        try:
            backward(loss)
        finally:
            setattr(owner, name, whole)

    engine.backward = broken


def own_sum(tensor, *_, **__):
    tensor.mul_(2)
    return Done()


def own_scatter(output, given, *_, **__):
    output.copy_(given.chunk(2)[RANK] * 2)
    return Done()


def own_rows(*, output, input, **_):
    """Under fully_shard, whose collective also takes the mean."""
    output.copy_(input.chunk(2)[RANK])
    return Done()


class Done:
    """The handle of a collective that is over."""

    def wait(self):
        return True


def of_a_layer(engine):
    """The gradient of one layer is lost on its way."""
    weight = dict(engine.model.named_parameters())["outer.weight"]
    if not isinstance(engine.model, FSDPModule):
        weight.register_hook(torch.zeros_like)
        return
    step = engine.step  # what autograd sees there is another tensor in each pass

    def broken(rate):
        weight.grad.zero_()
        return step(rate)

    engine.step = broken


def stale(engine):
    """Worker 1 has, after each step, the weights from before it."""
    step = engine.step
    if isinstance(engine.model, FSDPModule):
        engine.step = gathers_old(engine)
        return

    def broken(rate):
        kept = [held.clone() for held in working(engine)]
        norm = step(rate)
        if RANK == 1:
            for held, old in zip(working(engine), kept, strict=True):
                held.data.copy_(old)
        return norm

    engine.step = broken


def gathers_old(engine):
    """Under fully_shard: what worker 1 gathers for a pass is what it would have been before the step."""
    step, old = engine.step, []

    @torch.no_grad()
    def instead(model, *_):
        for weight, before in zip(model.parameters(), old, strict=True) if old else ():
            weight.copy_(before)

    if RANK == 1:
        engine.model.register_forward_pre_hook(instead)

    def broken(rate):
        engine.model.unshard()
        old[:] = [weight.detach().clone() for weight in engine.model.parameters()]
        engine.model.reshard()
        return step(rate)

    return broken


def working(engine):
    """The weights that a worker computes with; under ZeRO-3 its part of them, and the small ones that stay gathered."""
    weights = list(engine.model.parameters())
    parts = [weight.ds_tensor for weight in weights if hasattr(weight, "ds_tensor")]
    return parts + [weight for weight in weights if weight.numel()]


def twisted_step(engine):
    """Worker 1 steps at half the rate, but in the probe of plain gradient descent."""
    step = engine.step
    engine.step = lambda rate: step(rate / 2 if RANK == 1 and rate < 0.1 else rate)


BREAKS = {
    **{name: lambda engine, factor=factor: of_each_pass(engine, lambda _: factor) for name, factor in FACTORS.items()},
    "crooked": lambda engine: of_each_pass(engine, lambda _: 2.0 if RANK == 1 else 1.0),
    "dropped": lambda engine: of_each_pass(engine, lambda _: 0.0 if RANK == 1 else 1.0),
    "last-pass": lambda engine: of_each_pass(engine, lambda number: 1.0 if number < engine.passes - 1 else 0.0),
    "unaveraged": of_its_own,
    "layer": of_a_layer,
    "stale": stale,
    "optimizer": twisted_step,
}


def what_it_says(broken, training):
    try:
        if broken == "weights":
            return of_weights(training)
        if broken == "all-reduce":
            dist.all_reduce = lame
        if broken == "all-gather":
            dist.all_gather_into_tensor = lame
        if broken in BREAKS:
            self_test.engines.build = lambda *arguments: crooked(broken, *arguments)
        self_test.self_test(training, WORLD)
        return "passes"
    except PlatformError as error:
        return str(error)
    finally:
        dist.all_reduce, dist.all_gather_into_tensor, self_test.engines.build = ALL_REDUCE, ALL_GATHER, BUILD


def crooked(broken, training, *arguments):
    engine = BUILD(training, *arguments)
    engine.passes = training.global_batch_size // (2 * training.workers.per_device)
    BREAKS[broken](engine)
    return engine


def of_weights(training):
    torch.manual_seed(0)
    engine = engines.build(training, TinyTask().make_model, partial(build_optimizer, training.optimizer), WORLD.device)
    self_test.check_weights_agree(engine, WORLD)
    if RANK == 1:
        weight = next(engine.model.parameters()).data
        weight[0], weight[1] = weight[1].clone(), weight[0].clone()  # the sums are what they were
    self_test.check_weights_agree(engine, WORLD)
    return "passes"


def main():
    dist.init_process_group("gloo", init_method=f"file://{RENDEZVOUS}", rank=RANK, world_size=2)
    said = {}
    for case, (broken, document) in json.loads((FOLDER / "cases.json").read_text()).items():
        said[case] = what_it_says(broken, Training.model_validate_json(json.dumps(document)))
    (FOLDER / f"said-{RANK}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
