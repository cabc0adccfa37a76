"""In-memory inputs: pandas DataFrames and Arrow tables.

Their columns become Arrow arrays, with errors that name the column.

Under a privacy budget columns of Python objects are text, cell by cell, and no cell raises.

What pandas made of a column (its dtype) follows from its cells: one text among numbers makes objects of all. So what
the user declares wins without a comparison (`Table.untyped`), and objects that nobody declared are text.
"""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_object_dtype, is_scalar

from raysynth.data.arrow_types import canonical_array, canonical_schema, lenient
from raysynth.data.fragments import Fragment, Table, block_rows
from raysynth.errors import DataError
from raysynth.schema.constraints.base import one_array


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


def table_from_frame(frame: Any, *, private: bool = False) -> Table:
    """A DataFrame as a table; `None`, NaN and NaT are missing. Raises `DataError` that names the column.

    `private`: under a privacy budget; objects are text, and no cell raises.
    """
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
    plain = {n: label.item() if hasattr(label, "item") else label for n, label in labels.items()}
    if private:
        table = _in_memory(pa.table(private_arrays(frame)), "DataFrame", {}, private=True)
        return replace(table, labels=plain, untyped=frozenset(names))
    arrays = [array_from_series(frame[n], n) for n in names]
    dtypes = {n: str(frame[n].dtype) for n in names}
    table = _in_memory(pa.table(dict(zip(names, arrays, strict=True))), "DataFrame", dtypes)
    table = replace(table, notes=_index_note(frame.index))
    return replace(table, levels={n: levels for n in names if (levels := _levels(frame[n]))}, labels=plain)


def _index_note(index: Any) -> tuple[str, ...]:
    """What to say of an index that holds more than the numbers of the rows."""
    named = [str(n) for n in index.names if n is not None]
    if not named and str(index.dtype).startswith(("int", "uint")):
        return ()
    what = f"index {', '.join(map(repr, named))}" if named else f"index ({index.dtype})"
    return (f"the {what} is no column and is left out; df.reset_index() makes it one",)


def table_from_arrow(table: pa.Table, source: str = "Arrow table", *, private: bool = False) -> Table:
    """An Arrow table as a table; raises `DataError` that names the column.

    `private`: under a privacy budget: about types alone; a value that its type cannot hold is missing.
    """
    return _in_memory(table, source, {}, private=private)


def _in_memory(table: pa.Table, source: str, dtypes: dict[str, str], *, private: bool = False) -> Table:
    schema = canonical_schema(table.schema, source)
    schema = lenient(schema) if private else schema
    rows = block_rows(len(schema))
    columns = []
    for field, column in zip(schema, table.columns, strict=True):
        chunks = [canonical_array(c, field.type, field.name, lenient=private) for c in column.chunks]
        if len(chunks) > 1 + table.num_rows // (rows // 4):  # many small chunks: vectors would be short
            chunks = pa.chunked_array(chunks, type=field.type).combine_chunks()
            chunks = chunks.chunks if isinstance(chunks, pa.ChunkedArray) else [chunks]
        columns.append(pa.chunked_array(chunks, type=field.type))
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


def in_memory(table: Table) -> Table:
    """A table with its rows read once, for small ones."""
    read = table_from_arrow(table.to_arrow(), table.source, private=table.is_private)
    return replace(table, schema=read.schema, fragments=read.fragments, n_rows=read.n_rows, memory=read.memory)


_PERIODS = ("M", "ME", "Q-DEC", "QE-DEC", "D", "h", "min", "s")
_CURES = {
    "PeriodDtype": "turn it into dates by `df['{0}'] = df['{0}'].dt.to_timestamp()`",
    "IntervalDtype": "turn it into categories of text by `df['{0}'] = df['{0}'].astype(str)`, or take its `.array.mid`",
}


def array_from_series(series: Any, name: str) -> pa.Array:
    """A column as Arrow holds it; raises `DataError` where Arrow cannot."""
    dtype = type(series.dtype).__name__
    if dtype == "CategoricalDtype" and type(series.dtype.categories.dtype).__name__ in _CURES:
        dtype = type(series.dtype.categories.dtype).__name__
    if dtype == "PeriodDtype" and getattr(getattr(series.dtype, "freq", None), "rule_code", None) in _PERIODS:
        series = series.astype(str).where(series.notna(), None)  # read as dates; `sample` makes periods of them again
    elif dtype in _CURES:
        held = getattr(series.dtype, "categories", series).dtype
        raise DataError(f"column '{name}' holds {held}, which cannot be modelled; {_CURES[dtype].format(name)}")
    elif str(series.dtype) == "object":
        _check_times(series.dropna(), name)
    if type(series.dtype).__name__ == "SparseDtype":
        series = series.sparse.to_dense()
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError) as error:
        raise DataError(_unreadable(series, name, error)) from None
    return one_array(array)


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
    if isinstance(error, UnicodeEncodeError):
        mended = f"df['{name}'].str.encode('utf-8', 'replace').str.decode('utf-8')"
        return f"column '{name}' holds text that is no Unicode ({error.object!r:.40}); mend it by `{mended}`"
    if isinstance(error, OverflowError):
        return f"column '{name}' holds whole numbers beyond 64 bits; turn it into float or text"
    held = found[0] if found else str(series.dtype)
    if held == "Interval":
        cure = _CURES["IntervalDtype"].format(name)
        return f"column '{name}' holds values of type intervals, which cannot be modelled; {cure}"
    return f"column '{name}' holds values of type {held}, which cannot be modelled; turn it into numbers or text"


def private_array(series: pd.Series, name: str) -> pa.Array:
    """A column as Arrow holds it; objects as text.

    Raises:
        DataError: its dtype is none that can be modelled.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = private_array(series.cat.categories.to_series(), name)
        codes = pa.array(series.cat.codes.to_numpy(), pa.int32(), mask=(series.cat.codes < 0).to_numpy())
        return values.take(codes)
    if is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype):
        return pa.array([text_of(cell) for cell in series], pa.string())
    return array_from_series(series, name)


def private_arrays(frame: pd.DataFrame) -> dict[str, pa.Array]:
    """All columns; raises `DataError` about dtypes alone."""
    return {name: private_array(frame[name], name) for name in frame.columns}


def text_of(cell: Any) -> str | None:
    """One cell as text; None where it is missing, or no single value."""
    if not isinstance(cell, (str, bytes)) and (not is_scalar(cell) or pd.isna(cell)):
        return None
    try:
        text = _written(cell)
        text.encode("utf-8")
    except (ValueError, OverflowError):  # no UTF-8, or a number of more digits than Python writes
        return None
    return text


def _written(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8")
    is_moment = hasattr(cell, "isoformat") and not isinstance(cell, pd.Timedelta)
    return str(cell.isoformat() if is_moment else cell)
