"""Columns of a DataFrame as Arrow arrays, with errors that name the column."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa

from raysynth.errors import DataError

_PERIODS = ("M", "ME", "Q-DEC", "QE-DEC", "D", "h", "min", "s")
_CURES = {
    "PeriodDtype": "turn it into dates by `df['{0}'] = df['{0}'].dt.to_timestamp()`",
    "IntervalDtype": "turn it into categories of text by `df['{0}'] = df['{0}'].astype(str)`, or take its `.array.mid`",
}


def array_from_series(series: Any, name: str) -> pa.Array:
    """A column as Arrow holds it; raises `DataError` where Arrow cannot."""
    dtype = type(series.dtype).__name__
    if dtype == "CategoricalDtype" and type(series.dtype.categories.dtype).__name__ in _CURES:
        dtype = type(series.dtype.categories.dtype).__name__
    if dtype == "PeriodDtype" and getattr(getattr(series.dtype, "freq", None), "rule_code", None) in _PERIODS:
        series = series.astype(str).where(series.notna(), None)  # read as dates; `sample` makes periods of them again
    elif dtype in _CURES:
        held = getattr(series.dtype, "categories", series).dtype
        raise DataError(f"column '{name}' holds {held}, which cannot be modelled; {_CURES[dtype].format(name)}")
    elif str(series.dtype) == "object":
        _check_times(series.dropna(), name)
    if type(series.dtype).__name__ == "SparseDtype":
        series = series.sparse.to_dense()
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError) as error:
        raise DataError(_unreadable(series, name, error)) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _check_times(values: Any, name: str) -> None:
    """Raise `DataError` where objects of time differ in what one Arrow type cannot hold: time of day, or zone."""
    if not len(values) or not isinstance(values.iloc[0], (datetime.date, datetime.datetime)):
        return
    is_time = values.map(lambda v: isinstance(v, datetime.datetime))
    if is_time.any() and not is_time.all():
        raise DataError(
            f"column '{name}' mixes dates without and with a time of day ({int((~is_time).sum()):,} and "
            f"{int(is_time.sum()):,}); make all of them datetimes by `df['{name}'] = pd.to_datetime(df['{name}'])`, or "
            f"all dates by `pd.to_datetime(df['{name}']).dt.date`"
        )
    if not is_time.all():
        return
    zones = values.map(lambda v: str(v.tzinfo)).unique().tolist()
    if len(zones) > 1:
        raise DataError(
            f"column '{name}' mixes time zones ({', '.join(zones[:4])}); make it one by "
            f"`df['{name}'] = pd.to_datetime(df['{name}'], utc=True)`, and keep the offset in a column of its own "
            "where it matters"
        )


def _unreadable(series: Any, name: str, error: Exception) -> str:
    values = series.dropna()
    if str(series.dtype) == "category":
        values = series.cat.categories.to_series()
    found = [t.__name__ for t in values.map(type).value_counts().index[:4]]
    if len(found) > 1:
        return (
            f"column '{name}' mixes types ({', '.join(found)}); make it one type, "
            f"for example `df['{name}'] = df['{name}'].astype(str)` or `pd.to_numeric(df['{name}'], errors='coerce')`"
        )
    if isinstance(error, OverflowError):
        return f"column '{name}' holds whole numbers beyond 64 bits; turn it into float or text"
    held = found[0] if found else str(series.dtype)
    if held == "Interval":
        held, cure = "intervals", _CURES["IntervalDtype"].format(name)
        return f"column '{name}' holds values of type {held}, which cannot be modelled; {cure}"
    return f"column '{name}' holds values of type {held}, which cannot be modelled; turn it into numbers or text"
