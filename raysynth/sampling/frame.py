"""Arrow rows to a DataFrame of the dtypes that the user's table came with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow as pa

from raysynth.sampling.local import worker_threads
from raysynth.schema.table import TableSchema

THREADS_PAY = 50_000  # rows


def to_frame(table: pa.Table, schema: TableSchema) -> pd.DataFrame:
    """A DataFrame with the schema's column order and pandas dtypes (where known; else Arrow's usual ones)."""
    names, dtypes = zip(*((c.name, c.pandas_dtype) for c in schema.columns), strict=True)
    columns = [table.column(name) for name in names]
    if table.num_rows < THREADS_PAY:
        return pd.DataFrame(dict(zip(names, map(_series, columns, dtypes), strict=True)))
    with ThreadPoolExecutor(worker_threads()) as pool:
        return pd.DataFrame(dict(zip(names, pool.map(_series, columns, dtypes), strict=True)))


def _series(column: pa.ChunkedArray, dtype: str | None) -> pd.Series:
    if pa.types.is_dictionary(column.type) and dtype != "category":
        column = column.cast(column.type.value_type)
    if dtype in (
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "boolean",
        "Float32",
        "Float64",
    ):
        return pd.Series(pd.array(column.to_pandas(types_mapper=_nullable), dtype=dtype))
    if dtype is not None and dtype.endswith("[pyarrow]"):
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    if dtype == "category" and not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()  # from numbers with missing ones pandas would make float categories
    series = column.to_pandas(integer_object_nulls=dtype == "object")
    if dtype is None or str(series.dtype) == dtype:
        return series
    if dtype == "object":
        return series.astype(object).where(series.notna(), None)
    if series.isna().any() and dtype.startswith(("int", "uint", "bool")):
        return series  # numpy has no missing value of this type
    return series.astype(dtype)


def _nullable(dtype: pa.DataType) -> object | None:
    names = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
        pa.float32(): pd.Float32Dtype(),
        pa.float64(): pd.Float64Dtype(),
    }
    return names.get(dtype)
