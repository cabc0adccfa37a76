"""Where the values of a number lie that nobody declared, found under a budget on a fixed public grid.

The grid's cells are public: each power of two is an octave of `FINE` equal cells, as float bits have it. A first pass
counts them, private; what is released are sums of them, asked for one after the other, each question from the answers
before it: the octaves, then a few parts that hold about equally many rows by what is known then. So a
part is narrow where rows are dense, and a tail stays in a wide one instead of being cut off. There are as many parts
as the noise lets one tell from nothing (`parts_shown`); outer ones that hold noise alone are left out.

Unit: one row (k rows of one privacy unit). Each release is a histogram of disjoint cells, with those for everything
below, above and missing: one row changes one count by 1, L2 sensitivity 1 (k). Composition: Gaussian events whose
multipliers are fixed before the rows are read; that a later question depends on earlier answers is adaptive
composition, which the accountant's joint composition covers (Dwork, Rothblum and Vadhan 2010).

How many digits after the point nearly all values need is found from noised counts, too. Its cells are disjoint, one row
is in one of them: L2 sensitivity 1 (k).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.total_cast import held_ticks, is_missing
from raysynth.dp.mechanisms.counts import growing_edges
from raysynth.dp.mechanisms.histogram import simplex
from raysynth.schema.columns import ColumnSchema
from raysynth.statistics.cell_counts import as_doubles
from raysynth.statistics.steps import needed_digits

FINE = 256  # cells of an octave
ZOOMS = 1
MOST_PARTS, LEAST_PARTS = 32, 4  # of a zoom
PART_ROWS = 2.0  # standard deviations: so many rows are in a part on average
CELL_COST = 2.5  # squared standard deviations that an octave or a part must add to what it widens the range by
END_COST = 2.0  # the same where parts are counted for good: values far out would be made of it
PART_COST = 1.25  # the same in a zoom: parts are where rows are, and what is too much costs little
SEEN = 2.0  # standard deviations: fewer rows below, above or missing are taken for noise
START_COST = 12.0  # of an interval that need not be: with `CELL_COST`, one of a hundred empty octaves is as full in 1 %
NEAR_ZERO = 0.25  # a range that begins at so small a part of its other end begins at zero: that costs a third of it
EVEN = 0.3  # of the parts go by width instead of rows: a tail keeps a shape

Noising = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Spread:
    """Where rows are, as far as the noise shows.

    Args:
        edges: (B + 1,) ascending.
        rows: (B,) >= 0, between them.
        cells: (B,) cells of the grid between them.
    """

    edges: np.ndarray
    rows: np.ndarray
    cells: np.ndarray

    def finer(self, n: int) -> Spread:
        """The same where rows are counted anew: cells hold `n` parts, but for those that end at zero, an atom often."""
        at_zero = (self.edges[:-1] <= 0) & (self.edges[1:] >= 0)
        return replace(self, cells=np.where(at_zero, self.cells, n * self.cells))

    def cut(self, n: int) -> np.ndarray:
        """Edges of about `n` parts that hold equally many rows, but for the share that goes by width.

        What is heavy and narrow (zero, for one) is cut into no more parts than it has cells.
        """
        if not len(self.rows):
            return self.edges
        width = np.diff(self.edges)
        share = EVEN * width / width.sum() + (1 - EVEN) * self.rows / max(self.rows.sum(), 1e-300)
        for _ in range(3):  # what one cannot hold the others take
            full = share >= self.cells / n
            rest = 1 - np.where(full, self.cells / n, 0.0).sum()
            share = np.where(full, self.cells / n, share * max(rest, 0.0) / max(share[~full].sum(), 1e-300))
        below = np.append(0.0, share.cumsum())
        edges: np.ndarray = np.interp(np.linspace(0, below[-1], n + 1), below, self.edges)
        edges[[0, -1]] = self.edges[[0, -1]]
        return np.unique(edges)


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
        whole = column.decimals == 0 or not column.kind.is_number
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

    def spread(self, edges: np.ndarray, rows: np.ndarray) -> Spread:
        """Rows between edges, with the cells that lie there."""
        return Spread(edges, rows, np.maximum(np.diff(np.searchsorted(self.edges, edges)), 1))

    def in_parts(self, counts: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts below, in each of some parts, above, and missing; and the parts' edges, moved to edges of cells.

        Args:
            counts: of the fine cells, missing ones last.
            asked: edges of the parts; the first and the last are edges of fine cells, or zero.
        """
        low, high = asked[0], asked[-1]
        inner = self.edges[np.minimum(np.searchsorted(self.edges, asked[1:-1]), len(self.edges) - 1)]
        edges = np.unique(np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]]))
        cell = np.searchsorted(edges, self.starts, side="right")
        if low <= 0 <= high:  # the cell around zero lies on both sides of it
            cell[len(self.edges) // 2] = min(int(np.searchsorted(edges, 0.0, side="right")), len(edges) - 1)
        return np.append(np.bincount(cell, counts[:-1], len(edges) + 1), counts[-1]), edges


def parts_shown(n_rows: float, sigma: float, part_rows: float, most: int) -> int:
    """Of how many parts of equally many rows each holds `part_rows` standard deviations."""
    return int(np.clip(n_rows / (part_rows * sigma), LEAST_PARTS, most))


def released_spread(
    column: ColumnSchema, counts: np.ndarray, noising: Noising, sigma: float, n_rows: float, n_rows_sigma: float
) -> Spread:
    """Where the rows are that are not rare; 0 to 1 where nothing is significant.

    Args:
        column: a number without declared bounds.
        counts: private, of the cells of its `RangeGrid`, missing ones last.
        noising: the mechanism that releases octaves and zooms, at most 1 + `ZOOMS` times.
        sigma: standard deviation, in rows, of what it releases.
        n_rows, n_rows_sigma: noised rows of the table, and their standard deviation.
    """
    grid = RangeGrid.of(column)
    released = noising(grid.in_octaves(counts))
    octaves, missing = released[:-1], released[-1]
    total_sigma = math.hypot(n_rows_sigma, sigma)
    total = n_rows - missing if missing > SEEN * sigma else n_rows
    if total <= SEEN * total_sigma:
        return grid.spread(np.array([0.0, 1.0]), np.array([n_rows]))
    shown = octaves_shown(octaves, sigma, total, total_sigma)
    spread = grid.spread(*_of_octaves(grid.octaves, octaves, *shown))
    for _ in range(ZOOMS if len(spread.rows) else 0):
        parts, edges = grid.in_parts(counts, spread.cut(parts_shown(n_rows, sigma, PART_ROWS, MOST_PARTS)))
        noised = noising(parts)
        beside = noised[[0, -2, -1]]
        within = n_rows - beside[beside > SEEN * sigma].sum()
        first, end = with_margin(
            *interval_shown(noised[1:-2], sigma, within, total_sigma, cost=PART_COST), len(edges) - 1
        )
        spread = grid.spread(edges[first : end + 1], simplex(noised[1 + first : 1 + end], within))
    if pt.is_temporal(column.arrow_type):
        return replace(spread, edges=np.clip(spread.edges, *held_ticks(column.arrow_type)))
    return spread


def interval_shown(
    noised: np.ndarray,
    sigma: float,
    total: float,
    total_sigma: float,
    *,
    cost: float = CELL_COST,
    start_cost: float | None = None,
) -> tuple[int, int]:
    """First cell and end (one beyond the last) of the interval that explains noised counts best, with no rows outside.

    Penalised least squares: what a cell inside saves is the square of its standardised count, where that is positive;
    it costs `cost`, and the rows of all cells inside must add up to the total, as far as the noise of both lets
    one see. So a faint tail beside the bulk is inside, what lies far away must be significant, and where the bulk
    alone does not hold nearly all rows the interval grows.

    Args:
        noised: (K,) counts.
        sigma: their standard deviation.
        total: rows of all cells, known with `total_sigma`.
        cost: squared standard deviations.
        start_cost: of an interval that is not empty; None: it must not be.
    """
    saved = np.append(0.0, np.cumsum(np.maximum(noised / sigma, 0.0) ** 2 - cost))
    sums = np.append(0.0, noised.cumsum())
    first, end = np.triu_indices(len(sums), 1)
    first, end = (np.append(first, 0), np.append(end, 0)) if start_cost is not None else (first, end)
    misfit = (total - (sums[end] - sums[first])) ** 2 / ((end - first) * sigma**2 + total_sigma**2)
    best = int(np.argmax(saved[end] - saved[first] - misfit - (start_cost or 0.0) * (end > first)))
    return int(first[best]), int(end[best])


def with_margin(first: int, end: int, n: int) -> tuple[int, int]:
    """One cell more at each end of an interval among `n`: what is rare there must not be lost."""
    return max(first - 1, 0), min(end + 1, n)


def octaves_shown(noised: np.ndarray, sigma: float, total: float, total_sigma: float) -> tuple[int, int]:
    """First octave and end of an interval as in `interval_shown`; empty octaves on either side of zero cost nothing.

    Negative numbers, zero and positive ones have an interval each (or none), found in turn, given the other two.
    """
    middle = len(noised) // 2
    spans = [(0, middle), (middle, middle + 1), (middle + 1, len(noised))]
    order = sorted(range(3), key=lambda i: -float(noised[slice(*spans[i])].max()))
    kept = [(start, start) for start, _ in spans]
    for i in order * 3:
        others = [kept[j] for j in range(3) if j != i]
        rest = total - sum(noised[a:b].sum() for a, b in others)
        rest_sigma = math.hypot(total_sigma, sigma * math.sqrt(sum(b - a for a, b in others)))
        start, stop = spans[i]
        a, b = interval_shown(noised[start:stop], sigma, rest, rest_sigma, start_cost=START_COST)
        kept[i] = start + a, start + b
    some = [pair for pair in kept if pair[0] < pair[1]] or [(0, len(noised))]
    return some[0][0], some[-1][1]


def _of_octaves(octaves: np.ndarray, noised: np.ndarray, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges and rows of some octaves; the cell around zero counts as [0, 0] at either end."""
    starts, ends = np.append(2 * octaves[0], octaves), np.append(octaves, 2 * octaves[-1])
    middle = len(octaves) // 2
    low = 0.0 if first == middle else float(starts[first])
    high = 0.0 if end - 1 == middle else float(ends[end - 1])
    low, high = (0.0 if 0 < low <= NEAR_ZERO * high else low), (0.0 if 0 > high >= NEAR_ZERO * low else high)
    if not low < high:
        return np.array([low]), np.empty(0)
    edges = np.concatenate([[low], ends[first : end - 1], [high]])
    keep = np.append(edges[:-1] < edges[1:], True)
    return edges[keep], np.maximum(noised[first:end], 0.0)[keep[:-1]]


MOST_DIGITS = 6  # numbers that need more have as many as their type
FEW = 0.01  # of the rows: so many may need more digits than are found
DIGITS_SEEN = 3.0  # standard deviations: fewer rows than this are taken for noise
LEAST_SEEN = 5.0  # standard deviations, of all rows: a cell of nine tenths of them is the fullest of eight in 99 %


@dataclass(frozen=True)
class DigitCells:
    """How many digits after the point a number needs: 0 .. `MOST_DIGITS`, more, missing."""

    n_cells = MOST_DIGITS + 3

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        missing = is_missing(array)
        digits = needed_digits(np.where(missing, 0.0, as_doubles(array)), MOST_DIGITS)
        return np.where(missing, MOST_DIGITS + 2, digits)


def digits_shown(noised: np.ndarray, sigma: float, n_rows: float) -> int | None:
    """The least digits beyond which the noise shows no more than a few rows; None where most rows need more.

    The rows that need more than d digits are counted twice: as the sum of the cells beyond d, and as all rows without
    those of the cells up to d. The two are averaged by inverse variance. Where they would hide a quarter of the rows,
    the fullest cell decides, which most rows of a number with d digits are in; None where it does not stand out.

    Args:
        noised: counts of `DigitCells`, (C,).
        sigma: their standard deviation.
        n_rows: noised rows of the table.
    """
    values = noised[:-1]
    upper = values[::-1].cumsum()[::-1][1:]
    lower = n_rows - noised[-1] - values.cumsum()[:-1]
    of_upper = np.arange(len(upper), 0, -1.0)
    of_lower = np.arange(2.0, len(upper) + 2)
    more = (upper * of_lower + lower * of_upper) / (of_upper + of_lower)
    noise = DIGITS_SEEN * sigma * np.sqrt(of_upper * of_lower / (of_upper + of_lower))
    if noise.max() >= n_rows / 4:
        fullest = int(values.argmax())
        return fullest if fullest <= MOST_DIGITS and n_rows > LEAST_SEEN * sigma else None
    enough = np.flatnonzero(more <= np.maximum(noise, FEW * n_rows))
    return int(enough[0]) if len(enough) else None
