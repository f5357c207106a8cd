"""What a training will need, by pure arithmetic, before anything is started: batch, tokens, bytes per worker.

`model` says what a model costs, with `described` for the layers of a folder's config.json and `adapters` for low-rank
ones; `layouts` how engines may spread it, `states` what a worker then holds, `limits` what it may use, `choose` puts
them together, and `refusal` says what would fit where the plan does not. `largest_trial` finds the trial of a sweep
that needs the most, `sweep` plans for it; `least` plans for the least of what is not known yet.
"""

from trainshed.spec.plan.choose import Plan, plan, resolved
from trainshed.spec.plan.least import refuse_what_can_never_fit
from trainshed.spec.plan.price import HourPrice
from trainshed.spec.plan.refusal import refuse_what_cannot_fit
from trainshed.spec.plan.sharing import SweepNeed
from trainshed.spec.plan.states import Need, needed
from trainshed.spec.plan.sweep import plan_sweep
from trainshed.spec.training.engines import Layout

__all__ = [
    "HourPrice",
    "Layout",
    "Need",
    "Plan",
    "SweepNeed",
    "needed",
    "plan",
    "plan_sweep",
    "refuse_what_can_never_fit",
    "refuse_what_cannot_fit",
    "resolved",
]
