"""Table: any input as a schema and fragments that each give Arrow blocks."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

from raysynth.data.fragments import Table, require_rows
from raysynth.errors import DataError


def as_table(data: Any, *, min_rows: int = 2) -> Table:
    """Any supported input as a `Table`.

    Args:
        data: `pandas.DataFrame`, `pyarrow.Table` (or anything that exports an Arrow stream), path or URI of a Parquet
            or CSV file or of a folder of them, or `ray.data.Dataset`.
        min_rows: fewest rows accepted.

    Raises:
        DataError: the input is of no known kind, missing, unreadable, empty, or holds a column that cannot be modelled;
            the message names the column or file and the cure.
        StorageError: the storage cannot be reached.
    """
    table = _table_of(data)
    if table.n_rows is not None:
        require_rows(table.n_rows, table.source, min_rows)
    return table


def _table_of(data: Any) -> Table:
    if isinstance(data, Table):
        return data
    if isinstance(data, (str, os.PathLike)):
        from raysynth.data.sources.files import table_from_path

        return table_from_path(os.fspath(data))
    kind = type(data)
    if kind.__module__.startswith("ray.data"):
        from raysynth.data.sources.dataset import table_from_dataset

        return table_from_dataset(data)
    from raysynth.data.sources.frame import table_from_arrow, table_from_frame

    if kind.__module__.startswith("pandas") and kind.__name__ == "DataFrame" or _is_frame(data):
        return table_from_frame(data)
    if isinstance(data, pa.RecordBatch):
        return table_from_arrow(pa.Table.from_batches([data]))
    if isinstance(data, pa.Table):
        return table_from_arrow(data)
    if hasattr(data, "__arrow_c_stream__") and kind.__name__ != "Series":
        return table_from_arrow(pa.table(data))
    raise DataError(
        f"cannot read a table from {kind.__module__}.{kind.__qualname__}; give a pandas DataFrame, a pyarrow Table, "
        "a path or URI of Parquet or CSV, or a Ray Dataset"
    )


def _is_frame(data: Any) -> bool:
    """True for subclasses of DataFrame, without importing pandas for any other input."""
    return any(c.__name__ == "DataFrame" and c.__module__.startswith("pandas") for c in type(data).__mro__)
