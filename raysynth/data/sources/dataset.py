"""Ray Datasets: taken as they are, block by block, and never gathered in the driver."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from raysynth.data.arrow_types import canonical_schema
from raysynth.data.dataset_blocks import _SOURCE
from raysynth.data.fragments import Table
from raysynth.errors import DataError


def table_from_dataset(dataset: Any) -> Table:
    """A Ray Dataset as a table; its schema is looked up, its rows stay where they are. Raises `DataError`."""
    schema = dataset.schema()
    if schema is None:
        raise DataError(f"{_SOURCE} has no rows; at least 2 are needed")
    base = schema.base_schema
    if not isinstance(base, pa.Schema):  # blocks of pandas: their Arrow types are known after the conversion
        base = dataset.map_batches(_as_it_is, batch_format="pyarrow").schema().base_schema
    return Table(canonical_schema(base, _SOURCE), (), None, _SOURCE, dataset=dataset)


def _as_it_is(table: pa.Table) -> pa.Table:
    return table
