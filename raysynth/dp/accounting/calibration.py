"""Calibration: the least noise with which planned events, beside those already spent, stay within a budget.

The split rule. Information is counted as zero-concentrated DP does (rho of a Gaussian: 1 / (2 sigma^2); Bun and Steinke
2016), because rho adds up where epsilon does not: `share` of a budget for preprocessing means `share` of the rho that
one Gaussian release within the whole budget would have. Training is then calibrated against all events together, so
nothing of the budget is left unspent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.budget import PrivacyBudget
from raysynth.dp.accounting.ledger import Event, subsampled_gaussian
from raysynth.errors import ParameterError

PREPROCESSING_SHARE = 0.1
MOST_NOISE = 1000.0  # a noise multiplier above this trains on nothing but noise
TOLERANCE = 1e-3
WIDENING = 1.5
COARSE = 10.0  # the search runs on a grid so much wider, its result is checked on the fine one


def gaussian_delta(epsilon: float, noise_multiplier: float) -> float:
    """Delta of one Gaussian release at `epsilon`, exact (Balle and Wang 2018, theorem 8)."""
    from scipy.special import log_ndtr, ndtr

    a = 1 / (2 * noise_multiplier)
    b = epsilon * noise_multiplier
    return float(ndtr(a - b) - math.exp(epsilon + log_ndtr(-a - b)))


def gaussian_noise_multiplier(epsilon: float, delta: float) -> float:
    """The least noise multiplier of one Gaussian release within (epsilon, delta)."""
    found = least_scale(lambda sigma: gaussian_delta(epsilon, sigma) <= delta, 1.0, 1e-10, math.inf)
    assert found is not None
    return found


def calibrated(
    plan: Callable[[float], Sequence[Event]],
    budget: PrivacyBudget,
    already: Iterable[Event] = (),
    *,
    start: float = 1.0,
    tolerance: float = TOLERANCE,
) -> float:
    """The least scale of noise with which the events already spent and those planned stay within a budget.

    Args:
        plan: the planned events at a scale of noise; more scale, more noise.
        budget: for all events together.
        already: events already spent.
        start: a guess.
        tolerance: relative, of the scale; the result errs on the side of more noise.

    Raises:
        ParameterError: even at `MOST_NOISE` the budget is exceeded; says how small it is and what would do.
    """
    before = tuple(already)

    def total(scale: float, coarseness: float = 1.0) -> float:
        return total_epsilon((*before, *plan(scale)), budget.delta, coarseness=coarseness)

    begin = min(start, MOST_NOISE)
    taken = total_epsilon(before, budget.delta) if before else 0.0
    coarse = None
    if taken < budget.epsilon:
        coarse = least_scale(lambda scale: total(scale, COARSE) <= budget.epsilon, begin, tolerance, MOST_NOISE)
    if coarse is None:
        needed = total(MOST_NOISE, COARSE)
        raise ParameterError(
            f"epsilon = {budget.epsilon:g} (delta = {budget.delta:g}) is too small to train: {taken:.3g} of it is "
            f"taken already, and the rest would drown every step in noise; epsilon = {_rounded_up(needed)} would do, "
            "or fewer steps"
        )
    return _refined(total, coarse, budget.epsilon, tolerance)


def dpsgd_noise_multiplier(
    budget: PrivacyBudget, sampling_rate: float, steps: int, already: Iterable[Event] = ()
) -> float:
    """The noise multiplier of DP-SGD that spends what a budget has left; raises `ParameterError` if too little."""
    return calibrated(
        lambda sigma: (subsampled_gaussian("gradients", sigma, sampling_rate=sampling_rate, steps=steps),),
        budget,
        already,
        start=max(0.8, sampling_rate * math.sqrt(steps) * gaussian_noise_multiplier(budget.epsilon, budget.delta)),
    )


def least_scale(fits: Callable[[float], bool], start: float, tolerance: float, most: float) -> float | None:
    """The least x for which a monotone condition holds, from above, to a relative tolerance; None if above `most`."""
    high = start
    while not fits(high):
        if high > most:
            return None
        high *= WIDENING
    low = high / WIDENING
    while fits(low):
        if low < 1e-6:
            return low
        high, low = low, low / WIDENING
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _refined(total: Callable[[float], float], scale: float, epsilon: float, tolerance: float) -> float:
    """A scale found on the coarse grid, a little smaller where the fine grid allows it; each look is costly."""
    while (found := total(scale)) > epsilon:
        scale *= 1 + tolerance
    smaller = scale * (found / epsilon) ** 0.9  # epsilon falls with the noise, a little faster than its inverse
    return smaller if smaller < scale and total(smaller) <= epsilon else scale


def _rounded_up(x: float) -> str:
    """Two digits, never below x."""
    if not math.isfinite(x):
        return "a larger one, with a larger delta,"
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return f"{math.ceil(x / unit) * unit:.2g}"
