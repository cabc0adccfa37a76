"""The budget of a fit, and calibration: the least noise with which planned events, beside those spent, stay within it.

Epsilon and delta are fixed before anything is released.

The split rule. Information is counted as zero-concentrated DP does (rho of a Gaussian: 1 / (2 sigma^2); Bun and Steinke
2016), because rho adds up where epsilon does not: `share` of a budget for preprocessing means `share` of the rho that
one Gaussian release within the whole budget would have. Training is then calibrated against all events together, so
nothing of the budget is left unspent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from raysynth.arguments import is_finite
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.ledger import Event, subsampled_gaussian
from raysynth.errors import ParameterError

DEFAULT_EPSILON = 1.0
DEFAULT_DELTA = 1e-5
DELTA_EXPONENT = 1.1
MOST_EPSILON = 10_000  # beyond it nothing is protected, and losses leave the range of floats


@dataclass(frozen=True)
class PrivacyBudget:
    """An (epsilon, delta) guarantee, under the addition or removal of one unit (Dwork and Roth 2014, definition 2.4).

    Args:
        epsilon: > 0, at most `MOST_EPSILON`.
        delta: in (0, 1); the chance with which the guarantee of epsilon may fail.

    Raises:
        ParameterError: either is out of its range.
    """

    epsilon: float
    delta: float = DEFAULT_DELTA

    def __post_init__(self) -> None:
        if not (is_finite(self.epsilon) and 0 < self.epsilon <= MOST_EPSILON):
            raise ParameterError(
                f"epsilon must be a number > 0 (1 is strict, 10 is weak) and at most {MOST_EPSILON:,}, which protects "
                f"nothing; found {self.epsilon!r}"
            )
        if not (is_finite(self.delta) and 0 < self.delta < 1):
            raise ParameterError(f"delta must be a number between 0 and 1, such as 1e-5; found {self.delta!r}")

    @classmethod
    def fixed(cls, epsilon: float, delta: float | None = None, about_rows: float | None = None) -> PrivacyBudget:
        """The budget with delta by rule, from public values only.

        Args:
            epsilon: > 0.
            delta: the user's wins; else 1e-5, or min(1e-5, 1 / about_rows^1.1).
            about_rows: the declared (public) order of magnitude of the number of units.
        """
        if about_rows is not None and not (is_finite(about_rows) and about_rows >= 1):
            raise ParameterError(f"about_rows must be a number >= 1, such as 1e6; found {about_rows!r}")
        if delta is None:
            delta = DEFAULT_DELTA if about_rows is None else min(DEFAULT_DELTA, about_rows**-DELTA_EXPONENT)
        return cls(epsilon, delta)

    def warning(self, noised_n: float) -> str | None:
        """What to say where delta is above one over the (noised) number of units; None where it is below."""
        if self.delta * max(noised_n, 1.0) <= 1:
            return None
        return (
            f"delta = {self.delta:g} exceeds one over the number of units (about {noised_n:,.0f}): a mechanism that "
            f"publishes one of them at random would pass; set delta to {max(noised_n, 2.0) ** -DELTA_EXPONENT:.1g} "
            "or below"
        )


PREPROCESSING_SHARE = 0.1
MOST_NOISE = 1000.0  # a noise multiplier above this trains on nothing but noise
TOLERANCE = 1e-3
WIDENING = 1.5
FARTHEST = 2.0  # logarithm of the largest step of a search that has not yet passed its end
MOST_SECANTS = 12  # after which intervals are halved
LEAST_NOISE = 1e-6
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
        coarse = _by_secants(lambda scale: total(scale, COARSE) / budget.epsilon, begin, tolerance)
    if coarse is None:
        needed = _at_most_noise(before, plan(MOST_NOISE), budget.delta)
        raise ParameterError(
            f"epsilon = {budget.epsilon:g} (delta = {budget.delta:g}) is too small to train: {taken:.3g} of it is "
            f"taken already, and the rest would drown every step in noise; epsilon = {_rounded_up(needed)} would do, "
            "or fewer steps"
        )
    return _refined(total, coarse, budget.epsilon, tolerance)


def _at_most_noise(before: tuple[Event, ...], planned: Sequence[Event], delta: float) -> float:
    """An epsilon that does for both: halves of delta each, since a grid for both at once has as many cells as the
    largest loss has of the smallest; together where the events before need more of delta."""
    halves = total_epsilon(before, delta / 2) + total_epsilon(planned, delta / 2, coarseness=COARSE)
    return halves if before and halves < math.inf else total_epsilon((*before, *planned), delta, coarseness=COARSE)


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
        if low < LEAST_NOISE:
            return low
        high, low = low, low / WIDENING
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _by_secants(share: Callable[[float], float], start: float, tolerance: float) -> float | None:
    """As `least_scale` for what falls with the scale about as its inverse: where it is 1 at most; None at no scale.

    Every look is costly: four or five, along secants of the logarithms, are enough where halving takes twelve.
    """
    width, most = math.log1p(tolerance), math.log(MOST_NOISE)
    low: tuple[float, float] | None = None  # logarithms of a scale that is too small and of the share there
    high: tuple[float, float] | None = None  # of one that is enough
    x = min(math.log(start), most)
    for look in itertools.count():
        found = share(math.exp(x))
        y = math.log(found) if found > 0 else -math.inf
        if y <= 0:
            high = x, y
        else:
            low = x, y
        if low is None and x < math.log(LEAST_NOISE) or high and low and high[0] - low[0] <= width:
            break
        if high is None and x >= most:
            return None
        if low is None or high is None:
            x = min(x + min(max(y, -FARTHEST), FARTHEST) + math.copysign(width / 2, y), most)
        else:
            x = _closer(low, high, width) if look < MOST_SECANTS else (low[0] + high[0]) / 2
    assert high is not None
    return math.exp(high[0])


def _closer(low: tuple[float, float], high: tuple[float, float], width: float) -> float:
    """Where to look next between two places: near the secant's zero, or where a look would end the search."""
    if not math.isfinite(low[1] - high[1]):
        return (low[0] + high[0]) / 2
    zero = low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])
    if high[0] - zero < 0.8 * width:
        return high[0] - 0.95 * width
    if zero - low[0] < 0.8 * width:
        return low[0] + 0.95 * width
    return zero + width / 3


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
