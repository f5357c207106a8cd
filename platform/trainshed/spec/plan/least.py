"""What is too large whatever the data turns out to be: a plan with the smallest vocabulary there can be.

A vocabulary of characters, or of a tokenizer that this machine does not have, is only known when the data is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trainshed.errors import PlanError
from trainshed.spec.models import DataSizes
from trainshed.spec.plan.choose import plan
from trainshed.spec.plan.refusal import refuse_what_cannot_fit
from trainshed.spec.plan.sweep import plan_sweep
from trainshed.spec.train import Training
from trainshed.spec.tune import TuneJob


def refuse_what_fits_no_vocabulary(
    name: str,
    job: Training | TuneJob,
    sizes: DataSizes,
    *,
    of_each: Mapping[str, DataSizes] | None = None,
    machine_bytes: int | None = None,
) -> None:
    """Nothing where every vocabulary is known: then the plan itself has refused. `of_each` is as `plan_sweep` has it.

    Raises:
        PlanError: the job, or the hungriest trial of a sweep, cannot fit with any vocabulary.
    """
    every = {data: _least(one) for data, one in (of_each or {}).items()}
    least = _least(sizes)
    if least == sizes and every == (of_each or {}):
        return
    try:
        if isinstance(job, TuneJob):
            plan_sweep(job, least, of_each=every, machine_bytes=machine_bytes)
        else:
            refuse_what_cannot_fit(plan(name, job, least, machine_bytes=machine_bytes), job)
    except PlanError as error:
        raise PlanError(f"{error}; counted with the smallest vocabulary that the data can have") from None


def _least(sizes: DataSizes) -> DataSizes:
    """With the fewest tokens there can be, where there are any and their number is not known."""
    if sizes.vocab_size is not None or sizes.image is not None:
        return sizes
    return replace(sizes, vocab_size=sizes.least_vocab_size)
