"""Cells of numbers that several persons share: values that enough persons have, and halves of halves of a fixed grid.

What leaves of a number is a list of cells. An atom is one value that at least k persons have. Everything else lies in
cells whose ends are points of a grid that the rows do not choose: the line from 0 to a power of two (of the column's
own unit, off its values by half a unit) is halved again and again, as long as each half holds at least k persons or
nobody. An empty half is left out, and so is a half of fewer than k persons where these are few beside the other half's
rows: their rows count in the other half. Of other halves of fewer than k persons the rows join the nearest cell of the
other half, which reaches over both. So an end says where k persons are, or nobody is, never where one person is.

The persons of the smallest and of the largest values, k of each, count as lying in the outermost cells.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raysynth.encoding.pooled_cells import wide_gaps, without_lone_cuts

_DEPTH = 80  # halvings at most
_FEW = 1 / 32  # a half of fewer than k persons and of at most this share of the rows is left out


class Holders(Protocol):
    """Who has a row in some of the cells."""

    def are_enough(self, first: int, after: int) -> bool:
        """Whether at least k persons have a row in the cells first .. after - 1."""
        ...


@dataclass(frozen=True)
class Values:
    """Ordered cells with rows (each (M,)), the unit of the values (0: none) and the offset of the grid."""

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    unit: float
    offset: float

    def part(self, first: int, after: int) -> Values:
        """The cells first .. after - 1."""
        own = slice(first, after)
        return Values(self.low[own], self.high[own], self.counts[own], self.unit, self.offset)


@dataclass(frozen=True)
class Cell:
    """An interval, or an atom where low == high, with its rows."""

    low: float
    high: float
    rows: float


def shared_cells(
    values: Values, holders: Holders, atom_rows: float, rows_per_cell: float, rare_rows: float
) -> list[Cell]:
    """The cells of a column in ascending order, disjoint; their rows are all rows.

    Values on both sides of a wide gap (`pooled_cells.py`) are groups of their own, and no cell reaches into the gap.

    Args:
        values: what the column holds; at least one cell.
        holders: who has them.
        atom_rows: a value of so many rows, that enough persons have, is an atom.
        rows_per_cell: a cell of fewer than twice as many rows is not halved.
        rare_rows: rows that a group needs to be one.
    """
    heavy = (values.low == values.high) & (values.counts >= atom_rows)
    gap = values.low[1:] - values.high[:-1]
    looked_at = max(2 * rare_rows, rows_per_cell)
    cut = wide_gaps(values.low, values.high, values.counts, heavy, rows=looked_at, unit=values.unit, few=rare_rows)
    cut = without_lone_cuts(cut, gap, values.counts, rare_rows)
    ends = [0, *(np.flatnonzero(cut) + 1).tolist(), len(values.counts)]
    walls = [-np.inf, *(_wall(values, at) for at in ends[1:-1]), np.inf]
    cells: list[Cell] = []
    thin: list[tuple[float, float]] = []
    lone: list[Cell] = []
    for number, (first, after) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        group, part = values.part(first, after), _Part(holders, first)
        kept, n_kept = _without_extremes(group, part)
        inner = (kept if first == 0 else 0), (n_kept if after == ends[-1] else after - first)  # no extremes
        if holders.are_enough(first, after) and (len(ends) == 2 or (inner[0] < inner[1] and part.are_enough(*inner))):
            found = _cells_of_group(group, part, atom_rows, rows_per_cell)
            low, high = walls[number], walls[number + 1]
            cells += [Cell(min(max(c.low, low), high), max(min(c.high, high), low), c.rows) for c in found]
            lone += cells[-1:] if len(found) == 1 else []
        else:
            thin.append((float(group.low[0] / 2 + group.high[-1] / 2), float(group.counts.sum())))
    cells, missed = _that_keep_enough(cells, lone, values, holders)
    return _with_rows(cells, [*thin, *missed]) if cells else [_one_cell(values)]


def _that_keep_enough(
    cells: list[Cell], lone: list[Cell], values: Values, holders: Holders
) -> tuple[list[Cell], list[tuple[float, float]]]:
    """Cells of which each is the nearest one of k persons' values, and where the others lie, with their rows.

    The one cell of a group may lie so far inside its few values that a value at its edge is nearer to another group's.

    Args:
        cells: ascending. lone: those of them that are a group's only one.
    """
    middle = values.low / 2 + values.high / 2
    missed: list[tuple[float, float]] = []
    for cell in lone:
        at = cells.index(cell)
        left = at and int(np.searchsorted(middle, cells[at - 1].high / 2 + cell.low / 2))
        is_last = at == len(cells) - 1
        right = len(middle) if is_last else int(np.searchsorted(middle, cell.high / 2 + cells[at + 1].low / 2))
        if not holders.are_enough(left, right):
            missed.append((cell.low / 2 + cell.high / 2, cell.rows))
            del cells[at]
    return cells, missed


def _wall(values: Values, at: int) -> float:
    """What no cell crosses between the values before `at` and those from there on: the coarsest grid point there."""
    places = _place(values, np.array([values.high[at - 1], values.low[at]]))
    return _value(values, _coarsest_between(float(places[0]), float(places[1])))


@dataclass(frozen=True)
class _Part:
    """Who has a row in the cells from one on."""

    holders: Holders
    start: int

    def are_enough(self, first: int, after: int) -> bool:
        """As `Holders` says."""
        return self.holders.are_enough(self.start + first, self.start + after)


def _cells_of_group(values: Values, holders: Holders, atom_rows: float, rows_per_cell: float) -> list[Cell]:
    """The cells of values without a wide gap; see `shared_cells`."""
    first, after = _without_extremes(values, holders)
    if first >= after:
        return [_one_cell(values)]
    cumulative = np.concatenate([[0.0], np.cumsum(values.counts, dtype=float)])
    heavy = np.flatnonzero((values.low == values.high) & (values.counts >= atom_rows)).tolist()
    atoms = [i for i in heavy if first <= i < after and holders.are_enough(i, i + 1)]
    halving = _Halving(values, holders, cumulative, rows_per_cell)
    outer, half = _outer_ends(values, first, after), values.unit / 2
    cells: list[Cell] = []
    thin: list[tuple[float, float]] = []  # where a run of too few persons lies, and its rows
    start, left = first, outer[0]
    for atom in [*atoms, after]:  # each with the run of other values before it
        value = float(values.low[atom]) if atom < after else np.inf
        if start < atom and holders.are_enough(start, atom):
            cells += halving.cells(start, atom, left, min(value - half, outer[1]))
        elif start < atom:
            middle = float(values.low[start] / 2 + values.high[atom - 1] / 2)
            thin.append((middle, float(cumulative[atom] - cumulative[start])))
        if atom < after:
            cells.append(Cell(value, value, float(values.counts[atom])))
        start, left = atom + 1, max(value + half, float(np.nextafter(value, np.inf)))
    if not cells:
        return [_one_cell(values)]
    outside = [(-np.inf, cumulative[first]), (np.inf, cumulative[-1] - cumulative[after])]
    return _with_rows(cells, [*thin, *outside])


def coarse_quantiles(sorted_N: np.ndarray, levels_L: np.ndarray, k: int) -> np.ndarray:
    """Quantiles (L,), ascending as the levels are, moved to the coarsest grid point within k values on either side.

    So each is a multiple of a power of two that 2k values determine, and no value itself (but where 2k are the same).

    Args:
        sorted_N: values, ascending; at least one.
        levels_L: in [0, 1], ascending.
        k: at least 1.
    """
    at = np.rint(levels_L * (len(sorted_N) - 1)).astype(np.int64)
    low, high = sorted_N[np.maximum(at - k, 0)], sorted_N[np.minimum(at + k, len(sorted_N) - 1)]
    return np.array([_coarsest_between(float(a), float(b)) for a, b in zip(low, high, strict=True)])


def _without_extremes(values: Values, holders: Holders) -> tuple[int, int]:
    """The cells first .. after - 1 that are left when the k persons of the smallest and of the largest values go.

    A value that k persons share stays, since it tells of none of them.
    """
    n = len(values.counts)
    first = bisect_left(range(n), True, key=lambda i: holders.are_enough(0, i + 1))
    if first < n and not (values.low[first] == values.high[first] and holders.are_enough(first, first + 1)):
        first += 1
    after = n - bisect_left(range(n), True, key=lambda i: holders.are_enough(n - 1 - i, n))
    if after > 0 and not (values.low[after - 1] == values.high[after - 1] and holders.are_enough(after - 1, after)):
        after -= 1
    return first, after


def _outer_ends(values: Values, first: int, after: int) -> tuple[float, float]:
    """What no cell reaches beyond: the coarsest grid point between the extremes that went and what is left.

    Where the extreme is a value that enough persons have, that value.
    """
    low, high = float(values.low[0]) - values.unit / 2, float(values.high[-1]) + values.unit / 2
    if first > 0:
        beyond, inner = _place(values, np.array([values.high[first - 1], values.low[first]]))
        low = _value(values, _coarsest_between(float(beyond), float(inner)))
    if after < len(values.counts):
        inner, beyond = _place(values, np.array([values.high[after - 1], values.low[after]]))
        high = _value(values, _coarsest_between(float(inner), float(beyond)))
    return low, high


def _coarsest_between(low: float, high: float) -> float:
    """The multiple of the largest power of two in [low, high], or the middle where floats have none."""
    if low <= 0 <= high:
        return 0.0
    size = 2.0 ** np.ceil(np.log2(max(abs(low), abs(high))))
    for _ in range(_DEPTH):
        point = np.ceil(low / size) * size
        if point <= high:
            return float(point)
        size /= 2
    return low / 2 + high / 2


@dataclass(frozen=True)
class _Thin:
    """Rows of too few persons beyond a run, for its outermost cell, and what that then reaches to (None: no rows)."""

    rows: float = 0.0
    end: float | None = None

    def with_rows(self, rows: float, end: float) -> _Thin:
        """With the rows of a half nearer to the run; the end stays where one is known."""
        return _Thin(self.rows + rows, end if self.end is None else self.end)


@dataclass(frozen=True)
class _Halving:
    """Halves runs of cells. Places: q = (x - offset) / unit + 1/2, so that grid points lie between the values."""

    values: Values
    holders: Holders
    cumulative: np.ndarray
    rows_per_cell: float

    def cells(self, first: int, after: int, left: float, right: float) -> list[Cell]:
        """The cells of a run, ascending, none of which reaches beyond `left` or `right`."""
        middle = _place(self.values, self.values.low[first:after] / 2 + self.values.high[first:after] / 2)
        reach = 2.0 ** np.ceil(np.log2(max(abs(middle[0]), abs(middle[-1]), 2.0**-1020)) + 1e-9)
        low, high = (0.0 if middle[0] >= 0 else -reach), (0.0 if middle[-1] < 0 else reach)
        leaves: list[Cell] = []
        none = _Thin()
        waiting = [(low, high, first, after, 0.0, 0, none, none)]
        while waiting:
            low, high, a, b, more, depth, below, above = waiting.pop()
            half = low / 2 + high / 2
            m = first + int(np.searchsorted(middle, half, side="left"))
            m = min(max(m, a), b)
            rows_left, rows_right = self._rows(a, m), self._rows(m, b)
            keeps_left, keeps_right = self._kept(a, m, rows_right), self._kept(m, b, rows_left)
            if self._is_leaf(low, high, a, b, depth) or not (keeps_left or keeps_right):
                more += below.rows + above.rows
                ends = low if below.end is None else below.end, high if above.end is None else above.end
                leaves.append(self._leaf(*ends, a, b, more, left, right))
            elif keeps_left and keeps_right:
                share = more / (rows_left + rows_right)
                waiting.append((half, high, m, b, share * rows_right, depth + 1, none, above))
                waiting.append((low, half, a, m, share * rows_left, depth + 1, below, none))
            elif keeps_left:
                above = above if keeps_right is False else above.with_rows(rows_right, high)
                more = more if keeps_right is None else more + rows_right
                waiting.append((low, half, a, m, more, depth + 1, below, above))
            else:
                below = below if keeps_left is False else below.with_rows(rows_left, low)
                more = more if keeps_left is None else more + rows_left
                waiting.append((half, high, m, b, more, depth + 1, below, above))
        return leaves

    def _kept(self, a: int, b: int, others: float) -> bool | None:
        """Whether a half stays; False: it is empty, or few beside the rows of the other half; None: neither."""
        if a >= b:
            return False
        if self.holders.are_enough(a, b):
            return True
        return False if self._rows(a, b) <= _FEW * others else None

    def _is_leaf(self, low: float, high: float, a: int, b: int, depth: int) -> bool:
        """One value, one place, or few rows (or a cell of the sketch) in both halves: no empty half to be cut off."""
        lowest, highest = self.values.low[a], self.values.high[b - 1]
        if lowest == highest or depth >= _DEPTH:
            return True
        half = low / 2 + high / 2
        if high - low <= 1 if self.values.unit > 0 else not low < half < high:
            return True
        ends = _place(self.values, np.array([lowest, highest]))
        in_both = bool(ends[0] < half <= ends[1])
        return in_both and (b - a == 1 or self._rows(a, b) < 2 * self.rows_per_cell)

    def _leaf(self, low: float, high: float, a: int, b: int, more: float, left: float, right: float) -> Cell:
        rows = self._rows(a, b) + more
        if b - a == 1 and self.values.low[a] == self.values.high[a]:  # one value, which enough persons share
            return Cell(float(self.values.low[a]), float(self.values.low[a]), rows)
        return Cell(max(_value(self.values, low), left), min(_value(self.values, high), right), rows)

    def _rows(self, a: int, b: int) -> float:
        return float(self.cumulative[b] - self.cumulative[a])


def _one_cell(values: Values) -> Cell:
    """One cell well inside the range, for too few persons to tell more: its ends tell three bits of the range.

    The grid's step is a power of two of at most an eighth of the range (or a sixteenth of the value, where there is one
    only); the cell goes from the second of its points inside the range to the last but one.
    """
    places = _place(values, np.array([values.low[0], values.high[-1]]))
    low, high = float(places[0]), float(places[1])
    step = 2.0 ** np.floor(np.log2(max((high - low) / 8 if low < high else abs(low) / 16, 2.0**-1020)))
    step = max(step, 1.0) if values.unit > 0 else step
    start, end = (np.ceil(low / step) + 1) * step, (np.floor(high / step) - 1) * step
    if start >= end:
        start = np.floor((low / 2 + high / 2) / step) * step
        end = start + step
    return Cell(_value(values, start), _value(values, end), float(values.counts.sum()))


def _place(values: Values, x: np.ndarray) -> np.ndarray:
    """Where values lie on the line that is halved: its whole numbers lie between them, half a unit away."""
    return x if values.unit == 0 else (x - values.offset) / values.unit + 0.5


def _value(values: Values, place: float) -> float:
    """The inverse of `_place`."""
    return float(place if values.unit == 0 else values.offset + (place - 0.5) * values.unit)


def _with_rows(cells: list[Cell], places: list[tuple[float, float]]) -> list[Cell]:
    """The cells with further rows, given where they lie, in the nearest one."""
    rows = np.array([c.rows for c in cells])
    low, high = np.array([c.low for c in cells]), np.array([c.high for c in cells])
    for x, more in places:
        nearest = len(cells) - 1 if x == np.inf else int(np.argmin(np.maximum(low - x, x - high)))
        rows[nearest] += more
    return [Cell(c.low, c.high, float(n)) for c, n in zip(cells, rows, strict=True)]
