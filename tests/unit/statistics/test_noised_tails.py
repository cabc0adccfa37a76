"""Tails beyond the cells that noise shows: they go on as the shape before, end where rows do, and pass no limit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from raysynth.dp.mechanisms.histogram import FAN_OUT, LevelCounts, exact_levels
from raysynth.dp.mechanisms.noise import InsecureSeededNoise
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.cell_counts import NumberCells
from raysynth.statistics.noised_range import END_COST, interval_shown
from raysynth.statistics.noised_tails import (
    INTERVALS,
    MOST_VALUES,
    Side,
    ValueGrid,
    grid_of,
    grid_of_parts,
    wider,
    with_tails,
    without_noise_alone,
)

ROWS, SIGMA = 8000, 60.0
WHOLE = ColumnSchema("n", Kind.CONTINUOUS, "double", decimals=0)
REAL = ColumnSchema("x", Kind.CONTINUOUS, "double")


def tailed(column: ColumnSchema, grid: ValueGrid, values: np.ndarray, seed: int) -> tuple[ValueGrid, np.ndarray]:
    cells = NumberCells(grid.starts)
    exact = np.bincount(cells.index(pa.array(values)), minlength=cells.n_cells)[:-1]
    noised = np.rint(exact + SIGMA * InsecureSeededNoise(seed).normal(exact.shape))
    shown = interval_shown(noised, SIGMA, float(ROWS), SIGMA, cost=END_COST)
    return with_tails(LevelCounts(noised, SIGMA), grid, shown, float(ROWS), column)


def ends(values: np.ndarray, measured: tuple[float, float]) -> np.ndarray:
    """The range found in 20 draws, (20, 2)."""
    found = [tailed(WHOLE, grid_of(WHOLE, measured), values, seed)[0] for seed in range(20)]
    return np.array([(grid.low[0], grid.high[-1]) for grid in found])


@pytest.mark.statistical
def test_counts_go_on_to_where_rows_end_though_noise_hides_the_last() -> None:
    """0 to 13 calls, of which the noise hides those from 5 on.

    False alarms: the median of 20 draws, most of which lie between 7 and 17; below 1 in 1,000.
    """
    calls = np.random.default_rng(0).geometric(0.6, ROWS) - 1.0
    assert calls.max() == 13
    low, high = ends(calls, (0.0, 7.0)).T
    assert (low == 0).all() and 7 <= np.median(high) <= 17


@pytest.mark.statistical
def test_an_end_at_which_rows_stop_stays() -> None:
    """False alarms: half of 20 draws would have to lie 1.5 standard deviations above; below 1 in 10,000."""
    ages = 18 + np.floor(np.random.default_rng(0).exponential(3.0, ROWS))
    assert np.median(ends(ages, (10.0, 45.0))[:, 0]) == 18


@pytest.mark.statistical
@pytest.mark.parametrize(("ones", "highest"), [(800, 1), (20, 1)])
def test_of_zeros_and_ones_nothing_else_is_made(ones: int, highest: int) -> None:
    """A flag, seen or not: no column is zero alone. False alarms: as above."""
    flags = np.repeat([0.0, 1.0], [ROWS - ones, ones])
    low, high = ends(flags, wider(WHOLE, (0.0, 0.0), 30)).T
    assert (low == 0).all() and np.median(high) == highest


@pytest.mark.parametrize("decimals", [None, 0, 2])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(100, 20, ROWS),
        lambda rng: rng.lognormal(2, 1, ROWS),
        lambda rng: -rng.exponential(5, ROWS),
        lambda rng: np.where(rng.random(ROWS) < 0.7, 0.0, rng.gamma(4, 8, ROWS)),
        lambda rng: np.zeros(ROWS),
    ],
)
def test_cells_stay_in_order_keep_all_rows_and_pass_neither_zero_nor_the_type(
    decimals: int | None, draw: Callable[[np.random.Generator], np.ndarray]
) -> None:
    values = draw(np.random.default_rng(0))
    column = ColumnSchema("x", Kind.CONTINUOUS, "double", decimals=decimals)
    values = values if decimals is None else np.round(values, decimals)
    inner = np.quantile(values, np.linspace(0.02, 0.98, 25))
    low, high = (0.0, inner[-1]) if values.min() >= 0 else (inner[0], min(inner[-1], 0.0 if values.max() <= 0 else 1e9))
    grid = grid_of_parts(column, np.unique(np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]])))
    for seed in range(5):
        found, rows = tailed(column, grid, values, seed)
        assert (
            len(found.low) == len(found.high) == len(rows) and (rows >= 0).all() and rows.sum() == pytest.approx(ROWS)
        )
        assert (found.low <= found.high).all() and (found.low[1:] >= found.high[:-1] - 1e-9).all()
        assert found.low[0] >= 0 or values.min() < 0
        assert found.high[-1] <= 0 or values.max() > 0 or not values.any()


def test_whole_numbers_end_within_their_type() -> None:
    column = ColumnSchema("n", Kind.CONTINUOUS, "int8")
    values = 127.0 - np.minimum(np.random.default_rng(0).geometric(0.3, ROWS), 100)
    grid, _ = tailed(column, grid_of(column, (100.0, 126.0)), values, 0)
    assert grid.high[-1] <= 127


def side(rows: list[float], hard: float | None = None) -> Side:
    """An end of cells one wide, of which nothing beyond was counted."""
    nothing = np.zeros(0)
    return Side(np.ones(len(rows)), np.array(rows), nothing, nothing, 0.5, 100.0, hard)


def test_no_tail_where_it_is_as_likely_as_any() -> None:
    assert side([1e9], hard=0.5).tail() == (0.0, 1.0, 0.0)
    assert side([1e9], hard=0.4).tail()[0] > 0


def test_cells_decay_where_the_last_but_one_is_denser_than_the_last() -> None:
    """By e in one cell: a scale of 1; what lies before only adds to the mean where it is denser, too."""
    assert side([50.0, 100 * np.e, 100.0])._decay() == pytest.approx(1.0)
    assert side([100 * np.e**4, 100 * np.e, 100.0])._decay() == pytest.approx(0.5**0.5)
    assert side([400.0, 100.0, 200.0])._decay() is None


def test_a_few_values_are_counted_beside_a_range_but_none_beyond_zero() -> None:
    assert wider(WHOLE, (-9.0, -2.0), 100) == (-12.0, 0.0)
    assert wider(WHOLE, (2.0, 9.0), 100) == (0.0, 12.0)
    assert wider(WHOLE, (-1.0, 9.0), 100) == (-4.0, 12.0)
    assert wider(WHOLE, (0.0, 94.0), 100) == (0.0, 94.0), "101 values with three more on either side"


def test_intervals_are_of_equal_width_and_their_ends_by_themselves() -> None:
    grid = grid_of(REAL, (0.0, 1.0))
    inner = grid.starts[(grid.low < grid.high) & (grid.low > 1e-300)]
    np.testing.assert_array_equal(inner, np.arange(1, 1 << 16) / (1 << 16))
    assert grid.low[0] == grid.high[0] == 0 and grid.low[-1] == grid.high[-1] == 1


CENTS = ColumnSchema("x", Kind.CONTINUOUS, "double", decimals=2)


def test_single_values_have_a_leaf_each_that_holds_what_rounds_to_it() -> None:
    grid = grid_of(CENTS, (-0.014, 0.03))
    assert grid.low.tolist() == grid.high.tolist() == [-0.01, 0.0, 0.01, 0.02, 0.03]
    np.testing.assert_allclose(grid.starts, grid.low - 0.005, atol=1e-12)
    assert grid.decimals == 2
    assert grid_of(WHOLE, (3.2, 3.6)).low.tolist() == [4.0], "no whole number between: one leaf"
    assert grid_of(ColumnSchema("d", Kind.CONTINUOUS, "int32"), (5.0, 7.0)).low.tolist() == [5.0, 6.0, 7.0]
    assert grid_of(ColumnSchema("d", Kind.DATETIME, "timestamp[s]"), (5.0, 6.0)).low.tolist() == [5.0, 6.0]
    most = grid_of(WHOLE, (1.0, float(MOST_VALUES)))
    assert len(most.low) == MOST_VALUES and most.high[-1] == MOST_VALUES
    assert len(grid_of(WHOLE, (0.0, float(MOST_VALUES))).low) == INTERVALS + 2, (
        "of more there are intervals, ends apart"
    )


@pytest.mark.parametrize(("bounds", "atoms"), [((-1.0, 3.0), (-1.0, 0.0, 3.0)), ((0.5, 2.0), (0.5, 2.0))])
def test_every_number_is_in_one_leaf_and_ends_and_zero_are_leaves(
    bounds: tuple[float, float], atoms: tuple[float, ...]
) -> None:
    """Looked up as rows are: by the last start that is not above it."""
    grid = grid_of(REAL, bounds)
    x = np.concatenate([np.random.default_rng(0).uniform(*bounds, 500), atoms])
    leaf = np.searchsorted(grid.starts, x, side="right") - 1
    assert (grid.low[leaf] <= x).all() and (x <= grid.high[leaf]).all()
    assert grid.low[grid.low == grid.high].tolist() == list(atoms)
    width = (bounds[1] - bounds[0]) / INTERVALS
    assert (grid.high - grid.low).max() == pytest.approx(width) and len(grid.low) == INTERVALS + len(atoms)
    (one,) = grid_of(REAL, (2.5, 2.5)).low
    assert one == 2.5


@pytest.mark.parametrize(
    ("column", "edges", "low", "high"),
    [
        (REAL, [1.0, 2.0, 4.0], [1.0, 2.0], [2.0, 4.0]),
        (REAL, [-2.0, 1.0, 3.0], [-2.0, 0.0, 5e-324, 1.0], [0.0, 0.0, 1.0, 3.0]),
        (REAL, [0.0, 3.0], [0.0, 5e-324], [0.0, 3.0]),
        (REAL, [-3.0, 0.0], [-3.0, 0.0], [0.0, 0.0]),
        (REAL, [7.0], [7.0], [7.0]),
        (WHOLE, [2.0, 5.0, 9.4], [2.0, 4.5], [4.5, 9.0]),
        (WHOLE, [2.2, 3.0, 3.9, 6.0], [3.0, 3.5, 6.0], [3.0, 5.5, 6.0]),  # a last edge is one alone, too
        (WHOLE, [-4.0, 2.0, 6.0], [-4.0, 0.0, 1.0, 1.5, 6.0], [-0.5, 0.0, 1.0, 5.5, 6.0]),
        (CENTS, [0.0, 0.05, 0.10], [0.0, 0.005, 0.045, 0.10], [0.0, 0.045, 0.095, 0.10]),
        (WHOLE, [2.2, 2.8], [3.0], [3.0]),
        (WHOLE, [5.0], [5.0], [5.0]),
    ],
)
def test_parts_of_a_range(column: ColumnSchema, edges: list[float], low: list[float], high: list[float]) -> None:
    """Parts meet in the middle between two values of theirs; zero is one by itself."""
    grid = grid_of_parts(column, np.array(edges))
    np.testing.assert_allclose(grid.low, low, atol=1e-12)
    np.testing.assert_allclose(grid.high, high, atol=1e-12)
    assert grid.decimals == column.decimals
    inner = np.array(low) if column.decimals is None else np.ceil(grid.low * 10**column.decimals - 1e-9)
    unit = 0.0 if column.decimals is None else 10.0**-column.decimals
    np.testing.assert_allclose(grid.starts, inner if unit == 0 else (inner - 0.5) * unit, atol=1e-12)


@pytest.mark.parametrize("decimals", [None, 1])
def test_a_distribution_of_runs_is_uniform_within_each(decimals: int | None) -> None:
    """Moments against a fine sum; a run of several values reaches half a unit beyond, but not beyond the ends."""
    values = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    grid = ValueGrid(values - 0.05, values, values, decimals)
    counts = np.array([4.0, 6.0, 10.0])
    found = grid.distribution(np.array([0, 1, 4]), counts, 7.0)
    half = 0.0 if decimals is None else 0.05
    np.testing.assert_allclose(found.low, [1.0, 1.1 - half, 1.4 - half])
    np.testing.assert_allclose(found.high, [1.0, 1.3 + half, 1.5])
    drawn = np.concatenate([np.linspace(a, b, 20_001) for a, b in zip(found.low, found.high, strict=True)])
    weight = np.repeat(counts, 20_001)
    mean = np.average(drawn, weights=weight)
    assert found.mean == pytest.approx(mean) and found.missing == 7.0
    assert found.std == pytest.approx(np.average((drawn - mean) ** 2, weights=weight) ** 0.5, rel=1e-4)
    assert not found.exact and found.rank_error == pytest.approx(0.5)
    alone = grid.distribution(np.arange(6), np.ones(6), 0.0)
    assert alone.exact and alone.rank_error == 0.0
    empty = grid.distribution(np.array([0, 1]), np.zeros(2), 0.0)
    assert (empty.mean, empty.std, empty.rank_error) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("width", [0.0, 0.5])
def test_a_mean_by_leaves_says_how_far_it_may_be_off(width: float) -> None:
    """By what rows are missing, by noise, and by where values lie within the leaves, half a width at most."""
    low = 100.0 + np.arange(40)
    grid = ValueGrid(low, low, low + width, None)
    leaves = np.random.default_rng(2).integers(10, 30, 40).astype(float)
    levels, total = [LevelCounts(c, 3.0) for c in exact_levels(leaves)], leaves.sum()
    plain, more = grid.mean(levels, total, 0.0), grid.mean(levels, total + 1, 0.0)
    assert plain.mean == pytest.approx(leaves @ (low + width / 2) / total)
    assert (plain.low, plain.high) == (100.0, 139.0 + width) and plain.within == pytest.approx(width / 2)
    assert plain.per_row == pytest.approx(plain.mean - more.mean, rel=0.01, abs=1e-9)
    missing = grid.mean(levels, total, 40.0)
    assert missing.sigma == pytest.approx(math.hypot(plain.sigma, 40.0 * plain.per_row)) and plain.sigma > 0.01
    assert (missing.mean, missing.within) == (plain.mean, plain.within)


def tail_by_loops(one: Side) -> tuple[float, float, float]:
    """The median length over the scales and none, weighed as the module says: nine scales, in widths of the last."""
    least = 0.3 * one.sigma
    width, rows = one.widths[-1], max(one.rows[-1], least)
    if one.room <= 0 or width <= 0:
        return 0.0, 1.0, 0.0
    centres = np.cumsum(one.widths) - one.widths / 2
    decays = []
    falls = True
    for back in (2, 3):
        if len(one.rows) >= back and one.widths[-back] > 0:
            before, last = one.rows[-back] / one.widths[-back], rows / width
            if before > last:
                decays.append((centres[-1] - centres[-back]) / math.log(before / last))
            elif back == 2:
                falls = False
        elif back == 2 and len(one.rows) >= 2:
            falls = False
    decay = math.exp(sum(map(math.log, decays)) / len(decays)) if decays and falls else None
    hard = one.hard if one.hard is not None else 0.5 if decay is None else 0.15
    tails = []
    for times in (0.15, 0.2, 0.3, 0.43, 0.62, 0.9, 1.4, 2.2, 3.5):
        scale = times * width
        beyond = rows / (math.exp(width / scale) - 1)
        near = min(max(decay, 0.15 * width), 3.5 * width) if decay is not None else scale
        prior = math.exp(-2 * math.log(scale / near) ** 2)
        length = min(scale * math.log(max(beyond / 0.7, 1.0)), one.room)
        tails.append((length, scale, beyond, prior))
    priors = [(1 - hard) * t[3] / sum(t[3] for t in tails) for t in tails] + [hard]
    misfits = []
    for _, scale, beyond, _ in [*tails, (0.0, 1.0, 0.0, 0.0)]:
        at, misfit = 0.0, 0.0
        for count, span in zip(one.beyond, one.spans, strict=True):
            expected = beyond * (math.exp(-at / scale) - math.exp(-(at + span) / scale))
            misfit, at = misfit + ((count - expected) / one.sigma) ** 2, at + span
        misfits.append(misfit)
    weights = [p * math.exp(-0.5 * (m - min(misfits))) for p, m in zip(priors, misfits, strict=True)]
    weights = [w / sum(weights) for w in weights]
    if weights[-1] >= 0.5:
        return 0.0, 1.0, 0.0
    by_length = sorted(range(len(tails)), key=lambda i: tails[i][0])
    reached = [weights[-1] + sum(weights[i] for i in by_length[: n + 1]) for n in range(len(tails))]
    picked = next((i for i, weight in zip(by_length, reached, strict=True) if weight >= 0.5), by_length[-1])
    return tails[picked][:3]


def test_a_tail_is_the_median_over_scales() -> None:
    """Against loops, on ends of all kinds: cells of unequal width, falling or not, noise beyond, little room."""
    rng = np.random.default_rng(5)
    lengths = []
    for turn in range(300):
        k, b = int(rng.integers(1, 6)), int(rng.integers(0, 5))
        widths = rng.choice([0.5, 1.0, 2.0], k) * (1 if turn % 5 else rng.choice([0.0, 1.0], k))
        rows = rng.choice([1e3, 100.0, 10.0]) * np.exp(rng.normal(0, 1, k) - np.arange(k) * rng.choice([0.0, 1.0]))
        spans, sigma = rng.choice([0.5, 1.0, 3.0], b), float(rng.choice([0.5, 20.0]))
        beyond = np.maximum(rows[-1] * np.exp(-np.arange(1.0, b + 1)) + sigma * rng.normal(0, 1, b), -sigma)
        room = float(rng.choice([-1.0, 0.0, 0.7, 1e3]))
        hard = [None, 0.0, 0.6][int(rng.integers(3))]
        one = Side(widths, rows, beyond, spans, sigma, room, hard)
        assert one.tail() == pytest.approx(tail_by_loops(one), rel=1e-9), one
        lengths.append(one.tail()[0])
    assert 0.2 < np.mean(np.array(lengths) > 0) < 0.8


def rows_by_value(column: ColumnSchema, counts: list[float], low: float, sigma: float) -> dict[float, float]:
    """With tails at both ends, of whole numbers from `low` on, all shown."""
    grid = grid_of(column, (low, low + len(counts) - 1))
    found, rows = with_tails(LevelCounts(np.array(counts), sigma), grid, (0, len(counts)), sum(counts), column)
    assert found.low.tolist() == found.high.tolist() and (np.diff(found.low) == 1).all()
    np.testing.assert_allclose(found.starts, found.low - 0.5)
    return dict(zip(found.low.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize(("low", "type_"), [(20.0, "int64"), (2.0, "int64"), (-8.0, "int64"), (119.0, "int8")])
def test_single_values_go_on_outwards_and_take_their_rows_from_those_shown(low: float, type_: str) -> None:
    """The i-th value beyond an end has what an exponential tail has between i - 1 and i; none passes zero or the type.

    Of the first leaf nothing is seen (two standard deviations are 4 rows), so it is left to the tail.
    """
    column = ColumnSchema("n", Kind.CONTINUOUS, type_)
    counts = [3.0, 60.0, 400.0, 900.0, 400.0, 60.0, 9.0]
    found = rows_by_value(column, counts, low, 2.0)
    assert sum(found.values()) == pytest.approx(sum(counts))
    seen, one = np.array(counts[1:]), np.ones(6)
    seen = seen + 3.0 / 6  # moved to the sum
    limits = {"int64": (0.0 if low > 0 else -np.inf, 0.0 if low < 0 else np.inf), "int8": (0.0, 127.0)}[type_]
    up = Side(one, seen, np.empty(0), np.empty(0), 2.0, limits[1] - (low + 6))
    down = Side(one, seen[::-1], np.array([3.0]), np.ones(1), 2.0, (low + 1) - limits[0])
    expected = dict(zip(low + 1 + np.arange(6.0), seen, strict=True))
    beyond = 0.0
    for end, outwards, one_side in ((low + 6, 1, up), (low + 1, -1, down)):
        length, scale, rows = one_side.tail()
        for i in range(1, 1 + min(math.floor(length) + 1, int(min(one_side.room, 64))) * (length > 0)):
            expected[end + outwards * i] = rows * (math.exp(-(i - 1) / scale) - math.exp(-i / scale))
            beyond += expected[end + outwards * i]
    for value in low + 1 + np.arange(6.0):
        expected[value] *= max(1 - beyond / sum(counts), 0.5)
    total = sum(expected.values())
    assert found == pytest.approx({v: r * sum(counts) / total for v, r in expected.items()})
    assert len(found) > 6


def test_zeros_alone_have_a_tail_and_zeros_and_ones_seldom_one() -> None:
    """Of zeros alone something else is there as well; two values that are no flag are as others are."""
    assert max(rows_by_value(WHOLE, [900.0], 0.0, 2.0)) >= 1
    assert max(rows_by_value(WHOLE, [900.0, 90.0], 0.0, 2.0)) == 1
    more = rows_by_value(WHOLE, [900.0, 400.0, 90.0], 0.0, 2.0)
    assert max(more) > 2 and min(more) == 0


@pytest.mark.parametrize("decimals", [None, 1])
def test_tails_of_intervals_have_four_parts_and_go_no_farther_than_a_third_of_what_is_shown(
    decimals: int | None,
) -> None:
    column = ColumnSchema("x", Kind.CONTINUOUS, "double", decimals=decimals)
    edges = np.append(np.arange(100.0, 150.0, 10.0), 150.05)
    grid = grid_of_parts(column, edges)
    counts = np.array([200.0, 900.0, 500.0, 150.0, 40.0])
    found, rows = with_tails(LevelCounts(counts, 3.0), grid, (0, 5), counts.sum(), column)
    assert rows.sum() == pytest.approx(counts.sum()) and (found.low[1:] >= found.high[:-1] - 1e-9).all()
    np.testing.assert_allclose(found.low[1:], found.high[:-1])
    widths = grid.high - grid.low
    high, low = grid.high[-1], grid.low[0]
    sides = [
        Side(w, r, np.empty(0), np.empty(0), 3.0, 0.3 * (high - low))
        for w, r in ((widths, counts), (widths[::-1], counts[::-1]))
    ]
    ends = []
    for one in sides:
        length, scale, beyond = one.tail()
        assert 0 < length <= 0.3 * (high - low)
        cut = np.arange(1, 5) * length / 4
        cut = np.unique(np.round(cut, 1)) if decimals else cut
        passed = np.exp(-np.append(0.0, cut) / scale)
        ends.append((cut, beyond * (passed[:-1] - passed[1:])))
    (up, up_rows), (down, down_rows) = ends
    half = 0.0 if decimals is None else 0.05
    np.testing.assert_allclose(found.high[-len(up) :], high + up + half * (np.arange(len(up)) < len(up) - 1))
    np.testing.assert_allclose(found.low[: len(down)][::-1], low - down - half * (np.arange(len(down)) < len(down) - 1))
    inner = counts * max(1 - (up_rows.sum() + down_rows.sum()) / counts.sum(), 0.5)
    expected = np.concatenate([down_rows[::-1], inner, up_rows])
    np.testing.assert_allclose(rows, expected * counts.sum() / expected.sum())
    np.testing.assert_array_equal(found.starts, found.low)


def test_leaves_far_out_are_left_out_where_the_noise_shows_none_but_for_a_margin() -> None:
    """Of 200 leaves the top nodes are sixteen each; rows lie in the fifth, so the fourth to the sixth stay."""
    leaves = np.zeros(200)
    leaves[4 * FAN_OUT + 3] = 500.0
    grid = grid_of(WHOLE, (0.0, 199.0))
    kept, left = without_noise_alone([LevelCounts(c, 3.0) for c in exact_levels(leaves)], grid, 500.0, 3.0)
    first, end = 3 * FAN_OUT, 6 * FAN_OUT
    assert left.low.tolist() == list(range(first, end)) == left.high.tolist() == (left.starts + 0.5).tolist()
    assert [len(level.counts) for level in kept] == [3 * FAN_OUT, 3] and kept[0].counts[FAN_OUT + 3] == 500
    assert kept[1].counts.tolist() == [0, 500, 0] and all(level.sigma == 3.0 for level in kept)
