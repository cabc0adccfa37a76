"""In-memory inputs: pandas DataFrames and Arrow tables."""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    labels = {str(n): n for n in frame.columns if not isinstance(n, str)}
    if odd := [n for n in labels.values() if isinstance(n, bool) or not isinstance(n, numbers.Real)]:
        raise DataError(
            f"column names must be text or numbers; found {odd[0]!r} ({type(odd[0]).__name__}); "
            "rename with `df.columns = df.columns.map(str)`"
        )
    if labels:
        frame = frame.set_axis([str(n) for n in frame.columns], axis=1)
    names = list(frame.columns)
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        raise DataError(f"DataFrame: column names must be unique; repeated: {', '.join(repeated)}; rename them")
    if not names:
        raise DataError("DataFrame has no columns; give a table with at least one")
    arrays = [_array_from_series(frame[n], n) for n in names]
    dtypes = {n: str(frame[n].dtype) for n in names}
    table = _in_memory(pa.table(dict(zip(names, arrays, strict=True))), "DataFrame", dtypes)
    plain = {n: label.item() if hasattr(label, "item") else label for n, label in labels.items()}
    return replace(table, levels={n: levels for n in names if (levels := _levels(frame[n]))}, labels=plain)


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


def _levels(series: Any) -> tuple[Any, ...]:
    """The values of an ordered category from the lowest to the highest; empty for other columns."""
    dtype = series.dtype
    if str(dtype) != "category" or not dtype.ordered:
        return ()
    values = tuple(dtype.categories.tolist())
    return values if all(isinstance(v, (str, int, float)) for v in values) else ()


def _array_from_series(series: Any, name: str) -> pa.Array:
    dtype = type(series.dtype).__name__
    if dtype == "PeriodDtype" and series.dtype.freq.name in _PERIODS:
        series = series.astype(str).where(series.notna(), None)  # read as dates; `sample` makes periods of them again
    elif dtype in _CURES:
        raise DataError(f"column '{name}' holds {series.dtype}, which cannot be modelled; {_CURES[dtype].format(name)}")
    elif str(series.dtype) == "object":
        _check_times(series.dropna(), name)
    if type(series.dtype).__name__ == "SparseDtype":
        series = series.sparse.to_dense()
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError) as error:
        raise DataError(_unreadable(series, name, error)) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


_PERIODS = ("M", "ME", "Q-DEC", "QE-DEC", "D", "h", "min", "s")
_CURES = {
    "PeriodDtype": "turn it into dates by `df['{0}'] = df['{0}'].dt.to_timestamp()`",
    "IntervalDtype": "turn it into categories of text by `df['{0}'] = df['{0}'].astype(str)`, or take its `.array.mid`",
}


def _check_times(values: Any, name: str) -> None:
    """Raise `DataError` where objects of time differ in what one Arrow type cannot hold: time of day, or zone."""
    if not len(values) or not isinstance(values.iloc[0], (datetime.date, datetime.datetime)):
        return
    is_time = values.map(lambda v: isinstance(v, datetime.datetime))
    if is_time.any() and not is_time.all():
        raise DataError(
            f"column '{name}' mixes dates without and with a time of day ({int((~is_time).sum()):,} and "
            f"{int(is_time.sum()):,}); make all of them datetimes by `df['{name}'] = pd.to_datetime(df['{name}'])`, or "
            f"all dates by `pd.to_datetime(df['{name}']).dt.date`"
        )
    if not is_time.all():
        return
    zones = values.map(lambda v: str(v.tzinfo)).unique().tolist()
    if len(zones) > 1:
        raise DataError(
            f"column '{name}' mixes time zones ({', '.join(zones[:4])}); make it one by "
            f"`df['{name}'] = pd.to_datetime(df['{name}'], utc=True)`, and keep the offset in a column of its own "
            "where it matters"
        )


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
    if held == "Interval":
        held, cure = "intervals", _CURES["IntervalDtype"].format(name)
        return f"column '{name}' holds values of type {held}, which cannot be modelled; {cure}"
    return f"column '{name}' holds values of type {held}, which cannot be modelled; turn it into numbers or text"
