"""What work needs of the local cluster before it is packed: room for its workers, and keys for its endpoints.

Another cluster may grow, and has keys of its own: there is nothing to do for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trainshed.client.address import Address
from trainshed.environment import reachable_serve_host
from trainshed.errors import CapacityError, SpecError
from trainshed.record.secrets import (
    find_secret,
    find_tracker_secret,
    keep_secret,
    keep_tracker_secret,
    let_go_to,
    new_key,
)
from trainshed.spec.load import LoadedJob
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.trackers import secrets_of, trackers
from trainshed.spec.training.train import TrainJob


def check_capacity(loaded: Sequence[LoadedJob], address: Address) -> None:
    """Compares what the jobs ask for with the local cluster, which cannot grow.

    Raises:
        CapacityError: it can never hold that.
    """
    if address.local is None:
        return
    for one in loaded:
        key = "train.workers" if isinstance(one.job, TuneJob) else "workers"
        workers = one.job.train.workers if isinstance(one.job, TuneJob) else getattr(one.job, "workers", None)
        if workers is None:
            continue
        for what, asked, there in (
            ("CPUs", workers.min_count * workers.cpus, address.local.cpus),
            ("GPUs", workers.min_count * workers.gpus, address.local.gpus),
        ):
            if asked > there:
                place = f"{one.document.file}:{one.document.line_of(tuple(key.split('.')))}: {key}"
                raise CapacityError(
                    f"{place}: {workers.min_count} workers ask for {asked:g} {what}, the local cluster has {there:g}; "
                    "ask for fewer, or give --address of a larger cluster"
                )


def provide_secrets(loaded: Sequence[LoadedJob], address: Address, home: Path, say: Callable[[str], None]) -> None:
    """On a local cluster a key from the environment, or a fresh one, is kept where the replicas find it.

    From then on it may go to the endpoint that it was made for. Nobody can make a tracker's key: it must be there.

    Raises:
        SpecError: a tracker's secret is nowhere.
    """
    if address.local is None:
        return
    for one in loaded:
        _provide_trackers(one, home)
    for job in [one.job for one in loaded if isinstance(one.job, ServeJob)]:
        for name in job.auth.keys:
            known = find_secret(name, home)
            if known is None:
                path = keep_secret(name, new_key(), home)
                say(f"made a key for {name}: {path}")
            else:
                keep_secret(name, known, home)
            let_go_to(name, f"http://{reachable_serve_host()}:{address.local.serve_port}/{job.name}", home)


def _provide_trackers(one: LoadedJob, home: Path) -> None:
    if not isinstance(one.job, TrainJob | TrainFromBest | TuneJob):
        return
    for tracker in trackers(one.job.report_to):
        for name in secrets_of(tracker).values():
            value = find_tracker_secret(name, home)
            if value is None:
                fault = one.fault("report_to", f"the secret {name} is not set; export {name}=..., or leave it out")
                raise SpecError([fault])
            keep_tracker_secret(name, value, home)
