"""Mechanisms: exact values in, noised ones out. Each says its unit, relation, sensitivity and theorem.

Unit: one row, or all rows of one privacy unit, of which at most `sensitivity` count. Relation throughout: one unit more
or less. Callers charge the matching event to the scope before they call; nothing here keeps books.

Discrete noise is drawn exactly: no floating-point number is released whose gaps tell what was added to what. Discrete
Gaussian numbers by rejection from discrete Laplace ones (Canonne, Kamath and Steinke 2020, "The discrete
Gaussian for differential privacy", arXiv 2004.00010, algorithm 3), and these as the difference of two geometric ones.
Both come down to comparing a uniform number u with a real one: "u < exp(-g)?", "floor(-ln(u) * scale)?". u is known by
its first 64 bits, the other side in double precision with a bound on its error; where these do not decide, which
happens about once in 10^9 draws, u gets more bits and the other side more digits until they do. So the law is that of
the paper for the very float that `sigma` or `scale` is, as far as the operating system's bits are uniform, at the speed
of vectors. How long a draw takes is not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal, localcontext

import numpy as np
from scipy.special import ndtri

from raysynth.dp.mechanisms.noise import Law, NoiseSource, Question, answered

WORD = 64  # bits
DIGITS = 40  # of the first exact look; 30 more at each further one
ACCEPTED = 0.7  # of the proposals, about


def geometric(scale: float, n: int, noise: NoiseSource) -> np.ndarray:
    """Numbers G >= 0 with P(G >= k) = exp(-k / scale): floor(-ln(u) * scale), int64 (n,)."""
    words = noise.words(n)
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-WORD
    logarithm = -np.log(uniform)
    # of -ln(u): the 64 bits of u that are known, and two roundings in double precision
    error = 1.0 / (words.astype(np.float64) + 0.5) + 2e-15 * (1 + logarithm)
    low = np.floor(np.maximum(logarithm - error, 0.0) * scale * (1 - 1e-15))
    high = np.where(words == 0, np.inf, np.floor((logarithm + error) * scale * (1 + 1e-15)))
    exact = Decimal(scale)

    def between(least: Decimal, most: Decimal, slack: Decimal) -> int | None:
        if least <= 0:
            return None
        below = (-most.ln() * exact * (1 - slack)).to_integral_value(ROUND_FLOOR)
        above = (-least.ln() * exact * (1 + slack)).to_integral_value(ROUND_FLOOR)
        return int(below) if below == above else None

    for i in np.flatnonzero(low != high).tolist():
        low[i] = _decided(int(words[i]), between, noise)
    return low.astype(np.int64)


def discrete_laplace(scale: float, n: int, noise: NoiseSource) -> np.ndarray:
    """Whole numbers with P(k) ~ exp(-|k| / scale), int64 (n,)."""
    return geometric(scale, n, noise) - geometric(scale, n, noise)


def discrete_gaussian(sigma: float, n: int, noise: NoiseSource) -> np.ndarray:
    """Whole numbers with P(k) ~ exp(-k^2 / (2 sigma^2)), int64 (n,); their variance is at most sigma^2.

    Args:
        sigma: > 0; at most 2^40, so that proposals are exact as float64.
        n: how many.
        noise: source of bits.
    """
    if not 0 < sigma <= 2.0**40:
        raise ValueError(f"the parameter of discrete Gaussian noise must be in (0, 2^40]; found {sigma!r}")
    scale = float(math.floor(sigma) + 1)
    made = [np.empty(0, np.int64)]
    while (missing := n - sum(len(m) for m in made)) > 0:
        proposed = discrete_laplace(scale, math.ceil(missing / ACCEPTED) + 16, noise)
        made.append(proposed[_accepted(np.abs(proposed), sigma, scale, noise)][:missing])
    return np.concatenate(made)


def _accepted(size: np.ndarray, sigma: float, scale: float, noise: NoiseSource) -> np.ndarray:
    """Which proposals stay: each with probability exp(-g), g = (|k| - sigma^2 / scale)^2 / (2 sigma^2)."""
    words = noise.words(len(size))
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-WORD
    chance = np.exp(-((size - sigma**2 / scale) ** 2) / (2 * sigma**2))
    accepted = uniform < chance
    for i in np.flatnonzero(np.abs(uniform - chance) <= 1e-11 * chance + 2.0**-60).tolist():
        k = int(size[i])

        def below(least: Decimal, most: Decimal, slack: Decimal, k: int = k) -> int | None:
            square = Decimal(sigma) ** 2
            exact = (-((k - square / Decimal(scale)) ** 2) / (2 * square)).exp()
            if most <= exact * (1 - slack):
                return 1
            return 0 if least >= exact * (1 + slack) else None

        accepted[i] = bool(_decided(int(words[i]), below, noise))
    return accepted


def _decided(word: int, decide: Callable[[Decimal, Decimal, Decimal], int | None], noise: NoiseSource) -> int:
    """What `decide(least u, most u, relative slack)` says as soon as enough of u's bits are known."""
    bits, digits = WORD, DIGITS
    while True:
        with localcontext() as context:
            context.prec = digits + 20
            unit = Decimal(2) ** -bits
            found = decide(word * unit, (word + 1) * unit, Decimal(10) ** -digits)
        if found is not None:
            return found
        word = (word << WORD) | int(noise.words(1)[0])
        bits, digits = bits + WORD, digits + 30


MOST_SUMMED = 1e5  # sigma up to which a tail is summed


def gaussian_vector(
    values: np.ndarray, noise_multiplier: float, noise: NoiseSource, *, sensitivity: float = 1.0
) -> np.ndarray:
    """`values`, sums of real numbers, with independent N(0, (noise_multiplier * sensitivity)^2) added.

    Sensitivity: L2, over all values together. Counts take `noised_counts`. Theorem: the
    Gaussian mechanism (Dwork and Roth 2014, theorem A.1; exact: Balle and Wang 2018, theorem 8). Event: `gaussian`.
    """
    values, sigma = np.asarray(values, dtype=np.float64), noise_multiplier * sensitivity
    question = Question(Law.GAUSSIAN, values, sigma)
    return answered(question, lambda: values + sigma * noise.normal(values.shape))


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
    sigma = noise_multiplier * sensitivity
    question = Question(Law.DISCRETE_GAUSSIAN, whole, sigma)
    drawn = answered(question, lambda: whole + discrete_gaussian(sigma, whole.size, noise).reshape(whole.shape))
    return drawn.astype(np.float64)


def noised_count(n: int, epsilon: float, noise: NoiseSource, *, sensitivity: float = 1.0) -> int:
    """A whole number with discrete Laplace noise of scale sensitivity / epsilon.

    Sensitivity: |n(D) - n(D')|, 1 for a count of rows. Theorem: the geometric mechanism (Ghosh, Roughgarden and
    Sundararajan 2009): epsilon-DP, no delta. Event: `laplace` (whose loss is at least as large).
    """
    scale = float(np.nextafter(sensitivity / epsilon, np.inf))  # rounded so that epsilon is no less than what is drawn
    question = Question(Law.LAPLACE, np.array([n]), scale)
    return int(answered(question, lambda: n + discrete_laplace(scale, 1, noise))[0])


def chosen(scores: np.ndarray, epsilon: float, noise: NoiseSource, *, sensitivity: float = 1.0) -> int:
    """Index of one score, with probability ~ exp(epsilon * score / (2 * sensitivity)).

    Sensitivity: each score changes by at most `sensitivity`. Drawn as report-noisy-max with Gumbel noise, which has the
    same law. Theorem: the exponential mechanism (McSherry and Talwar 2007); its loss has range epsilon (Dong, Durfee
    and Rogers 2020). Event: `exponential`. Scores of -inf are never chosen.
    """
    scores, scale = np.asarray(scores, dtype=np.float64), epsilon / (2 * sensitivity)
    question = Question(Law.CHOICE, scores, scale)

    def largest() -> np.ndarray:
        return np.asarray(np.argmax(scale * scores - np.log(-np.log(noise.uniform(scores.shape)))))

    return int(answered(question, largest))


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
