"""DataFrames under a privacy budget: columns of Python objects are text, cell by cell, and no cell raises.

What pandas made of a column (its dtype) follows from its cells: one text among numbers makes objects of all. So what
the user declares wins without a comparison (`Table.untyped`), and objects that nobody declared are text.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_object_dtype, is_scalar

from raysynth.data.sources.series import array_from_series


def private_array(series: pd.Series, name: str) -> pa.Array:
    """A column as Arrow holds it; objects as text.

    Raises:
        DataError: its dtype is none that can be modelled.
    """
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = private_array(series.cat.categories.to_series(), name)
        codes = pa.array(series.cat.codes.to_numpy(), pa.int32(), mask=(series.cat.codes < 0).to_numpy())
        return values.take(codes)
    if is_object_dtype(dtype) or isinstance(dtype, pd.StringDtype):
        return pa.array([text_of(cell) for cell in series], pa.string())
    return array_from_series(series, name)


def private_arrays(frame: pd.DataFrame) -> dict[str, pa.Array]:
    """All columns; raises `DataError` about dtypes alone."""
    return {name: private_array(frame[name], name) for name in frame.columns}


def text_of(cell: Any) -> str | None:
    """One cell as text; None where it is missing, or no single value."""
    if not isinstance(cell, (str, bytes)) and (not is_scalar(cell) or pd.isna(cell)):
        return None
    try:
        text = _written(cell)
        text.encode("utf-8")
    except (ValueError, OverflowError):  # no UTF-8, or a number of more digits than Python writes
        return None
    return text


def _written(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8")
    is_moment = hasattr(cell, "isoformat") and not isinstance(cell, pd.Timedelta)
    return str(cell.isoformat() if is_moment else cell)
