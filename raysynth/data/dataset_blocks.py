"""The blocks of a Ray Dataset: read and mapped one by one, never gathered in the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from raysynth.data.arrow_types import canonical_batch
from raysynth.errors import DataError

_SOURCE = "Ray Dataset"


def dataset_blocks(dataset: Any, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows in this process, for small tables."""
    for table in dataset.iter_batches(batch_format="pyarrow", batch_size=None):
        yield from canonical_batches(table, schema, columns)


def canonical_batches(
    table: pa.Table, schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one block of a Dataset with canonical types."""
    names = list(schema.names if columns is None else columns)
    if missing := [n for n in names if n not in table.schema.names]:
        raise DataError(
            f"column '{missing[0]}' is missing from a block of the {_SOURCE}; every block needs all columns"
        )
    wanted = pa.schema([schema.field(n) for n in names])
    for batch in table.select(names).combine_chunks().to_batches():
        yield canonical_batch(batch, wanted)


def map_dataset(dataset: Any, schema: pa.Schema, fn: Callable[[pa.Table], pa.Table]) -> Any:
    """A function applied to each block of a Dataset."""
    return dataset.map_batches(partial(_apply, schema, fn), batch_format="pyarrow", batch_size=None)


def _apply(schema: pa.Schema, fn: Callable[[pa.Table], pa.Table], table: pa.Table) -> pa.Table:
    return fn(pa.Table.from_batches(list(canonical_batches(table, schema)), schema=schema))
