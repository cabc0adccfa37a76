"""What the cells of a CSV column spell (numbers, days, times or other text), found under a budget from noised counts.

A CSV file stores no types, and under a budget none may be guessed from its rows. So each column that nobody declared
releases how many of its cells spell a number, a day, a time, something else, or nothing. Unit: one row (k rows of one
privacy unit). The cells are disjoint, one row is in one of them: L2 sensitivity 1 (k). Mechanism: discrete Gaussian
noise (`dp/mechanisms/counts.py`); all columns together have `FAMILY_SHARE` of the budget's rho, in equal parts, and are
charged before a row is read. What is concluded is post-processing.

Texts that a number would not give back are no numbers: leading zeros (postal codes), more digits than float64 holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import Table
from raysynth.data.total_cast import total_cast
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import noised_counts
from raysynth.errors import listed
from raysynth.kinds.arrow_text import coded, indices_of, is_text
from raysynth.running.runner import summarise
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.cell_counts import CellCounts
from raysynth.statistics.public_schema import NUMBERS, undeclared

FAMILY_SHARE = 0.02  # of rho, for all columns together
OTHERS = 0.05  # of the cells with a value: so many may spell something else, and are missing then
SEEN = 3.0  # standard deviations: fewer cells than this are taken for noise
_UNFAITHFUL = re.compile(r"\s*[+-]?0\d.*|\D*(?:\d\D*){16,}", re.ASCII)
_DAY_LENGTH = len("2024-01-31")
_NUMBER, _DAY, _TIME, _OTHER, _MISSING = range(5)


@dataclass(frozen=True)
class FamilyCells:
    """What a text spells: a number, a day, a time, something else, nothing."""

    n_cells = 5

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        array = coded(array)
        table = np.append(_families(array.dictionary.cast(pa.string())), _MISSING)
        found: np.ndarray = table[indices_of(array, len(array.dictionary))]
        return found


def _families(texts: pa.StringArray) -> np.ndarray:
    """The cell of each text, (V,)."""
    values = [None if t is None else t.strip() for t in texts.to_pylist()]
    stripped = pa.array(values, pa.string())
    cells = np.full(len(values), _OTHER)
    is_time = total_cast(stripped, pa.timestamp("us")).is_valid().to_numpy(zero_copy_only=False)
    is_number = total_cast(stripped, pa.float64()).is_valid().to_numpy(zero_copy_only=False)
    cells[is_time] = _TIME
    cells[is_time & np.array([v is not None and len(v) == _DAY_LENGTH for v in values], bool)] = _DAY
    cells[is_number] = _NUMBER
    cells[np.array([v is not None and bool(_UNFAITHFUL.fullmatch(v)) for v in values], bool) & is_number] = _OTHER
    cells[[v is None or not v for v in values]] = _MISSING
    return cells


def found_columns(
    table: Table,
    declared: TableSchema | None,
    kinds: Mapping[Kind, Iterable[str] | None],
    scope: PrivacyScope,
    unit: str | None = None,
) -> tuple[ColumnSchema, ...]:
    """The columns of a CSV file that turn out to be numbers, days or times; noised and charged.

    Args:
        table: with at most `scope.rows_per_unit` rows of a unit.
        declared: the user's; its columns are not looked at. One that was released has named all columns already.
        kinds: lists of column names by kind; the columns of these are not looked at either.
        scope: pays.
        unit: the column that names the privacy unit: a key, so it is not looked at.
    """
    asked = _asked(table, declared, kinds, unit)
    if not asked:
        return ()
    k, multiplier = scope.rows_per_unit, scope.share_multiplier(FAMILY_SHARE / len(asked))
    scope.charge(*(events.discrete_gaussian(f"what '{name}' spells", multiplier, rows=k) for name in asked))
    cells = dict.fromkeys(asked, FamilyCells())
    counted = summarise(table, partial(CellCounts, cells), columns=asked, label="what columns spell").fixed
    found = {n: noised_counts(counted[n], multiplier, scope.noise, sensitivity=k) for n in asked}
    columns = (_column(name, family_shown(noised, multiplier * k)) for name, noised in found.items())
    return tuple(c for c in columns if c is not None)


def read_as_text(
    table: Table,
    declared: TableSchema | None,
    kinds: Mapping[Kind, Iterable[str] | None],
    what: str,
    unit: str | None = None,
) -> str | None:
    """What to say where `what` (a sweep, say) reads undeclared columns as text; None where it reads none so.

    It depends on names and declarations alone.
    """
    asked = _asked(table, declared, kinds, unit)
    if not asked:
        return None
    shown = listed(map(repr, asked), 6)
    return (
        f"{what} reads these columns of {table.source} as TEXT, numbers and dates too, since a CSV file stores no "
        f"types: {shown}. Declare them, or release a schema once, schema=raysynth.infer_schema(data, epsilon=0.1), "
        "which every fit with it pays for"
    )


def _asked(
    table: Table, declared: TableSchema | None, kinds: Mapping[Kind, Iterable[str] | None], unit: str | None
) -> list[str]:
    """Columns of a CSV file that nobody declared; a schema that was released has named all columns already."""
    if not table.is_spelled or (declared is not None and declared.releases is not None):
        return []
    known = {unit, *(n for names in kinds.values() for n in names or ()), *(() if declared is None else declared.names)}
    texts = (f for f in table.schema if is_text(f.type) and f.name not in known)
    return [f.name for f in texts if undeclared(f).kind.is_listed]  # no name says what it holds


def released_columns(schema: TableSchema) -> tuple[ColumnSchema, ...]:
    """Of a schema that an earlier fit kept the columns that `found_columns` gave it: kinds released with noise."""
    return tuple(c for c in schema.columns if "kind" in c.released)


def family_shown(noised: np.ndarray, sigma: float) -> int | None:
    """The cell of the family that nearly all values have, as far as the noise shows; None: text.

    Args:
        noised: counts of `FamilyCells`, (5,).
        sigma: their standard deviation.
    """
    days_too = noised[_DAY] + noised[_TIME]  # a column of times may hold whole days
    best, n = max(((_NUMBER, noised[_NUMBER]), (_TIME, days_too)), key=lambda pair: pair[1])
    others = noised[: _OTHER + 1].sum() - n
    if n <= SEEN * sigma or others > OTHERS * n + SEEN * sigma:
        return None
    few_times = noised[_TIME] <= OTHERS * n + SEEN * sigma
    return _DAY if best == _TIME and few_times and noised[_DAY] > noised[_TIME] else best


def _column(name: str, family: int | None) -> ColumnSchema | None:
    if family is None:
        return None
    kind, dtype, reason = {
        _NUMBER: (Kind.CONTINUOUS, "double", NUMBERS),
        _DAY: (Kind.DATETIME, "date32[day]", "days, found with noise"),
        _TIME: (Kind.DATETIME, "timestamp[us]", "times, found with noise"),
    }[family]
    return ColumnSchema(name, kind, dtype, released=("kind", "dtype"), reason=reason)
