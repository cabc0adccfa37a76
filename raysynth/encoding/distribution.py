"""The protected distribution of one number: atoms and smooth cells, from which every numeric encoder is built.

A released distribution may name every single value. Here no value of fewer than `rare_threshold` rows survives: values
that many rows share stay atoms, the others are pooled into cells of at least `rare_threshold` rows whose edges lie
midway between neighbouring values, and inside a cell the density is uniform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysynth.statistics.released import NumericDistribution

ATOM_SHARE = 0.0005  # a value of at least this share of the rows is kept as itself (heaping)
FEW_VALUES = 150  # up to this many distinct values every one with enough rows is an atom
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
        """Values that separate neighbouring cells, shape (cells - 1,): a value >= the boundary is in the right one."""
        return (self.high[:-1] + self.low[1:]) / 2

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
        half = self._half_step()
        edge = x + half if inclusive else x - half
        part = np.where(
            self.high > self.low,
            np.clip((edge - self.low) / np.where(self.high > self.low, self.high - self.low, 1), 0, 1),
            (self.low <= x) if inclusive else (self.low < x),
        )
        return float(part @ self.share)

    def quantile(self, rank: np.ndarray) -> np.ndarray:
        """Value at each rank in [0, 1], not yet rounded."""
        cumulative = self.cumulative
        cell = np.searchsorted(cumulative[1:-1], rank, side="right")
        inside = (rank - cumulative[cell]) / np.maximum(self.share[cell], 1e-300)
        return self.low[cell] + np.clip(inside, 0, 1) * (self.high[cell] - self.low[cell])

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Values on the grid of the real ones (decimals, step), inside the protected range."""
        if self.step > 0:
            x = self.offset + np.rint((x - self.offset) / self.step) * self.step
        elif self.decimals is not None:
            x = np.round(x, self.decimals)
        return np.clip(x, self.low[0], self.high[-1])

    def _half_step(self) -> float:
        if self.step > 0:
            return self.step / 2
        return 0.0 if self.decimals is None else 0.5 * 10.0**-self.decimals


def smooth(distribution: NumericDistribution, rare_threshold: int) -> SmoothDistribution:
    """The protected form of a released distribution; see the module for what survives."""
    trimmed = distribution.trimmed(rare_threshold)
    rows = trimmed.total
    atom_rows = max(rare_threshold, 1 if len(trimmed.counts) <= FEW_VALUES else ATOM_SHARE * rows)
    is_atom = (trimmed.low == trimmed.high) & (trimmed.counts >= atom_rows)
    low, high, counts = _pool(trimmed, is_atom, max(float(rare_threshold), rows / SMOOTH_CELLS))
    everything = rows + trimmed.missing
    step, offset = _step(distribution)
    return SmoothDistribution(
        low,
        high,
        counts / max(counts.sum(), 1e-300),
        trimmed.missing / max(everything, 1.0),
        trimmed.decimals,
        step,
        offset,
    )


def _pool(
    cells: NumericDistribution, is_atom: np.ndarray, rows_per_cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of cells between atoms become pooled cells of enough rows; a run of too few joins the atom beside it."""
    middle = (cells.high[:-1] + cells.low[1:]) / 2
    left = np.concatenate([[cells.low[0]], middle])
    right = np.concatenate([middle, [cells.high[-1]]])
    run = np.concatenate([[0], np.cumsum(is_atom[1:] | is_atom[:-1])])
    start = np.concatenate([[0.0], np.cumsum(cells.counts)])[:-1]
    run_start = start[np.searchsorted(run, np.arange(run[-1] + 1))][run]
    run_rows = np.bincount(run, weights=cells.counts)[run]
    pieces = np.maximum(1, np.floor(run_rows / rows_per_cell))
    piece = np.minimum(np.floor((start - run_start + cells.counts / 2) / (run_rows / pieces)), pieces - 1)
    changes = (run[1:] != run[:-1]) | (piece[1:] != piece[:-1])
    first = np.flatnonzero(np.concatenate([[True], changes]))
    last = np.concatenate([first[1:], [len(run)]]) - 1
    atom = is_atom[first]
    low = np.where(atom, cells.low[first], left[first])
    high = np.where(atom, cells.high[first], right[last])
    counts = np.add.reduceat(cells.counts.astype(float), first)
    return _merge_thin(low, high, counts, rows_per_cell)


def _merge_thin(
    low: np.ndarray, high: np.ndarray, counts: np.ndarray, rows_per_cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth cells below half the wanted rows give their rows to the nearest neighbour."""
    counts = counts.copy()
    thin = (high > low) & (counts < rows_per_cell / 2)
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
    return float(distribution.step), float(distribution.low[0] % distribution.step)
