"""A sample in memory: all chunks as one Arrow table, made by threads of this process, and as a DataFrame.

The DataFrame has the dtypes that the user's table came with.
"""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa

from raysynth.errors import ParameterError
from raysynth.kinds.arrow_text import plain
from raysynth.running.local import cpu_count
from raysynth.running.plain_lines import is_quiet
from raysynth.running.progress import progress
from raysynth.sampling.chunks import SamplingModel, chunk_count, make_chunk
from raysynth.sampling.conditions import Segment
from raysynth.sampling.effects import rule_effects
from raysynth.schema.columns import SPARSE_DTYPE, ColumnSchema
from raysynth.schema.table import TableSchema


def sample_table(model: SamplingModel, segments: tuple[Segment, ...], seed: int) -> pa.Table:
    """The rows of all segments, in order.

    Args:
        model: what to sample from.
        segments: conditions and row counts.
        seed: of the chunks' random streams.

    Raises:
        ConditionError, ConstraintError: see `make_chunk`.
        ParameterError: the rows would take more than the memory of this machine.
    """
    if not is_quiet():
        for line in rule_effects(model):
            print(line)
    chunks = range(max(1, chunk_count(sum(s.n for s in segments))))
    if len(chunks) > _MEASURED:
        _require_memory(make_chunk(model, segments, seed, 0).nbytes * len(chunks))
    with one_torch_thread(), progress("sampling", len(chunks)) as advance:
        if len(chunks) == 1:
            return make_chunk(model, segments, seed, 0)
        with ThreadPoolExecutor(max_workers=worker_threads()) as pool:
            futures = [pool.submit(make_chunk, model, segments, seed, c) for c in chunks]
            try:
                tables = []
                for future in futures:
                    tables.append(future.result())
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return pa.concat_tables(tables).unify_dictionaries()


def _require_memory(wanted: int) -> None:
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted > there:
        raise ParameterError(
            f"the rows would take about {wanted / 1e9:,.0f} GB of memory, and this machine has {there / 1e9:,.0f} GB; "
            "write them to a folder by `sample_to`, or ask for fewer"
        )


def worker_threads() -> int:
    """Threads that make chunks side by side: one for each core that this process may use."""
    return cpu_count()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Chunks run side by side and must not depend on the number of cores, so each gets one torch thread."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


THREADS_PAY = 50_000  # rows
_MEASURED = 100  # chunks: so many may need more memory than there is
_EXACT = 2.0**53  # whole numbers up to here are exact as floats
_WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
_NULLABLE_NAMES = (*_WHOLE, "Float32", "Float64", "boolean")
_NULLABLE = {pa.type_for_alias(n.lower()): pd.api.types.pandas_dtype(n) for n in _NULLABLE_NAMES}


def to_frame(table: pa.Table, schema: TableSchema) -> pd.DataFrame:
    """A DataFrame with the schema's column order and pandas dtypes (where known; else Arrow's usual ones)."""
    names = [c.name if c.label is None else c.label for c in schema.columns]
    columns = [table.column(c.name) for c in schema.columns]
    if table.num_rows < THREADS_PAY:
        return pd.DataFrame(dict(zip(names, map(_as_declared, columns, schema.columns), strict=True)))
    with ThreadPoolExecutor(worker_threads()) as pool:
        return pd.DataFrame(dict(zip(names, pool.map(_as_declared, columns, schema.columns), strict=True)))


def with_whole_numbers(frame: pd.DataFrame, schema: TableSchema) -> pd.DataFrame:
    """The frame for a text file: whole numbers with gaps, floats in a DataFrame, are written as 2005, not as 2005.0."""
    whole = {c.name if c.label is None else c.label for c in schema.columns if c.decimals == 0}
    floats = [n for n in frame.columns if n in whole and str(frame[n].dtype) in ("float64", "float32")]
    exact = [n for n in floats if frame[n].isna().any() and not (frame[n].abs() > _EXACT).any()]
    return frame.astype(dict.fromkeys(exact, "Int64"))


def _as_declared(values: pa.ChunkedArray, column: ColumnSchema) -> pd.Series:
    if sparse := re.fullmatch(SPARSE_DTYPE, column.pandas_dtype or ""):
        return _as_sparse(_series(values, sparse["held"]), sparse["fill"])
    series = _series(values, column.pandas_dtype)
    if column.levels is None or column.pandas_dtype != "category":
        return series
    made = [v for v in series.cat.categories if v not in column.levels]  # '(rare)' comes behind the highest
    return pd.Series(pd.Categorical(series, categories=[*column.levels, *made], ordered=True))


def _as_sparse(series: pd.Series, fill: str) -> pd.Series:
    if series.dtype.kind not in "biuf":  # whole numbers or truth values with missing ones
        return series
    return series.astype(pd.SparseDtype(series.dtype, math.nan if fill == "nan" else ast.literal_eval(fill)))


def _series(column: pa.ChunkedArray, dtype: str | None) -> pd.Series:
    column = plain(column) if dtype != "category" else column
    if dtype in _NULLABLE_NAMES:
        return pd.Series(pd.array(column.to_pandas(types_mapper=_NULLABLE.get), dtype=dtype))
    if dtype is not None and dtype.endswith("[pyarrow]"):
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    if dtype == "category" and not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()  # from numbers with missing ones pandas would make float categories
    if column.null_count and pa.types.is_integer(column.type) and (dtype is None or dtype.startswith(("int", "uint"))):
        return pd.Series(pd.array(column.to_pandas(types_mapper=_NULLABLE.get)))  # numpy has no missing whole number
    series = column.to_pandas(integer_object_nulls=dtype == "object")
    if dtype is None or str(series.dtype) == dtype:
        return series
    if dtype == "object":
        return series.astype(object).where(series.notna(), None)
    if series.isna().any() and dtype.startswith(("int", "uint", "bool")):
        return series  # numpy has no missing value of this type
    return series.astype(dtype)
