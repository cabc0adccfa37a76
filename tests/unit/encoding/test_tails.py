"""Tails: as long as the other cells let expect, inside what a number can be, and deaf to the rows that lie there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.encoding.tails import with_tails
from raysynth.statistics.numeric import NumericSummary

N, RARE, FREE = 4_000, 5, (-np.inf, np.inf)


def both(values: np.ndarray, bounds: tuple[float, float] = FREE) -> tuple[SmoothDistribution, SmoothDistribution]:
    """The protected cells, and these with tails."""
    summary = NumericSummary(pa.array(values).type)
    summary.update(pa.array(values))
    cells = smooth(summary.distribution(), RARE)
    return cells, with_tails(cells, summary.distribution(), RARE, bounds)


@pytest.mark.statistical
@pytest.mark.parametrize("shape", [0.0, 0.35])
def test_a_tail_ends_before_the_largest_of_so_many_rows_four_times_in_five(shape: float) -> None:
    """Of 16 tables 3 are expected where the end lies beyond the largest row; 10 or more have a chance of 2e-4. The end
    is nearer to the largest than without tails."""
    ratios = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        values = rng.exponential(size=N) if shape == 0 else rng.pareto(1 / shape, N)
        ratios.append([np.log(d.high[-1] / values.max()) for d in both(values)])
    without, tailed = np.array(ratios).T
    assert (tailed > 0).sum() < 10
    assert np.abs(tailed).mean() < 0.85 * np.abs(without).mean()


def test_where_rows_lie_beyond_does_not_matter() -> None:
    """All that are in no protected cell moved out: not a bit of the tails."""
    values = np.random.default_rng(3).normal(size=N)
    cells, one = both(values)
    beyond = (values < cells.low[0]) | (values > cells.high[-1])
    summary = NumericSummary(pa.float64())
    summary.update(pa.array(np.where(beyond, values * 7, values)))
    other = with_tails(cells, summary.distribution(), RARE, FREE)
    for name in ("low", "high", "share"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.high[-1] > cells.high[-1] and one.low[0] < cells.low[0]
    assert (one.share * N >= RARE - 0.5).all() and one.share.sum() == pytest.approx(1)


@pytest.mark.parametrize("sign", [1, -1])
def test_no_end_crosses_zero_a_power_of_ten_or_a_bound(sign: int) -> None:
    rng = np.random.default_rng(1)
    shares = sign * rng.beta(2, 1.2, N)
    amounts = sign * rng.lognormal(3, 1.5, N)
    for values, end in ((shares, sign), (amounts, None)):
        tailed = both(values)[1]
        assert (tailed.low * sign >= 0).all() and (tailed.high * sign >= 0).all()
        assert end is None or np.abs([tailed.low, tailed.high]).max() <= 1
    largest = float(np.abs(amounts).max())
    bounded = both(amounts, (0.0, largest * 0.9) if sign > 0 else (-largest * 0.9, 0.0))[1]
    assert np.abs([bounded.low, bounded.high]).max() <= largest * 0.9


def test_whole_numbers_stay_whole_and_ends_that_many_share_stay() -> None:
    rng = np.random.default_rng(2)
    capped = np.minimum(rng.geometric(0.01, N), 300)
    cells, tailed = both(capped)
    assert tailed.high[-1] == cells.high[-1] == 300
    free, made = both(rng.geometric(0.01, N))
    assert made.high[-1] > free.high[-1] and len(made.low) > len(free.low)
    drawn = made.rounded(made.quantile(rng.random(100_000)))
    assert (drawn == np.rint(drawn)).all() and drawn.min() >= 1
    assert free.high[-1] < drawn.max() <= made.high[-1]
    rounded = both(np.round(rng.lognormal(0, 1, N), 2))[1]
    places = np.array([rounded.low[-1], rounded.high[-1]]) * 100
    np.testing.assert_allclose(places, np.rint(places), atol=1e-6)
