"""Evaluation of a checked expression tree on whole columns, with missing as a third truth value (Kleene logic)."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysynth.schema.constraints.base import Values, comparable, scalar_like, to_float, without_nan

SPANS = {"days": 86_400_000_000, "hours": 3_600_000_000, "minutes": 60_000_000, "seconds": 1_000_000}  # microseconds
PARTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "week": pc.iso_week,
    "day": pc.day,
    "weekday": pc.day_of_week,  # 0: Monday
    "dayofyear": pc.day_of_year,
    "hour": pc.hour,
}
_COMPARE: dict[type, Callable[..., Values]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}


def evaluate(node: ast.expr, columns: Mapping[str, pa.Array]) -> Values:
    """The values of a tree that `expression.parse` has checked.

    Raises:
        pa.ArrowException, ValueError, TypeError: an operation does not suit the types of its columns.
    """
    if isinstance(node, ast.Name):
        return columns[node.id]
    if isinstance(node, ast.Constant):
        return pa.scalar(node.value)
    if isinstance(node, ast.BoolOp):
        combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        return reduce(combine, [_truth(evaluate(v, columns)) for v in node.values])
    if isinstance(node, ast.UnaryOp):
        value = evaluate(node.operand, columns)
        if isinstance(node.op, ast.Not):
            return pc.invert(_truth(value))
        return pc.negate(_number(value)) if isinstance(node.op, ast.USub) else _number(value)
    if isinstance(node, ast.BinOp):
        return _arithmetic(node.op, evaluate(node.left, columns), evaluate(node.right, columns))
    if isinstance(node, ast.Compare):
        return _comparison(node, columns)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Constant)
    return _call(str(node.func.value), [evaluate(a, columns) for a in node.args])


def _comparison(node: ast.Compare, columns: Mapping[str, pa.Array]) -> Values:
    left = evaluate(node.left, columns)
    if isinstance(node.ops[0], (ast.In, ast.NotIn)):
        group = node.comparators[0]
        found = _is_in(left, [e.value for e in group.elts])  # type: ignore[attr-defined]
        return pc.invert(found) if isinstance(node.ops[0], ast.NotIn) else found
    result: Values | None = None
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = evaluate(comparator, columns)
        step = _compare(_COMPARE[type(op)], left, right)
        result = step if result is None else pc.and_kleene(result, step)
        left = right
    assert result is not None
    return result


def _compare(compare: Callable[..., Values], left: Values, right: Values) -> Values:
    left, right = _same_kind(left, right), _same_kind(right, left)
    for values, other, flipped in ((left, right, False), (right, left, True)):
        if isinstance(values, pa.DictionaryArray) and isinstance(other, pa.Scalar):
            # each distinct text is compared once
            per_text = compare(other, values.dictionary) if flipped else compare(values.dictionary, other)
            return per_text.take(values.indices)
    left, right = comparable(_decoded(left), _decoded(right))
    if compare in (pc.equal, pc.not_equal) and pa.types.is_floating(left.type):
        size = pc.max_element_wise(pc.abs(left), pc.abs(right), skip_nulls=False)
        # sums of decimal fractions differ in the last binary digit; infinity minus itself is no number
        near = pc.or_(pc.equal(left, right), pc.less_equal(pc.abs(pc.subtract(left, right)), pc.multiply(size, 1e-9)))
        return near if compare is pc.equal else pc.invert(near)
    return compare(left, right)


def _is_in(values: Values, group: list[Any]) -> Values:
    coded = isinstance(values, pa.DictionaryArray)
    plain = values.dictionary if coded else values
    known = pa.array([_same_kind(pa.scalar(v), plain).as_py() for v in group])
    if pa.types.is_temporal(plain.type) or (pa.types.is_large_string(plain.type) and known.type == pa.string()):
        known = known.cast(plain.type)
    plain, known = comparable(plain, known)
    if pa.types.is_integer(plain.type) and pa.types.is_integer(known.type):
        plain = plain.cast(pa.int64())
    if plain.type != known.type:
        raise TypeError(f"`in` compares {plain.type} with {known.type}")
    found = pc.if_else(pc.is_null(plain), pa.scalar(None, pa.bool_()), pc.is_in(plain, value_set=known))
    return found.take(values.indices) if coded else found


def _same_kind(value: Values, other: Values) -> Values:
    """Text beside a time becomes a time."""
    if isinstance(value, pa.StringScalar) and pa.types.is_temporal(other.type):
        return scalar_like(value.as_py(), other.type)
    return value


def _arithmetic(op: ast.operator, left: Values, right: Values) -> Values:
    if pa.types.is_temporal(left.type) or pa.types.is_temporal(right.type):
        if isinstance(op, ast.Add):
            return pc.add(left, right)
        if isinstance(op, ast.Sub):
            return pc.subtract(left, right)
        if not (isinstance(op, (ast.Div, ast.FloorDiv)) and all(pa.types.is_duration(v.type) for v in (left, right))):
            raise TypeError("times can be added and subtracted only, and a span of time divided by another")
        left, right = (v.cast(pa.duration("us"), safe=False).cast(pa.int64()) for v in (left, right))
        return _division(op, left, right)
    left, right = _number(left), _number(right)
    if isinstance(op, (ast.Add, ast.Sub, ast.Mult)):
        checked = {ast.Add: pc.add_checked, ast.Sub: pc.subtract_checked, ast.Mult: pc.multiply_checked}[type(op)]
        try:
            return checked(left, right)
        except pa.ArrowInvalid:  # beyond 64 bits
            return checked(to_float(left), to_float(right))
    return _division(op, left, right)


def _division(op: ast.operator, left: Values, right: Values) -> Values:
    """Python's /, // and %; missing where the divisor is zero."""
    zero = pc.equal(right, pa.scalar(0, right.type))
    right = pc.if_else(zero, pa.scalar(None, right.type), right)
    whole = pa.types.is_integer(left.type) and pa.types.is_integer(right.type)
    if isinstance(op, ast.Div) or not whole:
        quotient = pc.divide(to_float(left), to_float(right))
        if isinstance(op, ast.Div):
            return quotient
        floor = pc.floor(quotient)
        return floor if isinstance(op, ast.FloorDiv) else pc.subtract(left, pc.multiply(floor, right))
    left, right = left.cast(pa.int64()), right.cast(pa.int64())
    quotient = pc.divide(left, right)  # rounds towards zero
    rest = pc.subtract(left, pc.multiply(quotient, right))
    below = pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(right, 0)))
    if isinstance(op, ast.FloorDiv):
        return pc.subtract(quotient, below.cast(pa.int64()))
    return pc.add(rest, pc.multiply(below.cast(pa.int64()), right))


def _call(name: str, arguments: list[Values]) -> Values:
    value = arguments[0]
    if name in ("isnull", "notnull"):
        return pc.is_null(value) if name == "isnull" else pc.is_valid(value)
    if name == "abs":
        return pc.abs(_number(value))
    if name in PARTS:
        if not (pa.types.is_timestamp(value.type) or (pa.types.is_date(value.type) and name != "hour")):
            raise TypeError(f"{name} takes a date or a time, not {value.type}")
        return PARTS[name](value)
    if name in SPANS:
        return _span(_number(value), SPANS[name])
    numbers = [v if pa.types.is_temporal(v.type) else _number(v) for v in arguments]
    return reduce(partial(_extreme, pc.less if name == "min" else pc.greater), numbers)


def _span(value: Values, unit: int) -> Values:
    """So many units as a duration, rounded to microseconds; missing where 64 bits cannot hold it."""
    if pa.types.is_integer(value.type):
        possible = pc.less_equal(pc.abs(value), 2**62 // unit)
        whole = pc.multiply(pc.if_else(possible, value, pa.scalar(None, pa.int64())), unit)
    else:
        exact = pc.multiply(value, float(unit))
        exact = pc.if_else(pc.less_equal(pc.abs(exact), 2.0**62), exact, pa.scalar(None, pa.float64()))
        whole = pc.round(exact).cast(pa.int64())
    return whole.cast(pa.duration("us"))


def _extreme(better: Callable[..., Values], left: Values, right: Values) -> Values:
    """The lesser or greater of two; a missing one makes the result unknown, as in a comparison."""
    left, right = comparable(left, right)
    return pc.if_else(better(left, right), left, right)


def _truth(value: Values) -> Values:
    if not pa.types.is_boolean(value.type):
        raise TypeError(f"and, or and not take truth values, not {value.type}; compare it with something")
    return value


def _number(value: Values) -> Values:
    """Numbers as 64 bits, so that arithmetic neither wraps nor mixes signs."""
    if pa.types.is_integer(value.type):
        return to_float(value) if pa.types.is_uint64(value.type) else value.cast(pa.int64())
    if pa.types.is_floating(value.type) or pa.types.is_decimal(value.type):
        wide = to_float(value)
        return without_nan(wide) if isinstance(wide, pa.Array) else wide
    raise TypeError(f"arithmetic takes numbers, not {'text' if isinstance(value, pa.DictionaryArray) else value.type}")


def _decoded(value: Values) -> Values:
    return value.dictionary_decode() if isinstance(value, pa.DictionaryArray) else value
