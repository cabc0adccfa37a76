"""What statistics give to the rest of the house: released values, exact or noised, never rows.

`Exact` and `Noised` are the two doors' seals (design: 'One door to the private data'). Encoders and generators are
built from them alone. Without a privacy budget a summary releases `Exact`; with one, only `Noised` can be made.

JSON holds single values as times in whole units, decimals as text; `to_plain` writes them, `from_plain` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from raysynth.data.arrow_types import EXACT_DOUBLE as EXACT_DOUBLE
from raysynth.statistics.distinct import Sharing
from raysynth.statistics.steps import CalendarCounts


def to_plain(values: Sequence[Any], dtype: pa.DataType) -> list[Any]:
    """JSON values of Python values of an Arrow type."""
    if pa.types.is_temporal(dtype):
        whole = pa.int32() if pa.types.is_date32(dtype) else pa.int64()
        plain: list[Any] = pa.array(values, type=dtype).cast(whole).to_pylist()
        return plain
    if pa.types.is_decimal(dtype):
        return [None if v is None else str(v) for v in values]
    return list(values)


def from_integers(values: Sequence[Any], dtype: pa.DataType) -> list[Any]:
    """Times from integers of their unit; values of other types as they are."""
    if not pa.types.is_temporal(dtype):
        return list(values)
    whole = pa.int32() if pa.types.is_date32(dtype) else pa.int64()
    times: list[Any] = pa.array(values, type=whole).cast(dtype).to_pylist()
    return times


def from_plain(values: Sequence[Any], dtype: pa.DataType) -> list[Any]:
    """The inverse of `to_plain`: Python values as Arrow gives them."""
    if not pa.types.is_decimal(dtype):
        return from_integers(values, dtype)
    decimals: list[Any] = pa.array(values, type=pa.string()).cast(dtype).to_pylist()
    return decimals


T = TypeVar("T")


@dataclass(frozen=True)
class Exact(Generic[T]):
    """A value computed from the private rows without noise: private unless protected downstream."""

    value: T


@dataclass(frozen=True)
class Noised(Generic[T]):
    """A value released by a mechanism; `event` is its entry in the ledger."""

    value: T
    event: Any


Released: TypeAlias = Exact[T] | Noised[T]


@dataclass(frozen=True)
class CategoryCounts:
    """Counts of the values of one discrete column.

    Args:
        values: distinct values, most frequent first (ties: by value as text), Python scalars.
        counts: rows of each value, shape (len(values),).
        missing: rows without a value.
        n_distinct: number of distinct values (an estimate where `complete` is False).
        complete: False when the counter overflowed: `values` then holds the frequent ones only.
        other: rows of values that are not listed (0 where complete).
        count_error: each count may be too low by up to this many rows (0 where complete).
        persons: where persons are counted, how many share each value (up to `rare_threshold` of them), shape
            (len(values),); None: each row is a person.
    """

    values: tuple[Any, ...]
    counts: np.ndarray
    missing: float
    n_distinct: int
    complete: bool = True
    other: float = 0.0
    count_error: float = 0.0
    persons: np.ndarray | None = None

    @property
    def total(self) -> float:
        """All rows: those of listed values, of other values, and missing ones."""
        return float(self.counts.sum()) + self.other + self.missing


@dataclass(frozen=True)
class NoisedMean:
    """The mean of a column by its noised counts as they were released, before any was raised to zero: without bias.

    Args:
        mean: of the present values; those beyond `low` and `high` count as these.
        sigma: standard deviation of its noise.
        per_row: how far it is moved by each row that the number of rows is off.
        within: the most that it may be off besides, because of where values lie in the cells that were counted.
        low, high: ends of the counted range.
    """

    mean: float
    sigma: float
    per_row: float
    within: float
    low: float
    high: float


@dataclass(frozen=True)
class NumericDistribution:
    """The distribution of one numeric column as ordered cells [low, high] with counts.

    A cell with low == high is an atom: one exact value. Datetimes and timedeltas are integers of their unit.

    Args:
        low, high: cell edges, float64, ascending and disjoint, shape (cells,).
        counts: rows in each cell, shape (cells,).
        missing: rows without a finite value (null, NaN, +-inf).
        mean, std: of the finite values.
        decimals: digits after the point that hold every value (0: whole numbers), None if over 15.
        exact: True when every cell is an atom.
        rank_error: largest share of rows in one cell that is no atom: the error of any quantile's rank.
        step: every value is the smallest one plus a multiple of this (a column of dates in microseconds:
            86,400,000,000; prices that end in .99: 1); None: there is none, or it is not known.
        sharers: where persons are counted, who shares each cell; None: each row is a person.
        calendar: dates and timestamps: rows on the steps of the calendar; None where not known (under a budget).
        whole: low and high as int64 or uint64 where they are whole numbers that float64 does not hold; else None.
        noised: of noised counts: their mean without bias; None: not noised.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    missing: float
    mean: float
    std: float
    decimals: int | None
    exact: bool
    rank_error: float
    step: float | None = None
    sharers: Sharing | None = None
    calendar: CalendarCounts | None = None
    whole: tuple[np.ndarray, np.ndarray] | None = None
    noised: NoisedMean | None = None

    @property
    def total(self) -> float:
        """Rows with a finite value."""
        return float(self.counts.sum())

    def quantile(self, q: np.ndarray) -> np.ndarray:
        """Values at ranks q in [0, 1]: linear inside a cell, the value itself in an atom."""
        cumulative = np.concatenate([[0.0], np.cumsum(self.counts)])
        rank = np.clip(np.asarray(q, dtype=float), 0, 1) * cumulative[-1]
        cell = np.clip(np.searchsorted(cumulative, rank, side="left") - 1, 0, len(self.counts) - 1)
        inside = np.clip((rank - cumulative[cell]) / np.maximum(self.counts[cell], 1e-300), 0, 1)
        return self.low[cell] + inside * (self.high[cell] - self.low[cell])
