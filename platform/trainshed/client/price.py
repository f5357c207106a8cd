"""The price of a planned submission: what a device-hour costs on the machines of a cluster profile."""

from __future__ import annotations

from trainshed.client.plan import Planned
from trainshed.cluster.pricing import on_profile
from trainshed.cluster.profile import Profile


def price(planned: Planned, profile: Profile | None) -> Planned:
    """Adds the price of a device-hour to each plan and to a sweep's budget that has none; unchanged without a profile.

    Raises:
        PlanError: no machine of the profile can hold a worker, or all of them together not all workers.
        SpecError: a sweep's money needs a price, and no machine that holds a worker has one.
    """
    if profile is None:
        return planned
    jobs, plans = on_profile(planned.loaded, planned.plans, profile)
    return Planned(tuple(jobs), tuple(plans), planned.weights)
