"""The loss of a sampled Gaussian on arrays: cell by cell that of the library, at a fraction of the time."""

from __future__ import annotations

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from raysynth.dp.accounting.sampled import sampled_gaussian_distribution


@pytest.mark.parametrize(("sigma", "q"), [(0.3, 0.01), (0.9, 0.5), (1.0, 0.02), (8.0, 0.99), (40.0, 1e-3), (0.05, 0.2)])
def test_it_is_the_librarys_distribution(sigma: float, q: float) -> None:
    interval = 1e-2 * max(1.0, 1 / sigma) if sigma < 2 else 1e-4
    ours = sampled_gaussian_distribution(sigma, q, interval)
    theirs = pld.from_gaussian_mechanism(sigma, value_discretization_interval=interval, sampling_prob=q)
    for mine, other in ((ours._pmf_remove, theirs._pmf_remove), (ours._pmf_add, theirs._pmf_add)):
        a, b = mine.to_dense_pmf(), other.to_dense_pmf()
        assert (a._lower_loss, a.size) == (b._lower_loss, b.size)
        np.testing.assert_allclose(a._probs, b._probs, rtol=1e-9, atol=1e-13)
        assert a._infinity_mass == pytest.approx(b._infinity_mass, rel=1e-6, abs=1e-20)
