"""A constraint of a sweep: a small expression over the paths of a training, such as `model.width % model.heads == 0`.

The text may be a stranger's. Python's grammar reads it and nothing runs it: of the tree only numbers, text, truth
values, dotted paths, arithmetic, comparisons, `in`, `and`, `or`, `not` and parentheses may stand, its length is
bounded, and so is every number that comes up on the way. A constraint on what a training does not have (the floor of a
constant schedule) asks nothing of it. Knows the JSON of a training; knows nothing of spaces and searches.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator

LONGEST = 200
"""Characters of one constraint."""
DEEPEST = 50
"""Operations inside one another."""
MOST_BITS = 1024
"""Of a whole number that comes up in one."""

Value = Any
"""int, float, str, bool, or a list of them."""

ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
SAMENESS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}
COMPARISONS = {**ORDERS, **SAMENESS}
ALLOWED = "numbers, text, true paths, + - * / // % **, comparisons, in, and, or, not and parentheses"


class Absent(Exception):
    """A path that this training does not have."""


@dataclass(frozen=True)
class Constraint:
    """A parsed constraint."""

    text: str
    tree: ast.expr
    paths: tuple[str, ...]
    """Those that it speaks of, each once."""

    def holds(self, training: Mapping[str, Any]) -> bool:
        """Whether the JSON of a training has it; false where it cannot be worked out, as in a division by zero."""
        try:
            return bool(_value(self.tree, training))
        except Absent:
            return True
        except (ArithmeticError, TypeError, ValueError):
            return False


@lru_cache(maxsize=256)
def parse(text: str) -> Constraint:
    """The constraint that a text says.

    Raises:
        ValueError: it says something else; what, and what may stand there.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a constraint has {LONGEST} characters at most, got {len(text)}")
    try:
        with warnings.catch_warnings():  # Python has a word of its own on some of what is refused below
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} is no expression; say something like model.width % model.heads == 0") from None
    if _depth(tree) > DEEPEST:
        raise ValueError(f"{text!r} is nested too deeply; {DEEPEST} operations inside one another at most")
    paths = tuple(dict.fromkeys(_paths(tree)))
    if not paths:
        raise ValueError(f"{text!r} speaks of no path; say something like model.width % model.heads == 0")
    return Constraint(text, tree, paths)


def broken_by(texts: Iterable[str], training: Mapping[str, Any], *, own: Iterable[str]) -> tuple[str, str] | None:
    """The first constraint on one of somebody's own settings that a training does not keep: the setting, the text."""
    for constraint in map(parse, texts):
        guilty = [path for path in own if any(_overlap(path, said) for said in constraint.paths)]
        if guilty and not constraint.holds(training):
            return guilty[0], constraint.text
    return None


def recorded(job: Mapping[str, Any]) -> tuple[str, ...]:
    """The constraints of a sweep's recorded job; what is none of this version is left out."""
    texts = job.get("constraints")
    return tuple(text for text in texts if _is_one(text)) if isinstance(texts, list) else ()


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _is_one(text: Any) -> bool:
    try:
        return isinstance(text, str) and parse(text) is not None
    except ValueError:
        return False


def _parses(text: str) -> str:
    parse(text)
    return text


ConstraintText = Annotated[str, AfterValidator(_parses)]
"""What a job file says; see `parse`."""


def _depth(tree: ast.AST) -> int:
    depth = 0
    level = [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _paths(node: ast.expr) -> list[str]:
    """The paths below a node; refuses every node that may not stand in a constraint."""
    match node:
        case ast.Name() | ast.Attribute():
            return [path_of(node)]
        case ast.Constant(value=bool() | int() | float() | str()):
            return []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC or isinstance(op, ast.Pow):
            return _paths(left) + _paths(right)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
            return _paths(operand)
        case ast.BoolOp(values=values):
            return [path for value in values for path in _paths(value)]
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARISONS for op in ops):
            return _paths(left) + [path for other in others for path in _paths(other)]
        case ast.List(elts=values) | ast.Tuple(elts=values):
            return [path for value in values for path in _paths(value)]
        case _:
            raise ValueError(f"{ast.unparse(node)!r} cannot stand in a constraint; it has {ALLOWED}")


def path_of(node: ast.expr) -> str:
    """The dotted path that names and their attributes write."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name() | ast.Attribute() as inner, attr=name):
            return f"{path_of(inner)}.{name}"
        case _:
            raise ValueError(f"{ast.unparse(node)!r} cannot stand in a constraint; a path is names with dots")


def _value(node: ast.expr, training: Mapping[str, Any]) -> Value:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return found(path_of(node), training)
        case ast.BinOp(left=left, op=op, right=right):
            return _bounded(op, _number(_value(left, training)), _number(_value(right, training)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, training)
        case ast.UnaryOp(op=op, operand=operand):
            number = _number(_value(operand, training))
            return -number if isinstance(op, ast.USub) else number
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, training) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, training) for value in values)
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(one, training) for one in (left, *others)]
            pairs = zip(values, ops, values[1:], strict=False)
            return all(COMPARISONS[type(op)](one, other) for one, op, other in pairs)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, training) for part in parts]
        case _:
            raise AssertionError(ast.dump(node))


def _bounded(op: ast.operator, left: float, right: float) -> float:
    """The outcome of one operation, which neither takes long nor grows without an end."""
    if isinstance(op, ast.Pow):
        if abs(right) > MOST_BITS or (isinstance(left, int) and left.bit_length() * abs(right) > MOST_BITS):
            raise OverflowError("a power too large")
        found: Any = left**right
    else:
        found = ARITHMETIC[type(op)](left, right)
    if isinstance(found, complex) or (isinstance(found, float) and not math.isfinite(found)):
        raise OverflowError("no finite number")
    if isinstance(found, int) and found.bit_length() > MOST_BITS:
        raise OverflowError("a number too large")
    return found  # type: ignore[no-any-return]


def _number(value: Value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def found(path: str, training: Mapping[str, Any]) -> Value:
    """The value of a training at a path.

    Raises:
        Absent: nothing.
    """
    here: Any = training
    for key in path.split("."):
        if not isinstance(here, Mapping) or here.get(key) is None:
            raise Absent(path)
        here = here[key]
    return here
