"""Estimates with their 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964


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


def auc(positive: np.ndarray, negative: np.ndarray) -> Estimate:
    """Area under the ROC curve of scores that should be higher for the positive rows (ties count half).

    Interval by DeLong et al. (1988), with the placements of every row.
    """
    if len(positive) < 2 or len(negative) < 2:
        return UNDEFINED
    placements = []
    for rows, others in ((positive, negative), (negative, positive)):
        ordered = np.sort(others)
        below, up_to = np.searchsorted(ordered, rows, "left"), np.searchsorted(ordered, rows, "right")
        placements.append((below + up_to) / (2 * len(others)))
    value = float(placements[0].mean())
    error = math.sqrt(placements[0].var(ddof=1) / len(positive) + placements[1].var(ddof=1) / len(negative))
    return Estimate(value, max(value - Z95 * error, 0.0), min(value + Z95 * error, 1.0))


def bootstrap(score, n: int, rng: np.random.Generator, repeats: int = 200) -> Estimate:  # type: ignore[no-untyped-def]
    """`score(rows)` on all n rows, with the percentile interval over resampled rows (Efron 1979)."""
    drawn = [score(rng.integers(0, n, n)) for _ in range(repeats)]
    defined = [d for d in drawn if not math.isnan(d)]
    low, high = np.quantile(defined, [0.025, 0.975]) if defined else (float("nan"), float("nan"))
    return Estimate(float(score(np.arange(n))), float(low), float(high))
