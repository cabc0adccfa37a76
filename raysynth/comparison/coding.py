"""Columns of Arrow blocks as small codes and plain floats, the same for the real and the synthetic table.

Shape legend: N rows, C compared columns, V columns of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.kinds.arrow_text import coded, indices_of, plain, plain_type, ticks
from raysynth.statistics.released import CategoryCounts, NumericDistribution

Marginal = CategoryCounts | NumericDistribution
N_BINS = 10  # SDMetrics' discretisation of a number that meets a category
_FEW = 5  # rows; a rarer category is no bin of its own


@dataclass(frozen=True)
class CategoryCoder:
    """Categories to codes 0..K-1 in the given order; K is missing, K + 1 any other value.

    Args:
        name: column name.
        texts: the categories as text (`text_of`), shape (K,).
    """

    name: str
    texts: tuple[str, ...]
    _codes: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._codes.update({t: i for i, t in enumerate(self.texts)})

    @property
    def cardinality(self) -> int:
        """Number of codes, missing and other included."""
        return len(self.texts) + 2

    def codes(self, column: pa.Array) -> np.ndarray:
        """Codes (N,) int64 of one block's column."""
        encoded = coded(column)
        missing, other = len(self.texts), len(self.texts) + 1
        of_entry = [
            missing if v is None else self._codes.get(text_of(v), other) for v in encoded.dictionary.to_pylist()
        ]
        lookup = np.array([*of_entry, missing], dtype=np.int64)
        return lookup[indices_of(encoded, len(of_entry))]


@dataclass(frozen=True)
class BinCoder:
    """Numbers to the index of their bin by `numpy.digitize` on fixed edges.

    As in SDMetrics, the table's largest value and missing values share the last code.
    """

    name: str
    edges: tuple[float, ...]

    @property
    def cardinality(self) -> int:
        """Number of codes (0: below the first edge)."""
        return len(self.edges) + 1

    def codes(self, column: pa.Array) -> np.ndarray:
        """Codes (N,) int64 of one block's column."""
        return np.searchsorted(np.array(self.edges), numbers(column), side="right")


@dataclass(frozen=True)
class CutCoder:
    """Numbers to the cell between fixed cuts (a value on a cut lies above it); missing has the last code."""

    name: str
    cuts: tuple[float, ...]

    @property
    def cardinality(self) -> int:
        """Number of codes, missing included."""
        return len(self.cuts) + 2

    def codes(self, column: pa.Array) -> np.ndarray:
        """Codes (N,) int64 of one block's column."""
        values = numbers(column)
        return np.where(np.isnan(values), len(self.cuts) + 1, np.searchsorted(np.array(self.cuts), values, "right"))


Coder = CategoryCoder | BinCoder | CutCoder


def category_coder(name: str, real: CategoryCounts, synthetic: CategoryCounts) -> CategoryCoder:
    """One coder for both tables: the real column's categories, then those that only the synthetic one has."""
    return CategoryCoder(name, tuple(dict.fromkeys(text_of(v) for v in (*real.values, *synthetic.values))))


def vocabulary_coder(name: str, synthetic: pa.ChunkedArray, others: Sequence[pa.ChunkedArray]) -> CategoryCoder:
    """A coder that knows every value of the given rows, so that none of them is 'other'.

    The order follows the synthetic rows (most frequent first), then the text of the values. It must not follow the
    rows whose membership is judged: were a value known, or coded low, for standing in a training row, every figure that
    compares training rows with rows held out would favour the former.
    """
    counts: dict[str, int] = {}
    for column in (synthetic, *others):
        for entry in pc.value_counts(plain(column)).to_pylist():
            if entry["values"] is not None:
                text = text_of(entry["values"])
                counts[text] = counts.get(text, 0) + (entry["counts"] if column is synthetic else 0)
    return CategoryCoder(name, tuple(sorted(counts, key=lambda text: (-counts[text], text))))


def range_coder(name: str, distribution: NumericDistribution) -> BinCoder:
    """Ten equal bins between the smallest and largest value of one table (each table has its own, as in SDMetrics)."""
    low, high = (float(distribution.low[0]), float(distribution.high[-1])) if distribution.total else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return BinCoder(name, tuple(np.linspace(low, high, N_BINS + 1)))


def quantile_coder(name: str, real: NumericDistribution) -> CutCoder:
    """About ten cells of equal share in the real table, for both tables: mostlyai-qa's bins.

    Every value is a cell where there are at most ten. Where values repeat so often that ten ranks fall on fewer values,
    more ranks are taken. Cuts are rounded down to the fewest digits that keep them apart.
    """
    if real.total == 0:
        return CutCoder(name, ())
    if real.exact and len(real.low) <= N_BINS:
        breaks = np.append(real.low, real.low[-1] + 1)
    else:
        breaks = _distinct_ranks(real)
    for digits in range(16):
        floored = np.floor(breaks * 10.0**digits) / 10.0**digits
        if len(np.unique(floored)) == len(breaks):
            breaks = np.append(floored[:-1], breaks[-1])
            break
    return CutCoder(name, tuple(breaks[1:-1].tolist()))


def _distinct_ranks(real: NumericDistribution) -> np.ndarray:
    """Values at equally spaced ranks, the smallest and largest included: as few ranks as give eleven values."""
    n = int(real.total)
    breaks = np.zeros(0)
    for n_ranks in range(N_BINS, max(N_BINS + 1, min(1000, n + 1))):
        rows = np.floor(np.linspace(0, n - 1, n_ranks))
        breaks = np.unique(real.quantile((rows + 0.5) / n))
        if len(breaks) > N_BINS:
            break
    return breaks


def coarse_category_coder(name: str, real: CategoryCounts) -> CategoryCoder:
    """The ten most frequent real categories of at least five rows; the rest shares one code (mostlyai-qa's bins)."""
    frequent = zip(real.values[:N_BINS], real.counts[:N_BINS], strict=True)
    return CategoryCoder(name, tuple(text_of(v) for v, n in frequent if n >= _FEW))


def text_of(value: Any) -> str:
    """One text for one category, whatever type it came in (1 and 1.0 are one category, True and 'true' too)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def numbers(column: pa.Array) -> np.ndarray:
    """Numbers, datetimes and durations as float64 (N,), NaN where missing or not finite.

    Datetimes and durations are microseconds, whatever their unit or time zone; booleans 0 and 1.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    column, kind = ticks(plain(column)), plain_type(kind)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) * microseconds(kind)
    return np.where(np.isfinite(values), values, np.nan)


def microseconds(kind: pa.DataType) -> float:
    """Microseconds in one unit of a datetime or duration type; 1 for plain numbers."""
    if pa.types.is_date32(kind):
        return 86_400e6
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[kind.unit]
    return 1.0


def number_matrix(batch: pa.RecordBatch, names: Sequence[str]) -> np.ndarray:
    """The named columns as float64 (N, V)."""
    if not names:
        return np.zeros((batch.num_rows, 0))
    return np.column_stack([numbers(batch.column(name)) for name in names])
