"""Ray Datasets: taken as they are, block by block, and never gathered in the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.arrow_types import canonical_batch, canonical_schema, lenient
from raysynth.data.table import Table
from raysynth.errors import DataError

_SOURCE = "Ray Dataset"


def table_from_dataset(dataset: Any, *, private: bool = False) -> Table:
    """A Ray Dataset as a table; its schema is looked up, its rows stay where they are. Raises `DataError`.

    `private`: under a privacy budget: a block's values that the table's types cannot hold are missing, numbers are
    floats whatever the first block has, and objects of pandas are text.
    """
    schema = dataset.schema()
    if schema is None:
        raise DataError(f"{_SOURCE} has no rows; at least 2 are needed")
    base = schema.base_schema
    if not isinstance(base, pa.Schema):  # blocks of pandas: their Arrow types are known after the conversion
        if private:
            dataset = dataset.map_batches(_objects_as_text, batch_format="pandas")
        base = dataset.map_batches(_as_it_is, batch_format="pyarrow").schema().base_schema
    types = canonical_schema(base, _SOURCE)
    if not private:
        return Table(types, (), None, _SOURCE, dataset=dataset)
    fields = [pa.field(f.name, pa.float64() if pt.is_integer(f.type) else f.type) for f in types]
    return Table(lenient(pa.schema(fields)), (), None, _SOURCE, dataset=dataset, untyped=frozenset(types.names))


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


def _objects_as_text(frame: Any) -> Any:
    from raysynth.data.sources.private_frame import text_of

    objects = [name for name in frame.columns if frame[name].dtype == object]
    return frame.assign(**{name: frame[name].map(text_of).astype("string") for name in objects})


def _as_it_is(table: pa.Table) -> pa.Table:
    return table
