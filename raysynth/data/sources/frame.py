"""In-memory inputs: pandas DataFrames and Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysynth.data.arrow_types import canonical_array, canonical_schema
from raysynth.data.fragments import Fragment, Table, block_rows
from raysynth.errors import DataError


@dataclass(frozen=True)
class MemoryFragment:
    """Rows [start, start + length) of a table in memory. Over Ray the table travels once, the fragments without it."""

    table: pa.Table | None
    start: int
    length: int

    @property
    def n_rows(self) -> int:
        """Rows of the slice."""
        return self.length

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The slice, without a copy."""
        if self.table is None:
            raise ValueError("the fragment was sent without its table")
        table = self.table if columns is None else self.table.select(list(columns))
        yield from table.slice(self.start, self.length).to_batches()

    def bound(self, memory: pa.Table | None) -> Fragment:
        """The same slice of another copy of the table."""
        return MemoryFragment(memory, self.start, self.length)


def table_from_frame(frame: Any) -> Table:
    """A DataFrame as a table; `None`, NaN and NaT are missing. Raises `DataError` that names the column."""
    names = list(frame.columns)
    if odd := [n for n in names if not isinstance(n, str)]:
        raise DataError(
            f"column names must be text; found {odd[0]!r} ({type(odd[0]).__name__}); "
            "rename with `df.columns = df.columns.map(str)`"
        )
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise DataError(f"DataFrame: column names must be unique; repeated: {', '.join(repeated)}; rename them")
    if not names:
        raise DataError("DataFrame has no columns; give a table with at least one")
    arrays = [_array_from_series(frame[n], n) for n in names]
    dtypes = {n: str(frame[n].dtype) for n in names}
    return _in_memory(pa.table(dict(zip(names, arrays, strict=True))), "DataFrame", dtypes)


def table_from_arrow(table: pa.Table, source: str = "Arrow table") -> Table:
    """An Arrow table as a table; raises `DataError` that names the column."""
    return _in_memory(table, source, {})


def _in_memory(table: pa.Table, source: str, dtypes: dict[str, str]) -> Table:
    schema = canonical_schema(table.schema, source)
    rows = block_rows(len(schema))
    columns = []
    for field, column in zip(schema, table.columns, strict=True):
        if column.num_chunks > 1 + table.num_rows // (rows // 4):  # many small chunks: vectors would be short
            column = column.combine_chunks()
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        columns.append(pa.chunked_array([canonical_array(c, field.type, field.name) for c in chunks], type=field.type))
    memory = pa.Table.from_arrays(columns, schema=schema)
    starts = range(0, memory.num_rows, rows)
    fragments = tuple(MemoryFragment(memory, s, min(rows, memory.num_rows - s)) for s in starts)
    return Table(schema, fragments, memory.num_rows, source, dtypes, memory=memory)


def _array_from_series(series: Any, name: str) -> pa.Array:
    if type(series.dtype).__name__ == "SparseDtype":
        series = series.sparse.to_dense()
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError) as error:
        raise DataError(_unreadable(series, name, error)) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _unreadable(series: Any, name: str, error: Exception) -> str:
    values = series.dropna()
    if str(series.dtype) == "category":
        values = series.cat.categories.to_series()
    found = [t.__name__ for t in values.map(type).value_counts().index[:4]]
    if len(found) > 1:
        return (
            f"column '{name}' mixes types ({', '.join(found)}); make it one type, "
            f"for example `df['{name}'] = df['{name}'].astype(str)` or `pd.to_numeric(df['{name}'], errors='coerce')`"
        )
    if isinstance(error, OverflowError):
        return f"column '{name}' holds whole numbers beyond 64 bits; turn it into float or text"
    held = found[0] if found else str(series.dtype)
    return f"column '{name}' holds values of type {held}, which cannot be modelled; turn it into numbers or text"
