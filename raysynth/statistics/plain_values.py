"""Single values as JSON holds them: times as integers of their unit, decimals as text; and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def to_plain(values: Sequence[Any], dtype: pa.DataType) -> list[Any]:
    """JSON values of Python values of an Arrow type."""
    if pa.types.is_temporal(dtype):
        whole = pa.int32() if pa.types.is_date32(dtype) else pa.int64()
        plain: list[Any] = pa.array(values, type=dtype).cast(whole).to_pylist()
        return plain
    if pa.types.is_decimal(dtype):
        return [None if v is None else str(v) for v in values]
    return list(values)


def from_integers(values: Sequence[Any], dtype: pa.DataType) -> list[Any]:
    """Times from integers of their unit; values of other types as they are."""
    if not pa.types.is_temporal(dtype):
        return list(values)
    whole = pa.int32() if pa.types.is_date32(dtype) else pa.int64()
    times: list[Any] = pa.array(values, type=whole).cast(dtype).to_pylist()
    return times


def from_plain(values: Sequence[Any], dtype: pa.DataType) -> list[Any]:
    """The inverse of `to_plain`: Python values as Arrow gives them."""
    result: list[Any]
    if pa.types.is_temporal(dtype):
        result = from_integers(values, dtype)
    elif pa.types.is_decimal(dtype):
        result = pa.array(values, type=pa.string()).cast(dtype).to_pylist()
    else:
        result = list(values)
    return result
