"""BLEU and chrF of translations by sacrebleu, with the signatures that make two figures comparable (arXiv 1804.08771).

Both are of the whole corpus, 0 to 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from trainshed.runtime.evaluation.bootstrap import Array, Statistic


@dataclass(frozen=True)
class Translations:
    """What was translated, and what the data has for it, with the sums that the two scores are made of."""

    statistic: Statistic
    signatures: dict[str, str]
    """By metric: versions, tokenization and parameters, in sacrebleu's words."""


def of_translations(said: Sequence[str], truth: Sequence[str]) -> Translations:
    """BLEU (13a, mixed case, exponential smoothing) and chrF2 with one reference for each.

    A corpus score is a function of sums over sentences, so a resample only adds them again.
    """
    bleu = BLEU()
    chrf = CHRF()
    references = [list(truth)]
    bleu.corpus_score(list(said), references)  # a signature names the references that it was asked with
    chrf.corpus_score(list(said), references)
    of_bleu = _sums(bleu, said, truth)
    of_chrf = _sums(chrf, said, truth)

    def statistic(weights: Array) -> dict[str, Array]:
        return {
            "bleu": _scores(bleu, weights @ of_bleu),
            "chrf": _scores(chrf, weights @ of_chrf),
        }

    return Translations(statistic, {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())})


def _sums(metric: BLEU | CHRF, said: Sequence[str], truth: Sequence[str]) -> Array:
    """`(sentences, counts)`. sacrebleu 2.6 gives them to its own bootstrap only, under this name."""
    found = metric._extract_corpus_statistics(list(said), [list(truth)])
    return np.array(found, dtype=np.float64)


def _scores(metric: BLEU | CHRF, sums: Array) -> Array:
    """The corpus score of each row of sums. sacrebleu takes whole counts, which all of these are."""
    return np.array([metric._compute_score_from_stats(row.astype(int).tolist()).score for row in sums])
