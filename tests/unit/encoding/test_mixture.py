"""Mixtures of modes: planted Gaussians and heavy values are recovered, whatever the scale."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.encoding.distribution import SmoothDistribution, smooth
from raysynth.encoding.mixture import MAX_ATOM_MODES, Mixture, fit_mixture
from raysynth.statistics.numeric import NumericSummary


def protected(values: np.ndarray, rare: int = 5) -> SmoothDistribution:
    summary = NumericSummary(pa.array(values).type)
    summary.update(pa.array(values))
    return smooth(summary.distribution(), rare)


def log_likelihood(mixture: Mixture, x: np.ndarray) -> float:
    wide = mixture.std > 0
    density = mixture.weight[wide] / mixture.std[wide] / np.sqrt(2 * np.pi)
    return float(
        np.log((density * np.exp(-0.5 * ((x[:, None] - mixture.mean[wide]) / mixture.std[wide]) ** 2)).sum(1)).mean()
    )


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1.0, 1e9, 1e250])
@pytest.mark.parametrize("n_modes", [3, 10])
def test_planted_gaussians_are_recovered(n_modes: int, scale: float) -> None:
    """Three apart: their modes hold the planted shares, means and spreads; more modes may share one Gaussian."""
    rng = np.random.default_rng(1)
    which = rng.choice(3, 30_000, p=[0.5, 0.3, 0.2])
    values = rng.normal(np.array([-20, 0, 30])[which], np.array([1, 2, 3])[which]) * scale
    mixture = fit_mixture(protected(values), n_modes)
    home = np.abs(mixture.mean[:, None] / scale - np.array([-20, 0, 30])).argmin(1)
    for i, (share, mean, std) in enumerate(((0.5, -20, 1), (0.3, 0, 2), (0.2, 30, 3))):
        own = home == i
        weight = mixture.weight[own]
        centre = weight @ mixture.mean[own] / weight.sum() / scale
        second = weight @ ((mixture.std[own] / scale) ** 2 + (mixture.mean[own] / scale) ** 2) / weight.sum()
        assert weight.sum() == pytest.approx(share, abs=0.01)
        assert centre == pytest.approx(mean, abs=0.1)
        assert np.sqrt(second - centre**2) == pytest.approx(std, rel=0.1)


def test_likelihood_is_that_of_the_truth() -> None:
    rng = np.random.default_rng(2)
    which = rng.random(20_000) < 0.6
    values = np.where(which, rng.normal(0, 1, 20_000), rng.normal(4, 2, 20_000))
    truth = np.log(
        0.6 * np.exp(-0.5 * values**2) / np.sqrt(2 * np.pi)
        + 0.4 * np.exp(-0.5 * ((values - 4) / 2) ** 2) / 2 / np.sqrt(2 * np.pi)
    ).mean()
    assert log_likelihood(fit_mixture(protected(values), 10), values) > truth - 0.01


def test_heavy_values_are_modes_of_no_width_and_own_their_cell() -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random(10_000) < 0.3, 0.0, rng.normal(100, 5, 10_000))
    mixture = fit_mixture(protected(values), 10)
    atom = np.flatnonzero(mixture.std == 0)
    assert mixture.mean[atom].tolist() == [0.0]
    assert mixture.weight[atom] == pytest.approx(0.3, abs=0.01)
    assert mixture.interval_mode[np.searchsorted(mixture.boundaries, 0.0, side="right")] == atom[0]
    assert mixture.interval_mode[np.searchsorted(mixture.boundaries, 100.0, side="right")] != atom[0]


def test_few_values_are_all_modes() -> None:
    values = np.random.default_rng(4).integers(0, 8, 2000)
    mixture = value_of(lambda: fit_mixture(protected(values), 10))
    assert mixture.mean.tolist() == list(range(8)) and (mixture.std == 0).all()
    np.testing.assert_allclose(mixture.weight, np.bincount(values) / 2000)
    assert mixture.boundaries.tolist() == [i + 0.5 for i in range(7)]


def test_at_most_so_many_heavy_values() -> None:
    values = np.concatenate([np.repeat(np.arange(24.0), 400), np.random.default_rng(5).normal(50, 1, 300)])
    mixture = fit_mixture(protected(values), 10)
    assert (mixture.std == 0).sum() <= MAX_ATOM_MODES


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 400))
def test_any_column_gives_a_sound_mixture(seed: int, n_modes: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(
        rng.random(n) < rng.random(), rng.integers(0, 5, n), rng.standard_t(1, n) * 10.0 ** rng.integers(-9, 9)
    )
    mixture = fit_mixture(protected(values), n_modes)
    assert mixture.weight.sum() == pytest.approx(1)
    assert (mixture.weight > 0).all() and (mixture.std >= 0).all() and np.isfinite(mixture.mean).all()
    assert (mixture.std > 0).sum() <= n_modes
    assert (np.diff(mixture.boundaries) > 0).all()
    assert len(mixture.interval_mode) == len(mixture.boundaries) + 1
    assert set(mixture.interval_mode) <= set(range(len(mixture.weight)))


def cells(rng: np.random.Generator, n: int) -> SmoothDistribution:
    """Cells with gaps between them, a third of which are atoms."""
    edges = np.cumsum(rng.choice([0.5, 1.0, 4.0], 2 * n))
    low, high = edges[::2], edges[1::2].copy()
    atom = rng.random(n) < 0.3
    high[atom] = low[atom]
    return SmoothDistribution(low, high, rng.dirichlet(np.full(n, 0.4)), 0.0, None)


@pytest.mark.parametrize("seed", range(6))
def test_a_value_has_the_most_probable_mode_and_an_atom_its_own(seed: int) -> None:
    """At the beginning of each third of a cell; an atom's cell begins at its boundary."""
    rng = np.random.default_rng(seed)
    distribution = cells(rng, int(rng.integers(2, 25)))
    mixture = value_of(lambda: fit_mixture(distribution, 4))
    wide = np.flatnonzero(mixture.std > 0)
    begins = np.append(distribution.low[0], distribution.boundaries)
    for low, high, begin in zip(distribution.low, distribution.high, begins, strict=True):
        own = np.flatnonzero((mixture.std == 0) & (mixture.mean == low)) if low == high else []
        thirds = [low + (high - low) * k / 3 for k in (1, 2)] if high > low else []
        for x in (begin, *(max(begin, t) for t in thirds)):
            found = mixture.interval_mode[np.searchsorted(mixture.boundaries, x, side="right")]
            if len(own):
                assert found == own[0]
            elif len(wide):
                away = (x - mixture.mean[wide]) / mixture.std[wide]
                density = mixture.weight[wide] / mixture.std[wide] * np.exp(-0.5 * away**2)
                assert found == wide[density.argmax()]


def test_heavy_atoms_are_modes_from_four_percent_on_at_most_twenty() -> None:
    low = np.append(np.arange(30.0), [100.0, 120.0])
    high = np.append(np.arange(30.0), [110.0, 130.0])

    def modes(share: np.ndarray) -> list[float]:
        found = value_of(lambda: fit_mixture(SmoothDistribution(low, high, share / share.sum(), 0.0, None), 3))
        assert found.weight.sum() == pytest.approx(1)
        return found.mean[found.std == 0].tolist()

    share = np.full(32, 0.6 / 30)
    share[[3, 7]] = 0.0401, 0.0399
    share[30] = 1 - np.delete(share, 30).sum()
    assert modes(share) == [3.0]
    heavy = np.append(np.linspace(0.0402, 0.0431, 24), np.zeros(8))
    few = SmoothDistribution(low, high, heavy / heavy.sum(), 0.0, None)
    found = value_of(lambda: fit_mixture(few, 3))
    kept = found.mean[found.std == 0]
    assert len(kept) == MAX_ATOM_MODES and kept.tolist() == list(range(4, 24)), "the heaviest"
    none = SmoothDistribution(low, high, np.append(np.full(2, 0.5), np.zeros(30)), 0.0, None)
    empty = value_of(lambda: fit_mixture(none, 3))
    assert (empty.std > 0).any() and empty.weight[empty.std > 0].sum() < 1e-9, "a place that no row is counted in"
