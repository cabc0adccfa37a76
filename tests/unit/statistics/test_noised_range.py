"""Ranges and digits that nobody declared: what the noised releases find, and that each row is in one cell of each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raysynth.dp import InsecureSeededNoise
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.cell_counts import NumberCells
from raysynth.statistics.noised_digits import DigitCells, digits_shown
from raysynth.statistics.noised_range import ZOOMS, RangeGrid, hull, least_interval, released_range

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
    return released_range(
        column, counts, lambda exact: exact + SIGMA * noise.normal(exact.shape), SIGMA, len(values), SIGMA / 2
    )


def test_dates_stay_near_their_years_and_low_values_are_kept() -> None:
    """At most one of twenty draws may be off: about one in fifty of each kind is (2000 draws of each looked at)."""
    rng = np.random.default_rng(0)
    dates = 1_609_459_200 * 10**6 + rng.integers(0, 300, ROWS) * DAY
    years = [np.ptp(found(TIME, dates, seed)) / DAY / 365 for seed in range(20)]
    assert np.sum(np.array(years) > 10) <= 1
    lows = [found(NUMBER, rng.random(ROWS), seed)[0] for seed in range(20)]
    assert np.sum(np.array(lows) > 0.1) <= 1


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
            asked.append((grid.in_bins(before, low, high)[0], grid.in_bins(after, low, high)[0]))
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
        released_range(NUMBER, counted(NUMBER, values), noising, 1.0, ROWS, 1.0)
        assert 1 <= len(asked) <= 1 + ZOOMS


def test_an_interval_holds_all_that_is_significant() -> None:
    cells = np.array([0, 0, 500, 400, 0, 0, 0, 300, 0.0])
    assert least_interval(cells, 10.0, 1200.0, 10.0) == (2, 7)
    assert hull(np.zeros(50), 10.0, 4.5, 1.5) is None


@pytest.mark.statistical
@pytest.mark.parametrize(("digits", "sigma", "shown"), [(0, 40.0, 0), (1, 40.0, 1), (9, 40.0, None), (0, 900.0, None)])
def test_digits_are_shown_where_the_noise_allows(digits: int, sigma: float, shown: int | None) -> None:
    """False alarms: one in 740, beyond three standard deviations."""
    values = pa.array(np.round(np.random.default_rng(0).normal(0, 50, ROWS), digits))
    counts = np.bincount(DigitCells().index(values), minlength=DigitCells.n_cells)
    assert counts.sum() == ROWS
    noised = counts + sigma * InsecureSeededNoise(1).normal(counts.shape)
    assert digits_shown(noised, sigma, ROWS) == shown
