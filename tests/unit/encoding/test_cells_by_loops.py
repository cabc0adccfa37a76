"""Cells of numbers, pooled by mass and halved by persons, against loops over values that follow the modules' words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from outcome import value_of

from raysynth.encoding import shared_cells as shared
from raysynth.encoding.pooled_cells import Grid, pooled, wide_gaps, without_lone_cuts
from raysynth.encoding.shared_cells import Cell, Values, coarse_quantiles
from raysynth.statistics.released import NumericDistribution
from tests.unit.encoding.test_shared_cells import Persons

Triple = tuple[float, float, float]


def spread(low: list[float], high: list[float], counts: list[float], at: int, rows: float) -> float:
    """What `rows` rows from a cell on spread over, without their widest gap."""
    last, total = at, counts[at]
    while total < rows and last < len(low) - 1:
        last, total = last + 1, total + counts[last + 1]
    gaps = [low[i + 1] - high[i] for i in range(at, last)]
    return high[last] - low[at] - max([0.0, *gaps])


def is_wide(
    low: list[float],
    high: list[float],
    counts: list[float],
    is_atom: list[bool],
    i: int,
    rows: float,
    unit: float,
    few: float,
) -> bool:
    """Whether the gap behind cell i is five times what the denser side spreads over, or the unit."""
    turned = ([-x for x in reversed(high)], [-x for x in reversed(low)], counts[::-1])
    sides = [unit]
    on_right, on_left = spread(low, high, counts, i + 1, rows), spread(*turned, len(low) - 1 - i, rows)
    denser = min(
        math.inf if is_atom[i] or sum(counts[: i + 1]) < few else on_left,
        math.inf if is_atom[i + 1] or sum(counts[i + 1 :]) < few else on_right,
    )
    return low[i + 1] - high[i] > 5 * max(denser, *sides) and not (is_atom[i] and is_atom[i + 1])


def cells_of(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordered cells, of which some have no width, with gaps of all sizes and uneven rows."""
    steps = rng.choice([0.5, 1.0, 1.0, 3.0, 60.0], n) * rng.choice([1.0, 1.0, 0.3], n)
    widths = rng.choice([0.0, 0.0, 0.25], n)
    low = np.cumsum(steps + np.append(0.0, widths[:-1])) - 20
    return low, low + widths, rng.choice([0.4, 1.0, 2.0, 7.0, 40.0], n)


@pytest.mark.parametrize("seed", range(12))
def test_gaps_are_wide_beside_what_the_denser_side_spreads_over(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high, counts = cells_of(rng, int(rng.integers(1, 30)))
    is_atom = rng.random(len(low)) < 0.2
    rows, unit, few = float(rng.choice([1.0, 5.0, 30.0])), float(rng.choice([0.0, 0.2])), float(rng.choice([0, 9]))
    found = value_of(lambda: wide_gaps(low, high, counts, is_atom, rows=rows, unit=unit, few=few))
    lists = low.tolist(), high.tolist(), counts.tolist(), is_atom.tolist()
    assert found.tolist() == [is_wide(*lists, i, rows, unit, few) for i in range(len(low) - 1)]


def lone_cuts(cut: list[bool], gap: list[float], counts: list[float], least: float) -> list[bool]:
    """Cuts but those between two small groups that lie nearest to each other, in a series that is large enough."""
    places = [i for i, c in enumerate(cut) if c]
    ends = [0, *(i + 1 for i in places), len(counts)]
    rows = [sum(counts[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    small, kept = [r < least for r in rows], list(cut)
    for n, place in enumerate(places):
        first = last = n
        while first > 0 and small[first - 1] == small[n]:
            first -= 1
        while last + 1 < len(rows) and small[last + 1] == small[n]:
            last += 1
        others = [gap[places[m]] for m in (n - 1, n + 1) if 0 <= m < len(places)]
        nearest = all(gap[place] <= g for g in others)
        kept[place] = not (small[n] and small[n + 1] and nearest and sum(rows[first : last + 1]) >= least)
    return kept


@pytest.mark.parametrize("seed", range(12))
def test_small_groups_that_are_nearest_to_each_other_are_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    cut, gap, counts = rng.random(n - 1) < 0.6, rng.choice([1.0, 2.0, 5.0], n - 1), rng.choice([1.0, 2.0, 9.0], n)
    found = value_of(lambda: without_lone_cuts(cut, gap, counts, 5.0))
    assert found.tolist() == lone_cuts(cut.tolist(), gap.tolist(), counts.tolist(), 5.0)


def test_what_lies_between_two_values_is_off_the_grid() -> None:
    whole = Grid(1.0, 0.0)
    assert [float(whole.between(a, b)) for a, b in ((1.0, 2.0), (1.0, 3.0), (1.0, 4.0), (-3.0, -1.0), (0.9, 1.1))] == [
        1.5,
        2.5,
        2.5,
        -1.5,
        1.0,
    ]
    assert float(Grid(0.25, 0.1).between(0.1, 0.6)) == pytest.approx(0.475)
    assert float(Grid(0.0, 0.0).between(1.0, 3.0)) == 2.0
    assert float(Grid(0.1, 0.0).between(0.2, 0.4)) == pytest.approx(0.35), "0.3 / 0.1 is a little less than 3"


def pooled_by_loops(
    low: list[float], high: list[float], counts: list[float], grid: Grid, atom_rows: float, each: float
) -> list[Triple]:
    """As the module says: thin ends go, atoms stay, runs between them and wide gaps become pieces of equal rows."""
    below = above = 0.0
    left, right = low[0], high[-1]
    if counts[0] < 1:
        left, below = float(grid.between(high[0], low[1])), counts[0]
    if counts[-1] < 1:
        right, above = float(grid.between(high[-2], low[-1])), counts[-1]
    inner = slice(int(counts[0] < 1), len(low) - int(counts[-1] < 1))
    low, high, counts = low[inner], high[inner], counts[inner]
    atom = [a == b and c >= atom_rows for a, b, c in zip(low, high, counts, strict=True)]
    outer = ([left, *low, right], [left, *high, right], [0.0, *counts, 0.0], [True, *atom, True])
    cut = [is_wide(*outer, i, max(2.0, each), grid.unit, 0.0) for i in range(len(low) + 1)]
    gaps = [low[i + 1] - high[i] for i in range(len(low) - 1)]
    cut[1:-1] = lone_cuts(cut[1:-1], gaps, counts, 1.0)
    middle = [left, *(float(grid.between(high[i], low[i + 1])) for i in range(len(low) - 1)), right]
    runs: list[list[int]] = []
    for i in range(len(low)):
        if i and not (atom[i] or atom[i - 1] or cut[i]):
            runs[-1].append(i)
        else:
            runs.append([i])
    groups: list[list[int]] = []
    for run in runs:
        total, begun = sum(counts[i] for i in run), 0.0
        n, piece = max(1, math.floor(total / each)), -1
        for i in run:
            own = min(math.floor((begun + counts[i] / 2) / (total / n)), n - 1)
            groups += [] if own == piece else [[]]
            groups[-1].append(i)
            piece, begun = own, begun + counts[i]
    cells, thin = [], []
    for group in groups:
        a, b = group[0], group[-1]
        rows = sum(counts[i] for i in group)
        start = low[a] if atom[a] or cut[a] else middle[a]
        end = high[b] if atom[a] or cut[b + 1] else middle[b + 1]
        cells.append((start, end, rows))
        thin.append(not atom[a] and rows < (1.0 if cut[a] or cut[b + 1] else max(1.0, each / 2)))
    if all(thin):
        cells = [(cells[0][0], cells[-1][1], sum(c[2] for c in cells))]
    else:
        more = [0.0] * len(cells)
        for i in (i for i, t in enumerate(thin) if t):
            beside = [
                max((j for j in range(i) if not thin[j]), default=None),
                min((j for j in range(i, len(cells)) if not thin[j]), default=None),
            ]
            near = [j for j in beside if j is not None]
            far = [max(cells[j][0] - cells[i][1], cells[i][0] - cells[j][1]) for j in near]
            more[near[far.index(min(far))]] += cells[i][2]
        cells = [(c[0], c[1], c[2] + m) for c, m, t in zip(cells, more, thin, strict=True) if not t]
    cells[0] = (*cells[0][:2], cells[0][2] + below)
    cells[-1] = (*cells[-1][:2], cells[-1][2] + above)
    return cells


@pytest.mark.parametrize("seed", range(25))
def test_cells_are_pooled_by_mass_between_atoms_and_wide_gaps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high, counts = cells_of(rng, int(rng.integers(3, 40)))
    counts[1] = max(counts[1], 1.0)
    grid = Grid(float(rng.choice([0.0, 0.05])), 0.0)
    atom_rows, each = float(rng.choice([7.0, 40.0, 1e9])), float(rng.choice([1.0, 5.0, 30.0]))
    values = NumericDistribution(low, high, counts, 0.0, 0.0, 1.0, None, False, 0.0)
    found = value_of(lambda: pooled(values, grid, atom_rows, each))
    expected = pooled_by_loops(low.tolist(), high.tolist(), counts.tolist(), grid, atom_rows, each)
    np.testing.assert_allclose(np.stack(found, 1), expected, atol=1e-9)


def coarsest(low: float, high: float) -> float:
    """The multiple of the largest power of two in a closed range."""
    for power in range(60, -60, -1):
        point = math.ceil(low / 2.0**power) * 2.0**power
        if point <= high:
            return point
    return (low + high) / 2


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (5.0, 7.0),
        (-7.0, -5.0),
        (3.0, 5.0),
        (-1.0, 2.0),
        (8.0, 9.0),
        (0.3, 0.35),
        (5.0, 5.0),
        (0.0, 3.0),
        (2.0**50 + 1, 2.0**50 + 2),
    ],
)
def test_the_coarsest_point_between_two_numbers(low: float, high: float) -> None:
    assert value_of(lambda: shared._coarsest_between(low, high)) == coarsest(low, high)
    x = np.sort(np.random.default_rng(0).normal(0, 40, 60))
    found = value_of(lambda: coarse_quantiles(x, np.array([0.0, 0.3, 1.0]), 4))
    assert found.tolist() == [coarsest(x[max(i - 4, 0)], x[min(i + 4, 59)]) for i in (0, 18, 59)]


def extremes(low: list[float], high: list[float], persons: Persons) -> tuple[int, int]:
    """The cells that are left without those of the k lowest and highest persons, unless k share the last of these."""
    n = len(low)
    first = next((i for i in range(n) if persons.are_enough(0, i + 1)), n)
    if first < n and not (low[first] == high[first] and persons.are_enough(first, first + 1)):
        first += 1
    after = next((i for i in range(n, 0, -1) if persons.are_enough(i - 1, n)), 0)
    if after > 0 and not (low[after - 1] == high[after - 1] and persons.are_enough(after - 1, after)):
        after -= 1
    return first, after


class Halves:
    """A run of cells halved again and again, on a line where the values' places are whole numbers and a half."""

    def __init__(self, values: Values, persons: Persons, each: float, ends: tuple[float, float]) -> None:
        self.v, self.persons, self.each, self.ends = values, persons, each, ends

    def place(self, x: float) -> float:
        return x if self.v.unit == 0 else (x - self.v.offset) / self.v.unit + 0.5

    def value(self, place: float) -> float:
        return place if self.v.unit == 0 else self.v.offset + (place - 0.5) * self.v.unit

    def rows(self, own: range) -> float:
        return float(sum(self.v.counts[i] for i in own))

    def of(self, own: range) -> list[Triple]:
        middle = [self.place((self.v.low[i] + self.v.high[i]) / 2) for i in own]
        reach = 1.0
        while reach * (1 - 1e-9) <= max(map(abs, middle)) or reach / 2 > max(map(abs, middle)):
            reach *= 2 if reach <= max(map(abs, middle)) else 0.5
        low, high = (0.0 if middle[0] >= 0 else -reach), (0.0 if middle[-1] < 0 else reach)
        return self.cells(own, low, high, 0.0, (0.0, None), (0.0, None))

    def cells(
        self,
        own: range,
        low: float,
        high: float,
        more: float,
        below: tuple[float, float | None],
        above: tuple[float, float | None],
    ) -> list[Triple]:
        """Cells of a part from low to high, with further rows, and those of few persons beyond it on both sides."""
        half = (low + high) / 2
        left = range(
            own.start, next((i for i in own if self.place((self.v.low[i] + self.v.high[i]) / 2) >= half), own.stop)
        )
        right = range(left.stop, own.stop)
        n_left, n_right = self.rows(left), self.rows(right)
        keeps = [len(o) > 0 and self.persons.are_enough(o.start, o.stop) for o in (left, right)]
        if self.is_leaf(own, low, high, half) or not any(keeps):
            return [
                self.leaf(
                    own,
                    low if below[1] is None else below[1],
                    high if above[1] is None else above[1],
                    more + below[0] + above[0],
                )
            ]
        if all(keeps):
            part = more / (n_left + n_right)
            first = self.cells(left, low, half, part * n_left, below, (0.0, None))
            return first + self.cells(right, half, high, part * n_right, (0.0, None), above)
        kept, gone, rows = (left, right, n_right) if keeps[0] else (right, left, n_left)
        if len(gone) and rows <= self.rows(kept) / 32:
            more += rows
        elif len(gone) and keeps[0]:
            above = (above[0] + rows, high if above[1] is None else above[1])
        elif len(gone):
            below = (below[0] + rows, low if below[1] is None else below[1])
        return self.cells(kept, *((low, half) if keeps[0] else (half, high)), more, below, above)

    def is_leaf(self, own: range, low: float, high: float, half: float) -> bool:
        ends = float(self.v.low[own.start]), float(self.v.high[own.stop - 1])
        if ends[0] == ends[1] or (self.v.unit > 0 and high - low <= 1):
            return True
        both = self.place(ends[0]) < half <= self.place(ends[1])
        return both and (len(own) == 1 or self.rows(own) < 2 * self.each)

    def leaf(self, own: range, low: float, high: float, more: float) -> Triple:
        one = float(self.v.low[own.start])
        if len(own) == 1 and one == self.v.high[own.start]:
            return one, one, self.rows(own) + more
        return max(self.value(low), self.ends[0]), min(self.value(high), self.ends[1]), self.rows(own) + more


@pytest.mark.parametrize("unit", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("seed", range(8))
def test_runs_are_halved_as_long_as_each_half_has_persons_or_nobody(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(4, 60)), 3
    low = np.unique(np.round(rng.lognormal(2, 1.2, n) * rng.choice([-1, 1], n, p=[0.2, 0.8]), 0 if unit else 3)) * (
        unit or 1
    )
    counts = rng.integers(1, 9, len(low)).astype(float)
    persons = Persons([set(rng.integers(0, 30, int(c)).tolist()) for c in counts], k)
    values, each = Values(low, low, counts, unit, 0.0), float(rng.choice([4.0, 15.0]))
    found_ends = value_of(lambda: shared._without_extremes(values, persons))
    assert found_ends == extremes(low.tolist(), low.tolist(), persons)
    own = range(len(low))
    assert persons.are_enough(0, len(low))
    cumulative = np.append(0.0, counts.cumsum())
    halving = shared._Halving(values, persons, cumulative, each)
    found = value_of(lambda: halving.cells(0, len(low), low[0] - 0.1, low[-1] + 0.2))
    expected = Halves(values, persons, each, (low[0] - 0.1, low[-1] + 0.2)).of(own)
    np.testing.assert_allclose([(c.low, c.high, c.rows) for c in found], expected)
    assert sum(c.rows for c in found) == pytest.approx(counts.sum())


@pytest.mark.parametrize("seed", range(6))
def test_cells_of_a_sketch_are_halved_like_values(seed: int) -> None:
    """Intervals of many rows: one alone is not cut, but for an empty half beside it."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 30))
    low = np.cumsum(rng.choice([1.0, 3.0, 9.0], n)) - 15.0
    high = low + rng.choice([0.0, 0.5, 0.9], n)
    counts = rng.integers(5, 40, n).astype(float)
    persons = Persons([set(range(100 * i, 100 * i + int(c))) for i, c in enumerate(counts)], 3)
    values = Values(low, high, counts, 0.0, 0.0)
    halving = shared._Halving(values, persons, np.append(0.0, counts.cumsum()), 4.0)
    found = value_of(lambda: halving.cells(0, n, low[0] - 0.1, high[-1] + 0.1))
    expected = Halves(values, persons, 4.0, (low[0] - 0.1, high[-1] + 0.1)).of(range(n))
    np.testing.assert_allclose([(c.low, c.high, c.rows) for c in found], expected)


@pytest.mark.parametrize("unit", [0.0, 0.5])
def test_no_cell_reaches_beyond_what_is_left_without_the_extremes(unit: float) -> None:
    """To the coarsest point between the extremes that went and the others; else to the extreme itself."""
    low = np.array([1.0, 2.5, 3.0, 7.5, 8.0])
    values = Values(low, low, np.ones(5), unit, 0.0)

    def apart(a: float, b: float) -> float:
        return coarsest(a, b) if unit == 0 else (coarsest(a / unit + 0.5, b / unit + 0.5) - 0.5) * unit

    half = unit / 2
    for first, after, ends in (
        (0, 5, (1.0 - half, 8.0 + half)),
        (1, 5, (apart(1.0, 2.5), 8.0 + half)),
        (2, 3, (apart(2.5, 3.0), apart(3.0, 7.5))),
    ):
        found = value_of(lambda first=first, after=after: shared._outer_ends(values, first, after))
        assert found == pytest.approx(ends)
    assert value_of(lambda: shared._outer_ends(values.part(2, 3), 0, 1)) == (3.0 - half, 3.0 + half)


def test_further_rows_go_to_the_nearest_cell() -> None:
    cells = [Cell(0.0, 1.0, 5.0), Cell(3.0, 3.0, 6.0), Cell(7.0, 9.0, 7.0)]
    places = [(-np.inf, 1.0), (np.inf, 2.0), (1.9, 4.0), (2.1, 8.0), (8.0, 16.0), (5.5, 32.0)]
    found = value_of(lambda: shared._with_rows(cells, places))
    assert [c.rows for c in found] == [5 + 1 + 4, 6 + 8, 7 + 2 + 16 + 32]
    assert [(c.low, c.high) for c in found] == [(0.0, 1.0), (3.0, 3.0), (7.0, 9.0)]
