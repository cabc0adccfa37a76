"""Protected distributions: shares are counted frequencies, rare values and extremes do not survive, grids are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.encoding.distribution import SmoothDistribution, ends_on_grid, smooth
from raysynth.encoding.quantiles import _searched, quantiles, searched
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import NumericDistribution


def released(values: pa.Array) -> SmoothDistribution:
    return protected(values, 5)


def protected(values: pa.Array, rare_threshold: int) -> SmoothDistribution:
    summary = NumericSummary(values.type)
    summary.update(values)
    return smooth(summary.distribution(), rare_threshold)


def drawn(distribution: SmoothDistribution, n: int = 200_000, seed: int = 0) -> np.ndarray:
    return distribution.rounded(distribution.quantile(np.random.default_rng(seed).random(n)))


def assert_sound(distribution: SmoothDistribution) -> None:
    low, high, share = distribution.low, distribution.high, distribution.share
    assert len(low) == len(high) == len(share) >= 1
    assert (low <= high).all() and (high[:-1] <= low[1:]).all()
    assert np.isfinite(low).all() and np.isfinite(high).all()
    assert (share >= 0).all() and share.sum() == pytest.approx(1)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.none() | st.floats(-1e6, 1e6) | st.integers(-20, 20).map(float), min_size=1, max_size=80),
    st.integers(1, 7),
)
def test_cells_are_ordered_and_shares_sum_to_one(values: list[float | None], rare_threshold: int) -> None:
    distribution = protected(pa.array(values, pa.float64()), rare_threshold)
    assert_sound(distribution)
    assert distribution.missing_share == pytest.approx(sum(v is None for v in values) / len(values))
    present = [v for v in values if v is not None]
    if len(present) > 2 * rare_threshold:  # of fewer the range itself would tell the values
        x = drawn(distribution, 500)
        assert min(present) <= x.min() and x.max() <= max(present)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-30, 30), min_size=1, max_size=200))
def test_without_protection_few_values_keep_their_counts(values: list[int]) -> None:
    distribution = protected(pa.array(values), 1)
    expected, counts = np.unique(values, return_counts=True)
    assert distribution.low.tolist() == distribution.high.tolist() == expected.tolist()
    np.testing.assert_allclose(distribution.share, counts / len(values))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=30, max_size=300), st.integers(2, 8))
def test_atoms_are_values_of_enough_rows_and_keep_at_least_their_counts(values: list[int], rare: int) -> None:
    """An atom may get the rows of rare neighbours on top, never fewer than its own."""
    distribution = protected(pa.array(values), rare)
    found, counts = np.unique(values, return_counts=True)
    rows = dict(zip(found.tolist(), counts.tolist(), strict=True))
    for low, high, share in zip(distribution.low, distribution.high, distribution.share, strict=True):
        if low == high and low in rows and rows[low] >= rare:
            assert share * len(values) >= rows[low] - 1e-6


@pytest.mark.parametrize("rare", [2, 5, 20])
def test_unique_values_among_heaped_ones_are_not_reproduced(rare: int) -> None:
    """Markers of rare - 1 rows each, of a precision that nothing else has: none among 200,000 draws."""
    rng = np.random.default_rng(rare)
    heaped = rng.choice(np.arange(0, 100, 5.0), 5000)
    markers = rng.uniform(0, 100, 12)
    values = np.concatenate([heaped, np.repeat(markers, rare - 1)])
    distribution = protected(pa.array(values), rare)
    assert not np.isin(drawn(distribution), markers).any()
    assert not np.isin(distribution.low, markers).any() and not np.isin(distribution.high, markers).any()
    off = protected(pa.array(values), 1)
    assert np.isin(markers, drawn(off)).all()


def test_whole_number_of_three_rows_between_frequent_ones_does_not_leave() -> None:
    """The cell between the midpoints of 122, 123 and 124 holds 123 alone: three rows are too few for a cell."""
    values = pa.array([122] * 500 + [123] * 3 + [124] * 500)
    assert set(drawn(released(values))) == {122.0, 124.0}
    assert set(drawn(protected(values, 3))) == {122.0, 123.0, 124.0}


@pytest.mark.parametrize("kind", ["unique", "heaped with unique extremes", "whole"])
def test_the_k_smallest_and_largest_rows_do_not_leave(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 4000)
    if kind == "heaped with unique extremes":
        values = np.concatenate(
            [rng.choice(50.0 + np.arange(10), 4000), -100 * rng.random(6), 1000 * rng.random(6) + 100]
        )
    if kind == "whole":
        values = np.concatenate([rng.integers(0, 60, 4000), [-90, -80, -70, -60, -50], [500, 600, 700, 800, 900]])
    ordered = np.sort(values)
    distribution = released(pa.array(values.astype(np.int64) if kind == "whole" else values))
    x = drawn(distribution)
    extremes = np.concatenate([ordered[:5], ordered[-5:]])
    assert ordered[4] < x.min() and x.max() < ordered[-5]
    assert not np.isin(extremes, [*distribution.low, *distribution.high]).any()
    off = drawn(protected(pa.array(values), 1), 2_000_000)
    assert off.max() > 0.9 * ordered[-2]


def test_frequent_extremes_stay() -> None:
    values = pa.array([0] * 50 + [1] * 1000 + [9] * 50)
    distribution = released(values)
    assert distribution.low.tolist() == distribution.high.tolist() == [0, 1, 9]
    np.testing.assert_allclose(distribution.share, np.array([50, 1000, 50]) / 1100)


@pytest.mark.parametrize(
    "values", [[1.5], [7.0] * 3, [1.0, 5.0], [1, 2, 3, 100], list(range(9)), [3] * 3 + [4] * 3 + [5] * 5]
)
def test_tables_of_few_rows(values: list[float]) -> None:
    distribution = released(pa.array(values))
    assert_sound(distribution)
    x = drawn(distribution, 1000)
    assert min(values) <= x.min() and x.max() <= max(values)
    if min(values) < max(values):
        assert min(values) < x.min() and x.max() <= max(values)


def test_no_value_at_all() -> None:
    distribution = released(pa.array([None, None], pa.float64()))
    assert_sound(distribution)
    assert distribution.missing_share == 1


def test_large_column_keeps_its_ranks() -> None:
    """Kolmogorov distance to the rows: below one pooled cell, 1 / 1024, and the trimmed ends."""
    values = np.random.default_rng(2).gamma(2, 1000, 200_000)
    distribution = released(pa.array(values))
    x = np.sort(values)[::50]
    assert np.abs(distribution.rank(x) - (np.arange(len(x)) * 50 + 0.5) / len(values)).max() < 1.5 / 1024


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["atoms", "smooth", "both"]))
def test_quantile_and_rank_are_inverse(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    values = {"atoms": rng.integers(0, 30, 500), "smooth": rng.normal(size=500)}.get(
        kind, np.where(rng.random(500) < 0.5, 0.0, rng.normal(size=500))
    )
    distribution = released(pa.array(values))
    ranks = rng.random(50)
    x = distribution.quantile(ranks)
    cell = distribution.cell_of(x)
    inside = distribution.high[cell] > distribution.low[cell]
    np.testing.assert_allclose(distribution.rank(x)[inside], ranks[inside], atol=1e-9)
    assert (np.diff(distribution.quantile(np.sort(ranks))) >= 0).all()


@pytest.mark.statistical
@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["whole", "evens", "cents", "tenths32", "free"]), st.integers(-100, 1200))
def test_ranks_below_are_those_of_rounded_draws(seed: int, kind: str, at: int) -> None:
    """P(value < x) and P(value <= x) for x on and off the grid. 20,000 draws: false alarm 6e-6 at 5 deviations."""
    rng = np.random.default_rng(seed)
    whole = rng.choice(rng.integers(0, 500, 60), 800) if seed % 2 else rng.integers(0, 500, 800)
    values: np.ndarray = {
        "whole": whole,
        "evens": whole * 2,
        "cents": whole / 100,
        "free": rng.normal(250, 90, 800),
    }.get(kind, (whole / 10).astype(np.float32))
    distribution = released(pa.array(values))
    x = at / 2 / {"whole": 1, "evens": 1, "cents": 100, "free": 1}.get(kind, 10)  # the doubles that the values are
    x = float(np.float32(x)) if kind == "tenths32" else x
    sample = drawn(distribution, 20_000, seed)
    sample = sample.astype(np.float32).astype(float) if kind == "tenths32" else sample
    for inclusive in (False, True):
        expected = distribution.rank_below(x, inclusive=inclusive)
        found = np.mean(sample <= x if inclusive else sample < x)
        assert abs(found - expected) < 5 * np.sqrt(max(expected * (1 - expected), 1e-4) / 20_000) + 1e-9


def test_ends_have_the_decimals_of_the_column() -> None:
    values = np.random.default_rng(3).gamma(2, 1000, 100_000).round(2)
    distribution = released(pa.array(values))
    ends = np.array(distribution.ends)
    np.testing.assert_array_equal(ends, ends.round(2))
    drawn_ends = distribution.rounded(np.array([distribution.low[0], distribution.high[-1]]))
    np.testing.assert_array_equal(drawn_ends, ends)


def test_steps_of_times_beyond_the_whole_numbers_of_float64() -> None:
    """Milliseconds counted in nanoseconds: the smallest value itself is no double, its place on the grid is known."""
    milliseconds = np.random.default_rng(4).integers(1_600_000_000_000, 1_700_000_000_000, 2000)
    distribution = released(pa.array(milliseconds * 1_000_000).cast(pa.timestamp("ns")))
    assert (distribution.step, distribution.offset) == (1_000_000, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_the_compiled_loops_give_the_same_to_the_last_bit(n_cells: int, seed: int) -> None:
    """Atoms, cells without rows, edges themselves and their neighbouring doubles; skewed and even ones."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice([np.exp, np.abs])(3 * rng.standard_normal(2 * n_cells)))
    low, high = edges[::2].copy(), edges[1::2].copy()
    atoms, empty = rng.random((2, n_cells)) < 0.3
    high[atoms], empty[0] = low[atoms], False
    cells = SmoothDistribution(low, high, np.where(empty, 0.0, rng.dirichlet(np.full(n_cells, 0.3)) + 1e-9), 0.0, None)
    ranks = np.concatenate([rng.random(500), cells.cumulative, np.nextafter(cells.cumulative, 0)])
    assert np.array_equal(quantiles(ranks, cells.arrays), cells.quantile(ranks))
    x = np.concatenate([rng.normal(0, 10, 500), low, np.nextafter(low, -np.inf), np.nextafter(low, np.inf)])
    assert np.array_equal(searched(low, x), np.searchsorted(low, x, side="right"))


@pytest.mark.parametrize(("low", "high"), [(1.1, 2.3), (0.7, 1.1), (-1.1, -0.7)])
def test_ends_that_lie_on_the_grid_but_for_a_rounded_division_stay(low: float, high: float) -> None:
    """1.1 / .1 is 11.000000000000002 and 2.3 / .1 is 22.999999999999996."""
    distribution = SmoothDistribution(np.array([low]), np.array([high]), np.ones(1), 0.0, 1)
    assert distribution.ends == pytest.approx((low, high), abs=1e-12)
    off = SmoothDistribution(np.array([low - 0.04]), np.array([high + 0.04]), np.ones(1), 0.0, 1)
    assert off.ends == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("rare", [1, 5])
def test_cells_end_on_values_of_the_step_or_half_way_between(rare: int) -> None:
    quarters = np.random.default_rng(6).gamma(2, 200, 3000).astype(int) / 4
    found = protected(pa.array(quarters), rare)
    assert found.step == 0.25 and (found.low < found.high).any()
    ends = np.concatenate([found.low, found.high]) / 0.125
    assert np.abs(ends - ends.round()).max() < 1e-6


def test_cells_without_rows_go() -> None:
    """Noised counts can be 0."""
    low = np.array([0.0, 10.0, 20.0, 30.0])
    noised = NumericDistribution(low, low + 5, np.array([40.0, 0.0, 60.0, 0.0]), 0.0, 10.0, 5.0, None, False, 0.0)
    found = smooth(noised, 1)
    assert (found.share > 0).all() and found.low[0] == 0 and found.high[-1] <= 25


def test_an_outermost_cell_in_which_the_noise_left_less_than_a_row_goes_and_its_rows_stay() -> None:
    low = np.array([0.0, 10.0, 20.0, 30.0])
    noised = NumericDistribution(low, low + 5, np.array([0.5, 50.0, 60.0, 0.25]), 0.0, 10.0, 5.0, None, False, 0.0)
    found = smooth(noised, 1)
    assert (found.low[0], found.high[-1]) == (7.5, 27.5), "midway between what goes and what stays"
    assert found.share.sum() == pytest.approx(1)
    alone = NumericDistribution(low[:1], low[:1] + 8, np.array([0.5]), 0.0, 10.0, 5.0, None, False, 0.0)
    inside = smooth(alone, 1)
    assert (inside.low.tolist(), inside.high.tolist()) == ([2.0], [6.0])


def test_the_compiled_search_reads_nothing_beside_its_guide() -> None:
    """As Python, which says so; machine code does not."""
    edges = np.array([0.0, 1.0, 4.0])
    guide = np.searchsorted(edges, np.linspace(0, 4, 7), side="right")
    x, at = np.array([-9.0, 0.0, 3.9, 4.0, 9.0]), np.zeros(5, np.int64)
    value_of(lambda: _searched.py_func(edges, x, guide, at))  # type: ignore[attr-defined]
    assert at.tolist() == [0, 1, 2, 3, 3]


def test_ends_of_any_numbers_are_those_of_the_outermost_cells() -> None:
    free = SmoothDistribution(np.array([0.1, 2.0]), np.array([0.7, 3.3]), np.full(2, 0.5), 0.0, None)
    assert value_of(lambda: free.ends) == (0.1, 3.3)
    whole = replace(free, decimals=0)
    assert value_of(lambda: whole.ends) == (1.0, 3.0)


@pytest.mark.parametrize("size", [10.0, 1e4, 1e7, 1e9, 1e12])
def test_large_ends_on_the_grid_stay_however_the_division_rounds(size: float) -> None:
    """A place is right to some bits of its own size, not to a billionth of one."""
    ends = np.round(np.random.default_rng(0).uniform(size / 9, size, (200, 2)), 1)
    for sign in (1, -1):
        for low, high in np.sort(sign * ends, axis=1):
            if low < high:
                cell = SmoothDistribution(np.array([low]), np.array([high]), np.ones(1), 0.0, 1)
                kept = value_of(lambda cell=cell: ends_on_grid(cell))
                assert (kept.low[0], kept.high[0]) == pytest.approx((low, high), abs=0.01)
                assert cell.ends == pytest.approx((low, high), abs=0.01)
                off = replace(cell, low=cell.low - 0.03, high=cell.high + 0.03)
                moved = value_of(lambda off=off: ends_on_grid(off))
                assert (moved.low[0], moved.high[0]) == pytest.approx((low, high), abs=0.01)
