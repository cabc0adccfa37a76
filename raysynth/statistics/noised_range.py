"""The range of a number that nobody declared, found under a budget by zooming in on a fixed public grid.

The grid's cells are public: each power of two is an octave of `FINE` equal cells, as float bits have it. A first pass
counts them, private; what is released are sums of them, asked for one after the other, each question from the answers
before it: the octaves, then twice `BINS` equal parts of the range as it is known by then.

Unit: one row (k rows of one privacy unit). Each release is a histogram of disjoint cells, with those for everything
below, above and missing: one row changes one count by 1, L2 sensitivity 1 (k). Composition: Gaussian events whose
multipliers are fixed before the rows are read; that a later question depends on earlier answers is adaptive
composition, which the accountant's joint composition covers (Dwork, Rothblum and Vadhan 2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow.types as pt

from raysynth.data.total_cast import held_ticks
from raysynth.dp.mechanisms.counts import growing_edges
from raysynth.schema.columns import ColumnSchema, Kind

FINE = 64  # cells of an octave
BINS = 16  # equal parts of a range at each step of zooming
ZOOMS = 2
RANGE_SIGNIFICANT = 4.5  # standard deviations: of hundreds of empty octaves none reaches it
BIN_SIGNIFICANT = 3.0  # of a part of a range: a false alarm only leaves the range a little wider
OCTAVE_ALLOWANCE = 1.5  # standard deviations that each octave must add to what it widens the range by
SEEN = 2.0  # standard deviations: fewer rows below, above or missing are taken for noise
LEFT_OUT = 3.0  # standard deviations: so many rows may seem to lie outside a part of a range
NEAR_ZERO = 0.25  # a range that begins at so small a part of its other end begins at zero: that costs a third of it

Noising = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RangeGrid:
    """The public cells of one column.

    Args:
        octaves: edges of the octaves, ascending, both signs; the cell around zero is between the two in the middle.
        edges: of the fine cells; all edges of octaves are among them.
    """

    octaves: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, column: ColumnSchema) -> RangeGrid:
        """Whole numbers and times from 1, others from a millionth, to 2^63."""
        whole = column.decimals == 0 or column.kind is not Kind.CONTINUOUS
        octaves = growing_edges(1.0 if whole else 2.0**-20, 2.0**63)
        powers = octaves[len(octaves) // 2 :]
        fine = np.append((powers[:-1, None] * (1 + np.arange(FINE) / FINE)).reshape(-1), powers[-1])
        return cls(octaves, np.concatenate([-fine[::-1], fine]))

    @property
    def starts(self) -> np.ndarray:
        """Starts of the fine cells, the one below all edges first; for `NumberCells`."""
        return np.append(-np.inf, self.edges)

    def in_octaves(self, counts: np.ndarray) -> np.ndarray:
        """Counts of the octaves, one below and one beyond all, and missing, from those of the fine cells."""
        octave = np.searchsorted(self.octaves, self.starts, side="right")
        return np.append(np.bincount(octave, counts[:-1], len(self.octaves) + 1), counts[-1])

    def in_bins(self, counts: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Counts of `BINS` or fewer parts of a range, of all below, all above, and missing; and the parts' edges."""
        inner = (self.edges > low) & (self.edges < high)
        places = np.searchsorted(np.linspace(low, high, BINS + 1)[1:-1], self.edges[inner], side="right")
        first = np.append(True, np.diff(places) > 0) if len(places) else np.empty(0, bool)
        edges = np.concatenate([[low], self.edges[inner][first][places[first] > 0], [high]])
        cell = np.searchsorted(edges, self.starts, side="right")
        if low <= 0 <= high:  # the cell around zero lies on both sides of it
            cell[len(self.edges) // 2] = min(int(np.searchsorted(edges, 0.0, side="right")), len(edges) - 1)
        return np.append(np.bincount(cell, counts[:-1], len(edges) + 1), counts[-1]), edges


def released_range(
    column: ColumnSchema, counts: np.ndarray, noising: Noising, sigma: float, n_rows: float, n_rows_sigma: float
) -> tuple[float, float]:
    """A range that holds what is not rare; 0 to 1 where nothing is significant.

    Args:
        column: a number without declared bounds.
        counts: private, of the cells of its `RangeGrid`, missing ones last.
        noising: the mechanism that releases octaves and zooms, at most 1 + `ZOOMS` times.
        sigma: standard deviation, in rows, of what it releases.
        n_rows, n_rows_sigma: noised rows of the table, and their standard deviation.
    """
    grid = RangeGrid.of(column)
    octaves = noising(grid.in_octaves(counts))[:-1]
    found = hull(octaves, sigma, RANGE_SIGNIFICANT, OCTAVE_ALLOWANCE)
    if found is None:
        return 0.0, 1.0
    low, high = _between(grid.octaves, *found)
    for _ in range(ZOOMS if low < high else 0):
        bins, edges = grid.in_bins(counts, low, high)
        noised = noising(bins)
        beside = noised[[0, -2, -1]]
        within = n_rows - beside[beside > SEEN * sigma].sum()  # at most too many, which leaves the range wider
        first, last = least_interval(noised[1:-2], sigma, within, n_rows_sigma)
        # one part more at each end: what is rare there must not be lost
        low, high = edges[max(first - 1, 0)], edges[min(last + 2, len(edges) - 1)]
    if pt.is_temporal(column.arrow_type):
        low, high = np.clip((low, high), *held_ticks(column.arrow_type))
    return float(low), float(max(high, low))


def least_interval(noised: np.ndarray, sigma: float, total: float, total_sigma: float) -> tuple[int, int]:
    """First and last cell of the shortest interval outside which the noise shows no more than `LEFT_OUT`.

    What is outside is counted twice, as the sum of the cells there and as all rows without those inside; the two are
    averaged by inverse variance, and one standard deviation is added. Cells that are significant by themselves are in.

    Args:
        noised: (K,) counts.
        sigma: their standard deviation.
        total: rows of all cells, known with `total_sigma`.
    """
    n = len(noised)
    sums = np.append(0.0, noised.cumsum())
    alone = np.flatnonzero(noised > BIN_SIGNIFICANT * sigma)
    least, most = (int(alone[0]), int(alone[-1])) if len(alone) else (n, -1)
    for length in range(1, n):
        first = np.arange(n - length + 1)
        inside = sums[first + length] - sums[first]
        direct, of_direct = sums[-1] - inside, (n - length) * sigma**2
        rest, of_rest = total - inside, length * sigma**2 + total_sigma**2
        outside = (direct * of_rest + rest * of_direct) / (of_direct + of_rest)
        outside += math.sqrt(of_direct * of_rest / (of_direct + of_rest))
        outside[(first > least) | (first + length - 1 < most)] = np.inf
        if outside.min() <= LEFT_OUT * sigma:
            chosen = int(np.argmin(outside))
            return chosen, chosen + length - 1
    return 0, n - 1


def hull(noised: np.ndarray, sigma: float, significant: float, allowance: float) -> tuple[int, int] | None:
    """First and last cell that hold what is not rare, as far as the noise shows; None where no cell is significant.

    From the significant cells the hull goes on to those significant together beyond it, then on each side as far as
    the cells add more than `allowance` standard deviations each.

    Args:
        noised: (K,) counts.
        sigma: their standard deviation.
        significant: standard deviations of a cell, or a few neighbours together, that noise does not reach.
    """
    z = noised / sigma
    above = np.flatnonzero(z > significant)
    for length in (2, 4, 8):
        if not len(above) and len(z) >= length:
            sums = np.convolve(z, np.ones(length), "valid") / np.sqrt(length)
            above = np.flatnonzero(sums > significant)[:1]
            above = above + int(np.argmax(z[above[0] : above[0] + length])) if len(above) else above
    if not len(above):
        return None
    low = _widened(z[: above[0]][::-1], significant, allowance)
    high = _widened(z[above[-1] + 1 :], significant, allowance)
    return int(above[0] - low), int(above[-1] + high)


def _widened(z: np.ndarray, significant: float, allowance: float) -> int:
    """How many of the cells beyond an end belong to it, nearest first."""
    taken = 0
    for length in (2, 4, 8):
        if len(z) >= length:
            together = np.flatnonzero(np.convolve(z, np.ones(length), "valid") > significant * np.sqrt(length))
            if len(together):
                window = z[together[-1] : together[-1] + length]
                taken = max(taken, int(together[-1] + np.argmax(window)) + 1)
    gains = np.cumsum(z[taken:] - allowance)
    return taken + (int(np.argmax(gains)) + 1 if len(gains) and gains.max() > 0 else 0)


def _between(octaves: np.ndarray, first: int, last: int) -> tuple[float, float]:
    """The range of some octaves; the cell around zero counts as [0, 0] at either end."""
    low = np.append(2 * octaves[0], octaves)[first]
    high = np.append(octaves, 2 * octaves[-1])[last]
    middle = len(octaves) // 2
    low = 0.0 if first == middle else float(low)
    high = 0.0 if last == middle else float(high)
    if 0 < low <= NEAR_ZERO * high:
        low = 0.0
    if 0 > high >= NEAR_ZERO * low:
        high = 0.0
    return low, high
