"""Estimates with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964
FEWEST_REPEATS = 3  # fewer repeats of a whole fit give a mean, and no interval
FEWEST_INDEPENDENT = 5  # likewise fewer independent trials of an attack


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval; the bounds are NaN where no interval is defined."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "not defined"
        return f"{self.value:.3f}" if math.isnan(self.low) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


UNDEFINED = Estimate(float("nan"))


def share(hits: float, n: int) -> Estimate:
    """Share of n independent rows, with Wilson's (1927) interval."""
    if n == 0:
        return UNDEFINED
    p = hits / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n)) / (1 + Z95**2 / n)
    return Estimate(p, max(centre - half, 0.0), min(centre + half, 1.0))


def mean_of_repeats(values: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Mean of a score over repeats, with a 95 % interval that stays within the score's bounds.

    Student's interval of the mean's log odds between the bounds (delta method): about the usual one where the mean is
    far from both, and unlike it never beyond them. No interval for fewer than three repeats.

    Where all k repeats lie at one bound, their spread says nothing. A score that is at the bound with probability q has
    k such repeats with probability q^k, so q is at least 0.025^(1/k), and so is the mean's share of the range: the
    exact interval of Clopper and Pearson (1934), whatever the score's distribution off the bound. It is wide, and has
    to be: without any width 57 to 85 % of intervals from three repeats hold the mean of scores that are mostly at 1.

    Args:
        values: one a repeat; NaN: not defined, left out.
        bounds: the smallest and largest value that the score can have. A mean that lies beyond them (a noised score)
            has the usual interval.
    """
    from scipy.stats import t

    known = np.array([v for v in values if not math.isnan(v)])
    if len(known) == 0:
        return UNDEFINED
    mean, (low, high) = float(known.mean()), bounds
    if len(known) < FEWEST_REPEATS:
        return Estimate(mean)
    if mean in bounds and bool((known == mean).all()):
        reach = (high - low) * (1 - 0.025 ** (1 / len(known)))
        return Estimate(mean, mean - reach, mean) if mean == high else Estimate(mean, mean, mean + reach)
    half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1)) / math.sqrt(len(known))
    if not low < mean < high:
        return Estimate(mean, mean - half, mean + half)
    odds = (mean - low) / (high - mean)
    stretch = half * (high - low) / ((mean - low) * (high - mean))
    below, above = odds * math.exp(-min(stretch, 700.0)), odds * math.exp(min(stretch, 700.0))
    return Estimate(mean, low + (high - low) * below / (1 + below), high - (high - low) / (1 + above))


def bootstrap(score: Callable[[np.ndarray], float], n: int, rng: np.random.Generator, repeats: int = 200) -> Estimate:
    """`score(rows)` on all n rows, with the percentile interval over resampled rows (Efron 1979)."""
    drawn = [score(rng.integers(0, n, n)) for _ in range(repeats)]
    defined = [d for d in drawn if not math.isnan(d)]
    low, high = np.quantile(defined, [0.025, 0.975]) if defined else (float("nan"), float("nan"))
    return Estimate(float(score(np.arange(n))), float(low), float(high))
