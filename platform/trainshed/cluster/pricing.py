"""What an hour of a device costs on the machines of a profile: the cheapest that can hold a worker of a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from trainshed.cluster.profile import NodeType, Profile
from trainshed.errors import PlanError, SpecError
from trainshed.spec.devices import DEVICES
from trainshed.spec.load import LoadedJob
from trainshed.spec.plan import HourPrice, Plan
from trainshed.spec.plan.limits import PROCESS_BYTES, usable
from trainshed.spec.sweep.tune import TuneJob


def on_profile(
    loaded: Sequence[LoadedJob], plans: Sequence[Plan], profile: Profile
) -> tuple[list[LoadedJob], list[Plan]]:
    """The jobs with the price of a device-hour where a sweep's budget has none, and the plans with it.

    A price that a job gives is kept.

    Raises:
        PlanError: no node type can hold a worker, or all of them together not all workers.
        SpecError: a sweep's money needs a price, and no node type that holds a worker has one.
    """
    made = {one.name: replace(one, price=one.price or _price(one, profile)) for one in plans}
    return [_priced(one, made, profile) for one in loaded], [made[one.name] for one in plans]


def _priced(one: LoadedJob, plans: dict[str, Plan], profile: Profile) -> LoadedJob:
    job = one.job
    if not isinstance(job, TuneJob) or job.budget.price is not None:
        return one
    price = plans[job.name].price
    if price is None:
        if job.budget.money is None:
            return one
        message = f"no node type of the profile {profile.name} that holds a worker has a price_per_hour"
        raise SpecError([one.fault("budget.money", f"{message}; say budget.price")])
    found = {"price": price.amount, "currency": price.currency, "price_from": price.source}
    done = job.model_copy(update={"budget": job.budget.model_copy(update=found)})
    return replace(one, job=done, asked=one.asked or job)


def _price(plan: Plan, profile: Profile) -> HourPrice | None:
    """The price of one device of the cheapest node type that holds a worker; None where none of them has a price."""
    lacks = {name: _lacking(node, plan) for name, node in profile.node_types.items()}
    fitting = {name: node for name, node in profile.node_types.items() if not lacks[name]}
    if not fitting:
        nearest = min(lacks, key=lambda name: (len(lacks[name]), -profile.node_types[name].memory_gb))
        raise PlanError(
            f"{plan.name}: no node type of the profile {profile.name} can hold a worker; the nearest, {nearest}, has "
            + " and ".join(lacks[nearest])
        )
    room = sum(node.max_nodes * _workers_on(node, plan) for node in fitting.values())
    if room < plan.worker.min_count:
        raise PlanError(
            f"{plan.name}: the profile {profile.name} has room for {room} of {plan.worker.min_count} workers; raise "
            f"max_nodes of {' or '.join(fitting)}, or set workers.count: {room}"
        )
    device = "GPU" if plan.worker.gpus else "CPU"
    hours = {
        name: node.price_per_hour / (node.gpus if plan.worker.gpus else node.cpus)
        for name, node in fitting.items()
        if node.price_per_hour is not None
    }
    if not hours or profile.currency is None:
        return None
    name = min(hours, key=lambda one: hours[one])
    node = fitting[name]
    count = node.gpus if plan.worker.gpus else node.cpus
    source = (
        f"profile {profile.name}, node type {name}{' (spot)' if node.spot else ''}: {node.price_per_hour:g} "
        f"{profile.currency} an hour for {count} {device}(s); {profile.prices_from}"
    )
    return HourPrice(hours[name], profile.currency, source)


def _lacking(node: NodeType, plan: Plan) -> list[str]:
    """What a machine has too little of for one worker, in words; empty where it holds one."""
    worker = plan.worker
    lacks = []
    if worker.cpus > node.cpus:
        lacks.append(f"{node.cpus} CPU(s) of {worker.cpus:g}")
    if worker.gpus > node.gpus:
        lacks.append(f"{node.gpus} GPU(s) of {worker.gpus:g}")
    elif worker.gpu_type is not None and worker.gpu_type != node.gpu_type:
        lacks.append(f"{node.gpu_type} for {worker.gpu_type}")
    host, device = _bytes(plan)
    if worker.gpus and node.gpu_type is not None:
        sharing = plan.sweep.trials_per_device if plan.sweep else 1
        there = usable(DEVICES[node.gpu_type].memory_bytes, min(1.0, worker.gpus) / sharing)
        if device > there:
            lacks.append(f"{there / 1e9:.2f} GB of {device / 1e9:.2f} on its {node.gpu_type}")
    if host + PROCESS_BYTES > node.memory_gb * 1e9:
        lacks.append(f"{node.memory_gb:g} GB of {(host + PROCESS_BYTES) / 1e9:.2f}")
    return lacks


def _bytes(plan: Plan) -> tuple[int, int]:
    """What one worker needs of the machine's memory and of its GPU's, as far as the plan knows."""
    needed = plan.sweep.needed if plan.sweep else plan.needed or 0
    if not plan.worker.gpus:
        declared = int((plan.worker.memory_gb or 0) * 10**9) - PROCESS_BYTES
        return max(needed, declared), 0
    return plan.chosen.host if plan.chosen else 0, needed


def _workers_on(node: NodeType, plan: Plan) -> int:
    """How many workers one machine holds, by CPUs and GPUs."""
    rooms = [node.cpus / plan.worker.cpus]
    if plan.worker.gpus:
        rooms.append(node.gpus / plan.worker.gpus)
    return math.floor(min(rooms) + 1e-6)
