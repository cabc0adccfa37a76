"""Tails beyond the cells that noise shows: they go on as the shape before, end where rows do, and pass no limit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from raysynth.dp.mechanisms.histogram import LevelCounts
from raysynth.dp.mechanisms.noise import InsecureSeededNoise
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.cell_counts import NumberCells
from raysynth.statistics.noised_range import END_COST, interval_shown
from raysynth.statistics.noised_tails import Side, ValueGrid, grid_of, grid_of_parts, wider, with_tails

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
