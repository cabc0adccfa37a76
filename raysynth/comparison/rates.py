"""Shares of successes and AUCs with honest intervals: exact, for dependent trials, one beside another, and at
every moment at once, so that a campaign may stop when it likes."""

from __future__ import annotations

import math

import numpy as np

from raysynth.comparison.intervals import FEWEST_INDEPENDENT, UNDEFINED, Estimate

LEVEL = 0.95


def clopper_pearson(hits: float, n: float, level: float = LEVEL) -> Estimate:
    """Share of n independent trials with the exact interval of Clopper and Pearson (1934).

    Args:
        hits, n: may be fractions (effective sample sizes); the beta quantiles go through.
        level: confidence, for example 0.95.
    """
    if n <= 0:
        return UNDEFINED
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return Estimate(hits / n, low, high)


def share(values_N: np.ndarray, clusters_N: np.ndarray | None = None, level: float = LEVEL) -> Estimate:
    """Mean of successes (0 to 1) with its interval.

    With clusters: Clopper-Pearson at the effective number of trials (Korn and Graubard 1998), that is n over the
    factor by which clusters raise the variance; never more than n.
    """
    n = len(values_N)
    if n == 0:
        return UNDEFINED
    mean = float(values_N.mean())
    effective = n / design_effect(values_N, clusters_N) if clusters_N is not None else float(n)
    return clopper_pearson(mean * effective, effective, level)


def design_effect(values_N: np.ndarray, clusters_N: np.ndarray) -> float:
    """How many times larger the variance of the mean is than for independent values; at least 1."""
    _, index = np.unique(clusters_N, return_inverse=True)
    n_clusters = int(index.max()) + 1
    deviation = values_N - values_N.mean()
    alone = float((deviation**2).sum())
    if alone == 0 or n_clusters < 2:
        return len(values_N) / n_clusters
    together = float((np.bincount(index, deviation) ** 2).sum()) * n_clusters / (n_clusters - 1)
    return max(together / alone, 1.0)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """First minus second of two independent shares, from their own intervals (Newcombe 1998, method 10)."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, max(value - below, -1.0), min(value + above, 1.0))


def excess(success: Estimate, baseline: Estimate) -> Estimate:
    """Risk (success - baseline) / (1 - baseline) of Giomi et al. (2023, equation 5), errors propagated; at most 1.

    Not cut at 0, so that an interval can show that nothing was gained.
    """
    room = 1 - baseline.value
    if not room > 0:
        return UNDEFINED
    value = (success.value - baseline.value) / room
    slope = (1 - success.value) / room**2
    below = math.hypot((success.value - success.low) / room, slope * (baseline.high - baseline.value))
    above = math.hypot((success.high - success.value) / room, slope * (baseline.value - baseline.low))
    return Estimate(value, value - below, min(value + above, 1.0))


def auc(
    members: np.ndarray,
    others: np.ndarray,
    member_clusters: np.ndarray | None = None,
    other_clusters: np.ndarray | None = None,
    level: float = LEVEL,
) -> Estimate:
    """Probability that a member scores higher than another row (ties count half).

    Interval by the placements of DeLong et al. (1988), summed over clusters (Obuchowski 1997); exact (Clopper-Pearson
    over the smaller side or the clusters) where all pairs are ordered alike; none for fewer than five trials on a side,
    or clusters.

    Args:
        member_clusters, other_clusters: which scores depend on each other, for example by one model; both or none.
    """
    if len(members) < 2 or len(others) < 2:
        return UNDEFINED
    from scipy.stats import t

    placed = [placements(members, others), 1 - placements(others, members)]
    value = float(placed[0].mean())
    if member_clusters is None or other_clusters is None:
        member_clusters, other_clusters = np.arange(len(members)), len(members) + np.arange(len(others))
        free = len(members) + len(others) - 2
        n_independent = min(len(members), len(others))
    else:
        n_independent = len(np.unique(np.concatenate([member_clusters, other_clusters])))
        free = max(n_independent - 1, 1)
    if n_independent < FEWEST_INDEPENDENT:
        return Estimate(value)
    if value in (0.0, 1.0):
        return clopper_pearson(value * n_independent, n_independent, level)
    _, index = np.unique(np.concatenate([member_clusters, other_clusters]), return_inverse=True)
    parts = np.concatenate([(p - value) / len(p) for p in placed])
    sums = np.bincount(index, parts)
    error = math.sqrt(float((sums**2).sum()) * len(sums) / max(len(sums) - 1, 1))
    half = float(t.ppf(1 - (1 - level) / 2, free)) * error
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))


def placements(scores: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Share of the other side's scores below each score, ties half."""
    ordered = np.sort(against)
    below, up_to = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    return (below + up_to) / (2 * len(against))


_GRID = 1001
_CUT = 0.5  # of the largest bet that cannot lose everything


def confidence_sequence(values_N: np.ndarray, level: float = LEVEL) -> Estimate:
    """Mean of values in [0, 1] with the interval of a betting confidence sequence after the last of them.

    The hedged capital process of Waudby-Smith and Ramdas (2024, Theorem 3): for each possible mean, two gamblers bet
    that values lie above and below it; a mean whose gamblers together reach 1 / (1 - level) is excluded for good. Holds
    for any stopping rule that looks at the values in their order.

    Args:
        values_N: independent, or a martingale difference around one mean, in the order in which they are looked at.
        level: confidence.
    """
    n = len(values_N)
    if n == 0:
        return UNDEFINED
    grid_G = (np.arange(_GRID) + 0.5) / _GRID
    bets_N = _bets(values_N, 1 - level)
    up, down = np.zeros(_GRID), np.zeros(_GRID)
    alive = np.ones(_GRID, dtype=bool)
    limit = math.log(1 / (1 - level))
    for x, bet in zip(values_N.tolist(), bets_N.tolist(), strict=True):
        up += np.log1p(np.minimum(bet, _CUT / grid_G) * (x - grid_G))
        down += np.log1p(-np.minimum(bet, _CUT / (1 - grid_G)) * (x - grid_G))
        alive &= np.maximum(up, down) + math.log(0.5) < limit
    mean = float(values_N.mean())
    if not alive.any():
        return Estimate(mean, mean, mean)
    kept = np.flatnonzero(alive)
    return Estimate(mean, float(kept[0] / _GRID), float((kept[-1] + 1) / _GRID))


def _bets(values_N: np.ndarray, alpha: float) -> np.ndarray:
    """Bets (N,), each from the values before it alone (equations 25 and 26)."""
    n = len(values_N)
    steps = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(values_N)) / (steps + 1)
    spread = (0.25 + np.cumsum((values_N - means) ** 2)) / (steps + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (before * steps * np.log1p(steps)))
