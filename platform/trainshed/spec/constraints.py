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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

LONGEST = 200
"""Characters of one constraint."""
DEEPEST = 50
"""Operations inside one another."""
MOST_BITS = 1024
"""Of a whole number that comes up in one."""

Kind = Literal["number", "text", "truth", "list"]
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


class _Absent(Exception):
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
        except _Absent:
            return True
        except (ArithmeticError, TypeError, ValueError):
            return False

    def misuse(self, training: Mapping[str, Any]) -> str | None:
        """What is wrong with the kinds of the values that it puts together; None: nothing is."""
        try:
            kind = _kind(self.tree, training)
        except TypeError as error:
            return str(error)
        return None if kind in ("truth", None) else f"is a {kind}, neither true nor false; compare it with something"


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


def _parses(text: str) -> str:
    parse(text)
    return text


ConstraintText = Annotated[str, AfterValidator(_parses)]
"""What a job file says; see `parse`."""


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _paths(node: ast.expr) -> list[str]:
    """The paths below a node; refuses every node that may not stand in a constraint."""
    match node:
        case ast.Name() | ast.Attribute():
            return [_path(node)]
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


def _path(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name() | ast.Attribute() as inner, attr=name):
            return f"{_path(inner)}.{name}"
        case _:
            raise ValueError(f"{ast.unparse(node)!r} cannot stand in a constraint; a path is names with dots")


def _value(node: ast.expr, training: Mapping[str, Any]) -> Value:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _found(_path(node), training)
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


def _found(path: str, training: Mapping[str, Any]) -> Value:
    here: Any = training
    for key in path.split("."):
        if not isinstance(here, Mapping) or here.get(key) is None:
            raise _Absent(path)
        here = here[key]
    return here


def _kind(node: ast.expr, training: Mapping[str, Any]) -> Kind | None:
    """What kind of value a node has with the kinds of this training; None: that of something it does not have."""
    match node:
        case ast.Constant(value=value):
            return _kind_of(value, ast.unparse(node))
        case ast.Name() | ast.Attribute():
            try:
                return _kind_of(_found(_path(node), training), _path(node))
            except _Absent:
                return None
        case ast.BinOp(left=left, right=right):
            return _all_are("number", (left, right), training)
        case ast.UnaryOp(op=op, operand=operand):
            return _all_are("truth" if isinstance(op, ast.Not) else "number", (operand,), training)
        case ast.BoolOp(values=values):
            return _all_are("truth", values, training)
        case ast.Compare(left=left, ops=ops, comparators=others):
            parts = (left, *others)
            for one, comparison, other in zip(parts, ops, others, strict=False):
                _comparable(one, comparison, other, training)
            return "truth"
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                _kind(part, training)
            return "list"
        case _:
            raise AssertionError(ast.dump(node))


def _kind_of(value: Value, said: str) -> Kind:
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case str():
            return "text"
        case Mapping():
            raise TypeError(
                f"{said} is a whole part; name one of its values, such as {said}.{next(iter(value), 'kind')}"
            )
        case _:
            return "list"


def _all_are(wanted: Literal["number", "truth"], nodes: Any, training: Mapping[str, Any]) -> Kind:
    for node in nodes:
        kind = _kind(node, training)
        if kind not in (wanted, None):
            raise TypeError(f"{ast.unparse(node)} is a {kind}, a {wanted} is needed there")
    return wanted


def _comparable(one: ast.expr, op: ast.cmpop, other: ast.expr, training: Mapping[str, Any]) -> None:
    kinds = (_kind(one, training), _kind(other, training))
    if isinstance(op, ast.In | ast.NotIn):
        if kinds[1] not in ("list", None):
            raise TypeError(f"{ast.unparse(other)} is a {kinds[1]}; `in` needs a list, such as [1, 2]")
        return
    ordered = type(op) in ORDERS
    for node, kind in zip((one, other), kinds, strict=True):
        if ordered and kind not in ("number", None):
            raise TypeError(f"{ast.unparse(node)} is a {kind}; only numbers are smaller or larger")
    if None not in kinds and kinds[0] != kinds[1]:
        raise TypeError(
            f"{ast.unparse(one)} is a {kinds[0]} and {ast.unparse(other)} a {kinds[1]}; they are never equal"
        )
