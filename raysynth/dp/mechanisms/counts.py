"""Mechanisms: exact values in, noised ones out. Each says its unit, relation, sensitivity and theorem.

Unit: one row, or all rows of one privacy unit, of which at most `sensitivity` count. Relation throughout: one unit more
or less. Callers charge the matching event to the scope before they call; nothing here keeps books.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from raysynth.dp.mechanisms.noise import NoiseSource


def gaussian_vector(
    values: np.ndarray, noise_multiplier: float, noise: NoiseSource, *, sensitivity: float = 1.0
) -> np.ndarray:
    """`values` with independent N(0, (noise_multiplier * sensitivity)^2) added.

    Sensitivity: L2, over all values together. Counts of disjoint cells change in one cell by one row: 1. Theorem: the
    Gaussian mechanism (Dwork and Roth 2014, theorem A.1; exact: Balle and Wang 2018, theorem 8). Event: `gaussian`.
    """
    values = np.asarray(values, dtype=np.float64)
    return values + noise_multiplier * sensitivity * noise.normal(values.shape)


def noised_count(n: int, epsilon: float, noise: NoiseSource, *, sensitivity: float = 1.0) -> int:
    """A whole number with discrete Laplace noise of scale sensitivity / epsilon.

    Sensitivity: |n(D) - n(D')|, 1 for a count of rows. Theorem: the geometric mechanism (Ghosh, Roughgarden and
    Sundararajan 2009): epsilon-DP, no delta. Event: `laplace` (whose loss is at least as large).
    """
    ratio = epsilon / sensitivity
    up, down = np.floor(-np.log(noise.uniform(2)) / ratio)  # each geometric: P(k) ~ exp(-ratio k)
    return int(n + up - down)


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
    """The noised count that a value of one unit alone exceeds with probability `delta`."""
    return float(sensitivity * (1.0 - noise_multiplier * ndtri(delta)))


def stable_counts(
    counts: np.ndarray, noise_multiplier: float, delta: float, noise: NoiseSource, *, sensitivity: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the values that occur may be named, and their noised counts: (indices, counts).

    Counts of values that occur in the rows (> 0) get Gaussian noise; those above `stability_threshold` are released.
    Sensitivity: one unit changes one count by at most `sensitivity`. Theorem: a unit whose value occurs otherwise sees
    the Gaussian mechanism; one that brings a new value is seen with probability at most `delta` (Korolova et al. 2009;
    Wilkins et al. 2024, the Gaussian form). Events: `gaussian`, and `approximate` with (0, delta).
    """
    noised = gaussian_vector(counts, noise_multiplier, noise, sensitivity=sensitivity)
    passed = np.flatnonzero(noised >= stability_threshold(noise_multiplier, delta, sensitivity=sensitivity))
    return passed, noised[passed]


def growing_edges(least: float, most: float) -> np.ndarray:
    """Edges of cells that grow exponentially from both sides of zero: the whole line by public numbers alone.

    Cells are [2^k, 2^(k+1)) and their mirror images from `least` to `most` (powers of two), one cell around zero, and
    one beyond each end. Their counts are a histogram of disjoint cells: sensitivity 1.
    """
    powers = 2.0 ** np.arange(np.ceil(np.log2(least)), np.floor(np.log2(most)) + 1)
    return np.concatenate([-powers[::-1], powers])
