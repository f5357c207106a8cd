"""How a sweep chooses the settings of its trials."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from trainshed.spec.document.part import Count, Part, RunRef

Concurrent = Count | Literal["auto"]


class _Drawn(Part):
    """The fields of every search whose trials are drawn one after another."""

    trials: Count
    concurrent: Concurrent = "auto"
    """Trials that run at the same time at most; `auto`: as many as the cluster has room for."""
    seed: int = 0
    start_with: tuple[dict[str, JsonValue], ...] = ()
    """Settings to try first, each by dotted path; what one leaves out is drawn."""


class _Learner(_Drawn):
    """The fields of every search that learns from its trials."""

    learn_from: tuple[RunRef, ...] = ()
    """Earlier sweeps whose trials it knows of at the start."""


class RandomSearch(_Drawn):
    """Every trial is drawn on its own (Bergstra and Bengio 2012)."""

    kind: Literal["random"] = "random"


class GridSearch(Part):
    """Every combination of the values listed: ranges must be `choice`, `integer`, or `uniform` with a step."""

    kind: Literal["grid"] = "grid"
    concurrent: Concurrent = "auto"
    """Trials that run at the same time at most; `auto`: as many as the cluster has room for."""
    trials: Count | None = None
    """The first so many combinations; all of them where it is not given."""


class Tpe(_Learner):
    """Tree-structured Parzen estimator: draws where the better trials so far were (Optuna's, multivariate)."""

    kind: Literal["tpe"] = "tpe"
    random_trials: Count = 10
    """The first so many are drawn at random."""


class GaussianProcess(_Learner):
    """Bayesian optimisation: draws where a Gaussian process over the trials so far expects the most (Optuna's).

    Settings that only some trials have are drawn at random beside it.
    """

    kind: Literal["gp"] = "gp"
    random_trials: Count = 8
    """The first so many are drawn at random."""


class CmaEs(_Learner):
    """Covariance matrix adaptation, for spaces of numbers (Optuna's CMA-ES); choices are drawn at random beside it."""

    kind: Literal["cma_es"] = "cma_es"
    random_trials: Count = 4
    """The first so many are drawn at random."""


class Genetic(_Learner):
    """A population whose better trials are crossed and changed (Optuna's NSGA-II with one objective)."""

    kind: Literal["genetic"] = "genetic"
    population: Annotated[int, Field(ge=2)] = 8
    """Trials of one generation."""


class Evolution(_Learner):
    """Each trial is the best one so far with some settings drawn anew (nevergrad's discrete (1+1)); the first is the
    middle of every range."""

    kind: Literal["evolution"] = "evolution"


Search = Annotated[
    RandomSearch | GridSearch | Tpe | GaussianProcess | CmaEs | Genetic | Evolution, Field(discriminator="kind")
]
