"""Whether figures pass a gate, and why not: one line for each reason. Pure comparison."""

from __future__ import annotations

from collections.abc import Mapping

from trainshed.spec.evaluation.evaluate import Leakage
from trainshed.spec.evaluation.require import Require

Figures = Mapping[str, float]


def failures(require: Require, figures: Figures, *, other: Figures | None) -> tuple[str, ...]:
    """Why the figures do not pass; empty where they do. `other` are those of `against`, on the same samples."""
    reasons = []
    for name, bound in require.bounds.items():
        if name not in figures:
            reasons.append(f"{name} is not reported for these samples, and must be {bound}")
            continue
        figure = figures[name]
        if not bound.holds(figure):
            reasons.append(f"{name} is {figure:.6g}, and must be {bound}")
        if other is None:
            continue
        if name not in other:
            reasons.append(f"{name} of {require.against} is not reported for these samples, and cannot be compared")
        elif not bound.is_near(figure, other[name], within=require.within):
            reasons.append(
                f"{name} is {figure:.6g}, and {require.against} has {other[name]:.6g}: it is "
                f"{abs(figure - other[name]):.2g} worse, and {require.within:g} is allowed"
            )
    return tuple(reasons)


def leakage_failure(leakage: Leakage, share: float) -> str | None:
    """Why too much of the evaluated samples stood in the training set; None where not, or where any share may."""
    if leakage.max_share is None or share <= leakage.max_share:
        return None
    return (
        f"{share:.1%} of the evaluated samples share a run of {leakage.ngram} tokens with the training set, and "
        f"leakage.max_share allows {leakage.max_share:.1%}; evaluate on samples that the model has not learnt from"
    )
