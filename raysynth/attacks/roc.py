"""How well scores tell members from others: ROC, true positives at low false positives, advantage, epsilon.

A measure that picks a threshold picks it on other scores than it is judged by, or its interval allows for the choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysynth.comparison.intervals import UNDEFINED, Estimate
from raysynth.comparison.rates import LEVEL, clopper_pearson, difference

FALSE_POSITIVE_RATES = (0.1, 0.01, 0.001)
_THRESHOLDS = 50


@dataclass(frozen=True)
class Curve:
    """A ROC curve: false and true positive rates, each from 0 to 1."""

    false_positive: tuple[float, ...]
    true_positive: tuple[float, ...]


def roc_curve(members: np.ndarray, others: np.ndarray, points: int = 201) -> Curve:
    """The curve at up to `points` thresholds, denser where false positives are few."""
    ranks = np.concatenate([np.linspace(0, 1, points // 2), 1 - np.geomspace(1e-4, 1, points // 2)])
    cuts = np.unique(np.quantile(np.concatenate([members, others]), np.clip(ranks, 0, 1)))[::-1]
    rates = [[float((scores >= cut).mean()) for cut in cuts] for scores in (others, members)]
    return Curve((0.0, *rates[0], 1.0), (0.0, *rates[1], 1.0))


def tpr_at_fpr(members: np.ndarray, others: np.ndarray, rate: float, level: float = LEVEL) -> Estimate:
    """True positive rate at a false positive rate (Carlini et al. 2022, section III), of scores above a threshold.

    The interval allows for the threshold's own error: it goes from the exact lower bound at a threshold whose true
    false positive rate is surely below `rate` to the upper bound at one where it is surely above.
    """
    if len(members) == 0 or len(others) == 0:
        return UNDEFINED
    from scipy.stats import binom

    tail, n = (1 - level) / 4, len(others)
    high_first = np.append(np.sort(others)[::-1], -np.inf)
    # rank r: the threshold is the r-th highest other score, so that r - 1 of the others lie above it
    surely_below = int(binom.ppf(tail, n, rate))
    surely_above = min(int(binom.ppf(1 - tail, n, rate)) + 1, n)
    counts = [int((members > high_first[r]).sum()) for r in (int(rate * n), surely_above)]
    low_hits = 0 if surely_below == 0 else int((members > high_first[surely_below - 1]).sum())
    one_side = 1 - 2 * tail
    low = clopper_pearson(low_hits, len(members), one_side).low
    high = clopper_pearson(counts[1], len(members), one_side).high
    return Estimate(counts[0] / len(members), min(low, counts[0] / len(members)), high)


def tpr_value(members: np.ndarray, others: np.ndarray, rate: float) -> float:
    """`tpr_at_fpr` without its interval."""
    if len(members) == 0 or len(others) == 0:
        return math.nan
    above = int(rate * len(others))
    threshold = -np.inf if above >= len(others) else np.partition(others, len(others) - 1 - above)[-1 - above]
    return float((members > threshold).mean())


def advantage(members: np.ndarray, others: np.ndarray, level: float = LEVEL) -> Estimate:
    """True minus false positive rate at the best threshold (Yeom et al. 2018), which is chosen on the other half."""
    if min(len(members), len(others)) < 4:
        return UNDEFINED
    hits: list[list[np.ndarray]] = [[], []]
    for fold in (0, 1):
        cut = best_threshold(members[fold::2], others[fold::2])
        hits[0].append(members[1 - fold :: 2] >= cut)
        hits[1].append(others[1 - fold :: 2] >= cut)
    true, false = (np.concatenate(h) for h in hits)
    return difference(
        clopper_pearson(float(true.sum()), len(true), level), clopper_pearson(float(false.sum()), len(false), level)
    )


def best_threshold(members: np.ndarray, others: np.ndarray) -> float:
    """The score at which true minus false positive rate is largest."""
    cuts = np.unique(np.concatenate([members, others]))
    true = 1 - np.searchsorted(np.sort(members), cuts, "left") / len(members)
    false = 1 - np.searchsorted(np.sort(others), cuts, "left") / len(others)
    return float(cuts[np.argmax(true - false)])


def empirical_epsilon(members: np.ndarray, others: np.ndarray, delta: float = 0.0, level: float = LEVEL) -> Estimate:
    """The epsilon that the attack shows: a value, and the bound that the true one exceeds with confidence `level`.

    Any (epsilon, delta) private mechanism keeps TPR <= exp(epsilon) FPR + delta and 1 - FPR <= exp(epsilon) (1 - TPR) +
    delta (Kairouz et al. 2015). The threshold is chosen on the even trials and judged by Clopper-Pearson bounds on the
    odd ones. The bound speaks of the mechanism where trials are independent runs of it; where they are rows of one run,
    it says how much its average row gives away.
    """
    if min(len(members), len(others)) < 4:
        return UNDEFINED
    cut = _sharpest_threshold(members[::2], others[::2], delta, level)
    true, false = _rates(members[1::2], others[1::2], cut, 1 - (1 - level) / 2)
    value = max(_log_ratio(true.value - delta, false.value), _log_ratio(1 - false.value - delta, 1 - true.value), 0.0)
    low = max(_log_ratio(true.low - delta, false.high), _log_ratio(1 - false.high - delta, 1 - true.low), 0.0)
    return Estimate(max(value, low), low, math.inf)


def outside_region(
    members: np.ndarray, others: np.ndarray, epsilon: float, delta: float, level: float = 0.999
) -> tuple[tuple[float, float], ...]:
    """(FPR, TPR) points that an (epsilon, delta) private mechanism does not allow; empty where theory is respected.

    Scores must come from independent runs with and without the target. Thresholds are quantiles of the even trials;
    the odd ones judge, with Clopper-Pearson bounds at Bonferroni's level, so that a private mechanism is accused with
    probability below 1 - `level`.
    """
    cuts = np.unique(np.quantile(np.concatenate([members[::2], others[::2]]), np.linspace(0, 1, _THRESHOLDS)))
    each = 1 - (1 - level) / (2 * len(cuts))
    found = []
    for cut in cuts:
        true, false = _rates(members[1::2], others[1::2], float(cut), each)
        more = true.low > math.exp(epsilon) * false.high + delta
        fewer = 1 - false.high > math.exp(epsilon) * (1 - true.low) + delta
        if more or fewer:
            found.append((false.value, true.value))
    return tuple(found)


def _sharpest_threshold(members: np.ndarray, others: np.ndarray, delta: float, level: float) -> float:
    """The threshold whose bound on epsilon is the highest on these scores."""
    cuts = np.unique(np.quantile(np.concatenate([members, others]), np.linspace(0, 1, _THRESHOLDS)))
    bounds = []
    for cut in cuts:
        true, false = _rates(members, others, float(cut), level)
        bounds.append(max(_log_ratio(true.low - delta, false.high), _log_ratio(1 - false.high - delta, 1 - true.low)))
    return float(cuts[int(np.argmax(bounds))])


def _rates(members: np.ndarray, others: np.ndarray, cut: float, level: float) -> tuple[Estimate, Estimate]:
    """True and false positive rates at a threshold."""
    true, false = (clopper_pearson(float((s >= cut).sum()), len(s), level) for s in (members, others))
    return true, false


def _log_ratio(numerator: float, denominator: float) -> float:
    if numerator <= 0:
        return -math.inf
    return math.log(numerator / denominator) if denominator > 0 else math.inf
