"""Mechanisms: exact values in, noised ones out. Each says its unit, relation, sensitivity and theorem.

Unit: one row, or all rows of one privacy unit, of which at most `sensitivity` count. Relation throughout: one unit more
or less. Callers charge the matching event to the scope before they call; nothing here keeps books.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from raysynth.dp.mechanisms.discrete import discrete_gaussian, discrete_laplace
from raysynth.dp.mechanisms.noise import NoiseSource

MOST_SUMMED = 1e5  # sigma up to which a tail is summed


def gaussian_vector(
    values: np.ndarray, noise_multiplier: float, noise: NoiseSource, *, sensitivity: float = 1.0
) -> np.ndarray:
    """`values`, sums of real numbers, with independent N(0, (noise_multiplier * sensitivity)^2) added.

    Sensitivity: L2, over all values together. Counts take `noised_counts`. Theorem: the
    Gaussian mechanism (Dwork and Roth 2014, theorem A.1; exact: Balle and Wang 2018, theorem 8). Event: `gaussian`.
    """
    values = np.asarray(values, dtype=np.float64)
    return values + noise_multiplier * sensitivity * noise.normal(values.shape)


def noised_counts(
    values: np.ndarray, noise_multiplier: float, noise: NoiseSource, *, sensitivity: float = 1.0
) -> np.ndarray:
    """Whole `values` with independent discrete Gaussian noise of parameter noise_multiplier * sensitivity, as float64.

    Sensitivity: L2, over all values together. Counts of disjoint cells change in one cell by one row: 1. Theorem: the
    discrete Gaussian mechanism (Canonne, Kamath and Steinke 2020). Event: `discrete_gaussian`.
    """
    exact = np.asarray(values)
    whole = np.rint(exact).astype(np.int64)
    assert np.array_equal(whole, exact), "discrete noise is for counts; sums of real numbers take gaussian_vector"
    drawn = discrete_gaussian(noise_multiplier * sensitivity, whole.size, noise)
    return (whole + drawn.reshape(whole.shape)).astype(np.float64)


def noised_count(n: int, epsilon: float, noise: NoiseSource, *, sensitivity: float = 1.0) -> int:
    """A whole number with discrete Laplace noise of scale sensitivity / epsilon.

    Sensitivity: |n(D) - n(D')|, 1 for a count of rows. Theorem: the geometric mechanism (Ghosh, Roughgarden and
    Sundararajan 2009): epsilon-DP, no delta. Event: `laplace` (whose loss is at least as large).
    """
    scale = float(np.nextafter(sensitivity / epsilon, np.inf))  # rounded so that epsilon is no less than what is drawn
    return int(n + discrete_laplace(scale, 1, noise)[0])


def chosen(scores: np.ndarray, epsilon: float, noise: NoiseSource, *, sensitivity: float = 1.0) -> int:
    """Index of one score, with probability ~ exp(epsilon * score / (2 * sensitivity)).

    Sensitivity: each score changes by at most `sensitivity`. Drawn as report-noisy-max with Gumbel noise, which has the
    same law. Theorem: the exponential mechanism (McSherry and Talwar 2007); its loss has range epsilon (Dong, Durfee
    and Rogers 2020). Event: `exponential`. Scores of -inf are never chosen.
    """
    scores = np.asarray(scores, dtype=np.float64)
    gumbel = -np.log(-np.log(noise.uniform(scores.shape)))
    return int(np.argmax(epsilon * scores / (2 * sensitivity) + gumbel))


def stability_threshold(noise_multiplier: float, delta: float, *, sensitivity: float = 1.0) -> float:
    """The least noised count that a value of one unit alone reaches with probability at most `delta`.

    Wide noise: the tail beyond m is below that of the continuous Gaussian beyond m - 1 (its density falls there).
    """
    sigma = noise_multiplier * sensitivity
    if sigma > MOST_SUMMED:
        return float(sensitivity + 2 + np.ceil(-sigma * ndtri(delta)))
    k = np.arange(np.ceil(40 * sigma) + 1, -1, -1)
    weight = np.exp(-(k**2) / (2 * sigma**2))
    tail = np.cumsum(weight) / (2 * weight.sum() - 1)  # P(noise >= k), k from the far end to 0
    return float(sensitivity + k[np.flatnonzero(tail <= delta)[-1]]) if delta < tail[-1] else float(sensitivity)


def stable_counts(
    counts: np.ndarray, noise_multiplier: float, delta: float, noise: NoiseSource, *, sensitivity: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the values that occur may be named, and their noised counts: (indices, counts).

    Counts of values that occur in the rows (> 0) get discrete Gaussian noise; those from `stability_threshold` on are
    released.
    Sensitivity: one unit changes one count by at most `sensitivity`. Theorem: a unit whose value occurs otherwise sees
    the Gaussian mechanism; one that brings a new value is seen with probability at most `delta` (Korolova et al. 2009;
    Wilkins et al. 2024, the Gaussian form). Events: `discrete_gaussian`, and `approximate` with (0, delta).
    """
    noised = noised_counts(counts, noise_multiplier, noise, sensitivity=sensitivity)
    passed = np.flatnonzero(noised >= stability_threshold(noise_multiplier, delta, sensitivity=sensitivity))
    return passed, noised[passed]


def growing_edges(least: float, most: float) -> np.ndarray:
    """Edges of cells that grow exponentially from both sides of zero: the whole line by public numbers alone.

    Cells are [2^k, 2^(k+1)) and their mirror images from `least` to `most` (powers of two), one cell around zero, and
    one beyond each end. Their counts are a histogram of disjoint cells: sensitivity 1.
    """
    powers = 2.0 ** np.arange(np.ceil(np.log2(least)), np.floor(np.log2(most)) + 1)
    return np.concatenate([-powers[::-1], powers])
