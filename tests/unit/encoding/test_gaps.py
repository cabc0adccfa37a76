"""Wide gaps: nothing is drawn between a sentinel and the other values, and no end of an interval is a rare value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.encoding.numeric import build_modes
from raysynth.encoding.pooled_cells import wide_gaps, without_lone_cuts
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import NumericDistribution

N = 4000


def released(values: np.ndarray) -> NumericDistribution:
    summary = NumericSummary(pa.array(values).type)
    summary.update(pa.array(values))
    return summary.distribution()


def drawn(distribution: SmoothDistribution) -> np.ndarray:
    return distribution.rounded(distribution.quantile((np.arange(200_000) + 0.5) / 200_000))


def in_gap(x: np.ndarray, low: float, high: float) -> int:
    return int(((x > low) & (x < high)).sum())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sentinel=st.sampled_from([-9999.0, -999.0, -1e12, 1e9, 99_999.0]),
    share=st.floats(0.004, 0.6),
    decimals=st.sampled_from([0, 1, 12]),
    rare=st.sampled_from([1, 5, 20]),
    strays=st.integers(0, 4),
)
def test_nothing_is_drawn_between_a_sentinel_and_the_values(
    seed: int, sentinel: float, share: float, decimals: int, rare: int, strays: int
) -> None:
    """Nor where a few stray rows, fewer than are protected, lie in the gap."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(50, 10, N), decimals)
    values[: max(round(share * N), rare)] = sentinel
    values[-strays or N :] = sentinel * rng.uniform(0.3, 0.7, min(strays, rare - 1) or strays)[: strays or None]
    usual = values[np.abs(values) < 200]
    x = drawn(smooth(released(values), rare))
    between = (sentinel, usual.min()) if sentinel < 0 else (usual.max(), sentinel)
    if rare > strays:
        assert in_gap(x, *between) == 0
    assert (x == sentinel).mean() == pytest.approx((values == sentinel).mean(), abs=strays / N + 0.002)


@pytest.mark.parametrize("rare", [5, 20])
def test_two_groups_keep_their_rows_and_no_end_is_a_rare_value(rare: int) -> None:
    rng = np.random.default_rng(rare)
    values = np.concatenate([rng.normal(0, 1, 3000), rng.normal(1000, 1, 40)])
    distribution = smooth(released(values), rare)
    x = drawn(distribution)
    assert in_gap(x, values[:3000].max(), values[3000:].min()) == 0
    assert (x > 500).mean() == pytest.approx(40 / 3040, abs=1e-4)
    assert not np.isin(values, [*distribution.low, *distribution.high]).any()
    assert (distribution.share * len(values) > rare - 1e-6).all()


def test_modes_draw_nothing_from_a_gap() -> None:
    """A sentinel of 1 % is no mode of its own; the Gaussian that holds it gives the sentinel, not its neighbours."""
    rng = np.random.default_rng(1)
    values = np.where(rng.random(N) < 0.01, -999.0, rng.gamma(2, 20, N))
    encoder = build_modes(ColumnSchema("x", Kind.CONTINUOUS, "double"), released(values), rare_threshold=5, n_modes=10)
    codes = rng.integers(0, encoder.cardinality - 1, 20_000).astype(np.uint16)
    x = encoder.decode(codes, rng.uniform(-1, 1, 20_000).astype(np.float32), rng).to_numpy()
    assert in_gap(x, -999, values[values > -999].min()) == 0 and (x == -999).any()


@pytest.mark.parametrize("law", ["normal", "lognormal", "exponential", "uniform", "pareto"])
def test_smooth_values_have_no_wide_gaps(law: str) -> None:
    """At most one of 10,000 gaps inside the ends of each law."""
    rng = np.random.default_rng(2)
    draw = {"pareto": lambda n: rng.pareto(1.5, n)}.get(law) or (lambda n: getattr(rng, law)(size=n))
    x = np.sort(draw(200_000))[20:-20]
    found = wide_gaps(x, x, np.ones(len(x)), np.zeros(len(x), bool), rows=195, unit=0.0)
    assert found.mean() <= 1e-4


def test_small_groups_side_by_side_are_one() -> None:
    counts, cut = np.array([10.0, 2, 2, 2, 10, 1, 10]), np.ones(6, bool)
    gap = np.array([90.0, 10, 10, 80, 10, 10])
    assert without_lone_cuts(cut, gap, counts, 5).tolist() == [True, False, False, True, True, True]


def test_stray_rows_do_not_take_the_nearest_rows_of_others_along() -> None:
    counts, gap = np.array([10.0, 1, 4, 10]), np.array([4000.0, 5000, 6])
    assert without_lone_cuts(np.ones(3, bool), gap, counts, 5).all()


def test_shares_follow_ranks_across_gaps() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0, 1, 5000), rng.normal(1e4, 10, 5000), np.full(5000, 1e9)])
    distribution = smooth(released(values), 5)
    x = np.sort(values)[::20]
    ranks = np.arange(len(x)) * 20 / len(values)
    assert np.abs(distribution.rank(x) - ranks)[x < 1e8].max() < 3 / 1024
    assert distribution.rank_below(1e6, inclusive=True) == pytest.approx(2 / 3, abs=1e-6)
