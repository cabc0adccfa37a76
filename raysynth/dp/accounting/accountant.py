"""Accounting: the total epsilon of a list of events, by one composition of their privacy loss distributions.

The distributions and their composition are those of Google's `dp-accounting` (pessimistic at every step). Discrete
Gaussian noise on counts: `ledger.py`. The library has no exponential mechanism: its loss is of bounded range (Dong,
Durfee and Rogers 2020, "Optimal differential privacy composition for exponential mechanisms"), and for range epsilon
the largest hockey-stick divergence over all such mechanisms is, with E = exp(epsilon) and 1/E <= a <= E,

    sup_t (E - e^t) / (E - 1) * (1 - a e^-t)  =  (sqrt(E) - sqrt(a))^2 / (E - 1),    at e^t = sqrt(E a).

Convex, decreasing, and never below 1 - a, it is the profile of a pair of distributions (Zhu, Dong and Wang 2022,
proposition 8) that dominates every exponential mechanism, so composition with it holds adaptively (their theorem 10).

The noised number of rows decides sampling rates and steps of later events. Those are calibrated, whatever it comes out
as, to what its own epsilon and delta leave; so it is added by basic composition.

Gaussian releases from Poisson-sampled units: the library finds the hockey-stick divergence of a sampled mechanism in a
Python loop over the cells of its grid, and the moments that bound the tails of a composition one by one: most of the
time of a calibration. Here the same formulas are evaluated for all cells at once; bounds, tails and rounding stay the
library's.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from raysynth.dp.accounting.ledger import (
    CUT_OFF,
    Event,
    Mechanism,
    closeness,
    continuous_multiplier,
    exact_distribution,
    is_exact,
)
from raysynth.errors import ParameterError

FINEST_INTERVAL = 1e-6
MOST_CELLS = 2e7  # of the loss of one step: 160 MB
CELLS_PER_STEP = 10.0  # in the typical loss of a subsampled step, so that thousands of roundings stay below 0.1 %


@dataclass(frozen=True)
class Spent:
    """What a ledger costs.

    Args:
        epsilon, delta: the guarantee that all events of the ledger have together.
        guarantee: False where noise was seeded or something is not covered: then the figures guarantee nothing.
        not_covered: what the guarantee leaves out, in words.
    """

    epsilon: float
    delta: float
    guarantee: bool = True
    not_covered: tuple[str, ...] = ()

    def __str__(self) -> str:
        figures = f"epsilon = {self.epsilon:.4g}, delta = {self.delta:.3g}"
        if self.not_covered:
            return f"{figures}; not covered by it: {'; '.join(self.not_covered)}"
        return figures if self.guarantee else f"no guarantee (seeded noise); with fresh noise: {figures}"


def spent(events: Iterable[Event], delta: float) -> Spent:
    """The total of a ledger at a given delta."""
    events = tuple(events)
    missing = tuple(e.released for e in events if not e.is_covered)
    return Spent(total_epsilon(events, delta), delta, all(e.guarantee for e in events), missing)


def total_epsilon(events: Iterable[Event], delta: float, *, coarseness: float = 1.0) -> float:
    """Epsilon of all covered events together at `delta`; inf where there is none for so small a delta.

    Never too low. `coarseness` above 1: on a grid so much wider, faster and a little higher.
    """
    joint, added, left = _outside_composition(events, delta)
    if left <= 0 or added == math.inf:
        return math.inf
    return added + (_composed_epsilon(joint, left, coarseness) if joint else 0.0)


def _outside_composition(events: Iterable[Event], delta: float) -> tuple[tuple[Event, ...], float, float]:
    """The covered events to be composed, the epsilon that is added to theirs, and the delta at which theirs is read."""
    covered = [e for e in events if e.is_covered]
    basic = [e for e in covered if e.composition == "basic"]
    joint = tuple(e for e in covered if e.composition == "joint")
    added = sum((e.epsilon or 0.0) * e.steps for e in basic)
    left = delta - sum(e.delta * e.steps for e in basic)
    discrete = [e for e in joint if e.mechanism is Mechanism.DISCRETE_GAUSSIAN]
    near = sum(closeness(e) for e in discrete if not is_exact(e))
    cut = CUT_OFF * sum(e.coordinates * e.steps for e in discrete)
    return joint, added + near, left * math.exp(-near) - cut


@lru_cache(maxsize=64)
def least_epsilon(events: tuple[Event, ...], delta: float, seconds: float) -> float:
    """An epsilon that all covered events together have at least, by this accountant, found within about `seconds`.

    Events are composed one kind after the other, the costliest first, until the time is over; what is left out can only
    add to the total. So the figure is `total_epsilon` where the time suffices, and below it where it does not.

    Raises:
        ParameterError: an event whose loss takes more than `MOST_CELLS` cells, which no fit of raysynth charges.
    """
    from dp_accounting.pld import privacy_loss_distribution as pld

    begun = time.monotonic()
    joint, added, left = _outside_composition(events, delta)
    if left <= 0 or added == math.inf:
        return math.inf
    if not joint:
        return added
    interval = _interval(joint, left, 1.0)
    for event in joint:
        if _cells(event, interval) > MOST_CELLS:
            raise ParameterError(f"the ledger's event '{event.released[:80]}' is out of every range that is charged")
    total = pld.identity(value_discretization_interval=interval)
    for part, steps in sorted(_grouped(joint).items(), key=_cost_of_group):
        total = total.compose(self_composed(_distribution(part, interval), steps))
        if time.monotonic() - begun > seconds:
            break
    return added + float(total.get_epsilon_for_delta(left))


def _cost_of_group(group: tuple[tuple[Any, ...], int]) -> tuple[float, str]:
    """Orders groups of equal events by what they spend, roughly, the most first."""
    (mechanism, first, second), steps = group
    of_noise = mechanism in (Mechanism.GAUSSIAN, Mechanism.DISCRETE_GAUSSIAN)
    rho = second**2 / first**2 if of_noise else float(first) ** 2
    return -rho * steps, str(mechanism)


def _cells(event: Event, interval: float) -> float:
    """Cells of the loss of one step."""
    if event.mechanism is Mechanism.GAUSSIAN and event.sampling_rate < 1:
        return 2 * _largest_loss(event) / interval
    if event.mechanism is Mechanism.DISCRETE_GAUSSIAN and is_exact(event):
        return 24 * _sigma(event)  # of its exact law; its losses are fewer
    return 2 * (event.epsilon or 0.0) / interval if event.mechanism is Mechanism.EXPONENTIAL else 1.0


@lru_cache(maxsize=1024)
def _composed_epsilon(events: tuple[Event, ...], delta: float, coarseness: float) -> float:
    """Kept, since refits (shadow models, audits, sweeps) plan the same events again and again."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    interval = _interval(events, delta, coarseness)
    total = pld.identity(value_discretization_interval=interval)
    for part, steps in _grouped(events).items():
        total = total.compose(self_composed(_distribution(part, interval), steps))
    return float(total.get_epsilon_for_delta(delta))


def _grouped(events: Sequence[Event]) -> Counter[tuple[Any, ...]]:
    """(mechanism, parameters) of equal events with their number; plain Gaussians become one, which is exact.

    Those, too, that dominate discrete ones of unknown changes. A discrete one of known changes is as many as it has
    coordinates, each with the parameter of its noise.
    """
    groups: Counter[tuple[Any, ...]] = Counter()
    precision = 0.0
    for event in events:
        if event.mechanism is Mechanism.GAUSSIAN:
            assert event.noise_multiplier is not None
            if event.sampling_rate == 1:
                precision += event.steps / event.noise_multiplier**2
            else:
                groups[event.mechanism, event.noise_multiplier, event.sampling_rate] += event.steps
        elif event.mechanism is Mechanism.DISCRETE_GAUSSIAN and is_exact(event):
            groups[event.mechanism, _sigma(event), 1.0] += event.steps * event.coordinates
        elif event.mechanism is Mechanism.DISCRETE_GAUSSIAN:
            precision += event.steps / continuous_multiplier(event) ** 2
        else:
            groups[event.mechanism, event.epsilon, event.delta] += event.steps
    if precision > 0:
        groups[Mechanism.GAUSSIAN, precision**-0.5, 1.0] += 1
    return groups


@lru_cache(maxsize=64)
def _distribution(part: tuple[Any, ...], interval: float) -> Any:
    """The privacy loss distribution of one step."""
    from dp_accounting.pld import common
    from dp_accounting.pld import privacy_loss_distribution as pld

    mechanism, first, second = part
    if mechanism is Mechanism.GAUSSIAN and second < 1:
        return sampled_gaussian_distribution(first, second, interval)
    if mechanism is Mechanism.GAUSSIAN:
        return pld.from_gaussian_mechanism(first, value_discretization_interval=interval, sampling_prob=second)
    if mechanism is Mechanism.DISCRETE_GAUSSIAN:
        return exact_distribution(first, interval)
    if mechanism is Mechanism.EXPONENTIAL:
        return _bounded_range(first, interval)
    # (discrete) Laplace noise too: no epsilon-private mechanism loses more than randomised response
    return pld.from_privacy_parameters(common.DifferentialPrivacyParameters(first, second), interval)


def _bounded_range(epsilon: float, interval: float) -> Any:
    """The distribution that dominates every mechanism whose privacy loss has range `epsilon`; see the module."""
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld import privacy_loss_distribution as pld

    most = math.ceil(epsilon / interval)
    loss = np.arange(-most, most + 1) * interval
    root = math.exp(epsilon / 2)
    profile = np.maximum(root - np.exp(np.minimum(loss, epsilon) / 2), 0.0) ** 2 / math.expm1(epsilon)
    profile = np.where(loss <= -epsilon, -np.expm1(loss), profile)
    pmf = pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, -most, most, np.clip(profile, 0.0, 1.0))
    return pld.PrivacyLossDistribution(pmf)


def _interval(events: Sequence[Event], delta: float, coarseness: float) -> float:
    """Width of the cells of the losses: about a ten-thousandth of the total epsilon, as concentrated DP has it."""
    rho = sum(e.steps * _rho(e) for e in events)
    scale = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    fine = 10.0 ** math.floor(math.log10(max(scale, 1e-300))) * 1e-4
    steps = [e for e in events if e.sampling_rate < 1]
    exact = [1 / _sigma(e) for e in events if is_exact(e)]
    if exact:  # the typical loss of one count
        fine = min(fine, min(exact) / CELLS_PER_STEP)
    if not steps:
        return max(fine, scale * 1e-6, FINEST_INTERVAL) * coarseness
    widest = coarseness * max(fine, *(_largest_loss(e) * 3e-5 for e in steps))  # longer ones are slow
    narrow = min(e.sampling_rate / (e.noise_multiplier or 1.0) for e in steps) / CELLS_PER_STEP
    return max(min(widest, narrow), scale * 1e-6, FINEST_INTERVAL / 100)


def _largest_loss(event: Event) -> float:
    """Of one subsampled step, ten standard deviations out; at least 10."""
    assert event.noise_multiplier is not None
    return max(10.0, 10 / event.noise_multiplier + 0.5 / event.noise_multiplier**2 + math.log(event.sampling_rate))


def _sigma(event: Event) -> float:
    """The parameter of an event's noise, in rows."""
    assert event.noise_multiplier is not None
    return event.noise_multiplier * event.sensitivity


def _rho(event: Event) -> float:
    """Roughly the concentrated privacy of one step (Bun and Steinke 2016); decides the grid's width, no more."""
    if event.noise_multiplier is not None and event.mechanism is not Mechanism.SELECTION:
        return event.sampling_rate**2 / (2 * event.noise_multiplier**2)
    epsilon = event.epsilon or 0.0
    return min(epsilon, epsilon**2 / (8 if event.mechanism is Mechanism.EXPONENTIAL else 2))


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
