"""The protected distribution of one number: atoms and smooth cells, from which every numeric encoder is built.

A released distribution may name every single value. Here no value of fewer than `rare_threshold` rows survives: values
that many rows share stay atoms, the others are pooled into cells of at least `rare_threshold` rows whose edges lie
midway between neighbouring values, and inside a cell the density is uniform. The k smallest and k largest rows count as
lying in the outermost cell that is left. A wide gap between values (`gaps.py`) belongs to no cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysynth.encoding.gaps import wide_gaps, without_lone_cuts
from raysynth.statistics.released import NumericDistribution

ATOM_SHARE = 0.0005  # a value of at least this share of the rows is kept as itself (heaping)
FEW_VALUES = 150  # up to this many distinct values every one with enough rows is an atom
GRID_TOLERANCE = 1e-9  # of a place on the grid: errors of float64
SMOOTH_CELLS = 1024  # the rest is pooled into about this many cells of equal mass


@dataclass(frozen=True)
class SmoothDistribution:
    """Ordered cells [low, high] with shares; low == high is an atom.

    Args:
        low, high: float64 (cells,), ascending, disjoint.
        share: share of the present values in each cell (cells,), sums to 1.
        missing_share: share of rows without a value.
        decimals: digits after the point (None: as many as float has).
        step: whole numbers only: all values are `offset` plus a multiple of it; 0 where unknown.
        offset: see step.
    """

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray
    missing_share: float
    decimals: int | None
    step: float = 0.0
    offset: float = 0.0

    @property
    def cumulative(self) -> np.ndarray:
        """Rank of the left edge of each cell, and 1 at the end: shape (cells + 1,)."""
        total = np.concatenate([[0.0], np.cumsum(self.share)])
        return total / total[-1]

    @property
    def boundaries(self) -> np.ndarray:
        """Values that separate neighbouring cells, shape (cells - 1,): a value >= the boundary is in the right one.

        The middle of neighbouring doubles rounds to one of them, and a cell may begin where the atom before it lies:
        an atom keeps its own value, so the boundary behind it is a larger one.
        """
        ends, starts = self.high[:-1], self.low[1:]
        behind_atom = np.where(self.low[:-1] == ends, np.nextafter(ends, np.inf), ends)
        return np.maximum(np.minimum(ends / 2 + starts / 2, starts), behind_atom)

    def cell_of(self, x: np.ndarray) -> np.ndarray:
        """Index of the cell that each value belongs to; values outside go to the first or last."""
        return np.searchsorted(self.boundaries, x, side="right")

    def rank(self, x: np.ndarray) -> np.ndarray:
        """Rank in [0, 1] of each value; the middle of its jump for an atom."""
        cell = self.cell_of(x)
        width = self.high[cell] - self.low[cell]
        inside = np.where(
            width > 0,
            (np.clip(x, self.low[cell], self.high[cell]) - self.low[cell]) / np.where(width > 0, width, 1),
            0.5,
        )
        return self.cumulative[cell] + inside * self.share[cell]

    def rank_below(self, x: float, *, inclusive: bool) -> float:
        """P(value < x), or P(value <= x) when `inclusive`, as a decoded (rounded) value sees it."""
        edge = self._edge(x, inclusive)
        part = np.where(
            self.high > self.low,
            np.clip((edge - self.low) / np.where(self.high > self.low, self.high - self.low, 1), 0, 1),
            (self.low <= edge) if inclusive else (self.low < edge),
        )
        cumulative, whole = self.cumulative, int((part >= 1).sum())  # the same sums as everywhere, to the last bit
        if whole == len(part):
            return float(cumulative[-1])
        return float(cumulative[whole] + part[whole] * (cumulative[whole + 1] - cumulative[whole]))

    def quantile(self, rank: np.ndarray) -> np.ndarray:
        """Value at each rank in [0, 1], not yet rounded."""
        cumulative = self.cumulative
        cell = np.searchsorted(cumulative[1:-1], rank, side="right")
        inside = (rank - cumulative[cell]) / np.maximum(self.share[cell], 1e-300)
        return self.low[cell] + np.clip(inside, 0, 1) * (self.high[cell] - self.low[cell])

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Values on the grid of the real ones (decimals, step), inside the protected range."""
        if self.step > 0:
            x = self.on_grid(np.rint((x - self.offset) / self.step))
        elif self.decimals is not None:
            x = np.round(x, self.decimals)
        return np.clip(x, self.low[0], self.high[-1])

    def possible(self, x: np.ndarray) -> np.ndarray:
        """Rounded values, those between two cells moved to the nearest one: for decoders that draw from no cell."""
        x = self.rounded(x)
        cell = self.cell_of(x)
        held = np.clip(x, self.low[cell], self.high[cell])
        return x if (held == x).all() else np.where(held == x, x, self.rounded(held))

    @property
    def unit(self) -> float:
        """Distance of neighbouring values on the grid; 0 where there is none."""
        return self.step if self.step > 0 else _unit(self.decimals)

    def on_grid(self, places: Any) -> Any:
        """The values at whole places of the grid."""
        if self.step > 0:
            return self.offset + places * self.step
        return np.round(places * self.unit, self.decimals or 0)

    def inwards(self, low: float, high: float) -> tuple[float, float]:
        """The smallest and the largest value of the grid inside a closed range."""
        return self._edge(low, False) + self.unit / 2, self._edge(high, True) - self.unit / 2

    def _edge(self, x: float, inclusive: bool) -> float:
        """Values below it, and no others, round to less than x (to x or less when `inclusive`)."""
        unit = self.unit
        if not np.isfinite(x) or unit == 0:
            return x
        place = (x - self.offset) / unit
        on_grid = abs(place - np.rint(place)) <= GRID_TOLERANCE * max(1.0, abs(place))
        on_grid = on_grid or bool(np.float32(self.on_grid(np.rint(place))) == x)  # as a column of float32 has it
        whole = np.rint(place) if on_grid else np.floor(place) if inclusive else np.ceil(place)
        return float(self.offset + (whole + (0.5 if inclusive else -0.5)) * unit)


def _unit(decimals: int | None) -> float:
    return 0.0 if decimals is None else 10.0**-decimals


def smooth(distribution: NumericDistribution, rare_threshold: int) -> SmoothDistribution:
    """The protected form of a released distribution; see the module for what survives."""
    if len(distribution.low) == 0:  # no value at all: any will do
        return SmoothDistribution(np.zeros(1), np.zeros(1), np.ones(1), 1.0, 0)
    distribution = _without_empty(distribution)
    step, offset = _step(distribution)
    grid = _Grid(step if step > 0 else _unit(distribution.decimals), offset)
    cells = _without_extremes(distribution, rare_threshold, grid)
    rows = distribution.total
    atom_rows = max(rare_threshold, 1 if len(cells.low) <= FEW_VALUES else ATOM_SHARE * rows)
    is_atom = (cells.low == cells.high) & (cells.counts >= atom_rows)
    low, high, counts = _pool(cells, is_atom, max(float(rare_threshold), rows / SMOOTH_CELLS), rare_threshold, grid)
    counts[0] += cells.below
    counts[-1] += cells.above
    result = SmoothDistribution(
        low,
        high,
        counts / max(counts.sum(), 1e-300),
        distribution.missing / max(rows + distribution.missing, 1.0),
        distribution.decimals,
        step,
        offset,
    )
    return ends_on_grid(result)


def _without_empty(distribution: NumericDistribution) -> NumericDistribution:
    """Without cells that no row is in (noised counts can be 0), unless none is left."""
    seen = distribution.counts > 0
    if seen.all() or not seen.any():
        return distribution
    return replace(
        distribution, low=distribution.low[seen], high=distribution.high[seen], counts=distribution.counts[seen]
    )


@dataclass(frozen=True)
class _Grid:
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


@dataclass(frozen=True)
class _Inner:
    """Cells between the extremes with the rows that lie in them; below and above: the extremes' rows."""

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    left: float
    right: float
    below: float
    above: float


def _without_extremes(distribution: NumericDistribution, rare_threshold: int, grid: _Grid) -> _Inner:
    """The k-th smallest value bounds the trimmed distribution: a real row's, so it goes too unless k rows share it.

    What is left ends midway between the last value that goes and the first one that stays.
    """
    trimmed = distribution.trimmed(rare_threshold)
    first = int(np.searchsorted(distribution.high, trimmed.low[0], side="left"))
    last = int(np.searchsorted(distribution.low, trimmed.high[-1], side="right")) - 1
    counts = distribution.counts[first : last + 1].astype(float)
    low, high = trimmed.low, trimmed.high
    start, stop = int(counts[0] < rare_threshold), len(low) - int(counts[-1] < rare_threshold)
    if start >= stop:  # nothing but extremes: one cell well inside them
        lowest = distribution.low[max(first - 1, 0)]
        highest = distribution.high[min(last + 1, len(distribution.high) - 1)]
        quarter = (highest - lowest) / 4
        inner = np.array([lowest + quarter]), np.array([highest - quarter]), np.array([distribution.total])
        return _Inner(*inner, inner[0][0], inner[1][0], 0.0, 0.0)
    return _Inner(
        low[start:stop],
        high[start:stop],
        counts[start:stop],
        float(grid.between(high[0], low[1])) if start else low[0],
        float(grid.between(high[-2], low[-1])) if stop < len(low) else high[-1],
        float(distribution.counts[: first + start].sum()),
        float(distribution.counts[first + stop :].sum()),
    )


def ends_on_grid(distribution: SmoothDistribution) -> SmoothDistribution:
    """Both ends moved inwards to values with the column's decimals and step, since clipping gives the ends."""
    unit = distribution.unit
    if unit == 0:
        return distribution
    low, high = distribution.low.copy(), distribution.high.copy()
    if low[0] < high[0]:
        place = (low[0] - distribution.offset) / unit
        inward = distribution.on_grid(np.ceil(place - GRID_TOLERANCE * max(1.0, abs(place))))
        low[0] = inward if inward <= high[0] else low[0]
    if low[-1] < high[-1]:
        place = (high[-1] - distribution.offset) / unit
        inward = distribution.on_grid(np.floor(place + GRID_TOLERANCE * max(1.0, abs(place))))
        high[-1] = inward if inward >= low[-1] else high[-1]
    return replace(distribution, low=low, high=high)


def _pool(
    cells: _Inner, is_atom: np.ndarray, rows_per_cell: float, rare_threshold: int, grid: _Grid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of cells between atoms and wide gaps become pooled cells of enough rows; a run of too few joins the nearest
    cell."""
    middle = grid.between(cells.high[:-1], cells.low[1:])
    left = np.concatenate([[cells.left], middle])
    right = np.concatenate([middle, [cells.right]])
    cut = _cuts(cells, is_atom, max(2.0 * rare_threshold, rows_per_cell), rare_threshold, grid)
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
    ends = _Ends(cells, first, last, rare_threshold, grid)
    atom, before, behind = is_atom[first], cut[first], cut[last + 1]
    low = np.where(atom, cells.low[first], np.where(before, ends.lower, left[first]))
    high = np.where(atom, cells.high[first], np.where(behind, ends.upper, right[last]))
    counts = np.add.reduceat(cells.counts, first)
    enough = np.where(before | behind, rare_threshold, max(rare_threshold, rows_per_cell / 2))
    return _merge_thin(low, high, counts, ~atom & (counts < enough))


def _cuts(cells: _Inner, is_atom: np.ndarray, rows: float, rare_threshold: int, grid: _Grid) -> np.ndarray:
    """Whether a wide gap lies before each cell, and behind the last one: shape (cells + 1,) bool.

    What the extremes left behind counts as a gap at the ends.
    """
    low = np.concatenate([[cells.left], cells.low, [cells.right]])
    high = np.concatenate([[cells.left], cells.high, [cells.right]])
    counts = np.concatenate([[0.0], cells.counts, [0.0]])
    cut = wide_gaps(low, high, counts, np.concatenate([[True], is_atom, [True]]), rows=rows, unit=grid.unit)
    cut[1:-1] = without_lone_cuts(cut[1:-1], cells.low[1:] - cells.high[:-1], cells.counts, rare_threshold)
    return cut


@dataclass(frozen=True)
class _Ends:
    """Ends of pooled cells beside a wide gap: between their own values, or a value of enough rows.

    Args:
        cells: that are pooled.
        first, last: cells of each pool, shape (pools,).
        rare_threshold, grid: as in `smooth`.
    """

    cells: _Inner
    first: np.ndarray
    last: np.ndarray
    rare_threshold: int
    grid: _Grid

    @property
    def lower(self) -> np.ndarray:
        """Behind the smallest value, (pools,)."""
        at, span = self.first, self.cells.high[self.last] - self.cells.low[self.first]
        second = self.cells.low[np.minimum(at + 1, self.last)]
        inside = np.minimum(self.grid.between(self.cells.high[at], second), self.cells.low[at] + span / 4)
        return np.where(self._is_shared(at), self.cells.low[at], inside)

    @property
    def upper(self) -> np.ndarray:
        """Before the largest value, (pools,)."""
        at, span = self.last, self.cells.high[self.last] - self.cells.low[self.first]
        second = self.cells.high[np.maximum(at - 1, self.first)]
        inside = np.maximum(self.grid.between(second, self.cells.low[at]), self.cells.high[at] - span / 4)
        return np.where(self._is_shared(at), self.cells.high[at], inside)

    def _is_shared(self, at: np.ndarray) -> np.ndarray:
        one_value = self.cells.low[at] == self.cells.high[at]
        return (one_value & (self.cells.counts[at] >= self.rare_threshold)) | (self.rare_threshold <= 1)


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


def _step(distribution: NumericDistribution) -> tuple[float, float]:
    """Step and offset of whole numbers and times that are all a multiple apart; (0, 0) where there is none."""
    if distribution.step is None or distribution.step <= 1 or not len(distribution.low):
        return 0.0, 0.0
    offset = float(distribution.low[0] % distribution.step)
    if min(offset, distribution.step - offset) <= np.spacing(distribution.low[0]):
        offset = 0.0  # the smallest value is beyond the whole numbers that float64 holds
    return float(distribution.step), offset
