"""Summary of one column of numbers, datetimes or durations: distribution, moments, extremes, decimals, missing.

Floats are summed without rounding, so that a mean does not depend on the order in which rows are added. Every finite
double is an integer times 2**-1074; the sum of such integers is kept as one Python integer (the idea of reproducible
summation: Demmel and Nguyen, 'Parallel reproducible summation', IEEE TC 2015, with an exact accumulator).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.arrow_types import EXACT_DOUBLE
from raysynth.errors import SchemaError
from raysynth.statistics.cells import Cells, Numbers, cells_of, float_keys, no_cells, unsigned_keys, values_of
from raysynth.statistics.distinct import DistinctSample, hash_integers
from raysynth.statistics.released import CategoryCounts, NumericDistribution
from raysynth.statistics.steps import (
    MAX_DECIMALS,
    CalendarCounts,
    Step,
    decimal_step,
    joint_step,
    nearest_doubles,
    needed_decimals,
)

_LOWEST = 1127  # 1074 + 53: the scale that makes every mantissa of 53 bits an integer
_HALF = 26  # bits of the mantissa's upper part
_MAX_ROWS = 1 << 25  # parts of up to 27 bits add up exactly in a double for so many rows


@dataclass
class ExactSum:
    """A running sum of weighted doubles; sensitivity to one row: the largest absolute value."""

    scaled: int = 0  # the sum times 2**_LOWEST

    def add(self, values: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add values (N,) float64, finite, each counts (N,) int64 times (None: once)."""
        if len(values) == 0:
            return
        n_rows = len(values) if counts is None else int(counts.sum())
        if n_rows > _MAX_ROWS and len(values) == 1:
            self.scaled += n_rows * _scaled(float(values[0]))
            return
        if n_rows > _MAX_ROWS:
            half = len(values) // 2
            self.add(values[:half], None if counts is None else counts[:half])
            self.add(values[half:], None if counts is None else counts[half:])
            return
        mantissa, exponent = np.frexp(values)
        mantissa *= 2.0**_HALF
        high = np.floor(mantissa)
        low = (mantissa - high) * 2.0 ** (53 - _HALF)  # both parts are whole numbers
        if counts is not None:
            high *= counts
            low *= counts
        lowest = int(exponent.min())
        bins = (exponent - lowest).astype(np.int64)
        sums_high, sums_low = np.bincount(bins, weights=high), np.bincount(bins, weights=low)
        for k in np.flatnonzero((sums_high != 0) | (sums_low != 0)):
            whole = (int(sums_high[k]) << (53 - _HALF)) + int(sums_low[k])
            self.scaled += whole << (lowest + int(k) - 53 + _LOWEST)

    def merge(self, other: ExactSum) -> None:
        """Add another sum."""
        self.scaled += other.scaled

    def mean(self, n: int) -> float:
        """The sum divided by n, correctly rounded."""
        return self.scaled / (n << _LOWEST)


def _scaled(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << _LOWEST) // denominator


_SAMPLE = 4096
_LARGEST_SQUARE = 1e150  # beyond, x * x overflows: the spread is then taken from the cells


@dataclass
class NumericSummary:
    """Everything a fit needs of one numeric column, in one pass and in bounded memory.

    Datetimes and durations are counted as integers of their unit, all integers exactly, decimals as floats.

    Sensitivity (add/remove one row): `missing`, `n_inf` and each cell count change by at most 1; the sums by the
    largest absolute value (its square), so their noised release needs declared bounds; extremes, level, cell edges and
    decimals have no bounded sensitivity and are never released under a budget.

    Args:
        type: canonical Arrow type.
        cells: distribution (see `cells.py`).
        sample: hashes of distinct values, kept once there are too many for exact cells.
        total, squares: exact sums of the finite values and of their (rounded) squares.
        missing: null or NaN rows.
        n_inf: rows that are +inf or -inf; not in `cells`.
        decimals: digits after the point that hold all values so far; over `MAX_DECIMALS` means none do.
        step: integers and times: the largest step that leads from any value to any other.
        huge: a value was too large to be squared.
        calendar: dates and timestamps: rows on the steps of the calendar.
    """

    type: pa.DataType
    cells: Cells = field(init=False)
    sample: DistinctSample = field(default_factory=lambda: DistinctSample(_SAMPLE))
    total: ExactSum = field(default_factory=ExactSum)
    squares: ExactSum = field(default_factory=ExactSum)
    missing: int = 0
    n_inf: int = 0
    decimals: int = 0
    step: Step = Step()
    huge: bool = False
    calendar: CalendarCounts | None = field(init=False)

    def __post_init__(self) -> None:
        self.cells = no_cells(_numbers(self.type))
        is_time = pt.is_date32(self.type) or pt.is_timestamp(self.type)
        self.calendar = CalendarCounts(self.type) if is_time else None

    def update(self, array: pa.Array) -> None:
        """Add the rows of an array of the column's type."""
        values = _present_values(array)
        self.missing += len(array) - len(values)
        if values.dtype.kind == "f":
            is_finite = np.isfinite(values)
            if not is_finite.all():
                self.n_inf += int(np.count_nonzero(np.isinf(values)))
                self.missing += int(np.count_nonzero(np.isnan(values)))
                values = values[is_finite]
            keys = float_keys(values.astype(np.float64, copy=False))
        else:
            keys = unsigned_keys(values) if values.dtype == np.uint64 else values
        block = cells_of(keys, self.cells.numbers, self.cells.level)
        if len(block) == 0:
            return
        if block.level == 0:  # one cell for each distinct value: fewer to look at than there are rows
            self._look_at(block.low, block.counts)
        else:
            self._look_at(keys, None)
        self._add_cells(block)
        if block.level > 0:
            self.sample.add(hash_integers(keys))

    def merge(self, other: NumericSummary) -> None:
        """Add the rows of another summary of the same column."""
        self.sample.merge(other.sample)
        self._add_cells(other.cells)
        self.total.merge(other.total)
        self.squares.merge(other.squares)
        self.missing += other.missing
        self.n_inf += other.n_inf
        self.decimals = max(self.decimals, other.decimals)
        self.step = self.step.merged(other.step)
        self.huge = self.huge or other.huge
        if self.calendar is not None and other.calendar is not None:
            self.calendar.merge(other.calendar)

    @property
    def _is_whole(self) -> bool:
        return self.cells.numbers != "floats"

    @property
    def n_finite(self) -> int:
        """Rows with a finite value."""
        return int(self.cells.counts.sum())

    @property
    def n_distinct(self) -> int:
        """Distinct finite values: exact up to 65,536, else estimated within about 2 %."""
        return len(self.cells) if self.cells.level == 0 else self.sample.n_distinct

    @property
    def all_unique(self) -> bool:
        """True when no value occurs twice (above 65,536 distinct values: none of 4,096 sampled ones)."""
        if self.cells.level == 0:
            return bool((self.cells.counts <= 1).all())
        return self.sample.all_unique

    @property
    def extremes(self) -> tuple[Any, Any] | None:
        """Smallest and largest finite value (int for integers and times), or None without any."""
        if len(self.cells) == 0:
            return None
        return self.cells.low_values[0].item(), self.cells.high_values[-1].item()

    def examples(self, n: int) -> list[str]:
        """Up to n distinct values as text, evenly spread over the ranks of the distinct ones."""
        values = self.cells.low_values
        chosen = np.linspace(0, len(values) - 1, num=min(n, len(values)), dtype=np.intp)
        return [str(v) for v in scalars(values[chosen], self.type)]

    def categories(self, name: str) -> CategoryCounts:
        """Counts of every distinct value; raises `SchemaError` above 65,536 of them."""
        if self.cells.level > 0:
            raise SchemaError(
                f"column '{name}' has about {self.n_distinct:,} distinct numbers, too many for categories; "
                "declare it continuous"
            )
        values = scalars(self.cells.low_values, self.type)
        order = sorted(range(len(values)), key=lambda i: (-int(self.cells.counts[i]), str(values[i])))
        return CategoryCounts(
            values=tuple(values[i] for i in order),
            counts=self.cells.counts[order],
            missing=float(self.missing + self.n_inf),
            n_distinct=len(values),
        )

    def distribution(self) -> NumericDistribution:
        """Cells with counts, and the moments of the finite values (standard deviation over n, not n - 1)."""
        cells = self.cells.with_spikes_apart()
        whole = cells.low_values, cells.high_values
        low, high = whole[0].astype(np.float64), whole[1].astype(np.float64)
        beyond = self._is_whole and len(low) > 0 and bool(max(abs(low[0]), abs(high[-1])) >= EXACT_DOUBLE)
        wide = cells.counts[cells.low < cells.high]
        n = self.n_finite
        return NumericDistribution(
            low=low,
            high=high,
            counts=cells.counts,
            missing=float(self.missing + self.n_inf),
            mean=self.total.mean(n) if n else 0.0,
            std=self._std(low, high, cells.counts),
            decimals=self.decimals if self.decimals <= MAX_DECIMALS else None,
            exact=len(wide) == 0,
            rank_error=float(wide.max() / n) if len(wide) else 0.0,
            step=max(1, self.step.size) if self._is_whole else self._decimal_step,
            calendar=self.calendar,
            whole=whole if beyond else None,
        )

    @property
    def _decimal_step(self) -> float | None:
        is_known = self.cells.level == 0 and len(self.cells) > 2  # else cells hold numbers that are not seen
        return decimal_step(self.cells.low_values, self.decimals) if is_known else None

    def _look_at(self, keys: np.ndarray, counts: np.ndarray | None) -> None:
        """Moments, decimals and step of keys, each counts times (None: once)."""
        values = values_of(keys, self.cells.numbers).astype(np.float64, copy=False)
        self.total.add(values, counts)
        if max(abs(values.min()), abs(values.max())) > _LARGEST_SQUARE:
            self.huge = True
        else:
            self.squares.add(values * values, counts)
        if self.calendar is not None:
            self.calendar.update(keys, counts)
        if self._is_whole:
            self.step = joint_step(self.step, keys)
        else:
            self.decimals = needed_decimals(_native(values, self.type), self.decimals)

    def _add_cells(self, block: Cells) -> None:
        merged = self.cells.merged(block)
        if merged.level > 0:  # from here on distinct values are sampled; earlier ones are still known exactly
            for part in (self.cells, block):
                if part.level == 0:
                    self.sample.add(hash_integers(part.low), part.counts)
        self.cells = merged

    def _std(self, low: np.ndarray, high: np.ndarray, counts: np.ndarray) -> float:
        n = self.n_finite
        if n == 0:
            return 0.0
        if not self.huge:
            variance = self.squares.mean(n) - self.total.mean(n) ** 2
            if variance > 1e-6 * self.squares.mean(n):  # else cancellation: the cells are more precise
                return math.sqrt(variance)
        centre = self.total.mean(n)
        scale = max(abs(low[0] - centre), abs(high[-1] - centre), np.finfo(float).tiny)
        deviation = ((low - centre) / 2 + (high - centre) / 2) / scale
        return float(scale * math.sqrt(float(np.sum(counts * deviation**2)) / n))


def is_numeric(type_: pa.DataType) -> bool:
    """True for canonical types that `NumericSummary` takes."""
    return bool(pt.is_floating(type_) or pt.is_decimal(type_) or pt.is_integer(type_) or pt.is_temporal(type_))


def scalars(values: np.ndarray, type_: pa.DataType) -> list[Any]:
    """Python values of a column's type from its numbers (datetimes from integers of their unit)."""
    if pt.is_decimal(type_):
        return [pa.scalar(round(float(v), type_.scale)).cast(type_).as_py() for v in values]
    if pt.is_date32(type_):
        return pa.array(values.astype(np.int32)).view(type_).to_pylist()
    if pt.is_temporal(type_):
        return pa.array(values).view(type_).to_pylist()
    if pt.is_uint64(type_):
        return [int(v) for v in values]
    return values.tolist()


def _numbers(type_: pa.DataType) -> Numbers:
    if pt.is_uint64(type_):
        return "unsigned"
    return "integers" if pt.is_integer(type_) or pt.is_temporal(type_) else "floats"


def _present_values(array: pa.Array) -> np.ndarray:
    """The non-null values: int64, uint64, or float32/float64 with NaN and inf still among them."""
    if array.null_count:
        array = array.drop_null()
    type_ = array.type
    if pt.is_decimal(type_):
        return _decimal_values(array)
    if pt.is_date32(type_):
        array = array.view(pa.int32())
    elif pt.is_temporal(type_):
        array = array.view(pa.int64())
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values if values.dtype.kind == "f" or pt.is_uint64(type_) else values.astype(np.int64, copy=False)


def _decimal_values(array: pa.Array) -> np.ndarray:
    if array.type.precision <= 15:
        unscaled = np.frombuffer(array.buffers()[1], dtype=np.int64)[
            2 * array.offset : 2 * (array.offset + len(array)) : 2
        ]
        return unscaled / 10.0**array.type.scale
    return nearest_doubles(pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False), array.type.scale)


def _native(values: np.ndarray, type_: pa.DataType) -> np.ndarray:
    return values.astype(np.float32) if pt.is_float32(type_) else values
