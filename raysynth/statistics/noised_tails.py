"""What lies beyond the outermost cells that the noise shows: a tail that goes on as the shape before it does.

A number without declared bounds is counted in cells, the outer ones of which hold fewer rows than their noise. Cut off
there, made values have the range of the bulk alone, and whoever reads them in equal bins reads others; kept, the range
ends in noise. So each end of what is shown gets an exponential tail (beyond it rows fall as exp(-x / scale); for whole
values a geometric one), or none: ages end at 18, shares at 1. Which is weighed by how the cells before the end decay
and by the noised cells beyond it; a tail goes on to where less than a row is expected, and none passes zero, where all
that is shown lies on one side of it.

All of it is post-processing of released counts. Shapes: L leaves of a grid, K leaves shown.

Leaves lie between two public or released ends (`ValueGrid`): single values, or narrow intervals. Whole numbers and
decimals with at most 131,072 values in their range have a leaf for each value. Others have 65,536 intervals of equal
width, and leaves of no width for the two ends and for zero, where clamped and absent amounts pile up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow.types as pt

from raysynth.data.total_cast import held_ticks
from raysynth.dp.mechanisms.histogram import FAN_OUT, LevelCounts, consistent, simplex, unbiased_mean
from raysynth.schema.columns import ColumnSchema
from raysynth.statistics.noised_range import END_COST, interval_shown, with_margin
from raysynth.statistics.released import NoisedMean, NumericDistribution

MOST_VALUES = 1 << 17
INTERVALS = 1 << 16
BESIDE = 3  # values counted on either side of a few that a range was found for


@dataclass(frozen=True)
class ValueGrid:
    """Leaves in ascending order; leaf i holds starts[i] <= x < starts[i + 1] and decodes to [low[i], high[i]].

    Args:
        starts, low, high: shape (L,).
        decimals: of the column.
    """

    starts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    decimals: int | None

    def distribution(self, first: np.ndarray, counts: np.ndarray, missing: float) -> NumericDistribution:
        """The distribution of runs of leaves (see `dp/mechanisms/histogram.py`); runs of several leaves are uniform."""
        last = np.append(first[1:], len(self.starts)) - 1
        low, high = self.low[first].copy(), self.high[last].copy()
        several = last > first
        half = 10.0**-self.decimals / 2 if self.decimals is not None else 0.0
        low[several] -= half  # values round to the grid: half a unit more on each side is each value's own
        high[several] += half
        low, high = np.maximum(low, self.low[0]), np.minimum(high, self.high[-1])
        middle = (low + high) / 2
        total = max(counts.sum(), 1e-300)
        mean = float((middle * counts).sum() / total)
        variance = float((((middle - mean) ** 2 + (high - low) ** 2 / 12) * counts).sum() / total)
        largest = float(counts[low < high].max(initial=0.0) / total)
        return NumericDistribution(
            low, high, counts, missing, mean, variance**0.5, self.decimals, bool((low == high).all()), largest
        )

    def mean(self, levels: list[LevelCounts], total: float, missing_sigma: float) -> NoisedMean:
        """The mean by the noised counts of all leaves, of `total` rows; the missing ones have noise, too."""
        low, high = float(self.low[0]), float(self.high[-1])
        mean, sigma, per_row = unbiased_mean(levels, self.low / 2 + self.high / 2, total)
        within = float(simplex(consistent(levels)[0], total) @ (self.high / 2 - self.low / 2)) / total
        return NoisedMean(mean, math.hypot(sigma, per_row * missing_sigma), per_row, within, low, high)


def grid_of(column: ColumnSchema, bounds: tuple[float, float]) -> ValueGrid:
    """The leaves of a column between two ends."""
    low, high = float(bounds[0]), float(bounds[1])
    decimals = _decimals(column)
    if decimals is not None:
        unit = 10.0**-decimals
        low, high = np.ceil(low / unit - 1e-9) * unit, np.floor(high / unit + 1e-9) * unit
        n_values = int(round((high - low) / unit)) + 1 if high >= low else 1
        if n_values <= MOST_VALUES:
            values = np.round(low + np.arange(max(n_values, 1)) * unit, decimals)
            return ValueGrid(values - unit / 2, values, values, decimals)
    return _intervals(low, high, decimals)


def wider(column: ColumnSchema, ends: tuple[float, float], most: int) -> tuple[float, float]:
    """Ends with `BESIDE` further values on both sides, not through zero, where all are at most `most` single values."""
    decimals = _decimals(column)
    if decimals is None or (ends[1] - ends[0]) * 10.0**decimals + 1 + 2 * BESIDE > most:
        return ends
    more = BESIDE * 10.0**-decimals
    low = ends[0] - more if ends[0] < 0 else max(ends[0] - more, 0.0)
    return low, ends[1] + more if ends[1] >= 0 else min(ends[1] + more, 0.0)


def _decimals(column: ColumnSchema) -> int | None:
    return 0 if not column.kind.is_number or pt.is_integer(column.arrow_type) else column.decimals


def _intervals(low: float, high: float, decimals: int | None) -> ValueGrid:
    if not low < high:
        value = np.array([low])
        return ValueGrid(value, value, value, decimals)
    edges = np.linspace(low, high, INTERVALS + 1)
    if low < 0 < high:
        edges = np.unique(np.append(edges, 0.0))
    atoms = [x for x in (low, 0.0, high) if low <= x <= high]
    starts = np.unique(np.concatenate([edges, [np.nextafter(x, np.inf) for x in atoms if x < high]]))
    is_atom = np.isin(starts, atoms)
    ends = np.append(starts[1:], high)
    return ValueGrid(starts, starts, np.where(is_atom, starts, ends), decimals)


def grid_of_parts(column: ColumnSchema, edges: np.ndarray) -> ValueGrid:
    """A leaf for each part between two edges, and one for zero; whole numbers and decimals are in one part each.

    Args:
        edges: (B + 1,) ascending, or one alone, a value.
    """
    decimals = _decimals(column)
    if decimals is None:
        if len(edges) < 2:
            return ValueGrid(edges, edges, edges, None)
        if edges[0] <= 0 <= edges[-1]:
            edges = np.unique(np.append(edges, [0.0, np.nextafter(0.0, np.inf)]))
        low, high = edges[:-1], edges[1:].copy()
        high[low == 0] = 0.0
        return ValueGrid(low, low, high, None)
    unit = 10.0**-decimals
    first, last = np.ceil(edges / unit - 1e-9), np.floor(edges[-1] / unit + 1e-9)
    first = np.unique(np.append(first, [0.0, 1.0] if first[0] <= 0 <= last else []))
    first = first[first <= last] if first[0] <= last else first[:1]
    end = np.maximum(np.append(first[1:] - 1, last), first)
    half = np.where(end > first, 0.5, 0.0)  # values round to the grid: each value of a part has all that rounds to it
    low, high = first - half, end + half
    low[0], high[-1] = first[0], end[-1]
    return ValueGrid((first - 0.5) * unit, low * unit, high * unit, decimals)


SCALES = (0.15, 0.2, 0.3, 0.43, 0.62, 0.9, 1.4, 2.2, 3.5)  # of a tail, in widths of the last cell
SPREAD = 0.5  # of the logarithm of a scale about the one that the decay of the last two cells has
HARD, HARD_AT_MODE = 0.15, 0.5  # prior weight of no tail: where cells decay towards the end, and where they do not
HARD_FLAG = 0.6  # where zero and one alone are shown
LAST_ROWS = 0.7  # rows expected beyond the end: half of all largest values lie beyond
SEEN = 2.0  # standard deviations: outer leaves of fewer rows are left to the tail
LEAST_SHOWN = 0.3  # standard deviations that the last cell has at least
FARTHEST = 0.3  # of what is shown: how far a tail of intervals goes
TAIL_VALUES, PARTS = 64, 4  # of a tail, for single values and for intervals


@dataclass(frozen=True)
class Side:
    """One end, seen outwards.

    Args:
        widths, rows: of the cells shown, the outermost last. beyond: noised counts of further cells, of these `spans`.
        sigma: of the noise.
        room: how far a tail may go.
        hard: prior weight of no tail; None: by how the cells decay.
    """

    widths: np.ndarray
    rows: np.ndarray
    beyond: np.ndarray
    spans: np.ndarray
    sigma: float
    room: float
    hard: float | None = None

    def tail(self) -> tuple[float, float, float]:
        """Length (0: none), scale and rows: the median over scales, by length."""
        width, rows = float(self.widths[-1]), max(float(self.rows[-1]), LEAST_SHOWN * self.sigma)
        if self.room <= 0 or width <= 0:
            return 0.0, 1.0, 0.0
        scales = np.array(SCALES) * width
        beyond_S = rows / np.expm1(width / scales)
        lengths = np.minimum(scales * np.log(np.maximum(beyond_S / LAST_ROWS, 1.0)), self.room)
        weights = self._weights(scales, beyond_S)
        order = np.argsort(lengths, kind="stable")
        below = weights[-1] + weights[:-1][order].cumsum()
        if weights[-1] >= 0.5:
            return 0.0, 1.0, 0.0
        picked = int(order[min(int(np.searchsorted(below, 0.5)), len(order) - 1)])
        return float(lengths[picked]), float(scales[picked]), float(beyond_S[picked])

    def _weights(self, scales: np.ndarray, beyond_S: np.ndarray) -> np.ndarray:
        """Posterior weights of the scales and, last, of no tail; they add up to 1."""
        decay = self._decay()
        prior_S = np.ones(len(scales))
        if decay is not None:
            prior_S = np.exp(-0.5 * (np.log(scales / np.clip(decay, scales[0], scales[-1])) / SPREAD) ** 2)
        hard = self.hard if self.hard is not None else HARD_AT_MODE if decay is None else HARD
        prior = np.append((1 - hard) * prior_S / prior_S.sum(), hard)
        edges = np.append(0.0, self.spans.cumsum())
        passed_SB = np.exp(-edges / scales[:, None])
        expected = np.vstack([beyond_S[:, None] * (passed_SB[:, :-1] - passed_SB[:, 1:]), np.zeros(len(self.beyond))])
        misfit = (((self.beyond - expected) / self.sigma) ** 2).sum(axis=1)
        weights = prior * np.exp(-0.5 * (misfit - misfit.min()))
        result: np.ndarray = weights / weights.sum()
        return result

    def _decay(self) -> float | None:
        """The scale by which the last cell is sparser than one or two before it, as a mean; None where it is not."""
        last = max(float(self.rows[-1]), LEAST_SHOWN * self.sigma) / self.widths[-1]
        middles = self.widths.cumsum() - self.widths / 2
        scales = []
        for i in range(max(len(self.rows) - 3, 0), len(self.rows) - 1):
            before = self.rows[i] / self.widths[i] if self.widths[i] > 0 else 0.0
            if before > last:
                scales.append(float((middles[-1] - middles[i]) / math.log(before / last)))
            elif i == len(self.rows) - 2:
                return None
        return math.exp(float(np.mean(np.log(scales)))) if scales else None


def without_noise_alone(
    levels: list[LevelCounts], grid: ValueGrid, total: float, total_sigma: float
) -> tuple[list[LevelCounts], ValueGrid]:
    """The leaves of the top nodes between which the noise shows rows: values far out would be made of noise alone."""
    top = levels[-1]
    first, end = with_margin(*interval_shown(top.counts, top.sigma, total, total_sigma, cost=END_COST), len(top.counts))
    start, stop = first * FAN_OUT ** (len(levels) - 1), end * FAN_OUT ** (len(levels) - 1)
    kept = [
        LevelCounts(own.counts[start // FAN_OUT**i : stop // FAN_OUT**i], own.sigma) for i, own in enumerate(levels)
    ]
    return kept, ValueGrid(grid.starts[start:stop], grid.low[start:stop], grid.high[start:stop], grid.decimals)


def with_tails(
    level: LevelCounts, grid: ValueGrid, shown: tuple[int, int], total: float, column: ColumnSchema
) -> tuple[ValueGrid, np.ndarray]:
    """The leaves that are shown with a tail at each end, and their estimated rows, of sum `total`.

    Args:
        level: noised counts of the leaves (L,).
        grid: the leaves.
        shown: first leaf and end of those that noise shows.
        column: what it holds, beyond which no tail goes.
    """
    limits = _held(column)
    first, end = _seen(level, *shown)
    unit = 0.0 if grid.decimals is None else 10.0**-grid.decimals
    single = unit > 0 and bool((grid.low == grid.high).all())
    widths = np.full(len(grid.low), unit) if single else grid.high - grid.low
    rows = simplex(level.counts[first:end], total)
    low, high = float(grid.low[first]), float(grid.high[end - 1])
    down = low - (max(limits[0], 0.0) if low >= 0 else limits[0])
    up = (min(limits[1], 0.0) if low < 0 and high <= 0 else limits[1]) - high
    if not single:
        down, up = (min(room, FARTHEST * (high - low)) for room in (down, up))
    hard = None
    if single and low == 0 and len(rows) < 3:  # of zero alone, or of few ones, something else is there as well
        hard = 0.0 if len(rows) == 1 else HARD_FLAG if high == 1 else None
    above = Side(widths[first:end], rows, level.counts[end:], widths[end:], level.sigma, up, hard)
    below = Side(
        widths[first:end][::-1], rows[::-1], level.counts[:first][::-1], widths[:first][::-1], level.sigma, down
    )
    kept = ValueGrid(grid.starts[first:end], grid.low[first:end], grid.high[first:end], grid.decimals)
    lows, low_rows = _cells(below, unit, single)
    highs, high_rows = _cells(above, unit, single)
    joined = _joined(kept, lows, highs, unit, single)
    counts = np.concatenate(
        [low_rows[::-1], rows * max(1 - (low_rows.sum() + high_rows.sum()) / total, 0.5), high_rows]
    )
    return joined, counts * (total / counts.sum())


def _seen(level: LevelCounts, first: int, end: int) -> tuple[int, int]:
    """The same without outer leaves that may well be empty."""
    seen = np.flatnonzero(level.counts[first:end] >= SEEN * level.sigma)
    return (first + int(seen[0]), first + int(seen[-1]) + 1) if len(seen) else (first, end)


def _cells(side: Side, unit: float, single: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the tail's cells, as distances outwards, and the rows of each."""
    length, scale, rows = side.tail()
    if single:
        # The i-th value holds what lies between i - 1 and i units beyond the end.
        n = min(math.floor(length / unit + 1e-9) + (length > 0), round(min(side.room / unit, TAIL_VALUES)))
        ends = unit * np.arange(1, n + 1)
    else:
        ends = length * np.arange(1, PARTS + 1) / PARTS
        ends = np.unique(np.round(ends / unit) * unit) if unit else ends
        ends = ends[ends > 0]
    passed = np.exp(-np.append(0.0, ends) / scale)
    return ends, rows * (passed[:-1] - passed[1:])


def _joined(kept: ValueGrid, below: np.ndarray, above: np.ndarray, unit: float, single: bool) -> ValueGrid:
    """A grid with the cells of both tails."""
    bottom, top = float(kept.low[0]), float(kept.high[-1])
    if single:
        values = np.round(np.concatenate([bottom - below[::-1], kept.low, top + above]), kept.decimals or 0)
        return ValueGrid(values - unit / 2, values, values, kept.decimals)
    low, high = kept.low.copy(), kept.high.copy()
    half = unit / 2  # each value has what rounds to it, the outermost one half of that
    low[0] -= half * (len(below) > 0 and high[0] > low[0])
    high[-1] += half * (len(above) > 0 and high[-1] > low[-1])
    upper, lower = top + np.append(0.0, above), bottom - np.append(0.0, below)
    above_low, above_high = upper[:-1] + half, upper[1:] + half
    below_low, below_high = lower[1:] - half, lower[:-1] - half
    above_high[-1:] -= half
    below_low[-1:] += half
    lows = np.concatenate([below_low[::-1], low, above_low])
    return ValueGrid(lows, lows, np.concatenate([below_high[::-1], high, above_high]), kept.decimals)


def _held(column: ColumnSchema) -> tuple[float, float]:
    """The least and the largest value that the type holds."""
    if pt.is_temporal(column.arrow_type):
        return held_ticks(column.arrow_type)
    if not pt.is_integer(column.arrow_type):
        return -math.inf, math.inf
    held = np.iinfo(column.arrow_type.to_pandas_dtype())
    return float(held.min), float(held.max)
