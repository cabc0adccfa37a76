"""What a noised table tells: relations that noise hid are found again, and nothing is found in noise alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from raysynth.methods.bayesian_network.denoising import estimated, normal_scores

N, BINS, SIGMA = 4000, 12, 30.0


def table(correlation: float) -> np.ndarray:
    """Expected counts (BINS + 1, BINS + 1) of two normal numbers in bins of equal rows, and none missing."""
    if correlation == 1:
        counts = np.eye(BINS) * N / BINS
    else:
        edges = ndtri(np.linspace(0, 1, BINS + 1)).clip(-8, 8)
        both = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]])
        grid = np.array([[both.cdf([x, y]) for y in edges] for x in edges])
        counts = N * np.diff(np.diff(grid, axis=0), axis=1)
    return np.pad(np.maximum(counts, 0.0), ((0, 1), (0, 1)))


def error(truth: np.ndarray, counts: np.ndarray) -> float:
    return 0.5 * float(np.abs(truth - counts).sum()) / N


def estimate_of(truth: np.ndarray, seed: int, *, ordered: bool) -> np.ndarray:
    expected = np.outer(truth.sum(axis=1), truth.sum(axis=0)) / N
    noised = truth + SIGMA * np.random.default_rng(seed).standard_normal(truth.shape)
    scores = (normal_scores(truth.sum(axis=1) / N), normal_scores(truth.sum(axis=0) / N)) if ordered else (None, None)
    return estimated(noised[None], expected[None], SIGMA, scores)


@pytest.mark.parametrize(("correlation", "ordered", "most"), [(1, False, 0.12), (0.9, True, 0.25), (0.5, True, 0.13)])
def test_relations_that_the_noise_of_cells_hides_are_found(correlation: float, ordered: bool, most: float) -> None:
    """Counts cut off at zero are off by .30, .29 and .18; the seeds are fixed."""
    truth = table(correlation)
    found = [error(truth, estimate_of(truth, seed, ordered=ordered)[0]) for seed in range(5)]
    assert max(found) < most


@pytest.mark.parametrize("ordered", [False, True])
def test_in_noise_alone_nothing_is_found(ordered: bool) -> None:
    """Noise itself is .43; of 20 draws none was off by more than .04."""
    truth = table(0.0)
    assert max(error(truth, estimate_of(truth, seed, ordered=ordered)[0]) for seed in range(5)) < 0.08


def test_it_keeps_the_total_and_empty_cells() -> None:
    truth = table(0.5)
    found = estimate_of(truth, 0, ordered=True)
    assert found.sum() == pytest.approx(N) and (found >= 0).all()
    assert not found[0, -1].any() and not found[0, :, -1].any()
    assert estimated(np.array([[[-50.0]]]), np.array([[[4.0]]]), 1.0).item() == pytest.approx(4.0)


def test_scores_are_normal_and_missing_has_none() -> None:
    scores = normal_scores(np.array([0.25, 0.25, 0.25, 0.25, 0.0]))
    assert scores == pytest.approx([-1.15, -0.319, 0.319, 1.15, 0.0], abs=0.01)
    assert np.isfinite(normal_scores(np.array([0.0, 0.0, 1.0]))).all()
