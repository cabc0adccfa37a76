"""What an experiment of an audit shows: lower bounds of epsilon at a confidence level, and of mu."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from raysynth.comparison.rates import auc, clopper_pearson
from raysynth.errors import ParameterError

LARGEST = 60.0  # no experiment of any size shows more


def game_bound(hits: int, members: int, false_alarms: int, others: int, *, delta: float, confidence: float) -> float:
    """What a membership game shows: epsilon is at least this, with the given confidence.

    An (epsilon, delta)-private mechanism gives every test TPR <= e^epsilon FPR + delta and, with the worlds exchanged,
    1 - FPR <= e^epsilon (1 - TPR) + delta (Kairouz, Oh and Viswanath 2015, theorem 2.1). TPR from below and FPR from
    above, by Clopper and Pearson at half the error each, bound epsilon from below in both ways at once.

    Args:
        hits, members: trials with the canary that the adversary took for such, of how many.
        false_alarms, others: trials without it that the adversary took for such, of how many.
        delta: of the claim.
        confidence: for example 0.95; the chance that the bound is too high is at most 1 - confidence.
    """
    check_confidence(confidence)
    tpr = clopper_pearson(hits, members, confidence).low  # its two tails have half the error: the lower one counts
    fpr = clopper_pearson(false_alarms, others, confidence).high
    ways = ((tpr - delta, fpr), (1 - fpr - delta, 1 - tpr))
    return max(0.0, *(math.log(a / b) for a, b in ways if a > 0 and b > 0))


def gaussian_mu(inside: np.ndarray, outside: np.ndarray, confidence: float) -> float:
    """The mu of Gaussian differential privacy that losses with and without the canary show at least.

    `confidence`: of the bound, one-sided.
    """
    area = auc(inside, outside, level=2 * confidence - 1)
    return max(0.0, math.sqrt(2) * float(ndtri(min(area.low, 1 - 1e-12))))


def one_run_bound(canaries: int, guesses: int, right: int, *, delta: float, confidence: float) -> float:
    """What one run shows in which each canary was in with chance 1/2 and `guesses` of them were guessed.

    Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2: for an (epsilon, delta)-private mechanism

        P(right >= v) <= P(W >= v) + 2 m delta max_(1 <= i <= v) P(v > W >= v - i) / i,   W ~ Bin(guesses, p),

    with p = e^epsilon / (1 + e^epsilon) and m canaries. The bound is the largest epsilon that this refutes.

    Args:
        canaries: m.
        guesses: how many were guessed to be in or out; fixed before the run.
        right: of these.
        delta, confidence: as in `game_bound`.
    """
    check_confidence(confidence)
    if not 0 <= right <= guesses <= canaries:
        raise ParameterError(f"{right} right of {guesses} guesses on {canaries} canaries cannot be")
    return _largest_refuted(lambda eps: one_run_chance(canaries, guesses, right, eps, delta), 1 - confidence)


def one_run_chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Largest chance of so many right guesses under (epsilon, delta)-privacy; see `one_run_bound`."""
    from scipy.stats import binom

    p = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, p))
    if right == 0:
        return 1.0
    steps = np.arange(1, right + 1)
    slope = float((np.cumsum(binom.pmf(right - steps, guesses, p)) / steps).max())
    return min(1.0, tail + 2 * canaries * delta * slope)


def _largest_refuted(chance: Callable[[float], float], error: float) -> float:
    """The largest epsilon whose chance is below the error; the chance rises with epsilon."""
    if chance(0.0) >= error:
        return 0.0
    low, high = 0.0, 1.0
    while chance(high) < error:
        if high >= LARGEST:
            return LARGEST
        low, high = high, high * 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < error else (low, middle)
    return low


def check_confidence(confidence: float) -> None:
    """Raise `ParameterError` unless the confidence lies between 0.5 and 1."""
    if not 0.5 < confidence < 1:
        raise ParameterError(f"confidence must be between 0.5 and 1, such as 0.95; found {confidence!r}")
