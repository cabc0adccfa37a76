"""Intervals of means over repeats: their bounds, how often they hold the truth, and when there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from raysynth.comparison.intervals import mean_of_repeats


def test_far_from_the_bounds_it_is_about_students() -> None:
    values = [0.50, 0.52, 0.49, 0.51, 0.48]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_of_repeats(values)
    assert (found.low, found.high) == (pytest.approx(expected.low, abs=1e-3), pytest.approx(expected.high, abs=1e-3))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_no_score_goes_beyond_its_bounds(bounds: tuple[float, float]) -> None:
    for values in ([0.3, 0.99, 0.66], [0.999, 1.0, 1.0], [0.001, 0.0, 0.9]):
        found = mean_of_repeats(values, bounds)
        assert bounds[0] <= found.low <= found.value <= found.high <= bounds[1]


@pytest.mark.parametrize("shape", [(8.0, 2.0), (30.0, 1.0)])
def test_it_holds_the_mean_of_scores_near_their_bound(shape: tuple[float, float]) -> None:
    """Beta scores of mean 0.8 and 0.97, five repeats: fewer than 920 of 1,000 has probability below 1e-4 at 95 %."""
    rng = np.random.default_rng(0)
    drawn = [mean_of_repeats(rng.beta(*shape, 5).tolist()) for _ in range(1000)]
    assert sum(e.low <= shape[0] / sum(shape) <= e.high for e in drawn) >= 920


@pytest.mark.statistical
@pytest.mark.parametrize(("centre", "spread"), [(0.98, 0.03), (1.0, 0.05), (1.02, 0.03)])
def test_it_holds_the_mean_of_scores_that_are_mostly_at_their_bound(centre: float, spread: float) -> None:
    """A quarter, half and three quarters at 1, three repeats; 570 to 950 of 1,000 where equal repeats have no width."""
    rng = np.random.default_rng(0)
    mean = float(np.minimum(rng.normal(centre, spread, 10**6), 1).mean())
    drawn = [mean_of_repeats(np.minimum(rng.normal(centre, spread, 3), 1).tolist()) for _ in range(1000)]
    assert sum(e.low <= mean <= e.high for e in drawn) >= 930  # at 95 %: less once in 500 runs; the seed is fixed


def test_repeats_at_a_bound_have_the_interval_of_a_share() -> None:
    for values, bounds in (([1.0] * 3, (0.0, 1.0)), ([-1.0] * 3, (-1.0, 1.0))):
        found = mean_of_repeats(values, bounds)
        expected = binomtest(3, 3).proportion_ci(0.95).low
        assert (found.high - found.low) / (bounds[1] - bounds[0]) == pytest.approx(1 - expected)
    assert mean_of_repeats([0.7, 0.7, 0.7]).low == pytest.approx(0.7)


def test_fewer_than_three_repeats_have_no_interval_and_none_no_mean() -> None:
    assert math.isnan(mean_of_repeats([0.34, 0.96]).low) and mean_of_repeats([0.34, 0.96]).value == pytest.approx(0.65)
    assert math.isnan(mean_of_repeats([0.5, math.nan, 0.6]).high)
    assert math.isnan(mean_of_repeats([math.nan]).value)


def test_a_noised_mean_beyond_the_bounds_keeps_its_place() -> None:
    found = mean_of_repeats([1.1, 1.2, 1.3])
    assert found.low < 1.2 < found.high and found.value == pytest.approx(1.2)
