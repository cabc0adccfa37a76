"""What discrete Gaussian noise on counts costs: exactly where one unit changes known counts by one, else by a bound.

**Known changes.** One row more changes `coordinates` counts by exactly 1 each, and no others. So an event is that many
independent scalar mechanisms of sensitivity 1, and the privacy loss distribution of each is that of the exact law.

**Unknown changes** (k rows of a unit, split over the cells in whichever way). The scalar's loss for a change by the
whole norm is no bound for all of these, and that of continuous noise is none for any. But noise of parameter s on whole
numbers is what a public step makes of continuous noise of variance s^2 - r^2, but for a factor near 1: from a real
number z draw a whole number x with probability ~ exp(-(x - z)^2 / (2 r^2)) (randomised rounding; Peikert 2010, "An
efficient and parallel Gaussian sampler for lattices", theorem 3.1). For z = v + N(0, s^2 - r^2), v whole,

    P(x) = integral of N(z; v, s^2 - r^2) exp(-(x - z)^2 / (2 r^2)) / R(z) dz

with R(z) = sum_j exp(-(j - z)^2 / (2 r^2)), and by Poisson's summation R(z) = sqrt(2 pi) r (1 + sum_{j != 0} exp(-2
pi^2 r^2 j^2) cos(2 pi j z)), which lies within a factor 1 - h .. 1 + h of sqrt(2 pi) r, h = 2 sum_{j > 0} exp(-2 pi^2
r^2 j^2). So P(x) is within 1 / (1 + h) .. 1 / (1
- h) of N(x; v, s^2), and the discrete Gaussian's own probability within 1 / (1 + h) .. 1 of the same, since its sum of
weights is R(0) for s >= r. Their ratio lies in (1 - h) / (1 + h) .. 1 + h, for each coordinate that a unit changes; the
others have one law and drop out. With d of these the profile is at most (1 + h)^d times that of the continuous
mechanism of the lesser variance, at an epsilon less by d ln((1 + h)^2 / (1 - h)); over adaptive steps the factors
multiply. For r = 1.25, h is 8e-14. That holds for every vector of changes of a given L2 norm, so no maximum is
searched.
"""

from __future__ import annotations

import math
from typing import Any

from raysynth.dp.accounting.ledger import Event

ROUNDING = 1.25  # r, as far as the noise allows
MOST_SIGMA = 1e3  # up to which the exact law is composed; beyond, the bound costs a millionth and takes no time
MOST_LEVELS = 4  # of a histogram whose range is yet to be found (`mechanisms/histogram.py`)
CUT_OFF = 1e-29  # of delta for each coordinate: tails that the exact distribution leaves out (1e-30), with room


def is_exact(event: Event) -> bool:
    """Whether an event of discrete Gaussian noise is accounted for by its exact law; else by the bound."""
    return event.coordinates > 0 and (event.noise_multiplier or 0.0) * event.sensitivity <= MOST_SIGMA


def continuous_multiplier(event: Event) -> float:
    """The noise multiplier of the continuous Gaussian mechanism that dominates an event."""
    assert event.noise_multiplier is not None
    least = event.noise_multiplier**2 - (_rounding(event) / event.sensitivity) ** 2
    return math.sqrt(least)


def closeness(event: Event) -> float:
    """What is added to epsilon, and to the logarithm of delta, beside that mechanism, in all steps; inf: no bound."""
    r = _rounding(event)
    h = 2 * sum(math.exp(-2 * (math.pi * r * j) ** 2) for j in (1, 2, 3, 4))
    if h >= 0.5:
        return math.inf
    changed = MOST_LEVELS * math.ceil(event.sensitivity**2)  # each by at least 1, so no more than the squared norm
    return event.steps * changed * (2 * math.log1p(h) - math.log1p(-h))


def exact_distribution(sigma: float, interval: float) -> Any:
    """The privacy loss distribution of one count that changes by 1, `sigma` the parameter of its noise."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    return pld.from_discrete_gaussian_mechanism(
        sigma, sensitivity=1, value_discretization_interval=interval, use_connect_dots=True
    )


def _rounding(event: Event) -> float:
    assert event.noise_multiplier is not None
    return min(ROUNDING, event.noise_multiplier * event.sensitivity / math.sqrt(2))
