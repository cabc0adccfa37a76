"""A `pyarrow.dataset.Dataset`: each of its fragments (a file) is a fragment of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysynth.data.arrow_types import canonical_batch, canonical_schema, is_lenient, lenient
from raysynth.data.fragments import Fragment, Table, block_rows
from raysynth.errors import DataError

_SOURCE = "Arrow dataset"


@dataclass(frozen=True)
class ArrowFragment:
    """One fragment of an Arrow dataset, read with the dataset's schema."""

    fragment: Any
    read_schema: pa.Schema
    schema: pa.Schema

    @property
    def n_rows(self) -> None:
        """Not known before reading."""
        return None

    def bound(self, memory: pa.Table | None) -> Fragment:
        """The same: its rows are in the file."""
        return self

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows; raises `DataError` where a file does not fit the dataset's schema."""
        names = list(self.schema.names if columns is None else columns)
        schema = pa.schema([self.schema.field(n) for n in names])
        try:
            for batch in self.fragment.to_batches(
                schema=self.read_schema, columns=names, batch_size=block_rows(len(names))
            ):
                yield canonical_batch(batch, schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            if all(map(is_lenient, schema)):  # the reader's own text may hold a value
                raise DataError(f"{_SOURCE}: a file cannot be read with the schema of all; mend it") from None
            raise DataError(f"{_SOURCE}: {str(error).splitlines()[0]}; mend the file or leave it out") from error


def table_from_arrow_dataset(dataset: Any, *, private: bool = False) -> Table:
    """An Arrow dataset as a table, a filter on it kept; raises `DataError` for a type that cannot be modelled.

    `private`: under a privacy budget: Parquet and Arrow files alone, since Arrow's readers of text find types, and
    raise, by rows.
    """
    schema = canonical_schema(dataset.schema, _SOURCE)
    if private:
        schema = lenient(schema)
        format_ = getattr(getattr(dataset, "format", None), "default_extname", "none")
        if format_ not in ("parquet", "feather", "ipc"):
            raise DataError(f"{_SOURCE}: under a privacy budget give one of Parquet or Arrow files, or a CSV path")
    fragments = tuple(ArrowFragment(f, dataset.schema, schema) for f in dataset.get_fragments())
    return Table(schema, fragments, None, _SOURCE)
