"""Table: any input as a schema and fragments that each give Arrow blocks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from raysynth.data.fragments import Table, require_rows
from raysynth.errors import DataError


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


def _table_of(data: Any, declared: Mapping[str, pa.DataType] | None, private: bool) -> Table:
    if isinstance(data, Table):
        return data
    kind = type(data)
    if _is_path(data) or kind.__name__ in ("CsvFile", "ParquetFiles"):
        from raysynth.data.sources.files import table_from_path

        return table_from_path(data, declared, private=private)
    if kind.__module__ == "pyarrow._dataset" and kind.__name__ == "Scanner":
        data = data.to_table()
    elif kind.__module__ == "pyarrow._dataset":
        from raysynth.data.sources.dataset import table_from_arrow_dataset

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
