"""Where a number's outermost rows lie: a cell that ends where the other cells let expect it.

The k persons of the largest values are in no protected cell. Where the cell made for them begins is where the others
end; where it ends no row says, since that would tell of one person: the tail is taken for a generalised Pareto one,
whose shape and scale follow from three quantiles of the other cells (Pickands 1975, Annals of Statistics 3, 119-131),
and the cell reaches so far that the largest of so many rows lies beyond its end four times in five, so that values
outside what any person has are seldom made. A bounded tail ends soon, a heavy one late. No end crosses zero, 1 or 100
from nearby: shares and percentages stay so, and amounts do not become negative.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from raysynth.encoding.distribution import SmoothDistribution
from raysynth.statistics.released import NumericDistribution

_SPACING = 8.0  # of the quantiles' ranks, at most
_LEAST_SPACING = 2.0
_SHAPES = (-1.0, 0.5)  # a uniform tail; a tail whose variance is infinite
_WHOLES = (1.0, 100.0)
_LARGEST = float(np.log(5.0))  # rows beyond the lower fifth of where the largest of many lies, on average


def with_tails(
    cells: SmoothDistribution, released: NumericDistribution, rare_threshold: int, bounds: tuple[float, float]
) -> SmoothDistribution:
    """The distribution with a cell of its own for the rows beyond either end, where at least `rare_threshold` are.

    Args:
        cells: protected.
        released: what they were made of, each row a person.
        rare_threshold: rows that a cell needs.
        bounds: no cell reaches beyond these.
    """
    above = float(released.counts[released.low > cells.high[-1]].sum())
    below = float(released.counts[released.high < cells.low[0]].sum())
    total = max(released.total, 1.0)
    result = _with_tail(cells, above, total, rare_threshold, bounds[1])
    mirrored = replace(
        result, low=-result.high[::-1], high=-result.low[::-1], share=result.share[::-1], offset=-result.offset
    )
    mirrored = _with_tail(mirrored, below, total, rare_threshold, -bounds[0])
    return replace(
        result, low=-mirrored.high[::-1] + 0.0, high=-mirrored.low[::-1] + 0.0, share=mirrored.share[::-1].copy()
    )


def _with_tail(
    cells: SmoothDistribution, rows: float, total: float, rare_threshold: int, bound: float
) -> SmoothDistribution:
    """The same with a cell above the last one, which has held its rows until then."""
    left = cells.share[-1] - rows / total
    if rows < rare_threshold or left * total < rare_threshold - 0.5 or len(cells.share) < 2:
        return cells
    inner = replace(cells, share=np.append(cells.share[:-1], left))
    end, reach = float(cells.high[-1]), _reach(inner, rows, total)
    if not (np.isfinite(reach) and reach > 0 and end + reach > end):
        return cells
    far = min(_bounded(end, end + reach), bound)
    low = float(np.nextafter(end, np.inf))
    if cells.unit > 0:
        low = _between_values(end, cells)
        far = cells.offset + np.floor((far - cells.offset) / cells.unit + 1e-9) * cells.unit
        low = low + cells.unit / 2 if low < far else np.inf  # the smallest value beyond the end
    if not (low < far and np.isfinite(far)):
        return cells
    return replace(
        inner,
        low=np.append(inner.low, low),
        high=np.append(inner.high, far),
        share=np.append(inner.share, rows / total),
    )


def _between_values(end: float, cells: SmoothDistribution) -> float:
    """The first point between values at or beyond the end of a cell."""
    place = (end - cells.offset) / cells.unit
    return float(cells.offset + (np.floor(place + 1e-6) + 0.5) * cells.unit)


def _reach(cells: SmoothDistribution, rows: float, total: float) -> float:
    """How far the rows beyond the cells reach, by a generalised Pareto tail through three quantiles of the cells."""
    inner = total - rows
    spacing = min(_SPACING, (inner / 2 / rows) ** 0.5)
    if spacing < _LEAST_SPACING:
        return 0.0
    end = float(cells.high[-1])
    first, second = (end - _quantile(cells, rows * (spacing**i - 1) / inner) for i in (1, 2))
    if not 0 < first < second:
        return 0.0
    shape = float(np.clip(np.log(first / (second - first)) / np.log(spacing), *_SHAPES))
    if abs(shape) < 1e-6:
        return float(first / np.log(spacing) * np.log(rows / _LARGEST))
    return float(first / (1 - spacing**-shape) * ((rows / _LARGEST) ** shape - 1))


def _quantile(cells: SmoothDistribution, upper_share: float) -> float:
    """The value that this share of the cells' rows lie above."""
    return float(cells.quantile(np.array([max(1.0 - upper_share, 0.0)]))[0])


def _bounded(end: float, far: float) -> float:
    """The far end, at most at zero, and of what reaches beyond half of a whole (1 or 100) at that."""
    for whole in (0.0, *_WHOLES):
        if whole / 2 <= end <= whole or end <= whole == 0:
            return min(far, whole)
    return far
