"""How far a similarity score can be off because rows were drawn, and what fresh real rows would score.

Both tables are taken as independent rows of two populations. The interval of a score is the delta method's: a distance
is linear in the shares near the observed ones, so its variance is that of a mean (for total variation the mean of the
signs of the gaps; for Kolmogorov-Smirnov the two cumulative shares where the gap is largest; for a correlation
(1 - r^2)^2 / n). It says how much another draw would move the score. It does not say that part of a small distance is
chance: two samples of one population never agree entirely, and `expected_complement` gives what these would score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raysynth.comparison.intervals import Z95, Estimate
from raysynth.evaluation.measures import largest_gap
from raysynth.statistics.released import NumericDistribution


def tv_half_width(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Half the 95 % interval of a total variation distance, from the counts of the same cells in both tables."""
    n, m = float(real.sum()), float(synthetic.sum())
    if n == 0 or m == 0:
        return float("nan")
    p, q = real / n, synthetic / m
    sign = np.sign(p - q)
    variance = sum(float((sign**2 * s).sum() - (sign * s).sum() ** 2) / size for s, size in ((p, n), (q, m)))
    return Z95 * math.sqrt(max(variance, 0.0)) / 2


def ks_half_width(real: NumericDistribution, synthetic: NumericDistribution) -> float:
    """Half the 95 % interval of a Kolmogorov-Smirnov distance."""
    if real.total == 0 or synthetic.total == 0:
        return float("nan")
    _, f, g = largest_gap(real, synthetic)
    return Z95 * math.sqrt(f * (1 - f) / real.total + g * (1 - g) / synthetic.total)


def correlation_half_width(real: float, synthetic: float, n_real: float, n_synthetic: float) -> float:
    """Half the 95 % interval of a correlation similarity, 1 - |difference| / 2."""
    if n_real < 2 or n_synthetic < 2:
        return float("nan")
    variance = (1 - real**2) ** 2 / (n_real - 1) + (1 - synthetic**2) ** 2 / (n_synthetic - 1)
    return Z95 * math.sqrt(variance) / 2


def expected_complement(real: np.ndarray, n_synthetic: float) -> float:
    """What 1 - total variation distance is expected to be for `n_synthetic` fresh rows of the real population.

    Each gap of shares is about normal with variance p (1 - p) (1 / n + 1 / m), so its mean size is sqrt(2 / pi) times
    the deviation (as mostlyai-qa's 'maximum' accuracy).
    """
    n = float(real.sum())
    if n == 0 or n_synthetic == 0:
        return float("nan")
    p = real / n
    deviation = np.sqrt(p * (1 - p) * (1 / n + 1 / n_synthetic))
    return 1 - float(deviation.sum()) * math.sqrt(2 / math.pi) / 2


def around(value: float, half_width: float) -> Estimate:
    """A score in [0, 1] with its interval; the bounds are NaN where the half-width is."""
    if math.isnan(value) or math.isnan(half_width):
        return Estimate(value)
    return Estimate(value, max(value - half_width, 0.0), min(value + half_width, 1.0))


def mean_around(scores: Sequence[tuple[float, float]]) -> Estimate:
    """Mean of the defined scores, given with their half-widths.

    The scores share their rows, so their errors may be dependent in any way: the half-widths are averaged, which holds
    for the worst dependence and is too wide for every other.
    """
    defined = [(s, h) for s, h in scores if not math.isnan(s)]
    if not defined:
        return Estimate(float("nan"))
    widths = [h for _, h in defined if not math.isnan(h)]
    mean = sum(s for s, _ in defined) / len(defined)
    return around(mean, sum(widths) / len(widths) if widths else float("nan"))
