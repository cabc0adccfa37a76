"""Parametric marginals: the smooth part of a number's distribution replaced by the best of some families.

Fitted to quantiles of the protected distribution, never to rows. Heaped values stay atoms. The choice is by the
smallest Kolmogorov-Smirnov distance to the protected distribution.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from raysynth.encoding.distribution import SmoothDistribution

FAMILIES = ("norm", "lognorm", "gamma", "expon", "weibull_min", "beta", "uniform", "t", "gumbel_r")
KEPT_ATOM_SHARE = 0.02  # a heaped value has this share of the rows at least,
HEAPED = 5  # and this many times the median cell's
FEW_CELLS = 20
N_POINTS = 1000
N_CELLS = 1000


def parametric(distribution: SmoothDistribution) -> tuple[SmoothDistribution, str]:
    """The distribution with its smooth part in parametric form, and the name of the family.

    Families: those of `FAMILIES` (scipy.stats), each with free location and scale. A distribution of at most 20 cells,
    or mostly of heaped values, stays as it is ('empirical').
    """
    heaped = max(KEPT_ATOM_SHARE, HEAPED * float(np.median(distribution.share)))
    atom = (distribution.low == distribution.high) & (distribution.share >= heaped)
    rest = ~atom
    if len(rest) <= FEW_CELLS or distribution.share[rest].sum() < 0.3:
        return distribution, "empirical"
    smooth = replace(
        distribution,
        low=distribution.low[rest],
        high=distribution.high[rest],
        share=distribution.share[rest] / distribution.share[rest].sum(),
    )
    name, fitted = _best_family(smooth)
    edges = np.clip(fitted.ppf(np.linspace(0, 1, N_CELLS + 1)), distribution.low[0], distribution.high[-1])
    low, high, share = _merged_cells(np.unique(edges), fitted, distribution, atom)
    return replace(distribution, low=low, high=high, share=share), name


def _best_family(smooth: SmoothDistribution) -> tuple[str, Any]:
    """Name and frozen scipy distribution of the family with the smallest KS distance."""
    from scipy import stats

    ranks = (np.arange(N_POINTS) + 0.5) / N_POINTS
    points = smooth.quantile(ranks)
    best: tuple[float, str, Any] | None = None
    for name in FAMILIES:
        family = getattr(stats, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fitted = family(*family.fit(points))
                distance = float(np.abs(fitted.cdf(points) - ranks).max())
            except (ValueError, FloatingPointError, stats.FitError):
                continue  # this family cannot hold these values; another one can
        if np.isfinite(distance) and (best is None or distance < best[0]):
            best = distance, name, fitted
    assert best is not None  # the uniform family always fits
    return best[1], best[2]


def _merged_cells(
    edges: np.ndarray, fitted: Any, distribution: SmoothDistribution, atom: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth cells between the edges, cut at the atoms, with the atoms among them."""
    at = distribution.low[atom]
    edges = np.union1d(edges, at)
    mass = np.diff(fitted.cdf(edges))
    mass = mass / mass.sum() * (1 - distribution.share[atom].sum())
    low, high = np.concatenate([edges[:-1], at]), np.concatenate([edges[1:], at])
    share = np.concatenate([mass, distribution.share[atom]])
    order = np.lexsort((high, low))
    keep = share[order] > 0
    return low[order][keep], high[order][keep], share[order][keep]
