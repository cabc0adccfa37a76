"""Confidence sequences: intervals that hold at every moment at once, so that a campaign may stop when it likes."""

from __future__ import annotations

import math

import numpy as np

from raysynth.comparison.intervals import UNDEFINED, Estimate
from raysynth.comparison.rates import LEVEL

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
