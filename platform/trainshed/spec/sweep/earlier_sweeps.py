"""Do figures of an earlier sweep say anything about this one? Compared before a search learns from them.

Pure. Whether single trials lie in the space is `space_check.fits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainshed.spec.sweep.tune import TuneJob


def unlike(job: TuneJob, earlier: TuneJob) -> str | None:
    """The first thing that makes a figure of the earlier sweep another one, in one line; None: nothing does.

    What a space searches may differ: it is a setting of the trials.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("metric", earlier.metric, job.metric),
        ("goal", GOALS[earlier.mode], GOALS[job.mode]),
        ("train.steps", earlier.train.steps, job.train.steps),
        ("train.epochs", earlier.train.epochs, job.train.epochs),
        ("folds", earlier.folds, job.folds),
    ]
    searched = {*job.space, *earlier.space}
    for part in ("task", "model"):
        there = _leaves(part, earlier, searched)
        here = _leaves(part, job, searched)
        pairs += [(path, there.get(path), here.get(path)) for path in sorted({*there, *here})]
    for what, there, here in pairs:
        if there != here:
            return f"{what} is {there} there and {here} here"
    return None


def unlike_data(job: TuneJob, here: Mapping[str, str], earlier: TuneJob, there: Mapping[str, str]) -> str | None:
    """The same of the data; `here` and `there` are fingerprints of what each sweep reads, by reference."""
    if "data" in job.space and "data" in earlier.space:  # trials name their data themselves
        pairs = [(one, one) for one in job.data_sets if one in earlier.data_sets]
    else:
        pairs = [(job.train.data, earlier.train.data)]
    for mine, theirs in pairs:
        if theirs not in there:
            return f"the data that it was on, {theirs}, is not there any more"
        if here[mine] != there[theirs]:
            return f"it was on other data, {theirs}, than {mine}"
    return None


GOALS = {"min": "minimize", "max": "maximize"}


def _leaves(part: str, job: TuneJob, searched: set[str]) -> dict[str, Any]:
    """Single values of a part of the training by path, without those that a space searches."""
    found = job.train.model_dump(mode="json", by_alias=True)[part]
    return {
        path: value
        for path, value in _flat(part, found)
        if not any(path == one or path.startswith(f"{one}.") for one in searched)
    }


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    else:
        yield path, value
