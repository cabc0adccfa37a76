"""How far a number reaches: the tail beyond the values that enough persons share.

The k smallest and the k largest values are cut off, and a column that ended there would be too narrow: of a thousand
normal values the five largest reach over a sixth of the range. So the persons beyond an end, k at least, are one more
cell. How far it goes says a generalised Pareto tail (Pickands 1975) with the first two L-moments of excesses (Hosking &
Wallis 1987): of four blocks of values that k persons have each, where what fewer than k persons have or exceed counts
as what the k-th has. So a tail depends on no single person more than the end before it does. It ends at a coarse grid
point. There is none beyond a wide gap, nor where values do not get rarer towards the end: numbers like days of a month
come to an end, and beyond it there is no such number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from raysynth.encoding.cells import Cell, Holders, Values, coarsest_between, place_of, value_at

BLOCKS = 4  # of values, each of k persons, say how far the outermost reaches
TRUSTED = 20.0  # rows that say as much of a shape as knowing that most tails are nearly exponential
SHAPES = (-1.0, 0.8)  # uniform, and with hardly a mean
FARTHER = 2.0  # times as far as values that count as the k-th say; farther out, rows of two tails cost correlation
ENDS = -0.4  # shapes below it come to an end: 0 of an exponential law, -1 of an even one
OUTER, LEAST, MOST = 1 / 4, 8, 40  # share of the rows that say so; at least, at most, in rows of a tail
COARSE = 0.15  # of the way, that the grid point may be off


def with_tails(
    cells: list[Cell], values: Values, holders: Holders, inside: tuple[int, int], reach: tuple[float, float]
) -> list[Cell]:
    """The cells, ascending, and those of the rows beyond the first and the last one.

    Args:
        values, holders: as `shared_cells` has them.
        inside: before the first and from the second of the cells of `values` on there is no wide gap up to the end.
        reach: what tails do not cross.
    """
    n = len(values.counts)
    cells = _with_tail(cells, values, holders.are_enough, inside[1], reach[1])
    backwards = partial(_backwards, holders, n)
    return _mirrored(_with_tail(_mirrored(cells), values.mirrored(), backwards, n - inside[0], -reach[0]))


def largest_expected(excess: np.ndarray, rows: np.ndarray) -> float | None:
    """The median of the largest of so many excesses over a threshold; None where they have no spread.

    Args:
        excess: above 0, ascending, (M,). rows: that have each, (M,).
    """
    fitted = mean_and_shape(excess, rows)
    if fitted is None:
        return None
    mean, shape = fitted
    n = float(rows.sum())
    shape = min(max(shape if shape < 0 else shape * n / (n + TRUSTED), SHAPES[0]), SHAPES[1])
    times = n / math.log(2)
    grown = math.log(times) if abs(shape) < 1e-9 else (times**shape - 1) / shape
    return mean * (1 - shape) * grown


def mean_and_shape(excess: np.ndarray, rows: np.ndarray) -> tuple[float, float] | None:
    """Mean of excesses and the shape of their Pareto tail; None where they have no spread. See `largest_expected`."""
    n = float(rows.sum())
    before = np.cumsum(rows) - rows
    mean = float(excess @ rows) / n
    second = 2 * float((excess * rows) @ (before + (rows - 1) / 2)) / (n * (n - 1)) - mean if n > 1 else 0.0
    return (mean, 2 - mean / second) if 0 < second < np.inf else None


def range_of_end(end: float, places: np.ndarray, rows: np.ndarray, most: float) -> tuple[float, float] | None:
    """Between what the tail beyond an end may end itself, at most at `most`; None: there is none.

    Args:
        places: the threshold and the M values above it, ascending, (M + 1,). rows: of the values, (M,).
    """
    reached = largest_expected(places[1:] - places[0], rows)
    way = 0.0 if reached is None else FARTHER * (float(places[0]) + reached - end)
    return (min(end + (1 - COARSE) * way, most), min(end + (1 + COARSE) * way, most)) if way > 0 else None


def farthest(end: float) -> float:
    """What a tail upwards from an end does not cross: zero, or the next power of ten (1, 100 per cent)."""
    if end == 0 or abs(end) < 1e-300:
        return 0.0
    size = math.log10(abs(end))
    power = math.floor(size + 1e-9) + 1 if end > 0 else math.ceil(size - 1e-9) - 1
    return math.copysign(10.0 ** min(power, 308), end)


def comes_to_an_end(places: np.ndarray, rows: np.ndarray, beyond: float) -> bool:
    """Whether values are as frequent near the end as before it, as days of a month are.

    Args:
        places: ascending, up to the end, (M,). rows: of each, (M,). beyond: rows of a tail.
    """
    outer = min(max(OUTER * float(rows.sum()), LEAST * beyond), MOST * beyond)
    first = max(int(np.searchsorted(-np.cumsum(rows[::-1])[::-1], -outer, side="right")) - 1, 1)
    fitted = mean_and_shape(places[first:] - places[first - 1], rows[first:])
    return fitted is not None and fitted[1] < ENDS


def _mirrored(cells: list[Cell]) -> list[Cell]:
    return [Cell(0.0 - c.high, 0.0 - c.low, c.rows) for c in reversed(cells)]  # never -0.0


def _backwards(holders: Holders, n: int, first: int, after: int) -> bool:
    return holders.are_enough(n - after, n - first)


def _with_tail(
    cells: list[Cell], values: Values, are_enough: Callable[[int, int], bool], start: int, most: float
) -> list[Cell]:
    """The cells and one for the rows beyond the last one.

    Args:
        start: of the cells of `values`, from which on there is no wide gap. most: what the tail does not cross.
    """
    last, after = cells[-1], len(values.counts)
    first = int(np.searchsorted(values.low, last.high, side="right"))
    rows = float(values.counts[first:].sum())
    is_lone = len(cells) == 1 or cells[-2].high < values.low[start]  # its group's one cell needs all rows
    if is_lone or first <= start or rows >= last.rows or not are_enough(first, after):
        return cells
    block = first
    for _ in range(BLOCKS - 1):
        after, block = block, block - 1
        while block > start and not are_enough(block, after):
            block -= 1
        if block <= start:
            return cells
    top = len(values.counts) - 1
    while not are_enough(top, len(values.counts)):
        top -= 1
    places = place_of(values, values.low[start:] / 2 + values.high[start:] / 2)
    places = np.minimum(places, places[top - start])  # what fewer than k persons exceed counts as the k-th has
    if comes_to_an_end(places, values.counts[start:], rows):
        return cells
    end, far, most = place_of(values, np.array([last.high, farthest(last.high), most])).tolist()
    half = 0.5 if values.unit > 0 else 0.0
    end += half if last.low == last.high else 0.0
    found = range_of_end(end, places[block - 1 - start :], values.counts[block:], min(far, most) + half)
    new = end if found is None else coarsest_between(*found)
    new = float(np.floor(new)) if half else new
    if new < end + 2 * half or new <= end:
        return cells
    beyond = Cell(max(value_at(values, end), last.high), value_at(values, new), rows)
    return [*cells[:-1], Cell(last.low, last.high, last.rows - rows), beyond]
