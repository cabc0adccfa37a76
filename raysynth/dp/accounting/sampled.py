"""The privacy loss of one Gaussian release from Poisson-sampled units, as `dp-accounting` has it, on whole arrays.

The library finds the hockey-stick divergence of a sampled mechanism in a Python loop over the cells of its grid, which
is half the time of a calibration. Here the same formula is evaluated for all cells at once; bounds, tails and rounding
stay the library's.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np


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
