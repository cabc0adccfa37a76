"""Mechanisms have the law that their theorems ask for. False alarms: 1e-6 for each test."""

import math

import numpy as np
import pytest
from scipy import stats

from raysynth.dp import InsecureSeededNoise
from raysynth.dp.mechanisms import counts
from raysynth.dp.mechanisms.counts import (
    chosen,
    gaussian_vector,
    growing_edges,
    noised_count,
    stability_threshold,
    stable_counts,
)

pytestmark = pytest.mark.statistical

NOISE = InsecureSeededNoise(1)


def test_gaussian_noise_scales_with_sensitivity() -> None:
    added = gaussian_vector(np.zeros(20_000), 3.0, NOISE, sensitivity=2.0)
    assert stats.kstest(added / 6.0, "norm").pvalue > 1e-6


@pytest.mark.parametrize("sensitivity", [1, 3])
def test_noised_counts_are_geometric_both_ways(sensitivity: int) -> None:
    """P(k) ~ exp(-epsilon |k| / s), so probabilities of counts that are s apart differ by exp(epsilon) at most."""
    epsilon, n = 0.5, 20_000
    drawn = np.array([noised_count(100, epsilon, NOISE, sensitivity=sensitivity) - 100 for _ in range(n)])
    k = np.arange(-6, 7)
    ratio = np.exp(-epsilon / sensitivity)
    expected = (1 - ratio) / (1 + ratio) * ratio ** np.abs(k)
    found = np.array([(drawn == i).sum() for i in k])
    rest = np.append(found, n - found.sum()), np.append(expected, 1 - expected.sum()) * n
    assert stats.chisquare(*rest).pvalue > 1e-6


def test_choices_follow_the_exponential_mechanism() -> None:
    scores, epsilon, n = np.array([0.0, 2.0, 5.0, -np.inf]), 0.8, 20_000
    drawn = np.bincount([chosen(scores, epsilon, NOISE, sensitivity=2.0) for _ in range(n)], minlength=4)
    weights = np.exp(epsilon * scores / 4)
    assert drawn[3] == 0
    assert stats.chisquare(drawn[:3], n * weights[:3] / weights.sum()).pvalue > 1e-6


@pytest.mark.parametrize(("delta", "most"), [(1e-2, 1), (1e-3, 1), (1e-2, 5)])
def test_a_value_of_one_unit_passes_with_probability_delta(delta: float, most: int) -> None:
    """At most: as often as the noise, a whole number, reaches the threshold."""
    own, sigma = np.full(1000, float(most)), 4.0 * most
    k = np.arange(-1000, 1001)
    weight = np.exp(-0.5 * (k / sigma) ** 2)
    chance = weight[k >= stability_threshold(4.0, delta, sensitivity=most) - most].sum() / weight.sum()
    passed = sum(len(stable_counts(own, 4.0, delta, NOISE, sensitivity=most)[0]) for _ in range(100))
    assert chance <= delta and stats.binomtest(passed, 100_000, chance).pvalue > 1e-6


@pytest.mark.parametrize("sigma", [0.8, 3.0, 40.0])
def test_a_threshold_is_the_least_that_noise_passes_so_rarely(sigma: float) -> None:
    """By the law itself, summed term by term."""
    k = np.arange(-math.ceil(50 * sigma), math.ceil(50 * sigma) + 1)
    weight = np.exp(-0.5 * (k / sigma) ** 2)
    noise = int(stability_threshold(sigma, 1e-6)) - 1
    passed = [weight[k >= least].sum() / weight.sum() for least in (noise - 1, noise)]
    assert passed[0] > 1e-6 >= passed[1]


@pytest.mark.parametrize("sensitivity", [1.0, 5.0])
def test_the_threshold_of_wide_noise_is_that_of_the_continuous_law(sensitivity: float) -> None:
    sigma = 1.5e5
    expected = sensitivity + 2 + math.ceil(sigma * stats.norm.isf(1e-6))
    assert stability_threshold(sigma / sensitivity, 1e-6, sensitivity=sensitivity) == expected


def test_noise_is_summed_up_to_a_border_that_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = stability_threshold(4.0, 1e-6)
    monkeypatch.setattr(counts, "MOST_SUMMED", 4.0)
    assert stability_threshold(4.0, 1e-6) == exact == stability_threshold(4.001, 1e-6) - 2


def test_frequent_values_pass_with_their_noised_counts() -> None:
    indices, found = stable_counts(np.array([1000.0, 1.0, 5000.0]), 2.0, 1e-9, NOISE)
    assert indices.tolist() == [0, 2]
    assert np.abs(found - [1000, 5000]).max() < 20 and stability_threshold(2.0, 1e-9) > 10


def test_growing_cells_cover_the_line_by_public_numbers_alone() -> None:
    edges = growing_edges(2.0**-3, 2.0**3)
    assert edges.tolist() == [-8, -4, -2, -1, -0.5, -0.25, -0.125, 0.125, 0.25, 0.5, 1, 2, 4, 8]
