"""Constants: one value in every row, or none in any."""

from __future__ import annotations

from typing import Any

import pyarrow.types as pt

from raysynth.kinds.description import Description, Family
from raysynth.kinds.evidence import Clue, Evidence, Found, Rank


def _nothing_to_learn(evidence: Evidence) -> Found | None:
    seen = evidence.seen
    if seen.n_distinct == 0:
        return Found("no value in any row: all missing in synthetic rows too", {"value": None})
    if evidence.has_few_values:
        n = seen.n_rows - seen.missing
        reason = f"values in {n} row{'s' if n > 1 else ''} of {seen.n_rows:,} only, which are protected: all missing"
        return Found(reason, {"value": None})
    if seen.n_distinct == 1 and seen.missing == 0:
        return Found("every row has the same value")
    return None


def _value(evidence: Evidence) -> Any:
    """The one value, as JSON knows it: times as integers of their unit, decimals as text; None: some rows have none."""
    seen = evidence.seen
    if seen.n_distinct == 0 or seen.missing:
        return None
    if pt.is_temporal(seen.type) and seen.extremes is not None:
        return seen.extremes[0]
    value = seen.categories().value.values[0]
    return str(value) if pt.is_decimal(seen.type) else value


KIND = Description(Family.CONSTANT, clues=(Clue(Rank.EMPTY, _nothing_to_learn),), fills={"value": _value})
