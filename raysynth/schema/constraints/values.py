"""Arrow values as constraints read them: one array a column, NaN as missing, masks with 'unknown' as satisfied."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.arguments import is_finite, is_number
from raysynth.errors import ConstraintError
from raysynth.kinds.arrow_text import TEXT as TEXT
from raysynth.kinds.arrow_text import is_string, ticks

Values: TypeAlias = pa.Array | pa.Scalar


def column_of(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    """One column as one array, NaN as missing; raises `ConstraintError` where the table lacks it."""
    at = table.schema.get_field_index(name)
    if at < 0:
        raise ConstraintError(
            f"the table has no column '{name}' that a constraint speaks of; it has: {table.schema.names}"
        )
    return without_nan(one_array(table.column(at)))


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The chunks of a column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # none at all
        return whole.chunk(0) if whole.num_chunks else pa.nulls(0, whole.type)
    return whole


def without_nan(array: pa.Array) -> pa.Array:
    """The array with missing values in place of NaN."""
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def satisfied(result: pa.Array | pa.Scalar, n: int) -> np.ndarray:
    """A three-valued result as booleans (n,): unknown counts as satisfied."""
    if isinstance(result, pa.Scalar):
        return np.full(n, result.as_py() is not False)
    return np.asarray(pc.fill_null(result, True).to_numpy(zero_copy_only=False))


def missing(array: pa.Array) -> np.ndarray:
    """Where the array has no value, shape (N,) bool."""
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def comparable(left: Values, right: Values) -> tuple[Values, Values]:
    """Both sides in one type: a whole number beside a float becomes one without a check of its range, a time beside a
    date its day."""
    types = (left.type, right.type)
    if {pa.types.is_date32(t) for t in types} == {True, False} and any(pa.types.is_timestamp(t) for t in types):
        return _day(left), _day(right)
    if left.type == right.type or not all(is_number_type(t) for t in types):
        return left, right
    if all(pa.types.is_integer(t) and t != pa.uint64() for t in types):
        return left, right
    return to_float(left), to_float(right)


def _day(values: Values) -> Values:
    return values if pa.types.is_date32(values.type) else pc.floor_temporal(values, unit="day").cast(pa.date32())


def to_float(values: Values) -> Values:
    """Numbers as float64, the nearest one where 53 bits are too few."""
    return values.cast(pa.float64(), safe=False)


def is_number_type(type_: pa.DataType) -> bool:
    """Whole numbers, floats or decimals."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def scalar_like(value: Any, type_: pa.DataType) -> pa.Scalar:
    """A constant to compare a column with: ISO 8601 text or integers of its unit for times. ValueError."""
    import pandas as pd

    if pa.types.is_temporal(type_) and is_number(value):
        whole = pa.scalar(int(value), pa.int32() if pa.types.is_date32(type_) else pa.int64())
        return whole.cast(type_)
    if pa.types.is_timestamp(type_):
        moment = pd.Timestamp(value)
        if type_.tz is not None:
            moment = moment.tz_localize(type_.tz) if moment.tzinfo is None else moment.tz_convert(type_.tz)
        return pa.scalar(moment.to_pydatetime(), type_)
    if pa.types.is_date32(type_):
        return pa.scalar(pd.Timestamp(value).date(), type_)
    if pa.types.is_duration(type_):
        return pa.scalar(pd.Timedelta(value).to_pytimedelta(), type_)
    if not is_finite(value):
        raise ValueError(f"{value!r} is no finite number")
    return pa.scalar(value)


def numbers_of(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, missing): int64 for whole numbers and times (integers of their unit), else float64; 0 where missing."""
    absent = missing(array)
    array = ticks(array)
    target = pa.int64() if pa.types.is_integer(array.type) else pa.float64()
    values = array.cast(target, safe=False).fill_null(0).to_numpy(zero_copy_only=False)
    return values, absent


def from_numbers(values: np.ndarray, absent: np.ndarray, type_: pa.DataType) -> pa.Array:
    """The inverse of `numbers_of`, rounded and clipped to what the type holds."""
    if not pa.types.is_integer(type_) and not pa.types.is_temporal(type_):
        return pa.array(values, mask=absent).cast(type_, safe=False)
    whole = np.rint(values) if values.dtype.kind == "f" else values
    plain = pa.int32() if pa.types.is_date32(type_) else pa.int64()
    if pa.types.is_integer(type_):
        limits = np.iinfo(type_.to_pandas_dtype())
        whole = np.clip(whole, max(limits.min, -(2**63)), min(limits.max, 2**63 - 1))
    return pa.array(_int64(whole), mask=absent).cast(plain).cast(type_)


def _int64(values: np.ndarray) -> np.ndarray:
    """To int64 without wrapping: the largest float64 below 2**63 is 2**63 - 1024."""
    if values.dtype.kind == "f":
        values = np.clip(values, -(2.0**63), np.nextafter(2.0**63, 0))
    return values.astype(np.int64)


def storage_type(dtype: pa.DataType) -> pa.DataType:
    """The type that a column of this schema type has in tables: text as dictionary codes."""
    return TEXT if is_string(dtype) else dtype
