"""ROC measures against known distributions, and what theory says of private mechanisms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysynth.attacks import roc


def gaussians(n: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, n), rng.normal(0, 1, n)


def test_true_positive_rate_at_one_percent_is_covered() -> None:
    """N(2, 1) against N(0, 1): 0.3721 at 1 %. Fewer than 93 of 100 covered has probability below 1e-3 at 98 %."""
    covered = 0
    for seed in range(100):
        found = roc.tpr_at_fpr(*gaussians(1000, 2.0, seed), 0.01)
        covered += found.low <= 0.3721 <= found.high
    assert covered >= 93


def test_the_rate_alone_is_the_one_with_the_interval() -> None:
    for rate in roc.FALSE_POSITIVE_RATES:
        for seed in range(5):
            scores = gaussians(137, 1.0, seed)
            assert roc.tpr_value(*scores, rate) == roc.tpr_at_fpr(*scores, rate).value


def test_too_few_others_leave_the_lower_bound_at_zero() -> None:
    assert roc.tpr_at_fpr(*gaussians(200, 3.0, 0), 0.001).low == 0


def test_advantage_of_useless_scores_is_about_nothing() -> None:
    """The threshold is chosen on other scores, so that chance gives no advantage on average."""
    values = [roc.advantage(*gaussians(200, 0.0, seed)).value for seed in range(100)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 10


def test_epsilon_of_randomised_response_is_bounded_and_nearly_reached() -> None:
    epsilon, n = 1.0, 20_000
    rng = np.random.default_rng(0)
    truthful = math.exp(epsilon) / (1 + math.exp(epsilon))
    members = (rng.random(n) < truthful).astype(float)
    others = (rng.random(n) >= truthful).astype(float)
    found = roc.empirical_epsilon(members, others)
    assert 0.9 < found.low <= epsilon
    assert roc.outside_region(members, others, epsilon, 0.0) == ()
    assert roc.outside_region(members, others, 0.5, 0.0) != ()


@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_region_respects_delta(delta: float) -> None:
    """With probability 0.05 the mechanism tells everything: outside (0, 0), inside (0, 0.05)."""
    rng = np.random.default_rng(1)
    members = np.where(rng.random(20_000) < 0.05, 10.0, rng.normal(0, 1, 20_000))
    others = rng.normal(0, 1, 20_000)
    assert (roc.outside_region(members, others, 0.05, delta) == ()) == (delta > 0)
