"""Conditions on sampled rows: what a user may ask for, checked against the domain before any sampling.

A condition is a value, a list of values, or a closed range (low, high) on a column; None stands for 'missing'.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.block import PresenceEncoder
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.numbers import NumericEncoder, to_numbers
from raysynth.encoding.numeric import BinEncoder, ModeEncoder
from raysynth.encoding.table_encoder import ColumnEncoder, TableEncoder
from raysynth.errors import ConditionError, ParameterError
from raysynth.kinds.arrow_text import plain, plain_type
from raysynth.kinds.date_text import DateFormat
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import one_array
from raysynth.schema.table import TableSchema
from raysynth.statistics.released import from_plain

_COLLECTIONS = (list, set, frozenset, np.ndarray, pd.Series, pd.Index)
POINT_WINDOW = 0.005  # rejection samplers meet 'value == v' by rows whose rank is this near, then set to v


@dataclass(frozen=True)
class ColumnCondition:
    """What one column has to satisfy.

    Args:
        column: its name.
        values: discrete columns: allowed values (None: missing); None for numeric columns.
        low, high: numeric columns: closed range, in numbers (datetimes: integers of their unit).
        points: numeric columns: allowed single values, ascending; the range then spans them.
        missing: no value is allowed (numeric columns: is asked for).
        spans: numeric columns: closed ranges, any of which will do (see `windows`).
    """

    column: str
    values: tuple[Any, ...] | None = None
    low: float = -np.inf
    high: float = np.inf
    points: tuple[float, ...] = ()
    missing: bool = False
    spans: tuple[tuple[float, float], ...] = ()

    def holds(self, array: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """For each row whether it satisfies the condition, shape (N,) bool."""
        array = one_array(array)
        null = array.is_null().to_numpy(zero_copy_only=False)
        if self.values is not None:
            known = pa.array([v for v in self.values if v is not None], type=plain_type(array.type))
            found = pc.is_in(plain(array), value_set=known).to_numpy(zero_copy_only=False) & ~null
            return found | null if self.missing else found
        if self.missing:
            return null
        x, absent = to_numbers(array)
        if self.spans:
            inside = np.logical_or.reduce([(x >= low) & (x <= high) for low, high in self.spans])
        else:
            inside = np.isin(x, self.points) if self.points else (x >= self.low) & (x <= self.high)
        return inside & ~null if absent is None else inside & ~absent

    def weights(self, encoder: ColumnEncoder) -> np.ndarray:
        """P(condition | code), shape (cardinality,)."""
        if isinstance(encoder, CategoricalEncoder):
            allowed = set(self.values or ())
            weights = encoder.condition_weights(allowed.__contains__)
        elif self.missing or isinstance(encoder, PresenceEncoder):  # none is asked for of the latter
            weights = np.zeros(encoder.cardinality)
        elif self.spans:
            weights = np.sum([encoder.condition_weights(span) for span in self.spans], axis=0)
        elif self.points:
            weights = np.sum([_point_weights(encoder, point) for point in self.points], axis=0)
        else:
            weights = encoder.condition_weights((self.low, self.high))
        if self.missing:
            weights[-1] = float(encoder.shares[-1] > 0)
        return np.minimum(1.0, weights)

    def windows(self, encoder: ColumnEncoder) -> ColumnCondition:
        """For rejection: rare single values widened to ranges that a sampled value can meet."""
        if not self.points or not isinstance(encoder, NumericEncoder):
            return self
        return replace(self, points=(), spans=tuple(_window(encoder, p) for p in self.points))

    def snap(self, array: pa.Array, encoder: ColumnEncoder) -> pa.Array:
        """Values set to the nearest allowed point (numeric points only)."""
        if not self.points or not isinstance(encoder, NumericEncoder):
            return array
        x, missing = encoder.places(array)
        points = np.array([encoder.place(p) for p in self.points])
        nearest = points[np.abs(x[:, None] - points).argmin(1)]
        return encoder.to_arrow(nearest, np.zeros(len(x), bool) if missing is None else missing)


def _point_weights(encoder: BinEncoder | ModeEncoder, point: float) -> np.ndarray:
    """P(value == point | code); the code around it where a single value has no mass; zeros where out of reach."""
    weights: np.ndarray = np.zeros(encoder.cardinality)
    if not encoder.reaches(point):
        return weights
    weights = encoder.condition_weights((point, point))
    if not weights.any():
        weights[encoder.encode(encoder.to_arrow(np.array([encoder.place(point)]), np.zeros(1, bool)))[0][0]] = 1.0
    return weights


def _window(encoder: NumericEncoder, point: float) -> tuple[float, float]:
    """The point itself where many rows share it, else a range of ranks around it."""
    distribution, at = encoder.distribution, encoder.place(point)
    below = distribution.rank_below(at, inclusive=False)
    if distribution.rank_below(at, inclusive=True) - below > POINT_WINDOW:
        return point, point
    rank = distribution.rank(np.array([at])) + np.array([-POINT_WINDOW, POINT_WINDOW])
    places = distribution.quantile(np.clip(rank, 0, 1))
    low, high = places if encoder.line is None else encoder.line.number(places)
    return min(low.item(), point), max(high.item(), point)


@dataclass(frozen=True)
class Segment:
    """n rows that all satisfy the same conditions."""

    conditions: tuple[ColumnCondition, ...]
    n: int


def parse_conditions(
    conditions: Any, n_samples: int | None, schema: TableSchema, encoder: TableEncoder
) -> tuple[Segment, ...]:
    """The segments of a sample in the order of its rows: how many rows of each, and the conditions that they satisfy.

    Args:
        conditions: None; a dict column -> condition; a list of (dict, n); or a DataFrame whose rows are completed.
        n_samples: rows in all; may be None for the last two forms.

    Raises:
        ConditionError: an unknown column, one whose values are made anew, a value outside the domain, an empty range.
        ParameterError: n_samples missing, negative, or not the sum of the quotas.
    """
    if isinstance(conditions, pd.DataFrame):
        rows = [
            Segment(_parse_row({str(k): v for k, v in row.items() if not _is_missing(v)}, schema, encoder), 1)
            for row in conditions.to_dict("records")
        ]
        return _checked(rows, n_samples)
    if isinstance(conditions, Sequence) and not isinstance(conditions, (str, bytes)):
        return _checked([_quota(entry, schema, encoder) for entry in conditions], n_samples)
    if n_samples is None:
        raise ParameterError("n_samples is missing; say how many rows to sample")
    if conditions is not None and not isinstance(conditions, Mapping):
        raise ConditionError(
            "conditions are a dict {column: value, [values] or (low, high)}, a list of (dict, n), or a DataFrame"
        )
    return _checked([Segment(_parse_row(conditions or {}, schema, encoder), _rows(n_samples))], n_samples)


def _quota(entry: Any, schema: TableSchema, encoder: TableEncoder) -> Segment:
    if not (isinstance(entry, Sequence) and len(entry) == 2 and isinstance(entry[0], Mapping)):
        raise ConditionError(f"a quota is a pair (conditions, n), for example ({{'sex': 'F'}}, 500); found {entry!r}")
    return Segment(_parse_row(entry[0], schema, encoder), _rows(entry[1]))


def _checked(segments: list[Segment], n_samples: int | None) -> tuple[Segment, ...]:
    total = sum(s.n for s in segments)
    if n_samples is not None and _rows(n_samples) != total:
        raise ParameterError(
            f"n_samples is {n_samples}, but the conditions ask for {total} rows in all; leave n_samples out"
        )
    merged: list[Segment] = []
    for segment in segments:  # neighbours that ask the same are one run
        if merged and merged[-1].conditions == segment.conditions:
            segment = Segment(segment.conditions, merged.pop().n + segment.n)
        merged.append(segment)
    return tuple(merged)


def _rows(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise ParameterError(f"the number of rows must be a whole number >= 0; found {n!r}")
    return int(n)


def _parse_row(
    conditions: Mapping[str, Any], schema: TableSchema, encoder: TableEncoder
) -> tuple[ColumnCondition, ...]:
    by_name = {c.name: c for c in encoder.columns}
    result = []
    for key, wanted in conditions.items():
        name = str(key)  # a DataFrame's columns may be numbers
        if name not in schema:
            raise ConditionError(f"condition on '{name}': no such column; {_nearest(name, schema.names)}")
        condition = _parse(schema[name], by_name.get(name), wanted)
        if condition is None:
            continue
        if name in by_name and not condition.weights(by_name[name]).any():
            raise ConditionError(_outside(schema[name], by_name[name], wanted))
        result.append(condition)
    return tuple(result)


def _parse(column: ColumnSchema, encoder: ColumnEncoder | None, wanted: Any) -> ColumnCondition | None:
    """The condition on one column; None where it holds by itself (a constant)."""
    where = f"condition on '{column.name}'"
    if column.kind.is_made:
        raise ConditionError(
            f"{where}: its values ({column.kind}) are made anew, so that none is a real one, and cannot be asked for; "
            "leave it out and set the column of the sample afterwards, or, where its values repeat and are no secret, "
            "fit with its kind declared 'categorical'"
        )
    if isinstance(wanted, tuple) and not column.kind.is_constant:
        return _parse_range(column, wanted)
    values = list(wanted) if isinstance(wanted, _COLLECTIONS) else [wanted]
    if not values:
        raise ConditionError(f"{where}: the list of values is empty; name at least one value")
    if column.kind.is_constant:
        if any(_is_equal(v, known) for v in values for known in _constants(column)):
            return None
        raise ConditionError(f"{where}: the column is constant, always {column.value!r}; found {wanted!r}")
    missing = any(_is_missing(v) for v in values)
    present = [v.item() if isinstance(v, np.generic) else v for v in values if not _is_missing(v)]
    if column.kind.is_discrete:
        found = sorted({_category(column, encoder, v) for v in present}, key=str)
        return ColumnCondition(column.name, values=(*found, *([None] if missing else [])), missing=missing)
    if missing and present:
        raise ConditionError(f"{where}: a number cannot be asked to be missing or a value at once; use two quotas")
    if missing:
        return ColumnCondition(column.name, missing=True)
    points = tuple(sorted({as_number(column, v) for v in present}))
    if isinstance(encoder, NumericEncoder):
        for value, point in ((v, as_number(column, v)) for v in present):
            if not encoder.reaches(point):
                raise ConditionError(_outside(column, encoder, value))
    return ColumnCondition(column.name, low=points[0], high=points[-1], points=points)


def _category(column: ColumnSchema, encoder: ColumnEncoder | None, value: Any) -> Any:
    """A value of a discrete column as its encoder has it; raises `ConditionError` where it is unknown."""
    storage = column.value_type
    if pa.types.is_temporal(storage) or pa.types.is_decimal(storage) or pa.types.is_float32(storage):
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):  # else it is in no domain: found below
            value = pa.array([value]).cast(storage)[0].as_py()
    if isinstance(encoder, CategoricalEncoder):
        for known in (*encoder.values, *encoder.tail_values):
            if _is_equal(known, value):
                return known
        raise ConditionError(_outside(column, encoder, value))
    try:  # a column that its constraint models together with others: the domain is not at hand
        return pa.scalar(value, type=storage).as_py()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise ConditionError(f"condition on '{column.name}': {value!r} is no value of type {column.dtype}") from None


def _constants(column: ColumnSchema) -> list[Any]:
    """The value of a constant column as JSON has it, and as Python has it."""
    return [column.value, *from_plain([column.value], column.value_type)]


def _is_equal(known: Any, value: Any) -> bool:
    try:
        return bool(known == value)
    except (TypeError, ValueError):
        return False


def _parse_range(column: ColumnSchema, wanted: tuple[Any, ...]) -> ColumnCondition:
    where = f"condition on '{column.name}'"
    if not column.kind.is_numeric:
        raise ConditionError(f"{where}: a tuple is a range, but the column is {column.kind}; use a list of values")
    if len(wanted) != 2:
        raise ConditionError(f"{where}: a range is (low, high), either may be None; found {wanted!r}")
    low = -np.inf if _is_missing(wanted[0]) else as_number(column, wanted[0])
    high = np.inf if _is_missing(wanted[1]) else as_number(column, wanted[1])
    if low > high:
        raise ConditionError(f"{where}: the range {wanted!r} is empty; its low end is above its high end")
    if low == high:
        return ColumnCondition(column.name, low=low, high=high, points=(low,))
    return ColumnCondition(column.name, low=low, high=high)


def as_number(column: ColumnSchema, value: Any) -> float:
    """A condition's value on the number line of the column, a whole number (exact) where it is one.

    Raises:
        ConditionError: names the column and the value that is none of its kind.
    """
    try:
        return column.kind.about.number(column, value)
    except (TypeError, ValueError, OverflowError):
        form = "" if column.date_format is None else f" of the form {column.date_format}"
        raise ConditionError(f"condition on '{column.name}': {value!r} is no {column.kind} value{form}") from None


def _outside(column: ColumnSchema, encoder: ColumnEncoder, wanted: Any) -> str:
    where = f"condition on '{column.name}': no row of the model can have {wanted!r}"
    if _is_missing(wanted):
        return f"condition on '{column.name}': no row of the model can be missing here; ask for a value"
    if isinstance(encoder, CategoricalEncoder):
        known = list(encoder.values)
        if any(str(v) == str(wanted) for v in known):  # 'True' for True
            return f"{where}, a text; it has: {', '.join(map(repr, known[:12]))}"
        return f"{where}; {_nearest(str(wanted), [str(v) for v in known])}"
    assert isinstance(encoder, NumericEncoder)
    distribution = encoder.distribution
    ends = encoder.to_arrow(np.array([distribution.low[0], distribution.high[-1]]), np.zeros(2, bool))
    if column.date_format is not None:
        ends = DateFormat(column.date_format).write(ends)
    low, high = ends.to_pylist()
    return f"{where}; its values lie between {low} and {high}"


def _nearest(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted.strip(), known, n=3, cutoff=0.6)
    shown = ", ".join(repr(k) for k in (near or list(known)[:12]))
    return f"did you mean {shown}?" if near else f"it has: {shown}{' ...' if len(known) > 12 else ''}"


def _is_missing(value: Any) -> bool:
    if isinstance(value, (*_COLLECTIONS, tuple, dict)):
        return False
    return value is None or (np.ndim(value) == 0 and not isinstance(value, (str, bytes)) and bool(pd.isna(value)))
