"""The privacy loss of a Gaussian release from Poisson-sampled units, and of many, as `dp-accounting` has it, on arrays.

The library finds the hockey-stick divergence of a sampled mechanism in a Python loop over the cells of its grid, and
the moments that bound the tails of a composition one by one: most of the time of a calibration. Here the same formulas
are evaluated for all cells at once; bounds, tails and rounding stay the library's.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

TAIL = 1e-15  # of a composition's mass, counted as an infinite loss
ORDERS = 20  # of moments, on either side, that bound what lies outside


def sampled_gaussian_distribution(noise_multiplier: float, sampling_rate: float, interval: float) -> Any:
    """The privacy loss distribution of one step of DP-SGD, pessimistic, under one unit more or less.

    Args:
        noise_multiplier: standard deviation of the noise over the sensitivity, > 0.
        sampling_rate: probability q of each unit, 0 < q < 1.
        interval: width of the cells of the losses.
    """
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld import privacy_loss_distribution as pld
    from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType

    def of(adjacency: Any) -> Any:
        loss = _loss_class()(noise_multiplier, sampling_prob=sampling_rate, adjacency_type=adjacency)
        bounds = loss.connect_dots_bounds()
        low, high = math.floor(bounds.epsilon_lower / interval), math.ceil(bounds.epsilon_upper / interval)
        deltas = loss.get_delta_for_epsilon(np.arange(low, high + 1) * interval)
        return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, low, high, deltas)

    return pld.PrivacyLossDistribution(of(AdjacencyType.REMOVE), of(AdjacencyType.ADD))


@cache
def _loss_class() -> Any:
    """The library's loss with its divergence on arrays; made here, since the library is slow to import."""
    from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

    class ArrayLoss(GaussianPrivacyLoss):
        """One direction; with sensitivity 1."""

        def get_delta_for_epsilon(self, epsilon: Any) -> Any:
            """Divergence at each epsilon (K,): P(loss above it) - e^epsilon Q(the same), in [0, 1].

            The loss falls with the output x, so it is above epsilon left of the x where it equals epsilon:
            exp(loss) = 1 - q + q e^(-(2 x + 1) / (2 sigma^2)) with one unit more on the side of P, and the inverse of
            the same at -x with one less.
            """
            epsilons = np.asarray(epsilon, dtype=float)
            q, variance, more = self.sampling_prob, self._standard_deviation**2, self.adjacency_type
            sign = 1.0 if more == AdjacencyType.REMOVE else -1.0
            reached = sign * epsilons > math.log1p(-q)  # a loss there is; left of all: none is below, right: none above
            x = -sign * (variance * _log_of_mixed(sign * epsilons[reached], q) + 0.5)
            deltas = np.zeros_like(epsilons) if sign < 0 else -np.expm1(epsilons)
            deltas[reached] = self.mu_upper_cdf(x) - np.exp(epsilons[reached] + self.mu_lower_log_cdf(x))
            return np.clip(deltas, 0.0, 1.0)

    return ArrayLoss


def _log_of_mixed(t: np.ndarray, q: float) -> np.ndarray:
    """log(1 + (e^t - 1) / q) for t > log(1 - q), without overflow."""
    above = np.maximum(t, 0.0)
    return np.where(
        t > 0,
        above + np.log1p((q - 1) * np.exp(-above)) - math.log(q),
        np.log1p(np.expm1(np.minimum(t, 0.0)) / q),
    )


def self_composed(distribution: Any, steps: int) -> Any:
    """The privacy loss distribution of so many releases, each of one distribution, by the library's convolution."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    if steps == 1:
        return distribution
    remove = _convolved(distribution._pmf_remove.to_dense_pmf(), steps)  # the library raises a sparse one at any price
    return pld.PrivacyLossDistribution(
        remove, None if distribution._symmetric else _convolved(distribution._pmf_add.to_dense_pmf(), steps)
    )


def _convolved(pmf: Any, steps: int) -> Any:
    """A dense mass function with itself (`DensePLDPmf.self_compose`)."""
    from dp_accounting.pld import pld_pmf
    from scipy import fft

    first, last = _bounds(np.asarray(pmf._probs), steps)
    length = fft.next_fast_len(max(last - first + 1, pmf.size))
    whole = np.real(fft.ifft(fft.fft(pmf._probs, length) ** steps))
    inside = np.roll(whole, -first)[: last - first + 1]
    infinite = TAIL - math.expm1(steps * math.log1p(-pmf._infinity_mass))
    return pld_pmf.DensePLDPmf(
        pmf._discretization, pmf._lower_loss * steps + first, inside, infinite, pmf._pessimistic_estimate
    )


def _bounds(mass_K: np.ndarray, steps: int) -> tuple[int, int]:
    """Cells (first, last) of a sum of `steps` losses; by Chernoff's bound at most TAIL lies outside.

    The moments E[exp(o k / K)] of cell k at the orders o = -20 .. 20 are powers of one array, none above e^20.
    """
    size = len(mass_K)
    first, last = 0, (size - 1) * steps
    for sign in (1, -1):
        factor_K, power_K = np.exp(sign * np.arange(size) / size), np.ones(size)
        for order in range(1, ORDERS + 1):
            power_K *= factor_K
            if (moment := float(power_K @ mass_K)) <= 0:
                continue
            bound = sign * (steps * math.log(moment) + math.log(2 / TAIL)) * size / order
            if sign > 0:
                last = min(last, math.ceil(bound))
            else:
                first = max(first, math.floor(bound))
    return first, last
