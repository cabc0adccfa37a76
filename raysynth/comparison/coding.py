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

from raysynth.statistics.released import CategoryCounts, NumericDistribution

Marginal = CategoryCounts | NumericDistribution
N_BINS = 10  # SDMetrics' discretisation of a number that meets a category


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
        encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
        missing, other = len(self.texts), len(self.texts) + 1
        of_entry = [
            missing if v is None else self._codes.get(text_of(v), other) for v in encoded.dictionary.to_pylist()
        ]
        lookup = np.array([*of_entry, missing], dtype=np.int64)
        indices = pc.fill_null(encoded.indices.cast(pa.int64()), len(of_entry)).to_numpy(zero_copy_only=False)
        return lookup[indices]


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


Coder = CategoryCoder | BinCoder


def category_coder(name: str, real: CategoryCounts, synthetic: CategoryCounts) -> CategoryCoder:
    """One coder for both tables: the real column's categories, then those that only the synthetic one has."""
    return CategoryCoder(name, tuple(dict.fromkeys(text_of(v) for v in (*real.values, *synthetic.values))))


def range_coder(name: str, distribution: NumericDistribution) -> BinCoder:
    """Ten equal bins between the smallest and largest value of one table (each table has its own, as in SDMetrics)."""
    low, high = (float(distribution.low[0]), float(distribution.high[-1])) if distribution.total else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return BinCoder(name, tuple(np.linspace(low, high, N_BINS + 1)))


def quantile_coder(name: str, real: NumericDistribution) -> BinCoder:
    """About ten bins of equal share in the real table, for both tables (used for triples of columns)."""
    if real.total == 0:
        return BinCoder(name, (0.0,))
    return BinCoder(name, tuple(np.unique(real.quantile(np.arange(1, N_BINS) / N_BINS))))


def coarse_category_coder(name: str, real: CategoryCounts) -> CategoryCoder:
    """The ten most frequent real categories; the rest shares one code (used for triples of columns)."""
    return CategoryCoder(name, tuple(text_of(v) for v in real.values[:N_BINS]))


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
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    elif pa.types.is_boolean(kind):
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
