"""The canary of an audit: a row that shows up wherever a release depends on single rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.errors import ParameterError
from raysynth.schema import ColumnSchema, TableSchema
from raysynth.statistics.cell_counts import as_doubles

UNSEEN = "a value of the canary alone"
FARTHER = 1000.0  # times the largest number of a column, where no bounds are declared
LATER = 4.0  # the same for times, whose years have four digits


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
    if declared is not None and declared.bounds is not None:
        low, high = (float(b) for b in declared.bounds)
        farther = high if high - np.median(x) >= np.median(x) - low else low
        return int(farther) if not pt.is_floating(type_) else farther
    most = (LATER if pt.is_temporal(type_) else FARTHER) * float(np.abs(x).max(initial=1.0))
    if pt.is_floating(type_):
        return most
    return int(min(most, 2.0 ** (type_.bit_width - 2))) if not pt.is_decimal(type_) else int(np.abs(x).max())


def _as_type(value: Any, type_: pa.DataType) -> pa.Array:
    if pt.is_dictionary(type_):
        return pa.array([value], type_.value_type).dictionary_encode().cast(type_)
    if pt.is_temporal(type_) and isinstance(value, int):
        return pa.array([value], pa.int64()).cast(type_)
    return pa.array([value], type_)
