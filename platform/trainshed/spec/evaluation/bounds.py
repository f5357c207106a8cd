"""A bound of one metric, as `>= 0.9`, parsed once into a type that can judge a figure.

Knows text and numbers; does not know which metrics there are.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Sign = Literal[">=", ">", "<=", "<"]
COMPARES: dict[Sign, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
TEXT = re.compile(rf"\s*(?P<sign>>=|<=|>|<)\s*(?P<number>{NUMBER})\s*")
SAY = 'say a sign and a number, like ">= 0.9"; the signs are >=, >, <= and <'


@dataclass(frozen=True)
class Bound:
    """What a figure must be; the sign also says which direction is better."""

    sign: Sign
    value: float

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger figure is a better one."""
        return self.sign in (">=", ">")

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps the bound; NaN keeps none."""
        return COMPARES[self.sign](figure, self.value)

    def is_near(self, figure: float, other: float, *, within: float) -> bool:
        """Whether a figure is at most `within` worse than another one; it may be any amount better."""
        loss = other - figure if self.higher_is_better else figure - other
        return loss <= within or math.isclose(loss, within, rel_tol=0.0, abs_tol=1e-12)


def bound_of(text: str) -> Bound:
    """The bound that a text says.

    Raises:
        ValueError: it says none; the message is what to write instead.
    """
    found = TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"got {text!r}; {SAY}")
    signs: dict[str, Sign] = {sign: sign for sign in COMPARES}
    value = float(found["number"])
    if not math.isfinite(value):
        raise ValueError(f"got {text!r}, which no figure can reach; {SAY}")
    return Bound(signs[found["sign"]], value)
