"""Levels of made sequences become those of real ones; what happens within a sequence stays."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.methods.timegan.sampler import MOST_KNOTS, SEQUENCES_PER_KNOT, SequenceLevels, levels_of

N, T = 2000, 6


@pytest.fixture(scope="module")
def made() -> np.ndarray:
    """Levels near 0, where the real ones are skewed and spread over [-1, 1]; steps of their own."""
    rng = np.random.default_rng(0)
    return 0.2 * rng.normal(size=(N, 1, 2)) + 0.05 * rng.normal(size=(N, T, 2))


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    """Levels (N, V)."""
    return 2 * np.random.default_rng(1).beta(0.7, 2.0, (N, 2)) - 1


def test_levels_become_the_real_ones_and_steps_stay(made: np.ndarray, real: np.ndarray) -> None:
    everywhere = np.ones(made.shape, bool)
    levels = SequenceLevels.fit(levels_of(made, everywhere), real)
    assert levels is not None and levels.made_VK.shape == (2, MOST_KNOTS)
    moved = levels.moved(made, everywhere)
    ranks = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(moved.mean(1), ranks, axis=0), np.quantile(real, ranks, axis=0), atol=0.05)
    np.testing.assert_allclose(np.diff(moved, axis=1), np.diff(made, axis=1), atol=1e-5)


def test_only_steps_that_count_make_a_level() -> None:
    values = np.array([[[1.0], [3.0], [99.0]], [[5.0], [99.0], [99.0]], [[99.0], [99.0], [99.0]]])
    counts = values < 99
    found = levels_of(values, counts)
    np.testing.assert_array_equal(found, [[2.0], [5.0], [np.nan]])
    levels = SequenceLevels(np.array([[0.0, 10.0]]), np.array([[1.0, 11.0]]))
    np.testing.assert_allclose(levels.moved(values, counts), values + 1)


def test_a_knot_tells_of_many_sequences_and_few_sequences_of_none(made: np.ndarray, real: np.ndarray) -> None:
    own = levels_of(made, np.ones(made.shape, bool))
    levels = SequenceLevels.fit(own, real[: 5 * SEQUENCES_PER_KNOT])
    assert levels is not None and levels.wanted_VK.shape == (2, 5)
    assert SequenceLevels.fit(own, real[: 2 * SEQUENCES_PER_KNOT - 1]) is None
    assert SequenceLevels.fit(np.full_like(own, np.nan), real) is None
