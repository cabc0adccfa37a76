"""Ranges and digits that nobody declared: what the noised releases find, and that each row is in one cell of each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.dp import InsecureSeededNoise, PrivacyBudget, PrivacyScope
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.cell_counts import NumberCells
from raysynth.statistics.noised import release_statistics
from raysynth.statistics.noised_range import (
    ZOOMS,
    DigitCells,
    RangeGrid,
    Spread,
    _of_octaves,
    digits_shown,
    interval_shown,
    octaves_shown,
    parts_shown,
    released_spread,
    with_margin,
)
from raysynth.statistics.noised_tails import grid_of_parts
from raysynth.statistics.public_schema import as_declared, public_schema

ROWS = 4000
SIGMA = 40.0
DAY = 86_400 * 10**6
NUMBER = ColumnSchema("x", Kind.CONTINUOUS, "double")
TIME = ColumnSchema("x", Kind.DATETIME, "timestamp[us]")


def counted(column: ColumnSchema, values: np.ndarray) -> np.ndarray:
    cells = NumberCells(RangeGrid.of(column).starts)
    return np.bincount(cells.index(pa.array(values, pa.float64())), minlength=cells.n_cells)


def found(column: ColumnSchema, values: np.ndarray, seed: int) -> tuple[float, float]:
    noise = InsecureSeededNoise(seed)
    counts = counted(column, values)
    noising = lambda exact: exact + SIGMA * noise.normal(exact.shape)  # noqa: E731
    edges = released_spread(column, counts, noising, SIGMA, len(values), SIGMA / 2).edges
    return edges[0], edges[-1]


def test_dates_stay_near_their_years_and_low_values_are_kept() -> None:
    """Of 300 draws at this budget (a twelfth of the statistics of epsilon 1) the dates ended more than 5 years off in
    one, and more than 10 % of the low values were lost in one: two of either among 20 are seen once in 500 times."""
    rng = np.random.default_rng(0)
    day = pd.to_datetime("2021-01-01") + pd.to_timedelta(rng.integers(0, 300, ROWS), unit="D")
    data = pd.DataFrame({"day": day, "share": rng.random(ROWS), "amount": rng.lognormal(8, 1.5, ROWS)})
    table, off, lost, outside = as_table(data), 0, 0, []
    schema = public_schema(table, None, {})
    for seed in range(20):
        scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(seed))
        released = release_statistics(as_declared(table, schema), schema, scope, share=0.025).columns
        days = released["day"].distribution().value
        ticks = day.astype(f"datetime64[{schema['day'].arrow_type.unit}]").astype("int64")
        years = 365 * DAY / 10**6 * pd.Timedelta(1, "s").as_unit(schema["day"].arrow_type.unit).value
        off += not ticks.min() - 5 * years < days.low[0] < days.high[-1] < ticks.max() + 5 * years
        lost += data["share"].lt(released["share"].distribution().value.low[0]).mean() > 0.1
        amounts = released["amount"].distribution().value
        outside.append(data["amount"].lt(amounts.low[0]).mean() + data["amount"].gt(amounts.high[-1]).mean())
    assert off <= 1 and lost <= 1
    assert np.mean(outside) < 0.1  # 13 % were before parts followed the rows


def test_numbers_far_from_zero_keep_their_shape() -> None:
    """Days as years: cells of the public grid are 4 wide there, and half of the rows would be moved by a year.

    Of 40 draws none was off by more than .15.
    """
    years = np.random.default_rng(0).uniform(2016.5, 2017.7, ROWS)
    table = as_table(pd.DataFrame({"when": years}))
    schema = public_schema(table, None, {})
    for seed in range(5):
        scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(seed))
        when = release_statistics(as_declared(table, schema), schema, scope, share=0.1).columns["when"]
        found = when.distribution().value.quantile(np.array([0.1, 0.5, 0.9]))
        assert np.abs(found - np.quantile(years, [0.1, 0.5, 0.9])).max() < 0.5


@pytest.mark.parametrize("values", [np.zeros(ROWS), np.full(ROWS, 1e300), np.full(ROWS, -7.0), np.empty(0)])
def test_any_values_give_a_range(values: np.ndarray) -> None:
    low, high = found(NUMBER, values, 0)
    assert np.isfinite([low, high]).all() and low <= high
    if len(values) and abs(values[0]) < 1e300:
        assert low <= values[0] <= high


@pytest.mark.parametrize("column", [NUMBER, TIME])
def test_one_row_more_changes_one_cell_of_each_release_by_one(column: ColumnSchema) -> None:
    """Whatever it holds, and whatever the range is by then: L2 sensitivity 1 for each of 1 + ZOOMS releases."""
    rng, grid = np.random.default_rng(0), RangeGrid.of(column)
    some = rng.integers(-1000, 1000, 200).astype(float)
    before = counted(column, some)
    odd = [0.0, -0.0, 1e-9, -1e-9, 64.0, -64.0, 999.5, 1e18, -1e18, 2.0**63, -(2.0**63), 1e308, np.nan, np.inf]
    for more in odd:
        after = counted(column, np.append(some, more))
        asked = [(grid.in_octaves(before), grid.in_octaves(after))]
        for low, high in ((0.0, 64.0), (-64.0, 0.0), (-1024.0, 512.0), (64.0, 128.0), (-128.0, -96.0), (1.0, 2.0)):
            parts = np.sort(np.append(rng.uniform(low, high, 9), [low, high]))
            asked.append((grid.in_parts(before, parts)[0], grid.in_parts(after, parts)[0]))
        for one, two in asked:
            assert sorted(np.abs(two - one)) == [0.0] * (len(one) - 1) + [1.0]
            assert two.sum() == len(some) + 1


def test_no_more_is_released_than_is_charged() -> None:
    asked: list[int] = []

    def noising(exact: np.ndarray) -> np.ndarray:
        asked.append(len(exact))
        return exact + InsecureSeededNoise(len(asked)).normal(exact.shape)

    for values in (np.zeros(ROWS), np.arange(ROWS, dtype=float)):
        asked.clear()
        released_spread(NUMBER, counted(NUMBER, values), noising, 1.0, ROWS, 1.0)
        assert 1 <= len(asked) <= 1 + ZOOMS


def test_an_interval_holds_all_that_is_significant_and_nearly_all_rows() -> None:
    cells = np.array([0, 0, 500, 400, 0, 0, 0, 300, 0.0])
    assert interval_shown(cells, 10.0, 1200.0, 10.0) == (2, 8)
    faint = np.array([0, 11, 11, 11, 11, 11, 900, 0, 0, 0, 0, 12.0])  # each within noise, but 55 rows of 955 are missed
    first, end = interval_shown(faint, 10.0, 955.0, 5.0)
    assert first <= 3 and end == 7


def test_octaves_beside_zero_that_are_empty_do_not_part_a_spike_from_the_rest() -> None:
    noised = 30 * InsecureSeededNoise(0).normal((101,))
    noised[[50, 80, 81]] += [2400, 800, 800]
    assert octaves_shown(noised, 30.0, 4000.0, 30.0) == (50, 82)


@pytest.mark.parametrize("column", [NUMBER, ColumnSchema("x", Kind.CONTINUOUS, "double", decimals=1), TIME])
@pytest.mark.parametrize(
    "edges", [(0.0, 0.05, 3.3, 40.0), (-7.5, -7.45, 2.0, 3.0), (5.0, 5.2, 9.9), (3.0,), (0.2, 0.4)]
)
def test_parts_hold_each_value_once_and_zero_by_itself(column: ColumnSchema, edges: tuple[float, ...]) -> None:
    grid = grid_of_parts(column, np.array(edges))
    assert (np.diff(grid.starts) > 0).all() and (grid.low <= grid.high).all() and (grid.low[1:] >= grid.high[:-1]).all()
    first = NumberCells(grid.starts).index(pa.array(grid.low[:1]))
    assert first[0] == 0
    if edges[0] <= 0 <= edges[-1]:
        leaf = NumberCells(grid.starts).index(pa.array([0.0]))[0]
        assert grid.low[leaf] == grid.high[leaf] == 0


@pytest.mark.statistical
@pytest.mark.parametrize(("digits", "sigma", "shown"), [(0, 40.0, 0), (1, 40.0, 1), (9, 40.0, None), (0, 900.0, None)])
def test_digits_are_shown_where_the_noise_allows(digits: int, sigma: float, shown: int | None) -> None:
    """False alarms: one in 740, beyond three standard deviations."""
    values = pa.array(np.round(np.random.default_rng(0).normal(0, 50, ROWS), digits))
    counts = np.bincount(DigitCells().index(values), minlength=DigitCells.n_cells)
    assert counts.sum() == ROWS
    noised = counts + sigma * InsecureSeededNoise(1).normal(counts.shape)
    assert digits_shown(noised, sigma, ROWS) == shown


def test_counts_of_parts_are_of_below_each_part_above_and_missing() -> None:
    grid = RangeGrid.of(ColumnSchema("n", Kind.CONTINUOUS, "double", decimals=0))
    cells = NumberCells(grid.starts)
    values = pa.array([-3.0, 1.0, 2.0, 2.0, 5.0, 900.0, None])
    exact = np.bincount(cells.index(values), minlength=cells.n_cells)
    counts, edges = value_of(lambda: grid.in_parts(exact, np.array([1.0, 4.0, 8.0])))
    assert edges.tolist() == [1.0, 4.0, 8.0] and counts.tolist() == [1, 3, 1, 1, 1]


def test_digits_do_not_depend_on_how_many_values_are_missing() -> None:
    counts = np.zeros(DigitCells.n_cells)
    counts[2], counts[-1] = 900, 1000
    assert digits_shown(counts, 1.0, 1900.0) == 2


@pytest.mark.parametrize("start_cost", [None, 4.0])
def test_an_interval_is_the_best_of_all(start_cost: float | None) -> None:
    """Every interval looked at, on counts with noise, gaps and cells below zero."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        k = int(rng.integers(1, 9))
        noised = rng.choice([0.0, 3.0, 12.0, 40.0], k) + rng.normal(0, 5, k)
        total, sigma, total_sigma, cost = float(rng.choice([noised.sum(), 0.0, 60.0])), 5.0, 7.0, 2.5
        scores: dict[tuple[int, int], float] = {} if start_cost is None else {(0, 0): -((total / total_sigma) ** 2)}
        for first in range(k):
            for end in range(first + 1, k + 1):
                inside = noised[first:end]
                missed = (total - inside.sum()) ** 2 / (len(inside) * sigma**2 + total_sigma**2)
                saved = sum(max(x / sigma, 0.0) ** 2 - cost for x in inside)
                scores[first, end] = saved - missed - (start_cost or 0.0)
        best = max(scores, key=lambda pair: scores[pair])
        found = interval_shown(noised, sigma, total, total_sigma, start_cost=start_cost)
        assert scores[found] == pytest.approx(scores[best])
    faint = np.array([7.0, 100.0])  # 1.96 squared standard deviations, less .37 for seven rows too many
    assert interval_shown(faint, 5.0, 100.0, 9.0, cost=1.5) == (0, 2)
    assert interval_shown(faint, 5.0, 100.0, 9.0, cost=1.7) == (1, 2)


def test_a_margin_is_one_cell_that_there_is() -> None:
    assert [with_margin(2, 4, 6), with_margin(0, 6, 6), with_margin(1, 5, 6)] == [(1, 5), (0, 6), (0, 6)]


def test_there_are_as_many_parts_as_noise_lets_one_tell() -> None:
    assert [parts_shown(n, 10.0, 2.0, 32) for n in (1.0, 100.0, 219.0, 5000.0)] == [4, 5, 10, 32]


@pytest.mark.parametrize(("column", "least"), [(NUMBER, 2.0**-20), (TIME, 1.0)])
def test_octaves_have_256_equal_cells_on_either_side_of_one_around_zero(column: ColumnSchema, least: float) -> None:
    grid = RangeGrid.of(column)
    n = 63 - round(np.log2(least))
    np.testing.assert_array_equal(grid.octaves[n + 1 :], least * 2.0 ** np.arange(n + 1))
    np.testing.assert_array_equal(grid.octaves[: n + 1], -grid.octaves[n + 1 :][::-1])
    assert len(grid.octaves) == 2 * (n + 1) and len(grid.edges) == 2 * (256 * n + 1)
    np.testing.assert_array_equal(np.diff(grid.edges[-513:-256]), 2.0**62 / 2 / 256)
    np.testing.assert_array_equal(grid.edges, -grid.edges[::-1])
    assert grid.starts[0] == -np.inf and len(grid.starts) == len(grid.edges) + 1
    assert RangeGrid.of(ColumnSchema("n", Kind.CONTINUOUS, "double", decimals=0)).octaves.min() == -(2.0**63)
    assert np.abs(RangeGrid.of(ColumnSchema("n", Kind.CONTINUOUS, "double", decimals=0)).octaves).min() == 1


def test_rows_of_octaves_and_of_parts_are_those_that_lie_there() -> None:
    """Against a look at each value; edges asked for move up to the next edge of a cell."""
    rng, grid = np.random.default_rng(2), RangeGrid.of(NUMBER)
    values = np.concatenate([rng.normal(0, 30, 300), -rng.lognormal(3, 2, 100), [0.0] * 9, [1e30] * 2, [-1e30]])
    counts = counted(NUMBER, np.append(values, [np.nan] * 4))
    octave = [int(np.sum(grid.octaves <= v)) for v in values]
    expected = np.append(np.bincount(octave, minlength=len(grid.octaves) + 1), 4)
    np.testing.assert_array_equal(grid.in_octaves(counts), expected)
    for asked in ([-64.0, -20.3, -1.1, 0.0], [0.0, 3.3, 7.7, 64.0], [-16.0, 0.7, 128.0], [8.0, 9.01, 10.02, 16.0]):
        found, edges = grid.in_parts(counts, np.array(asked))
        moved = [min(e for e in grid.edges if e >= x) for x in asked[1:-1]]
        assert edges.tolist() == [asked[0], *moved, asked[-1]]
        near = np.abs(grid.edges).min()
        part = [int(np.sum(edges <= v)) for v in values]
        around = len(edges) - 1 if asked[-1] == 0 else int(np.sum(edges <= 0.0))
        if asked[0] <= 0 <= asked[-1]:
            part = [around if -near <= v < near else p for v, p in zip(values, part, strict=True)]
        np.testing.assert_array_equal(found, np.append(np.bincount(part, minlength=len(edges) + 1), 4))
    spread = grid.spread(np.array([0.0, 1.0, 2.0, 2.0 + 1 / 128, 8.0]), np.arange(4.0))
    assert spread.cells.tolist() == [20 * 256, 256, 1, 511]


def cut_by_loops(spread: Spread, n: int) -> list[float]:
    """Edges: three tenths of the parts go by width, the others by rows, at most as many to one as it has cells."""
    width = [b - a for a, b in zip(spread.edges[:-1], spread.edges[1:], strict=True)]
    share = [0.3 * w / sum(width) + 0.7 * r / sum(spread.rows) for w, r in zip(width, spread.rows, strict=True)]
    for _ in range(3):
        most = [c / n for c in spread.cells]
        full = [s >= m for s, m in zip(share, most, strict=True)]
        left = 1 - sum(m for m, f in zip(most, full, strict=True) if f)
        others = sum(s for s, f in zip(share, full, strict=True) if not f)
        share = [m if f else s * max(left, 0) / others for s, m, f in zip(share, most, full, strict=True)]
    edges = [float(spread.edges[0])]
    for i in range(1, n):
        at, place = i * sum(share) / n, 0
        while at > share[place] + 1e-12:
            at, place = at - share[place], place + 1
        edges.append(float(spread.edges[place] + width[place] * at / share[place]))
    return sorted({*edges, float(spread.edges[-1])})


@pytest.mark.parametrize("n", [4, 11, 32])
def test_parts_hold_equally_many_rows_but_for_what_goes_by_width(n: int) -> None:
    rng = np.random.default_rng(n)
    for cells in ([1, 256, 256, 256], [500, 256, 256, 256], [2, 3, 256, 256]):
        spread = Spread(np.array([0.0, 1.0, 2.0, 4.0, 8.0]), rng.choice([5.0, 100.0, 900.0], 4), np.array(cells))
        np.testing.assert_allclose(spread.cut(n), cut_by_loops(spread, n), rtol=1e-6)
    assert Spread(np.array([3.0]), np.empty(0), np.empty(0)).cut(4).tolist() == [3.0]
    spread = Spread(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.ones(4), np.array([4, 5, 6, 7]))
    assert spread.finer(3).cells.tolist() == [12, 5, 6, 21]


def released(
    column: ColumnSchema, values: np.ndarray, sigma: float, n_rows: float, n_rows_sigma: float
) -> tuple[Spread, list[int]]:
    """Without noise, though `sigma` of it is reckoned with; and how long what was asked for is."""
    asked: list[int] = []

    def noising(exact: np.ndarray) -> np.ndarray:
        asked.append(len(exact))
        return exact.astype(float)

    return released_spread(column, counted(column, values), noising, sigma, n_rows, n_rows_sigma), asked


def test_what_is_not_more_than_noise_has_the_range_of_a_share() -> None:
    """Two standard deviations of all rows that have a value; fewer missing ones are taken for noise."""
    values = np.full(100, 7.0)
    for n_missing, n_rows, is_seen in ((0, 10.0, False), (0, 10.1, True), (8, 18.0, True), (9, 19.0, False)):
        found, asked = released(NUMBER, np.append(values, [np.nan] * n_missing), 4.0, n_rows, 3.0)
        assert (found.edges.tolist() != [0.0, 1.0]) == is_seen, (n_missing, n_rows)
        if not is_seen:
            assert found.rows.tolist() == [n_rows] and len(asked) == 1
    assert released(NUMBER, values, 3.0, 9.9, 4.0)[0].edges.tolist() == [0.0, 1.0]


def test_a_range_is_found_in_octaves_and_then_in_parts_of_equally_many_rows() -> None:
    """Values from 70 to 90 lie in the octave from 64 to 128; rows missing or far out do not count."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(70, 90, 4000), [np.nan] * 500])
    found, asked = released(NUMBER, values, 20.0, 4500.0, 10.0)
    assert asked == [86 + 86 + 2, 32 + 3] or asked[1] <= 32 + 3
    assert 66 < found.edges[0] <= 70 and 90 <= found.edges[-1] < 94
    assert found.rows.sum() == pytest.approx(4000) and (found.rows >= 0).all()
    inside = [np.sum((values >= a) & (values < b)) for a, b in zip(found.edges[:-1], found.edges[1:], strict=True)]
    np.testing.assert_allclose(found.rows, inside, atol=1e-6)
    beside = np.concatenate([values, [-1e6] * 50, [1e6] * 45])  # more than noise, but not worth their octaves
    assert released(NUMBER, beside, 20.0, 4595.0, 10.0)[0].rows.sum() == pytest.approx(4000)
    few, _ = released(NUMBER, values, 300.0, 4500.0, 10.0)
    assert len(few.rows) <= 9, "4,500 rows are seven parts of two standard deviations"
    zeros, asked = released(NUMBER, np.zeros(4000), 20.0, 4000.0, 10.0)
    assert zeros.edges.tolist() == [0.0] and not len(zeros.rows) and len(asked) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_range_is_found_in_the_outermost_octave(sign: int) -> None:
    found, _ = released(NUMBER, sign * np.random.default_rng(1).uniform(5e18, 9e18, 4000), 20.0, 4000.0, 10.0)
    assert 2.0**62 <= np.abs(found.edges).min() <= 5.1e18 and 8.9e18 <= np.abs(found.edges).max() <= 2.0**63
    assert found.rows.sum() == pytest.approx(4000)
    beyond, _ = released(NUMBER, sign * np.random.default_rng(1).uniform(1e19, 1.7e19, 4000), 20.0, 4000.0, 10.0)
    assert np.abs(beyond.edges[[0, -1]]).tolist() == [2.0**63, 2.0**64][::sign]


def test_a_range_of_times_ends_with_their_type() -> None:
    day = ColumnSchema("d", Kind.DATETIME, "date32[day]")
    found, _ = released(day, np.full(4000, 2.0**31 - 5), 20.0, 4000.0, 10.0)
    assert found.edges[-1] <= 2**31 - 1
    time = ColumnSchema("d", Kind.DATETIME, "timestamp[ns]")
    assert released(time, np.full(4000, 2.0**63), 20.0, 4000.0, 10.0)[0].edges[-1] <= 2.0**63


@pytest.mark.parametrize(
    ("first", "end", "edges", "rows"),
    [
        (3, 4, [0.0], []),  # the cell around zero alone
        (4, 6, [0.0, 2.0, 4.0], [5, 6]),  # from 1 to 4: a quarter is near enough to zero
        (5, 6, [2.0, 4.0], [6]),
        (3, 6, [0.0, 1.0, 2.0, 4.0], [4, 5, 6]),
        (3, 7, [0.0, 1.0, 2.0, 4.0, 8.0], [4, 5, 6, 7]),  # beyond all edges: as wide again
        (1, 4, [-4.0, -2.0, -1.0, 0.0], [2, 3, 4]),
        (0, 2, [-8.0, -4.0, 0.0], [1, 2]),
        (0, 1, [-8.0, -4.0], [1]),
        (1, 6, [-4.0, -2.0, -1.0, 1.0, 2.0, 4.0], [2, 3, 4, 5, 6]),
        (4, 7, [0.0, 2.0, 4.0, 8.0], [5, 6, 7]),
        (4, 5, [1.0, 2.0], [5]),
        (0, 3, [-8.0, -4.0, -2.0, 0.0], [1, 2, 3]),
        (1, 3, [-4.0, -2.0, 0.0], [2, 3]),  # -1 is a quarter of -4
        (2, 3, [-2.0, -1.0], [3]),
    ],
)
def test_edges_of_octaves_begin_at_zero_where_that_costs_little(
    first: int, end: int, edges: list[float], rows: list[float]
) -> None:
    """Octaves below -4, to -2, to -1, around zero, to 2, to 4, and beyond; rows are 1 to 7."""
    octaves = np.array([-4.0, -2.0, -1.0, 1.0, 2.0, 4.0])
    found = _of_octaves(octaves, np.arange(1.0, 8.0), first, end)
    assert [x.tolist() for x in found] == [edges, rows]
    assert _of_octaves(octaves, np.full(7, -1.0), 4, 6)[1].tolist() == [0.0, 0.0]


def test_either_side_of_zero_has_its_own_interval_of_octaves() -> None:
    """Each weighed by what the others leave of the rows; none where none is significant, all where nothing is."""
    noised = np.zeros(101)
    noised[[20, 21, 80]] = [900.0, 300.0, 500.0]
    assert octaves_shown(noised, 10.0, 1700.0, 10.0) == (20, 81)
    noised[80] = 35.0  # twelve squared standard deviations, and few rows are missed
    assert octaves_shown(noised, 10.0, 1200.0, 10.0) == (20, 22)
    assert octaves_shown(noised, 10.0, 1235.0, 1.0) == (20, 81), "35 rows are missed"
    middle = np.zeros(101)
    middle[50] = 900.0
    assert octaves_shown(middle, 10.0, 900.0, 10.0) == (50, 51)
    assert octaves_shown(np.zeros(7), 10.0, 0.0, 10.0) == (0, 7)


def digits_by_loops(noised: np.ndarray, sigma: float, n_rows: float) -> int | None:
    """Of the rows that need more than d digits two counts, of 8 - d and of d + 2 noised cells, averaged."""
    n = len(noised) - 2
    found, widest = None, 0.0
    for d in reversed(range(n)):
        beyond, within = noised[d + 1 : -1], noised[: d + 1]
        one, other = len(beyond), len(within) + 1  # variances
        more = (beyond.sum() / one + (n_rows - noised[-1] - within.sum()) / other) / (1 / one + 1 / other)
        noise = 3 * sigma * (1 / (1 / one + 1 / other)) ** 0.5
        widest = max(widest, noise)
        found = d if more <= max(noise, 0.01 * n_rows) else found
    if widest < n_rows / 4:
        return found
    fullest = max(range(n + 1), key=lambda i: noised[i])
    return fullest if fullest <= 6 and n_rows > 5 * sigma else None


def test_digits_are_the_least_beyond_which_few_rows_are() -> None:
    rng = np.random.default_rng(3)
    seen = []
    for _ in range(300):
        n_rows, sigma = float(rng.choice([100.0, 1000.0])), float(rng.choice([1.0, 7.0, 19.0, 21.0, 30.0, 70.0]))
        counts = rng.multinomial(int(n_rows), rng.dirichlet(np.full(9, 0.2))) + sigma * rng.normal(0, 1, 9)
        expected = digits_by_loops(counts, sigma, n_rows)
        assert digits_shown(counts, sigma, n_rows) == expected
        seen.append(expected)
    assert {None, 0, 3, 6} <= set(seen)
    index = DigitCells().index(pa.array([3.0, 2.5, 1e-6, 1e-9, None, float("nan")]))
    assert index.tolist() == [0, 1, 6, 7, 8, 8] and DigitCells.n_cells == 9
