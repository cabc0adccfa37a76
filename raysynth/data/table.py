"""Table: any input as a schema and fragments that each give Arrow blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from raysynth.data.arrow_types import canonical_batch, canonical_schema, is_lenient, lenient
from raysynth.errors import DataError, SchemaError

_BLOCK_ROWS = 1 << 20  # large enough for vectors, small enough for memory
_BLOCK_VALUES = 1 << 25  # a block of a wide table has fewer rows: 256 MiB at 8 bytes a value
_FEWEST_ROWS = 1 << 14


class Fragment(Protocol):
    """A part of a table that can be read by itself, anywhere: it pickles, and is small once `bound(None)`."""

    @property
    def n_rows(self) -> int | None:
        """Rows, or None where only reading tells."""
        ...

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows as blocks of about a million, with canonical types; only some columns where given."""
        ...

    def bound(self, memory: pa.Table | None) -> Fragment:
        """The same part of the given in-memory table (None: of none, to travel without rows); files: the same."""
        ...


@dataclass(frozen=True)
class TextForm:
    """How the datetimes of a column were written before they were read.

    Args:
        format: in the language of `arrow_dates.py`, for example '%d/%m/%Y'.
        dtype: of the written column, as a schema has it: 'string', or 'int64' for digits.
        reason: why the column was taken for dates.
    """

    format: str
    dtype: str
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table of any size, wherever it lies.

    Args:
        schema: canonical Arrow types; text columns are dictionary<int32, string>.
        fragments: the parts in order; empty where `dataset` is set.
        n_rows: rows, or None where only reading tells (streamed CSV, Ray Dataset).
        source: what the table is, for messages ('DataFrame', a path).
        pandas_dtypes: dtype of each column of a DataFrame, as text; empty for other inputs.
        memory: what the fragments are slices of, where the rows were given in memory.
        dataset: a Ray Dataset, taken as it is.
        notes: what reading it decided (delimiter, encoding, decimal comma ...), for the user.
        levels: of ordered categories of a DataFrame, their values from the lowest to the highest.
        labels: names of a DataFrame's columns that are numbers, by the text that stands for them here.
        text_forms: columns that were text or digits and are datetimes here, with how they were written.
        untyped: columns whose type no file stores: a reader or pandas made it from the rows, so that under a privacy
            budget only a declared one counts; empty without a budget.
    """

    schema: pa.Schema
    fragments: tuple[Fragment, ...]
    n_rows: int | None
    source: str
    pandas_dtypes: Mapping[str, str] = field(default_factory=dict)
    memory: pa.Table | None = None
    dataset: Any = None
    notes: tuple[str, ...] = ()
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    text_forms: Mapping[str, TextForm] = field(default_factory=dict)
    untyped: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(self.schema.names)

    def select(self, columns: Sequence[str]) -> Table:
        """The table with some columns, in the given order; raises `SchemaError` for an unknown name."""
        if unknown := [c for c in columns if c not in self.schema.names]:
            raise SchemaError(f"the table has no column {unknown}; it has: {', '.join(self.names)}")
        return replace(
            self,
            schema=pa.schema([self.schema.field(c) for c in columns]),
            fragments=tuple(_Selected(f, tuple(columns)) for f in self.fragments),
            pandas_dtypes={c: t for c, t in self.pandas_dtypes.items() if c in columns},
            dataset=None if self.dataset is None else self.dataset.select_columns(list(columns)),
            untyped=self.untyped & frozenset(columns),
        )

    def mapped(self, fn: Callable[[pa.Table], pa.Table]) -> Table:
        """The table with a function applied to each block: a pure function of rows, which pickles for other processes.

        Its result on no rows tells the columns and types; it keeps the number of rows.
        """
        schema = canonical_schema(fn(self.schema.empty_table()).schema, self.source)
        schema = lenient(schema) if self.is_private else schema
        dataset = self.dataset
        if dataset is not None:
            from raysynth.data.sources.dataset import map_dataset

            dataset = map_dataset(dataset, self.schema, fn)
        return replace(
            self,
            schema=schema,
            fragments=tuple(_Mapped(f, fn, schema) for f in self.fragments),
            pandas_dtypes={c: t for c, t in self.pandas_dtypes.items() if c in schema.names},
            dataset=dataset,
            untyped=self.untyped & frozenset(schema.names),
        )

    @property
    def is_private(self) -> bool:
        """Whether it is read as under a privacy budget: no error depends on a row."""
        return all(is_lenient(field) for field in self.schema)

    def in_memory(self) -> Table:
        """The table with its rows read once, for small ones."""
        from raysynth.data.sources.frame import table_from_arrow

        read = table_from_arrow(self.to_arrow(), self.source, private=self.is_private)
        return replace(self, schema=read.schema, fragments=read.fragments, n_rows=read.n_rows, memory=read.memory)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, block by block, in this process."""
        if self.dataset is not None:
            from raysynth.data.sources.dataset import dataset_blocks

            yield from dataset_blocks(self.dataset, self.schema, columns)
        for fragment in self.fragments:
            yield from fragment.blocks(columns)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in memory, for small tables."""
        names = list(columns or self.names)
        schema = pa.schema([self.schema.field(c) for c in names])
        return pa.Table.from_batches(list(self.blocks(names)), schema=schema)


def as_table(
    data: Any, *, min_rows: int = 2, declared: Mapping[str, pa.DataType] | None = None, private: bool = False
) -> Table:
    """Any supported input as a `Table`.

    Args:
        data: `pandas.DataFrame`, `pyarrow.Table` (or anything that exports an Arrow stream), `pyarrow.dataset.Dataset`,
            path, URI or glob of Parquet, CSV, JSON lines or Arrow files or of a folder of them, a list of paths,
            `CsvFile`, `ParquetFiles`, or `ray.data.Dataset`.
        min_rows: fewest rows accepted.
        declared: types of columns by a schema, which CSV files, having none themselves, are read with.
        private: under a privacy budget: no error depends on a row; what cannot be read is missing, and what no file
            stores the type of is text until a schema declares it.

    Raises:
        DataError: the input is of no known kind, missing, unreadable, empty, or holds a column that cannot be modelled;
            the message names the column or file and the cure.
        StorageError: the storage cannot be reached.
    """
    table = _table_of(data, declared, private)
    if table.n_rows is not None:
        require_rows(table.n_rows, table.source, min_rows)
    return table


def block_rows(n_columns: int) -> int:
    """Rows of a block and, about, of a fragment: a million, fewer where a table is wide."""
    return max(_FEWEST_ROWS, min(_BLOCK_ROWS, _BLOCK_VALUES // max(1, n_columns)))


def require_rows(n_rows: int, source: str, min_rows: int = 2) -> None:
    """Raise `DataError` where a table has too few rows to learn from."""
    if n_rows < min_rows:
        raise DataError(f"{source} has {n_rows} row{'' if n_rows == 1 else 's'}; at least {min_rows} are needed")


def _table_of(data: Any, declared: Mapping[str, pa.DataType] | None, private: bool) -> Table:
    if isinstance(data, Table):
        return data
    kind = type(data)
    if _is_path(data) or kind.__name__ in ("CsvFile", "ParquetFiles"):
        from raysynth.data.sources.files import table_from_path

        return table_from_path(data, declared, private=private)
    if kind.__module__ == "pyarrow._dataset":
        from raysynth.data.sources.arrow_dataset import table_from_arrow_dataset

        return table_from_arrow_dataset(data, private=private)
    if kind.__module__.startswith("ray.data"):
        from raysynth.data.sources.dataset import table_from_dataset

        return table_from_dataset(data, private=private)
    from raysynth.data.sources.frame import table_from_arrow, table_from_frame

    if kind.__module__.startswith("pandas") and kind.__name__ == "DataFrame" or _is_frame(data):
        return table_from_frame(data, private=private)
    if isinstance(data, pa.RecordBatch):
        return table_from_arrow(pa.Table.from_batches([data]), private=private)
    if isinstance(data, pa.Table):
        return table_from_arrow(data, private=private)
    if hasattr(data, "__arrow_c_stream__") and kind.__name__ != "Series":
        return table_from_arrow(pa.table(data), private=private)
    raise DataError(
        f"cannot read a table from {kind.__module__}.{kind.__qualname__}; give a pandas DataFrame, a pyarrow Table, "
        "a path, URI or list of paths of Parquet or CSV files, or a Ray Dataset"
    )


def _is_path(data: Any) -> bool:
    """True for a path, and for a list of them."""
    if isinstance(data, (list, tuple)):
        return len(data) > 0 and all(isinstance(d, (str, os.PathLike)) for d in data)
    return isinstance(data, (str, os.PathLike))


def _is_frame(data: Any) -> bool:
    """True for subclasses of DataFrame, without importing pandas for any other input."""
    return any(c.__name__ == "DataFrame" and c.__module__.startswith("pandas") for c in type(data).__mro__)


@dataclass(frozen=True)
class _Selected:
    """A fragment narrowed to some columns."""

    fragment: Fragment
    names: tuple[str, ...]

    @property
    def n_rows(self) -> int | None:
        return self.fragment.n_rows

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        return self.fragment.blocks(self.names if columns is None else columns)

    def bound(self, memory: pa.Table | None) -> Fragment:
        return replace(self, fragment=self.fragment.bound(memory))


@dataclass(frozen=True)
class _Mapped:
    """A fragment with a function applied to each block."""

    fragment: Fragment
    fn: Callable[[pa.Table], pa.Table]
    schema: pa.Schema

    @property
    def n_rows(self) -> int | None:
        return self.fragment.n_rows

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        names = list(self.schema.names if columns is None else columns)
        schema = pa.schema([self.schema.field(n) for n in names])
        for block in self.fragment.blocks():
            for batch in self.fn(pa.Table.from_batches([block])).select(names).combine_chunks().to_batches():
                yield canonical_batch(batch, schema)

    def bound(self, memory: pa.Table | None) -> Fragment:
        return replace(self, fragment=self.fragment.bound(memory))
