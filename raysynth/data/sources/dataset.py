"""Datasets of Ray and of Arrow: taken as they are, fragment by fragment, and never gathered in the driver.

A block of a Ray Dataset, a fragment (a file) of a `pyarrow.dataset.Dataset` is a fragment of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.arrow_types import canonical_batch, canonical_schema, is_lenient, lenient
from raysynth.data.fragments import RAY_DATASET, Fragment, Table, block_rows, some_columns
from raysynth.errors import DataError, first_line


def table_from_dataset(dataset: Any, *, private: bool = False) -> Table:
    """A Ray Dataset as a table; its schema is looked up, its rows stay where they are. Raises `DataError`.

    `private`: under a privacy budget: a block's values that the table's types cannot hold are missing, numbers are
    floats whatever the first block has, and objects of pandas are text.
    """
    schema = dataset.schema()
    if schema is None:
        raise DataError(f"{RAY_DATASET} has no rows; at least 2 are needed")
    base = schema.base_schema
    if not isinstance(base, pa.Schema):  # blocks of pandas: their Arrow types are known after the conversion
        if private:
            dataset = dataset.map_batches(_objects_as_text, batch_format="pandas")
        base = dataset.map_batches(_as_it_is, batch_format="pyarrow").schema().base_schema
    types = canonical_schema(base, RAY_DATASET)
    if not private:
        return Table(types, (), None, RAY_DATASET, dataset=dataset)
    fields = [pa.field(f.name, pa.float64() if pt.is_integer(f.type) else f.type) for f in types]
    return Table(lenient(pa.schema(fields)), (), None, RAY_DATASET, dataset=dataset, untyped=frozenset(types.names))


def _objects_as_text(frame: Any) -> Any:
    from raysynth.data.sources.frame import text_of

    objects = [name for name in frame.columns if frame[name].dtype == object]
    return frame.assign(**{name: frame[name].map(text_of).astype("string") for name in objects})


def _as_it_is(table: pa.Table) -> pa.Table:
    return table


_ARROW = "Arrow dataset"


@dataclass(frozen=True)
class ArrowFragment(Fragment):
    """One fragment of an Arrow dataset, read with the dataset's schema."""

    fragment: Any
    read_schema: pa.Schema
    schema: pa.Schema

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows; raises `DataError` where a file does not fit the dataset's schema."""
        schema = some_columns(self.schema, columns)
        try:
            for batch in self.fragment.to_batches(
                schema=self.read_schema, columns=schema.names, batch_size=block_rows(len(schema))
            ):
                yield canonical_batch(batch, schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            if all(map(is_lenient, schema)):  # the reader's own text may hold a value
                raise DataError(f"{_ARROW}: a file cannot be read with the schema of all; mend it") from None
            raise DataError(f"{_ARROW}: {first_line(error)}; mend the file or leave it out") from error


def table_from_arrow_dataset(dataset: Any, *, private: bool = False) -> Table:
    """An Arrow dataset as a table, a filter on it kept; raises `DataError` for a type that cannot be modelled.

    `private`: under a privacy budget: Parquet and Arrow files alone, since Arrow's readers of text find types, and
    raise, by rows.
    """
    schema = canonical_schema(dataset.schema, _ARROW)
    if private:
        schema = lenient(schema)
        format_ = getattr(getattr(dataset, "format", None), "default_extname", "none")
        if format_ not in ("parquet", "feather", "ipc"):
            raise DataError(f"{_ARROW}: under a privacy budget give one of Parquet or Arrow files, or a CSV path")
    fragments = tuple(ArrowFragment(f, dataset.schema, schema) for f in dataset.get_fragments())
    return Table(schema, fragments, None, _ARROW)
