"""Table: any input as a schema and fragments that each give Arrow blocks.

The blocks of a Ray Dataset are read and mapped one by one, never gathered in the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from raysynth.data.arrow_types import canonical_batch, canonical_schema, is_lenient, lenient
from raysynth.errors import DataError, SchemaError

_BLOCK_ROWS = 1 << 20  # large enough for vectors, small enough for memory


_BLOCK_VALUES = 1 << 25  # a block of a wide table has fewer rows: 256 MiB at 8 bytes a value


_FEWEST_ROWS = 1 << 14


class Fragment(Protocol):
    """A part of a table that can be read by itself, anywhere: it pickles, and is small once `bound(None)`.

    What it has here is that of rows in a file, whose fragments are its subclasses.
    """

    @property
    def n_rows(self) -> int | None:
        """Rows, or None where only reading tells."""
        return None

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows as blocks of about a million, with canonical types; only some columns where given."""
        ...

    def bound(self, memory: pa.Table | None) -> Fragment:
        """The same part of the given in-memory table (None: of none, to travel without rows); files: the same."""
        return self


def some_columns(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """The fields of some columns, in their order and without metadata; all where none are named."""
    return pa.schema([schema.field(n) for n in (schema.names if columns is None else columns)])


def each_once(*names: str | None) -> list[str]:
    """Names of columns to read, each once, in their order; None is left out: a key of persons may be learned, too."""
    return list(dict.fromkeys(n for n in names if n is not None))


@dataclass(frozen=True)
class TextForm:
    """How the datetimes of a column were written before they were read.

    Args:
        format: in the language of `kinds/date_text.py`, for example '%d/%m/%Y'.
        dtype: of the written column, as a schema has it: 'string', or 'int64' for digits.
        reason: why the column was taken for dates.
        odd: some texts of the rows that are none, for whoever holds the table; they are in no schema.
    """

    format: str
    dtype: str
    reason: str = ""
    odd: tuple[str, ...] = ()


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
        is_spelled: under a budget, whether all cells are texts of a file that stores no types (CSV).
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
    is_spelled: bool = False

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

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows, block by block, in this process."""
        if self.dataset is not None:
            yield from dataset_blocks(self.dataset, self.schema, columns)
        for fragment in self.fragments:
            yield from fragment.blocks(columns)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in memory, for small tables."""
        names = list(columns or self.names)
        schema = pa.schema([self.schema.field(c) for c in names])
        return pa.Table.from_batches(list(self.blocks(names)), schema=schema)


def block_rows(n_columns: int) -> int:
    """Rows of a block and, about, of a fragment: a million, fewer where a table is wide."""
    return max(_FEWEST_ROWS, min(_BLOCK_ROWS, _BLOCK_VALUES // max(1, n_columns)))


def require_rows(n_rows: int, source: str, min_rows: int = 2) -> None:
    """Raise `DataError` where a table has too few rows to learn from."""
    if n_rows < min_rows:
        raise DataError(f"{source} has {n_rows} row{'' if n_rows == 1 else 's'}; at least {min_rows} are needed")


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
        schema = some_columns(self.schema, columns)
        for block in self.fragment.blocks():
            for batch in self.fn(pa.Table.from_batches([block])).select(schema.names).combine_chunks().to_batches():
                yield canonical_batch(batch, schema)

    def bound(self, memory: pa.Table | None) -> Fragment:
        return replace(self, fragment=self.fragment.bound(memory))


RAY_DATASET = "Ray Dataset"


def dataset_blocks(dataset: Any, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows in this process, for small tables."""
    for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
        yield from canonical_batches(table, schema, columns)


def canonical_batches(
    table: pa.Table, schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one block of a Dataset with canonical types."""
    wanted = some_columns(schema, columns)
    if missing := [n for n in wanted.names if n not in table.schema.names]:
        raise DataError(
            f"column '{missing[0]}' is missing from a block of the {RAY_DATASET}; every block needs all columns"
        )
    for batch in table.select(wanted.names).combine_chunks().to_batches():
        yield canonical_batch(batch, wanted)


def map_dataset(dataset: Any, schema: pa.Schema, fn: Callable[[pa.Table], pa.Table]) -> Any:
    """A function applied to each block of a Dataset."""
    return dataset.map_batches(partial(_apply, schema, fn), batch_format="pyarrow", batch_size=None)


def _apply(schema: pa.Schema, fn: Callable[[pa.Table], pa.Table], table: pa.Table) -> pa.Table:
    return fn(pa.Table.from_batches(list(canonical_batches(table, schema)), schema=schema))
