"""Shares and AUCs with their intervals: coverage of independent and dependent trials, differences, sequences."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.comparison import rates
from raysynth.comparison.rates import confidence_sequence


def test_clopper_pearson_by_its_tails() -> None:
    from scipy.stats import binom

    found = rates.clopper_pearson(7, 50)
    assert binom.sf(6, 50, found.low) == pytest.approx(0.025)
    assert binom.cdf(7, 50, found.high) == pytest.approx(0.025)
    assert rates.clopper_pearson(0, 10).low == 0 and rates.clopper_pearson(10, 10).high == 1


def test_clusters_widen_the_interval_as_they_must() -> None:
    """100 clusters of 10 equal values: the interval is that of 100 trials."""
    values = np.repeat(np.arange(100) < 30, 10).astype(float)
    clusters = np.repeat(np.arange(100), 10)
    found, alone = rates.share(values, clusters), rates.clopper_pearson(30, 100)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.005)
    assert rates.share(values).low > found.low
    assert rates.share(np.ones(1000), clusters).low == pytest.approx(rates.clopper_pearson(100, 100).low)


def test_difference_of_equal_shares_covers_zero() -> None:
    """95 % of 400 repetitions; fewer than 360 has probability below 1e-4."""
    rng = np.random.default_rng(0)
    covered = 0
    for first, second in rng.binomial(200, 0.05, (400, 2)):
        found = rates.difference(rates.clopper_pearson(first, 200), rates.clopper_pearson(second, 200))
        covered += found.low <= 0 <= found.high
    assert covered >= 360


def test_excess_is_one_where_everything_leaks_and_nothing_where_the_baseline_gets_as_much() -> None:
    all_right, half = rates.clopper_pearson(500, 500), rates.clopper_pearson(250, 500)
    assert rates.excess(all_right, half).value == 1
    assert rates.excess(half, half).low < 0 < rates.excess(half, half).high


def test_confidence_sequence_holds_at_every_moment() -> None:
    """Mean 0.6 outside the interval at any of 400 moments: at most 5 % of runs, so over 16 of 150 has p < 1e-3."""
    missed = 0
    for seed in range(150):
        values = (np.random.default_rng(seed).random(400) < 0.6).astype(float)
        found = confidence_sequence(values)  # the intersection of all moments
        missed += not found.low <= 0.6 <= found.high
    assert missed <= 16


def test_confidence_sequence_shrinks() -> None:
    rng = np.random.default_rng(0)
    values = rng.beta(10, 30, 3000)
    found = confidence_sequence(values)
    assert found.high - found.low < 0.03 and found.low < 0.25 < found.high


def gaussians(n: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, n), rng.normal(0, 1, n)


def test_auc_of_gaussians_and_how_often_its_interval_covers_it() -> None:
    """True AUC: Phi(1 / sqrt 2) = 0.7602. Fewer than 180 of 200 covered has probability below 0.002 at 95 %."""
    found = [rates.auc(*gaussians(80, 1.0, seed)) for seed in range(200)]
    assert sum(f.low <= 0.7602 <= f.high for f in found) >= 180


def test_auc_with_clusters_is_wider_where_scores_move_together() -> None:
    """20 models of 30 scores each, all scores of a model shifted alike: true AUC 0.5, covered in at least 88 of 100."""
    covered = alone = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        shift = rng.normal(0, 1, 20)
        model = np.repeat(np.arange(20), 30)
        member = rng.random(600) < np.repeat(rng.random(20), 30)
        scores = rng.normal(0, 1, 600) + shift[model]
        args = scores[member], scores[~member]
        clustered = rates.auc(*args, model[member], model[~member])
        covered += clustered.low <= 0.5 <= clustered.high
        plain = rates.auc(*args)
        alone += plain.low <= 0.5 <= plain.high
    assert covered >= 88 > alone


def test_perfect_separation_is_not_certainty() -> None:
    found = rates.auc(np.arange(10.0) + 100, np.arange(10.0))
    assert found.value == 1 and 0.6 < found.low < 0.75


def test_ties_count_half() -> None:
    assert rates.auc(np.array([3.0, 4.0]), np.array([1.0, 2.0])).value == 1
    assert rates.auc(np.array([1.0, 2.0]), np.array([1.0, 2.0])).value == 0.5
