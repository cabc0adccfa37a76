"""Cells of numbers: no end is a value that fewer than k persons share, and each cell is shared by k."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.encoding.shared_cells import Values, _Halving, _one_cell, coarse_quantiles, shared_cells
from raysynth.statistics.cell_counts import NumberCells
from raysynth.statistics.distinct import Sharers
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import NumericDistribution


def of_persons(x: np.ndarray, person: np.ndarray, k: int, dtype: pa.DataType) -> SmoothDistribution:
    from dataclasses import replace

    array = pa.array(x, dtype)
    summary = NumericSummary(dtype)
    summary.update(array)
    found = summary.distribution()
    cells = NumberCells(found.low).index(array)
    return smooth(replace(found, sharers=Sharers(k).with_rows(cells, person.astype(np.uint64))), k)


def few_have(x: np.ndarray, person: np.ndarray, value: float, k: int) -> bool:
    return len(set(person[x == value].tolist())) < k


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.sampled_from(["cents", "whole", "free", "constant in persons"]))
@example(785, 2, "cents")  # two persons between wide gaps, one of them nearer to the cell of others
def test_no_end_is_a_value_of_few_persons_and_each_cell_is_shared(seed: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    n_persons, each = int(rng.integers(3, 120)), int(rng.integers(1, 9))
    person = np.repeat(np.arange(n_persons), each)
    x = rng.lognormal(8, 1, len(person)) * rng.choice([-1, 1], len(person), p=[0.1, 0.9])
    x = np.repeat(x[::each], each) if kind == "constant in persons" else x
    x = x.round(2) if kind in ("cents", "constant in persons") else x.round() if kind == "whole" else x
    made = of_persons(x, person, k, pa.int64() if kind == "whole" else pa.float64())
    for end in {*made.low, *made.high}:
        assert not np.any(x == end) or not few_have(x, person, end, k)
    assert (made.low <= made.high).all() and (made.high[:-1] <= made.low[1:]).all()
    assert made.share.sum() == pytest.approx(1)
    if n_persons > 4 * k:
        cell = made.cell_of(x)
        persons = [len(set(person[cell == c].tolist())) for c in range(len(made.low))]
        assert min(persons) >= k
        assert made.low[0] >= x.min() and made.high[-1] <= x.max()


def test_many_persons_keep_the_form_of_the_distribution() -> None:
    """Quantiles are within 1 % of the spread: 20,000 persons, so sampling errors stay far below."""
    x = np.random.default_rng(0).lognormal(10, 0.5, 20_000).round(2)
    made = of_persons(x, np.arange(len(x)), 5, pa.float64())
    ranks = np.linspace(0.02, 0.98, 49)
    assert np.abs(made.quantile(ranks) - np.quantile(x, ranks)).max() < 0.01 * np.ptp(np.quantile(x, [0.02, 0.98]))


@pytest.mark.parametrize("tail", [-1, 1])
@pytest.mark.parametrize("n", [60, 100, 160])
def test_the_few_persons_of_a_long_tail_do_not_blur_all_others(n: int, tail: int) -> None:
    """Of seeded tables; one cell from end to end, as up to four persons in the upper half made, is .4 to .6 away."""
    for seed in range(20):
        x = tail * (np.random.default_rng(seed).pareto(1.2, n) * 50).round(2)
        made = of_persons(x, np.arange(n), 5, pa.float64())
        drawn = np.sort(made.quantile((np.arange(4000) + 0.5) / 4000))
        at = np.unique(np.concatenate([x, drawn]))
        below = (np.searchsorted(np.sort(v), at, "right") / len(v) for v in (x, drawn))
        assert np.abs(np.subtract(*below)).max() < 0.22, seed


@pytest.mark.parametrize("first", [17_897, 1_000_003, -77])
def test_no_cell_reaches_beyond_an_extreme_that_enough_persons_have(first: int) -> None:
    """Days with a hundred rows each, at both ends some tens: too few for a value of its own, enough to be told."""
    x = first + np.repeat(np.arange(900), np.concatenate([[20, 30, 40], np.full(894, 250), [40, 30, 20]]))
    made = of_persons(x, np.arange(len(x)), 5, pa.int64())
    inside = made.quantile(np.linspace(0, 1, 20_001))
    assert made.low[0] >= first - 0.5 and made.high[-1] <= first + 899.5
    assert inside.min() >= first - 0.5 and inside.max() <= first + 899.5


def test_values_that_enough_persons_share_stay_themselves() -> None:
    person = np.repeat(np.arange(200), 4)
    x = np.tile([0.0, 1.0, 2.0, 3.0], 200)
    x[:8] = [17.0] * 4 + [18.0] * 4  # of one person each
    made = of_persons(x, person, 5, pa.float64())
    assert made.low.tolist() == made.high.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_coarse_quantiles_are_ascending_and_no_values() -> None:
    x = np.sort(np.random.default_rng(1).normal(size=5000))
    levels = np.linspace(0, 1, 65)
    found = coarse_quantiles(x, levels, 5)
    assert (np.diff(found) >= 0).all() and not np.isin(found, x).any()
    assert np.abs(np.searchsorted(x, found) - levels * 4999).max() <= 6


@pytest.mark.parametrize("decimals", [None, 0, 1, 6])
@pytest.mark.parametrize("rare", [1, 5, 20])
def test_cells_are_ascending_and_disjoint(decimals: int | None, rare: int) -> None:
    """Else a model file could not be read again: clusters far apart and close together, with values of many rows."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        clusters = int(rng.integers(1, 12))
        size = int(rng.integers(20, 2000)) // clusters + 1
        parts = [
            rng.normal(rng.normal() * 10 ** rng.integers(0, 4), 10 ** rng.uniform(-3, 2), size) for _ in range(clusters)
        ]
        parts.append(np.repeat(rng.normal(size=clusters) * 10 ** rng.integers(0, 3), rng.integers(1, 60, clusters)))
        values = np.concatenate(parts) if decimals is None else np.round(np.concatenate(parts), decimals)
        values = rng.choice(values, len(values)) if seed % 2 else values
        low, counts = np.unique(values, return_counts=True)
        moments = float(values.mean()), float(values.std())
        found = smooth(NumericDistribution(low, low, counts, 0.0, *moments, decimals, True, 0.0), rare)
        assert (found.low <= found.high).all() and (found.high[:-1] <= found.low[1:]).all(), seed
        assert found.share.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1000.0), (-37.0, 90_000.0), (5.0, 7.0), (41.0, 41.0)])
def test_the_one_cell_of_few_persons_lies_well_inside_on_a_coarse_grid(low: float, high: float) -> None:
    """Whole numbers: neither end is nearer to the range's than a sixteenth of it, so neither tells it."""
    made = _one_cell(Values(np.array([low, high]), np.array([low, high]), np.ones(2), 1.0, 0.0))
    assert made.rows == 2 and made.low < made.high
    if high - low > 16:
        assert low + (high - low) / 16 <= made.low and made.high <= high - (high - low) / 16
    assert made.high - made.low >= 1 and (2 * made.low) % 2 == 1, "a grid of whole numbers has no finer one"


def test_the_one_cell_of_numbers_near_to_each_other_lies_inside_too() -> None:
    made = _one_cell(Values(np.array([0.001, 0.002]), np.array([0.001, 0.002]), np.ones(2), 0.0, 0.0))
    assert 0.001 < made.low < made.high < 0.002


class Persons:
    """Who has a row in each cell, by numbers."""

    def __init__(self, of_cells: list[set[int]], k: int) -> None:
        self.of_cells, self.k = of_cells, k

    def are_enough(self, first: int, after: int) -> bool:
        return len(set().union(*self.of_cells[first:after])) >= self.k


def each_alone(n: int, k: int) -> Persons:
    return Persons([{i} for i in range(n)], k)


def test_rows_of_a_group_of_few_persons_go_to_the_nearest_cell() -> None:
    """Three values between two groups, nearer to the lower one, all of one person."""
    low = np.concatenate([np.arange(100.0), [400.0, 401.0, 402.0], 1000 + np.arange(100.0)])
    counts = np.where((low >= 400) & (low < 500), 10.0, 1.0)
    persons = Persons([{-1} if 400 <= x < 500 else {int(x)} for x in low], 5)
    cells = value_of(lambda: shared_cells(Values(low, low, counts, 1.0, 0.0), persons, 1e9, 10.0, 5.0))
    assert sum(c.rows for c in cells if c.high < 500) == 130 and sum(c.rows for c in cells if c.low > 500) == 100
    assert all(c.high < 400 or c.low > 403 for c in cells)


def test_the_one_cell_of_a_group_goes_where_it_is_not_the_nearest_of_enough_values() -> None:
    """Of five values between two groups one lies nearer to the upper one than to the cell well inside the five."""
    for edge in (440.0, 700.0):
        between = np.array([400.0, 401, 402, 403, edge])
        low = np.concatenate([np.arange(100.0), between, 750 + np.arange(100.0)])
        values = Values(low, low, np.ones(len(low)), 1.0, 0.0)
        cells = value_of(lambda values=values: shared_cells(values, each_alone(205, 5), 1e9, 10.0, 5.0))
        assert sum(c.rows for c in cells) == 205
        ends = np.array([c.high for c in cells[:-1]]) / 2 + np.array([c.low for c in cells[1:]]) / 2
        assert np.bincount(np.searchsorted(ends, low, side="right"), minlength=len(cells)).min() >= 5
        assert any(400 < c.low < 440 for c in cells) == (edge == 440.0)


def test_a_gap_is_wide_by_twice_the_rows_that_a_group_needs() -> None:
    """Ten dense values before a gap of six times their spread; those before them and behind it lie far apart."""
    low = np.concatenate([np.arange(-10.0, 0, 2), np.arange(10) / 10, 6 + 10 * np.arange(8)])
    cells = shared_cells(Values(low, low, np.ones(len(low)), 0.0, 0.0), each_alone(len(low), 5), 1e9, 5.0, 5.0)
    assert any(c.high <= 6 for c in cells) and all(c.high <= 6 or c.low >= 0.9 for c in cells)


def test_a_run_is_halved_no_more_than_eighty_times() -> None:
    low = np.array([2.0**-133, 2.0**-132, 1.0])
    persons = Persons([set(range(30 * i, 30 * i + 30)) for i in range(3)], 5)
    halving = _Halving(Values(low, low, np.full(3, 30.0), 0.0, 0.0), persons, np.array([0, 30, 60, 90.0]), 10.0)
    cells = halving.cells(0, 3, -np.inf, np.inf)
    assert [(c.low, c.high, c.rows) for c in cells] == [(0.0, 2.0**-79, 60.0), (1.0, 1.0, 30.0)]


def test_zeros_alone_are_one_value_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    persons = Persons([set(range(9))], 5)
    halving = _Halving(Values(*np.zeros((2, 1)), np.array([9.0]), 0.0, 0.0), persons, np.array([0.0, 9.0]), 1.0)
    (cell,) = halving.cells(0, 1, -np.inf, np.inf)
    assert (cell.low, cell.high, cell.rows) == (0.0, 0.0, 9.0) and not recwarn.list


def test_a_half_of_few_persons_is_left_out_where_it_has_few_of_the_rows() -> None:
    """A thirty-second of the other half's at most; where it has more neither half stays by itself."""
    low = np.array([0.0, 8.0, 9.0])
    persons = Persons([{0}, {1}, set(range(9))], 5)
    halving = _Halving(Values(low, low, np.array([1.0, 2, 9]), 0.0, 0.0), persons, np.array([0.0, 1, 3, 12]), 1.0)
    assert halving._kept(0, 0, 32.0) is False and halving._kept(0, 1, 32.0) is False
    assert halving._kept(1, 2, 32.0) is None and halving._kept(2, 3, 32.0) is True


def test_a_cell_is_halved_where_both_halves_can_have_rows_enough() -> None:
    low = np.array([1.0, 3.0])
    for rows_per_cell, is_leaf in ((6.0, True), (5.0, False)):
        of = _Halving(
            Values(low, low, np.full(2, 5.0), 0.0, 0.0), each_alone(2, 1), np.array([0.0, 5, 10]), rows_per_cell
        )
        assert of._is_leaf(0.0, 4.0, 0, 2, 0) is is_leaf
    assert not of._is_leaf(0.0, 8.0, 0, 2, 0), "an empty half is cut off"


def test_of_a_long_tail_about_k_values_are_cut_off() -> None:
    """The largest value alone has no spread; were it a group for itself, k more would go beside it (8 in the mean)."""
    beyond = []
    for seed in range(40):
        x = np.sort(np.random.default_rng(seed).pareto(2.0, 3000) + 1)
        found = smooth(NumericDistribution(x, x, np.ones(3000), 0.0, 0.0, 1.0, None, True, 0.0), 5)
        beyond.append(int((x > found.high[-1]).sum()))
    assert min(beyond) >= 5 and np.mean(beyond) < 6.5
