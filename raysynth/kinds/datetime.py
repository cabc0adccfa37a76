"""Dates and times: whole numbers of their unit; as text, in the language of `date_text.py`."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from raysynth.kinds.date_text import DateFormat
from raysynth.kinds.description import Column, Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank


def _by_type(evidence: Evidence) -> Found | None:
    return Found(f"type {evidence.seen.type}") if evidence.held == "datetime" else None


def _public(field: PublicField) -> Found | None:
    """Microseconds, where types are not public: the unit that a file or pandas holds may follow from its rows."""
    if field.held != "datetime":
        return None
    if field.public_types:
        return Found(f"type {field.type}", {"dtype": str(field.type)})
    zone = field.type.tz if pt.is_timestamp(field.type) else None
    return Found("times, in microseconds", {"dtype": str(pa.timestamp("us", tz=zone))})


def _number(column: Column, value: Any) -> float:
    dtype = column.arrow_type if column.date_format is None else DateFormat(column.date_format).type
    stamp = pd.Timestamp(value) if column.date_format is None else _stamp(value, column.date_format)
    if pt.is_date32(dtype):
        return int(stamp.to_datetime64().astype("datetime64[D]").astype(np.int64))
    if dtype.tz is not None:
        stamp = stamp.tz_localize(dtype.tz) if stamp.tz is None else stamp
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return int(stamp.to_datetime64().astype(f"datetime64[{dtype.unit}]").astype(np.int64))


def _stamp(value: Any, date_format: str) -> pd.Timestamp:
    """A date in the column's own form of text, in ISO 8601, or as an object; raises `ValueError` for another text."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        read = DateFormat(date_format).parse(pa.array([str(value)]))
        if read.null_count == 0:
            return pd.Timestamp(read[0].as_py())
        return pd.Timestamp(dt.datetime.fromisoformat(str(value)))
    return pd.Timestamp(value)


def _shown(microseconds: float) -> str:
    try:
        return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC).strftime("%Y-%m-%d")
    except (OverflowError, OSError, ValueError):
        return f"{microseconds:.3g}"


KIND = Description(
    Family.TIME,
    held="datetime",
    clues=(Clue(Rank.TYPE, _by_type),),
    public_clues=(Clue(Rank.TYPE, _public),),
    fits=lambda evidence: evidence.held == "datetime",
    cure="declare its `date_format`, for example '%d/%m/%Y', or convert it with pd.to_datetime",
    takes=frozenset({"date_format"}),
    words=("date", "time", "timestamp"),
    number=_number,
    shown=_shown,
)
