"""Durations: whole numbers of their unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from raysynth.kinds.description import Column, Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, PublicField, Rank


def _by_type(evidence: Evidence) -> Found | None:
    return Found(f"type {evidence.seen.type}") if evidence.held == "duration" else None


def _public(field: PublicField) -> Found | None:
    """Microseconds, where types are not public: the unit that a file or pandas holds may follow from its rows."""
    if field.held != "duration":
        return None
    if field.public_types:
        return Found(f"type {field.type}", {"dtype": str(field.type)})
    return Found("durations, in microseconds", {"dtype": str(pa.duration("us"))})


def _number(column: Column, value: Any) -> float:
    return int(pd.Timedelta(value).to_timedelta64().astype(f"timedelta64[{column.arrow_type.unit}]").astype(np.int64))


def _shown(microseconds: float) -> str:
    hours = microseconds / 3.6e9
    return f"{hours / 24:,.1f} d" if abs(hours) >= 48 else f"{hours:,.2f} h"


KIND = Description(
    Family.TIME,
    held="duration",
    clues=(Clue(Rank.TYPE, _by_type),),
    public_clues=(Clue(Rank.TYPE, _public),),
    fits=lambda evidence: evidence.held == "duration",
    cure="convert it with pd.to_timedelta",
    number=_number,
    shown=_shown,
)
