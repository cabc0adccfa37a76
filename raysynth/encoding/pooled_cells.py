"""Cells of numbers that may leave as they are (released with noise, or not protected), pooled to equal mass.

Nothing is drawn in a wide gap, such as that between a sentinel (-999, 9999-12-31) and the others. A gap is wide where
it is several times what the values on its denser side spread over, so that stray values inside a gap do not hide it.
Values of many rows (atoms) say nothing about spread: beside them the other side decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.statistics.released import NumericDistribution

WIDE = 5.0  # times the spread of the values beside it; of exponential spacings one in several thousand is as wide


def wide_gaps(
    low: np.ndarray,
    high: np.ndarray,
    counts: np.ndarray,
    is_atom: np.ndarray,
    *,
    rows: float,
    unit: float,
    few: float = 0,
) -> np.ndarray:
    """Whether the gap behind each cell but the last is wide, shape (cells - 1,) bool.

    Args:
        low, high, counts: of ordered cells, shape (cells,).
        is_atom: cells that are values of many rows, shape (cells,).
        rows: this many rows on each side of a gap are looked at.
        unit: distance of neighbouring values on the column's grid; 0 where there is none.
        few: a side of fewer rows says nothing about spread, either: the largest value alone has none.
    """
    if len(low) < 2:
        return np.zeros(0, bool)
    gap, before = low[1:] - high[:-1], np.cumsum(counts)[:-1]
    on_right = _spread(low, high, counts, rows)[1:]
    on_left = _spread(-high[::-1], -low[::-1], counts[::-1], rows)[::-1][:-1]
    on_left = np.where(is_atom[:-1] | (before < few), np.inf, on_left)
    on_right = np.where(is_atom[1:] | (counts.sum() - before < few), np.inf, on_right)
    spread = np.maximum(np.minimum(on_left, on_right), unit)
    return (gap > WIDE * spread) & ~(is_atom[1:] & is_atom[:-1])


def without_lone_cuts(cut: np.ndarray, gap: np.ndarray, counts: np.ndarray, least_rows: float) -> np.ndarray:
    """The cuts (cells - 1,) without those between neighbouring groups that are too small alone, but not together.

    Neighbours that are nearer to others are not joined: a few stray rows and the last rows of the others, say.

    Args:
        cut, gap: whether there is a cut behind each cell but the last, and how wide its gap is, (cells - 1,).
        counts: rows of each cell, (cells,).
        least_rows: that a group needs.
    """
    rows = np.bincount(np.concatenate([[0], np.cumsum(cut)]), weights=counts)
    small = rows < least_rows
    series = np.concatenate([[0], np.cumsum(small[1:] != small[:-1])])  # neighbouring groups, all small or none
    together = np.bincount(series, weights=rows)[series]
    width = np.concatenate([[np.inf], gap[cut], [np.inf]])
    nearest = width[1:-1] <= np.minimum(width[:-2], width[2:])
    inside = cut.copy()
    inside[cut] = ~(small[:-1] & small[1:] & nearest & (together[:-1] >= least_rows))
    return inside


def _spread(low: np.ndarray, high: np.ndarray, counts: np.ndarray, rows: float) -> np.ndarray:
    """What about `rows` rows from each cell on spread over, their widest gap apart."""
    after = np.cumsum(counts)
    last = np.minimum(np.searchsorted(after, after - counts + rows, side="left"), len(low) - 1)
    gaps = np.append(low[1:] - high[:-1], 0.0)
    widest = _largest_between(gaps, np.arange(len(low)), last)
    return np.asarray(high[last] - low - widest)


def _largest_between(x: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The largest of x[start:stop] for each pair; 0 where it is empty."""
    result = np.zeros(len(start))
    length = stop - start
    table, width = x, 1
    while width <= length.max(initial=0):
        own = np.flatnonzero((length >= width) & (length < 2 * width))
        result[own] = np.maximum(table[start[own]], table[stop[own] - width])
        table = np.maximum(table[:-width], table[width:]) if len(table) > width else table
        width *= 2
    return result


GRID_TOLERANCE = 1e-9  # of a place on the grid: errors of float64
MOST_TOLERANCE = 1e-3  # of a step, however far the place is: an end is not moved to the next one


def tolerance(place: float) -> float:
    """How far from a whole place of a grid a value on it may be found: at least by some of the place's last bits."""
    return max(min(GRID_TOLERANCE * max(1.0, abs(place)), MOST_TOLERANCE), 4 * float(np.spacing(abs(place))))


@dataclass(frozen=True)
class Grid:
    """The values that a column can have: offset plus a multiple of unit; unit 0: any."""

    unit: float
    offset: float

    def between(self, left: Any, right: Any) -> Any:
        """What lies midway between neighbouring values, off the grid, so that rounding never crosses it."""
        middle = left / 2 + right / 2
        if self.unit == 0:
            return middle
        place = (middle - self.offset) / self.unit
        apart = self.offset + (np.floor(place + GRID_TOLERANCE) + 0.5) * self.unit
        return np.where((left < apart) & (apart < right), apart, middle)


def pooled(
    distribution: NumericDistribution, grid: Grid, atom_rows: float, rows_per_cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells (low, high, rows) in ascending order, disjoint.

    Args:
        distribution: of the values; every cell has rows, if less than one (noised counts).
        grid: the values that the column can have.
        atom_rows: rows that make a value an atom. rows_per_cell: of a cell of several values, about.
    """
    cells = _without_thin_ends(distribution, grid)
    is_atom = (cells.low == cells.high) & (cells.counts >= atom_rows)
    low, high, counts = _pool(cells, is_atom, rows_per_cell, grid)
    counts[0] += cells.below
    counts[-1] += cells.above
    return low, high, counts


@dataclass(frozen=True)
class _Inner:
    """Cells between `left` and `right`; below and above: rows of what was left out beyond them."""

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    left: float
    right: float
    below: float
    above: float


def _without_thin_ends(distribution: NumericDistribution, grid: Grid) -> _Inner:
    """Without the outermost cell at each end where the noise left less than a row in it.

    What is left ends midway between the cell that goes and the first one that stays.
    """
    low, high, counts = distribution.low, distribution.high, distribution.counts.astype(float)
    start, stop = int(counts[0] < 1), len(low) - int(counts[-1] < 1)
    if start >= stop:  # nothing else: one cell well inside them
        quarter = (high[-1] - low[0]) / 4
        inner = np.array([low[0] + quarter]), np.array([high[-1] - quarter]), np.array([distribution.total])
        return _Inner(*inner, inner[0][0], inner[1][0], 0.0, 0.0)
    return _Inner(
        low[start:stop],
        high[start:stop],
        counts[start:stop],
        float(grid.between(high[0], low[1])) if start else low[0],
        float(grid.between(high[-2], low[-1])) if stop < len(low) else high[-1],
        float(counts[:start].sum()),
        float(counts[stop:].sum()),
    )


def _pool(
    cells: _Inner, is_atom: np.ndarray, rows_per_cell: float, grid: Grid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of cells between atoms and wide gaps become pooled cells of enough rows; a run of too few joins the nearest
    cell."""
    middle = grid.between(cells.high[:-1], cells.low[1:])
    left = np.concatenate([[cells.left], middle])
    right = np.concatenate([middle, [cells.right]])
    cut = _cuts(cells, is_atom, max(2.0, rows_per_cell), grid)
    run = np.concatenate([[0], np.cumsum(is_atom[1:] | is_atom[:-1] | cut[1:-1])])
    start = np.concatenate([[0.0], np.cumsum(cells.counts)])[:-1]
    run_start = start[np.searchsorted(run, np.arange(run[-1] + 1))][run]
    run_rows = np.bincount(run, weights=cells.counts)[run]
    pieces = np.maximum(1, np.floor(run_rows / rows_per_cell))
    piece = np.minimum(
        np.floor((start - run_start + cells.counts / 2) / np.maximum(run_rows / pieces, 1e-300)), pieces - 1
    )
    changes = (run[1:] != run[:-1]) | (piece[1:] != piece[:-1])
    first = np.flatnonzero(np.concatenate([[True], changes]))
    last = np.concatenate([first[1:], [len(run)]]) - 1
    atom, before, behind = is_atom[first], cut[first], cut[last + 1]
    low = np.where(atom | before, cells.low[first], left[first])
    high = np.where(atom | behind, cells.high[last], right[last])
    counts = np.add.reduceat(cells.counts, first)
    enough = np.where(before | behind, 1.0, max(1.0, rows_per_cell / 2))
    return _merge_thin(low, high, counts, ~atom & (counts < enough))


def _cuts(cells: _Inner, is_atom: np.ndarray, rows: float, grid: Grid) -> np.ndarray:
    """Whether a wide gap lies before each cell, and behind the last one: shape (cells + 1,) bool.

    What the ends left behind counts as a gap there.
    """
    low = np.concatenate([[cells.left], cells.low, [cells.right]])
    high = np.concatenate([[cells.left], cells.high, [cells.right]])
    counts = np.concatenate([[0.0], cells.counts, [0.0]])
    cut = wide_gaps(low, high, counts, np.concatenate([[True], is_atom, [True]]), rows=rows, unit=grid.unit)
    cut[1:-1] = without_lone_cuts(cut[1:-1], cells.low[1:] - cells.high[:-1], cells.counts, 1.0)
    return cut


def _merge_thin(
    low: np.ndarray, high: np.ndarray, counts: np.ndarray, thin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth cells of too few rows give them to the nearest neighbour; all too few: one cell."""
    counts = counts.copy()
    keep = ~thin
    if not keep.any():
        return low[:1], high[-1:], np.array([counts.sum()])
    kept = np.flatnonzero(keep)
    for i in np.flatnonzero(thin):
        at = np.searchsorted(kept, i)
        neighbours = [kept[j] for j in (at - 1, at) if 0 <= j < len(kept)]
        nearest = min(neighbours, key=lambda j: max(low[j] - high[i], low[i] - high[j]))
        counts[nearest] += counts[i]
    return low[keep], high[keep], counts[keep]
