"""The leaves of a number's histogram between two public or released ends: single values, or narrow intervals.

Whole numbers and decimals with at most 131,072 values in their range have a leaf for each value. Others have 65,536
intervals of equal width, and leaves of no width for the two ends and for zero, where clamped and absent amounts pile
up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.types as pt

from raysynth.schema.columns import ColumnSchema
from raysynth.statistics.released import NumericDistribution

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
