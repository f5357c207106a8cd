"""The way of a submission: read -> bind -> check -> plan -> price, and then pack -> hand over.

Each step is a file of its own and takes what the one before it gives. `read` comes before this file is imported: a job
file that is wrong in itself pays for nothing else. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainshed.client.address import Address
from trainshed.client.bind import bind
from trainshed.client.check import check, faults_here
from trainshed.client.hand_over import hand_over
from trainshed.client.local_needs import check_capacity, provide_secrets
from trainshed.client.pack import pack
from trainshed.client.plan import Planned, machine_bytes, plan
from trainshed.client.price import price
from trainshed.client.read import Asked
from trainshed.client.uploads import left_behind
from trainshed.record.index import Index
from trainshed.record.storage import Storage
from trainshed.record.submission import PlannedRun, begin_runs, forget_runs

Say = Callable[[str], None]


@dataclass(frozen=True)
class Submitted:
    """A submission that was handed over."""

    submission_id: str
    runs: tuple[PlannedRun, ...]


def prepare(asked: Asked, index: Index, *, here: bool, say: Say) -> Planned:
    """Runs every check that comes before anything is written, the cheap ones first.

    `here`: the job will run on this machine.

    Raises:
        SpecError: every fault of the documents, of what they name, and of how they fit together.
        PlanError: one cannot fit, or says `auto` where the plan cannot know.
    """
    found = faults_here(asked.loaded, local=here, priced=asked.profile is not None)
    bound = bind(asked.loaded, index, found=found)
    check(bound)
    for one in bound.loaded:
        for line in left_behind(one):
            say(line)
    planned = plan(bound, machine_bytes=machine_bytes() if here else None)
    return price(planned, asked.profile)


def submit(planned: Planned, address: Address, storage: Storage, *, home: Path, say: Say) -> Submitted:
    """Packs code and files, makes missing keys on a local cluster, and starts the job.

    Raises:
        CapacityError: the local cluster can never hold what is asked for.
        ClusterError: the cluster cannot be reached or refuses.
    """
    check_capacity(planned.loaded, address)
    provide_secrets(planned.loaded, address, home, say)
    packed = pack(planned, storage, address.name)
    submission = packed.submission
    hand_over(
        packed,
        address,
        storage,
        before=lambda: begin_runs(submission, storage),
        take_back=lambda: forget_runs(submission, storage),
        home=home,
    )
    return Submitted(submission.submission_id, submission.runs)
