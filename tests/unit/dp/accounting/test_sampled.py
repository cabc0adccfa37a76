"""The loss of a sampled Gaussian on arrays: that of the library but for rounding, at a fraction of the time."""

from __future__ import annotations

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from raysynth.dp.accounting.accountant import sampled_gaussian_distribution, self_composed


@pytest.mark.parametrize(("sigma", "q"), [(0.3, 0.01), (0.9, 0.5), (1.0, 0.02), (8.0, 0.99), (40.0, 1e-3), (0.05, 0.2)])
def test_it_is_the_librarys_distribution(sigma: float, q: float) -> None:
    interval = 1e-2 * max(1.0, 1 / sigma) if sigma < 2 else 1e-4
    ours = sampled_gaussian_distribution(sigma, q, interval)
    theirs = pld.from_gaussian_mechanism(sigma, value_discretization_interval=interval, sampling_prob=q)
    for mine, other in ((ours._pmf_remove, theirs._pmf_remove), (ours._pmf_add, theirs._pmf_add)):
        a, b = mine.to_dense_pmf(), other.to_dense_pmf()
        assert (a._lower_loss, a.size) == (b._lower_loss, b.size)
        np.testing.assert_allclose(np.cumsum(a._probs), np.cumsum(b._probs), rtol=0, atol=1e-10)
        assert a._infinity_mass == pytest.approx(b._infinity_mass, rel=1e-6, abs=1e-20)
    for delta in (1e-3, 1e-6):
        mine, other = (d.self_compose(10).get_epsilon_for_delta(delta) for d in (ours, theirs))
        assert mine == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(("sigma", "q", "steps"), [(1.0, 0.02, 1000), (0.5, 0.3, 20), (20.0, 0.5, 3)])
def test_many_releases_are_composed_as_by_the_library(sigma: float, q: float, steps: int) -> None:
    one = sampled_gaussian_distribution(sigma, q, 1e-3)
    ours, theirs = self_composed(one, steps), one.self_compose(steps)
    for mine, other in ((ours._pmf_remove, theirs._pmf_remove), (ours._pmf_add, theirs._pmf_add)):
        assert (mine._lower_loss, mine.size) == (other._lower_loss, other.size)
        np.testing.assert_allclose(mine._probs, other._probs, rtol=0, atol=1e-15)
        assert mine._infinity_mass == pytest.approx(other._infinity_mass, rel=1e-12)
    assert self_composed(one, 1) is one


def test_a_symmetric_distribution_stays_one_and_a_sparse_one_becomes_dense() -> None:
    one = pld.from_laplace_mechanism(2.0, value_discretization_interval=1e-2)
    assert self_composed(one, 7)._symmetric
    for delta in (1e-2, 1e-4):
        expected = one.self_compose(7).get_epsilon_for_delta(delta)
        assert self_composed(one, 7).get_epsilon_for_delta(delta) == pytest.approx(expected, rel=1e-6)
