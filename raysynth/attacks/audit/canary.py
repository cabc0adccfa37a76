"""The canary of an audit: a row, or a sequence of rows, that shows up wherever a release depends on single ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.sequences import from_numbers, numbers_of
from raysynth.errors import ParameterError
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema
from raysynth.statistics.cell_counts import as_doubles

UNSEEN = "a value of the canary alone"
FARTHER = 1000.0  # times the largest number of a column, where no bounds are declared
LATER = 4.0  # the same for times, whose years have four digits
LARGEST = 2.0**100  # of a number; an infinite one would count as missing


def canary_row(rows: pa.Table, schema: TableSchema | None, given: Mapping[str, Any] | None = None) -> pa.Table:
    """One row of the table's types: numbers far outside, categories of nobody else's, as far as the schema allows.

    Declared bounds and categories are kept: the canary then has the bound that is farther from the median, and the
    rarest of the declared values.

    Args:
        rows: the table without the canary.
        schema: what is declared; None: nothing.
        given: values of the user's own.

    Raises:
        ParameterError: `given` names a column that is not there, or has a value of another type.
    """
    given = dict(given or {})
    if unknown := [n for n in given if n not in rows.column_names]:
        raise ParameterError(f"canary names column '{unknown[0]}'; the table has: {', '.join(rows.column_names)}")
    columns = {}
    for name in rows.column_names:
        declared = schema[name] if schema is not None and name in schema else None
        type_ = rows.schema.field(name).type
        value = given[name] if name in given else _extreme(rows.column(name).combine_chunks(), declared)
        try:
            columns[name] = _as_type(value, type_)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ParameterError(f"canary: {value!r} is no {type_}, as column '{name}' has it ({error})") from error
    return pa.table(columns)


def canary_sequence(
    rows: pa.Table,
    schema: TableSchema | None,
    given: Mapping[str, Any] | None = None,
    *,
    steps: int,
    key: str | None = None,
    time: str | None = None,
) -> pa.Table:
    """Rows of one sequence, all of them as `canary_row`, so that whichever of them count, they are the worst.

    Where nothing is said of the time, the rows follow each other at equal and long intervals.

    Args:
        rows, schema: as in `canary_row`.
        given: for a column one value for all steps, or a list with one for each step.
        steps: rows, where no list says how many.
        key, time: names of the columns; None where there is none.

    Raises:
        ParameterError: as `canary_row`, or lists of different lengths, or the key is given.
    """
    given = dict(given or {})
    if key in given:
        raise ParameterError(f"canary names '{key}', the key of the sequences: leave it out, a canary has its own")
    lists = {n: list(v) for n, v in given.items() if isinstance(v, (list, tuple, np.ndarray))}
    lengths = {len(v) for v in lists.values()}
    if len(lengths) > 1 or 0 in lengths:
        found = ", ".join(f"{len(v)} of '{n}'" for n, v in lists.items())
        raise ParameterError(f"canary: lists must have one value for each step, all of them as many; found {found}")
    n_rows, n_different = max(lengths, default=steps), max(lengths, default=1)
    step_values = [{n: v[i] for n, v in lists.items()} for i in range(n_different)]
    different = pa.concat_tables([canary_row(rows, schema, {**given, **own}) for own in step_values])
    canary = different.take(pa.array(np.arange(n_rows) % n_different))
    if time is None or time in given:
        return canary
    at, field = canary.column_names.index(time), canary.schema.field(time)
    return canary.set_column(at, field, _far_apart(canary.column(time), field.type))


def _far_apart(times: pa.ChunkedArray, type_: pa.DataType) -> pa.Array:
    """Equal times, each further one later by as much as the first is from zero, or by what the type has room for."""
    first = numbers_of(times)
    gap = np.abs(first[0])
    if not pt.is_floating(type_):
        room = 2 ** (type_.bit_width - 1) - 1 - int(gap)
        gap = max(0, min(int(gap), room // len(first)))
    return from_numbers(first + np.arange(len(first)) * gap, type_)


def _extreme(array: pa.Array, declared: ColumnSchema | None) -> Any:
    type_ = array.type.value_type if pt.is_dictionary(array.type) else array.type
    if declared is not None and declared.categories is not None:
        counts = {v["values"]: v["counts"] for v in array.value_counts().to_pylist()}
        return min(declared.categories, key=lambda v: counts.get(v, 0))
    if pt.is_boolean(type_):
        return bool((pc.mean(array.cast(pa.float64())).as_py() or 0.0) < 0.5)
    if not (pt.is_floating(type_) or pt.is_integer(type_) or pt.is_decimal(type_) or pt.is_temporal(type_)):
        return UNSEEN
    x = as_doubles(array)
    x = x[np.isfinite(x)] if np.isfinite(x).any() else np.zeros(1)
    if declared is not None and declared.bounds is not None:
        low, high = (float(b) for b in declared.bounds)
        farther = high if high - np.median(x) >= np.median(x) - low else low
        return int(farther) if not pt.is_floating(type_) else farther
    most = (LATER if pt.is_temporal(type_) else FARTHER) * float(np.abs(x).max(initial=1.0))
    if pt.is_floating(type_):
        return min(most, LARGEST)
    return int(min(most, 2.0 ** (type_.bit_width - 2))) if not pt.is_decimal(type_) else int(np.abs(x).max())


def _as_type(value: Any, type_: pa.DataType) -> pa.Array:
    if pt.is_dictionary(type_):
        return pa.array([value], type_.value_type).dictionary_encode().cast(type_)
    if pt.is_temporal(type_) and isinstance(value, int):
        return pa.array([value], pa.int64()).cast(type_)
    return pa.array([value], type_)
