"""Noisy histograms: consistency by least squares, and merging where noise hides the shape."""

import math

import numpy as np
import pytest
from outcome import value_of

from raysynth.dp.mechanisms.histogram import (
    FAN_OUT,
    SIGNIFICANT,
    LevelCounts,
    Runs,
    consistent,
    exact_levels,
    level_sizes,
    merged_runs,
    simplex,
    unbiased_mean,
    with_ends,
    without_stray,
)

RNG = np.random.default_rng(0)


def noised_levels(leaves: np.ndarray, sigma: float, rng: np.random.Generator) -> list[LevelCounts]:
    return [LevelCounts(k + sigma * rng.standard_normal(len(k)), sigma) for k in exact_levels(leaves)]


@pytest.mark.parametrize("n_leaves", [1, 128, 129, 1000, 70_000])
def test_one_row_changes_each_level_by_one_count_of_one(n_leaves: int) -> None:
    """The sensitivity that the ledger states: sqrt(levels) over all levels together."""
    leaves = RNG.integers(0, 5, n_leaves)
    more = leaves.copy()
    more[n_leaves // 2] += 1
    changes = value_of(lambda: [b - a for a, b in zip(exact_levels(leaves), exact_levels(more), strict=True)])
    assert [np.abs(c).sum() for c in changes] == [1] * len(level_sizes(n_leaves))


def test_consistent_levels_add_up_and_are_the_least_squares_solution() -> None:
    levels = noised_levels(RNG.integers(0, 50, 200), 3.0, RNG)
    estimate = consistent(levels)
    assert np.allclose(np.add.reduceat(estimate[0], np.arange(len(estimate[1])) * FAN_OUT), estimate[1])
    parents = np.zeros((len(estimate[1]), 200))
    parents[np.arange(200) // FAN_OUT, np.arange(200)] = 1
    design = np.vstack([np.eye(200), parents])
    expected = np.linalg.lstsq(design, np.concatenate([levels[0].counts, levels[1].counts]), rcond=None)[0]
    assert np.allclose(estimate[0], expected)


def test_without_noise_every_row_stays_where_it_is() -> None:
    leaves = np.zeros(5000)
    leaves[[0, 17, 4999]] = [900.0, 50.0, 50.0]
    runs = value_of(lambda: merged_runs([LevelCounts(k, 1e-9) for k in exact_levels(leaves)], 1000.0))
    assert runs.counts.sum() == pytest.approx(1000)
    found = dict(zip(runs.first.tolist(), runs.counts, strict=True))
    assert (found[0], found[17], found[4999]) == pytest.approx((900, 50, 50), abs=1e-3)


def test_a_heavy_value_is_found_and_a_smooth_stretch_is_not_cut_up() -> None:
    leaves = np.full(50_000, 0.1)
    leaves[777] += 5000
    runs = merged_runs(noised_levels(leaves, 40.0, np.random.default_rng(1)), 10_000.0)
    assert runs.counts[runs.first == 777] == pytest.approx(5000, abs=400)
    assert len(runs.first) < 400


@pytest.mark.parametrize("total", [10.0, 1.0, 0.0])
def test_projection_is_the_nearest_point_with_the_sum(total: float) -> None:
    values = RNG.normal(size=6) * 3
    found = simplex(values, total)
    assert found.min() >= 0 and found.sum() == pytest.approx(total, abs=1e-9)
    others = RNG.dirichlet(np.ones(6), 2000) * total
    assert ((found - values) ** 2).sum() <= ((others - values) ** 2).sum(axis=1).min() + 1e-9
    assert simplex(np.array([3.0, -np.inf]), 5.0).tolist() == [5.0, 0.0]


def test_an_only_child_is_looked_into() -> None:
    """The last node of a level may have one child, and that one leaves that differ: a limit where rows pile up."""
    leaves = np.zeros(FAN_OUT**3 + 2)
    leaves[-1] = 5000.0
    levels = [LevelCounts(c, 1.0) for c in exact_levels(leaves)]
    runs = merged_runs(levels, 5000.0)
    assert runs.first[-1] == len(leaves) - 1 and runs.counts[-1] == pytest.approx(5000.0)


@pytest.mark.parametrize(("beyond", "n_runs"), [(-0.2, 1), (0.2, FAN_OUT)])
def test_a_node_is_split_where_its_children_differ_by_three_standard_deviations(beyond: float, n_runs: int) -> None:
    """Of a chi-square of one degree of freedom less than there are children, whose variance is twice that."""
    freedom = FAN_OUT - 1
    excess = SIGNIFICANT * np.sqrt(2 * freedom) + beyond
    leaves = 1000.0 + np.sqrt((freedom + excess) / FAN_OUT) * np.where(np.arange(FAN_OUT) % 2, 1, -1)
    levels = [LevelCounts(leaves, 1.0), LevelCounts(np.array([leaves.sum()]), 1.0)]
    assert len(merged_runs(levels, leaves.sum()).counts) == n_runs


def runs_by_loops(levels: list[LevelCounts], total: float) -> list[tuple[int, float]]:
    """(first leaf, rows) of each run: from the top a node is split where its children differ beyond the noise."""
    estimates = consistent(levels)
    runs: list[tuple[int, float]] = []

    def look(depth: int, node: int, count: float) -> None:
        children = range(0 if depth == 0 else len(estimates[depth - 1]))[node * FAN_OUT : (node + 1) * FAN_OUT]
        own = [float(estimates[depth - 1][c]) for c in children]
        mean = sum(own) / max(len(own), 1)
        if depth > 0:
            sigma, freedom = levels[depth - 1].sigma, len(own) - 1
            differ = sum((v - mean) ** 2 for v in own) / sigma**2 - freedom > SIGNIFICANT * math.sqrt(2 * freedom)
            if len(own) == 1 or (count > sigma and differ):
                for child, share in zip(children, simplex(np.array(own), count), strict=True):
                    look(depth - 1, child, float(share))
                return
        runs.append((node * FAN_OUT**depth, count))

    for node, count in enumerate(simplex(estimates[-1], total)):
        look(len(levels) - 1, node, float(count))
    return sorted(runs)


@pytest.mark.parametrize("n_leaves", [7, 129, 1500, 2049, 32_768])
@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_runs_are_those_of_a_walk_from_the_top(n_leaves: int, sigma: float) -> None:
    rng = np.random.default_rng(n_leaves)
    leaves = rng.poisson(0.3, n_leaves) + 200.0 * (rng.random(n_leaves) < 0.01)
    levels = noised_levels(leaves, sigma, rng)
    assert len(levels) == {7: 1, 129: 2, 1500: 2, 2049: 3, 32_768: 3}[n_leaves]
    runs = value_of(lambda: merged_runs(levels, leaves.sum()))
    found = list(zip(runs.first.tolist(), runs.counts.tolist(), strict=True))
    expected = runs_by_loops(levels, leaves.sum())
    assert [f for f, _ in found] == [f for f, _ in expected]
    np.testing.assert_allclose([c for _, c in found], [c for _, c in expected], atol=1e-6)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([0.0, 90.0, 10.0], [5.0, 90.0, 10.0]), ([7.0, 3.0, 4.0], [7.0, 3.0, 5.0]), ([6.0, 0.0, 6.0], [6.0, 0.0, 6.0])],
)
def test_the_ends_of_a_short_range_keep_five_rows(counts: list[float], expected: list[float]) -> None:
    runs = Runs(np.arange(3), np.array(counts), np.array(counts))
    found = value_of(lambda: with_ends(runs, 3))
    np.testing.assert_allclose(found.counts, np.array(expected) * sum(counts) / sum(expected))
    assert runs.counts.tolist() == counts and found.first.tolist() == [0, 1, 2]


def test_a_range_of_one_value_has_one_end() -> None:
    found = value_of(lambda: with_ends(Runs(np.zeros(1, int), np.array([7.0]), np.array([7.0])), 1))
    assert (found.first.tolist(), found.counts.tolist()) == ([0], [7.0])


@pytest.mark.parametrize(
    ("first", "counts", "found", "rows"),
    [
        ([0, 400, 800], [90.0, 10.0, 0.0], [0, 1, 400, 800, 999], [4.0, 90.0, 10.0, 0.0, 4.0]),
        ([0, 1, 500, 999], [40.0, 30.0, 20.0, 10.0], [0, 1, 500, 999], [40.0, 30.0, 20.0, 10.0]),
        ([0, 90, 180], [0.0, 100.0, 0.0], [0, 90, 180], [0.0, 100.0, 0.0]),  # 1000 leaves are over ten times 90
    ],
)
def test_the_ends_of_a_long_range_keep_four_rows_unless_it_is_loose(
    first: list[int], counts: list[float], found: list[int], rows: list[float]
) -> None:
    runs = Runs(np.array(first), np.array(counts), np.array(counts))
    ended = value_of(lambda: with_ends(runs, 1000))
    assert ended.first.tolist() == found
    np.testing.assert_allclose(ended.counts, np.array(rows) * sum(counts) / sum(rows))


@pytest.mark.parametrize(("beside", "stays"), [(2.9, False), (3.1, True)])
@pytest.mark.parametrize(("last", "piled"), [(1.4, False), (1.6, True)])
def test_stray_rows_go_unless_they_are_significant_alone(beside: float, stays: bool, last: float, piled: bool) -> None:
    """Three standard deviations where nothing else is, one and a half at a declared end; the rest has their rows."""
    counts = np.array([0.0, 300.0, 200.0, beside, last])
    levels = [LevelCounts(np.zeros(5 * FAN_OUT), 7.0), LevelCounts(7 * counts, 7.0)]
    runs = value_of(lambda: without_stray(Runs(np.arange(5) * FAN_OUT, 7 * counts, 7 * counts), levels, (1, 3)))
    kept = np.array([False, True, True, stays, piled])
    np.testing.assert_array_equal(runs.counts > 0, kept)
    assert runs.counts.sum() == pytest.approx(7 * counts.sum())
    assert runs.counts[1] / runs.counts[2] == pytest.approx(1.5)


@pytest.mark.parametrize("seed", range(4))
def test_three_levels_of_different_noise_are_weighted_by_their_variances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    leaves = rng.integers(0, 9, 300)
    exact = [leaves.astype(float), *(np.add.reduceat(leaves, np.arange(0, 300, w)).astype(float) for w in (16, 256))]
    levels = [LevelCounts(c + rng.normal(size=len(c)) * s, s) for c, s in zip(exact, (3.0, 1.0, 0.5), strict=True)]
    design = np.vstack([np.eye(300), *(np.arange(300) // w == np.arange(-(-300 // w))[:, None] for w in (16, 256))])
    weight = np.concatenate([np.full(len(lv.counts), 1 / lv.sigma) for lv in levels])
    noised = np.concatenate([lv.counts for lv in levels])
    expected = np.linalg.lstsq(design * weight[:, None], noised * weight, rcond=None)[0]
    found = value_of(lambda: consistent(levels))
    for width, level in zip((1, 16, 256), found, strict=True):
        np.testing.assert_allclose(level, np.add.reduceat(expected, np.arange(0, 300, width)), atol=1e-6)


@pytest.mark.parametrize("n_leaves", [40, 300])
def test_a_mean_by_noised_counts_has_no_bias_and_the_least_noise(n_leaves: int) -> None:
    """Values far from zero; 2,000 draws: the mean within 5 standard errors, their deviation within 8 %."""
    rng = np.random.default_rng(n_leaves)
    values = np.sort(rng.uniform(900, 1000, n_leaves))
    leaves, sigma = rng.integers(0, 9, n_leaves).astype(float), 6.0
    total, exact = leaves.sum(), exact_levels(leaves)
    mean, noise, per_row = value_of(lambda: unbiased_mean([LevelCounts(c, sigma) for c in exact], values, total))
    assert mean == pytest.approx(leaves @ values / total)
    drawn = [
        unbiased_mean([LevelCounts(c + sigma * rng.normal(size=len(c)), sigma) for c in exact], values, total)[0]
        for _ in range(2000)
    ]
    assert np.mean(drawn) == pytest.approx(mean, abs=5 * noise / 2000**0.5)
    assert np.std(drawn) == pytest.approx(noise, rel=0.08)
    spread = np.vstack([np.eye(n_leaves), *((np.arange(n_leaves) // FAN_OUT**d == np.arange(len(c))[:, None])
                        for d, c in enumerate(exact[1:], 1))]).astype(float)  # fmt: skip
    covariance = sigma**2 * np.linalg.inv(spread.T @ spread)

    def noise_at(m: float) -> float:
        return float(np.sqrt((values - m) @ covariance @ (values - m))) / total

    assert noise == pytest.approx(min(noise_at(m) for m in np.linspace(880, 1020, 2801)), rel=1e-6)
    more = unbiased_mean([LevelCounts(c, sigma) for c in exact], values, total + 1)[0]
    assert mean - more == pytest.approx(per_row, rel=0.05, abs=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1.7e308, 0.0), (1e-300, 0.0), (3.0, 1e6)])
def test_a_mean_by_noised_counts_moves_with_its_values(scale: float, shift: float) -> None:
    """Up to the largest numbers that there are; values that are all one have it as their mean, and no noise."""
    place, total = np.linspace(-1, 1, 40), 1000.0
    levels = noised_levels(np.full(40, 25.0), 6.0, np.random.default_rng(3))
    plain = unbiased_mean(levels, place, total)
    mean, noise, per_row = value_of(lambda: unbiased_mean(levels, scale * place + shift, total))
    assert mean == pytest.approx(scale * plain[0] + shift, rel=1e-9)
    assert (noise, per_row) == pytest.approx((scale * plain[1], scale * plain[2]), rel=1e-6)
    assert value_of(lambda: unbiased_mean(levels, np.full(40, 7.0), total)) == pytest.approx((7.0, 0.0, 0.0))
