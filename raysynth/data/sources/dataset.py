"""Ray Datasets: taken as they are, block by block, and never gathered in the driver."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.arrow_types import canonical_schema, lenient
from raysynth.data.dataset_blocks import _SOURCE
from raysynth.data.fragments import Table
from raysynth.errors import DataError


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


def _objects_as_text(frame: Any) -> Any:
    from raysynth.data.sources.private_frame import text_of

    objects = [name for name in frame.columns if frame[name].dtype == object]
    return frame.assign(**{name: frame[name].map(text_of).astype("string") for name in objects})


def _as_it_is(table: pa.Table) -> pa.Table:
    return table
