"""In-memory inputs: pandas DataFrames and Arrow tables."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raysynth.data.arrow_types import canonical_array, canonical_schema, lenient
from raysynth.data.fragments import Fragment, Table, block_rows
from raysynth.data.sources.series import array_from_series
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


def table_from_frame(frame: Any, *, private: bool = False) -> Table:
    """A DataFrame as a table; `None`, NaN and NaT are missing. Raises `DataError` that names the column.

    `private`: under a privacy budget; see `private_frame.py`.
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
        from raysynth.data.sources.private_frame import private_arrays

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
