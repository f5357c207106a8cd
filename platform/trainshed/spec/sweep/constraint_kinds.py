"""Whether a constraint puts together what goes together: numbers are added and ordered, text is only the same or not.

Asked of the kinds of a training's values before anything runs, not of the values: `model.width == "wide"` is false of
every training, and surely not what was meant.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from trainshed.spec.sweep.constraints import ORDERS, Absent, Constraint, Value, found, path_of

Kind = Literal["number", "text", "truth", "list"]


def misuse(constraint: Constraint, training: Mapping[str, Any]) -> str | None:
    """What is wrong with the kinds of the values that a constraint puts together; None: nothing is."""
    try:
        kind = _kind(constraint.tree, training)
    except TypeError as error:
        return str(error)
    return None if kind in ("truth", None) else f"is a {kind}, neither true nor false; compare it with something"


def _kind(node: ast.expr, training: Mapping[str, Any]) -> Kind | None:
    """What kind of value a node has with the kinds of this training; None: that of something it does not have."""
    match node:
        case ast.Constant(value=value):
            return _kind_of(value, ast.unparse(node))
        case ast.Name() | ast.Attribute():
            try:
                return _kind_of(found(path_of(node), training), path_of(node))
            except Absent:
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


def _all_are(wanted: Literal["number", "truth"], nodes: Iterable[ast.expr], training: Mapping[str, Any]) -> Kind:
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
