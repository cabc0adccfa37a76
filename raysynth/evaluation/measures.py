"""Similarity measures between two released statistics: pure functions of counts and distributions, never of rows.

Definitions are those of SDMetrics 0.32 (docs.sdv.dev/sdmetrics) where it has one, so that figures can be compared:
KSComplement, TVComplement, CorrelationSimilarity, ContingencySimilarity, CategoryCoverage, RangeCoverage,
MissingValueSimilarity. Every score runs from 0 (nothing alike) to 1 (alike); NaN means 'not defined here'.

A score's interval says how far it can be off because rows were drawn. Both tables are taken as independent rows of two
populations. The interval of a score is the delta method's: a distance is linear in the shares near the observed ones,
so its variance is that of a mean (for total variation the mean of the signs of the gaps; for Kolmogorov-Smirnov the two
cumulative shares where the gap is largest; for a correlation (1 - r^2)^2 / n). It says how much another draw would move
the score. It does not say that part of a small distance is chance: two samples of one population never agree entirely,
and `expected_complement` gives what these would score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raysynth.comparison.coding import text_of
from raysynth.comparison.intervals import Z95, Estimate
from raysynth.statistics.released import CategoryCounts, NumericDistribution

NAN = float("nan")


def ks_complement(real: NumericDistribution, synthetic: NumericDistribution) -> float:
    """1 - the Kolmogorov-Smirnov distance of two columns of numbers; missing values are left out.

    Exact where both distributions are made of atoms; else off by at most the sum of both `rank_error`.
    """
    if real.total == 0 or synthetic.total == 0:
        return NAN
    return 1 - largest_gap(real, synthetic)[0]


def largest_gap(real: NumericDistribution, synthetic: NumericDistribution) -> tuple[float, float, float]:
    """(gap, real share, synthetic share): where the two cumulative curves are farthest apart. Neither may be empty."""
    x = _edges(real, synthetic)
    f, g = (np.concatenate([cdf(d, x), cdf(d, x, left=True)]) for d in (real, synthetic))
    at = int(np.argmax(np.abs(f - g)))
    return float(abs(f[at] - g[at])), float(f[at]), float(g[at])


def wasserstein_distance(real: NumericDistribution, synthetic: NumericDistribution) -> float:
    """First Wasserstein distance (mean absolute distance of equal ranks), in standard deviations of the real column.

    0 is alike. In the column's own unit where the real column is constant.
    """
    if real.total == 0 or synthetic.total == 0:
        return NAN
    x = _edges(real, synthetic)
    start = (cdf(real, x) - cdf(synthetic, x))[:-1]
    end = (cdf(real, x, left=True) - cdf(synthetic, x, left=True))[1:]
    size = np.abs(start) + np.abs(end)
    crossing = (start * end < 0) & (size > 0)
    mean = np.where(crossing, (start**2 + end**2) / (2 * np.where(size > 0, size, 1)), size / 2)
    area = float((mean * np.diff(x)).sum())
    return area / real.std if real.std > 0 else area


def tv_complement(real: CategoryCounts, synthetic: CategoryCounts) -> float:
    """1 - the total variation distance of two columns of categories; missing values are left out."""
    return contingency_similarity(*aligned_counts(real, synthetic))


def contingency_similarity(real: np.ndarray, synthetic: np.ndarray) -> float:
    """1 - the total variation distance of two tables of counts of the same cells (missing is a cell of its own)."""
    n_real, n_synthetic = float(real.sum()), float(synthetic.sum())
    if n_real == 0 or n_synthetic == 0:
        return NAN
    return 1 - float(np.abs(real / n_real - synthetic / n_synthetic).sum()) / 2


def correlation_similarity(real: float, synthetic: float) -> float:
    """1 - half the distance of two Pearson coefficients; NaN where either is undefined (a constant column)."""
    return 1 - abs(real - synthetic) / 2


def category_coverage(real: CategoryCounts, synthetic: CategoryCounts) -> float:
    """Share of the real column's categories that occur in the synthetic one."""
    known = {text_of(v) for v in real.values}
    return len(known & {text_of(v) for v in synthetic.values}) / len(known) if known else NAN


def range_coverage(real: NumericDistribution, synthetic: NumericDistribution) -> float:
    """Share of the real column's range [min, max] that the synthetic one reaches into; NaN for a constant column."""
    if real.total == 0 or synthetic.total == 0:
        return NAN
    low, high = float(real.low[0]), float(real.high[-1])
    if high <= low:
        return NAN
    short = max(float(synthetic.low[0]) - low, 0) + max(high - float(synthetic.high[-1]), 0)
    return max(1 - short / (high - low), 0.0)


def missing_similarity(real_share: float, synthetic_share: float) -> float:
    """1 - the distance of the shares of missing values."""
    return 1 - abs(real_share - synthetic_share)


def mean_of_defined(scores: list[float]) -> float:
    """Mean of the scores that are defined; NaN where none is."""
    defined = [s for s in scores if not math.isnan(s)]
    return sum(defined) / len(defined) if defined else NAN


def aligned_counts(real: CategoryCounts, synthetic: CategoryCounts) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the union of both columns' categories, real ones first; missing values left out."""
    position: dict[str, int] = {}
    for value in (*real.values, *synthetic.values):
        position.setdefault(text_of(value), len(position))
    found = []
    for side in (real, synthetic):
        column = np.zeros(len(position))
        np.add.at(column, [position[text_of(v)] for v in side.values], side.counts)
        found.append(column)
    return found[0], found[1]


def cdf(distribution: NumericDistribution, x: np.ndarray, left: bool = False) -> np.ndarray:
    """P(X <= x), or P(X < x) with `left`; linear inside a cell, a step at an atom. Shape of x."""
    d = distribution
    cumulative = np.concatenate([[0.0], np.cumsum(d.counts)])
    cell = np.searchsorted(d.high, x, side="left" if left else "right")
    low, high, counts = np.append(d.low, d.high[-1]), np.append(d.high, d.high[-1]), np.append(d.counts, 0)
    width = high[cell] - low[cell]
    inside = (x > low[cell]) & (width > 0)
    share = np.where(inside, (x - low[cell]) / np.where(inside, width, 1), 0)
    return (cumulative[cell] + counts[cell] * np.clip(share, 0, 1)) / d.total


def _edges(real: NumericDistribution, synthetic: NumericDistribution) -> np.ndarray:
    return np.unique(np.concatenate([real.low, real.high, synthetic.low, synthetic.high]))


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
