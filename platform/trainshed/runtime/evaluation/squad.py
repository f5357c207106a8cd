"""Exact match and F1 of an answer's words, as SQuAD's own evaluation defines them (arXiv 1606.05250, evaluate-v1.1.py).

Lower case, without punctuation, without the English articles, single blanks. Scripts that write no blanks between words
have one word for a phrase, and F1 is then as strict as the exact match.
"""

from __future__ import annotations

import re
import string
from collections import Counter

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = frozenset(string.punctuation)


def normalized(answer: str) -> str:
    """What of an answer is compared."""
    plain = "".join(character for character in answer.lower() if character not in PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", plain).split())


def exact_match(answer: str, truth: str) -> float:
    """1.0 where the two are the same, else 0.0."""
    return float(normalized(answer) == normalized(truth))


def answer_f1(answer: str, truth: str) -> float:
    """The harmonic mean of the share of words that are right and of those that were found, 0.0 to 1.0.

    Two answers of no words are the same one: 1.0, as in SQuAD 2.0.
    """
    said = normalized(answer).split()
    wanted = normalized(truth).split()
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    if common == 0:
        return 0.0
    precision = common / len(said)
    recall = common / len(wanted)
    return 2 * precision * recall / (precision + recall)
