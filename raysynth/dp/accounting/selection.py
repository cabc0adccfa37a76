"""The cost of choosing: the best of a random number of runs of one private mechanism, of which only it is released.

Papernot and Steinke 2022, "Hyperparameter tuning with Renyi differential privacy" (arXiv 2110.03620). A mechanism M
gives (score, output). K is drawn without the data, M runs K times, independently, and the run of highest score is all
that leaves. Where M is (order, rho)-Renyi-private for each order, so is the choice with a larger rho: theorem 2 for a
geometric K (truncated negative binomial of shape 1), theorem 6 for a Poisson K (nothing leaves where K = 0). Both ask
that neither K nor anything of the other runs is seen.

M may itself draw one of finitely many settings at random. Its output is then a mixture with weights that do not depend
on the data, and exp((order - 1) * Renyi divergence) of a mixture is at most the largest of its parts' (joint convexity
of the f-divergence x^order). So M is charged what the dearest setting may cost: every run has a `RunBudget`, fixed
before any row is read, and is calibrated to it (`scope.py`) whatever the statistics come out as.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.dp.accounting.ledger import Event, Mechanism
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import ParameterError

GEOMETRIC, POISSON = "geometric", "poisson"
LAWS = (GEOMETRIC, POISSON)
ORDERS = tuple(np.unique(np.concatenate([1 + np.geomspace(0.01, 10, 120), np.geomspace(11, 2048, 80)])).tolist())
LEAST_ORDER = 1.5  # the library's series for subsampled steps errs upwards below, by the more the nearer to 1
SLACK = 1e-9  # of a divergence: rounding


@dataclass(frozen=True)
class Repetitions:
    """How many runs there are: a law that knows no data.

    Args:
        mean: expected number of runs, at least 1.
        law: 'geometric' (at least one run) or 'poisson' (may be none).
    """

    mean: float
    law: str = GEOMETRIC

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise ParameterError(f"the number of trials is '{GEOMETRIC}' or '{POISSON}'; found {self.law!r}")
        if not 1 <= self.mean < float("inf"):
            raise ParameterError(f"the mean number of trials must be at least 1; found {self.mean!r}")

    @property
    def shape(self) -> float:
        """As `dp_accounting` has it."""
        return 1.0 if self.law == GEOMETRIC else float("inf")

    def draw(self, noise: NoiseSource) -> int:
        """A number of runs; secret, and never drawn twice for one choice."""
        from scipy.stats import geom, poisson

        law = geom(1 / self.mean) if self.law == GEOMETRIC else poisson(self.mean)
        return int(law.ppf(noise.uniform(1)[0]))


@dataclass(frozen=True)
class RunBudget:
    """What one run may cost: at Renyi orders up to `most_order` no more than one Gaussian release.

    That is truncated concentrated privacy (Bun, Dwork, Rothblum and Steinke 2018) with rho = 1 / (2 sigma^2). The cap
    lets DP-SGD in, whose divergence leaves every such line at large orders.

    Args:
        noise_multiplier: sigma of that Gaussian.
        most_order: largest order at which the bound holds.
    """

    noise_multiplier: float
    most_order: float = ORDERS[-1]

    @property
    def orders(self) -> np.ndarray:
        """Orders that are accounted for."""
        return np.array([a for a in ORDERS if LEAST_ORDER <= a <= self.most_order])

    def covers(self, events: Iterable[Event]) -> bool:
        """Whether a run of these events stays within the budget.

        Raises:
            ParameterError: an event has a delta of its own (it belongs outside), or none of Renyi's kind.
        """
        orders = self.orders
        allowed = orders / (2 * self.noise_multiplier**2)
        return bool((renyi_curve(events, orders.tolist()) <= allowed * (1 + SLACK)).all())


def most_order(noise_multiplier: float, delta: float) -> float:
    """The order at which one Gaussian's epsilon at `delta` is least: beyond it no order is worth bounding."""
    return max(2.0, 1 + noise_multiplier * math.sqrt(2 * math.log(1 / delta)))


def selection_epsilon(run: RunBudget, repetitions: Repetitions, delta: float) -> float:
    """Epsilon at `delta` of the release of the best run.

    Args:
        run: what the dearest run may cost, its noised score included.
        repetitions: the law of K.
        delta: of the choice.
    """
    from dp_accounting import dp_event
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(run.orders.tolist())
    one = dp_event.GaussianDpEvent(run.noise_multiplier)
    accountant.compose(dp_event.RepeatAndSelectDpEvent(one, repetitions.mean, repetitions.shape))
    return float(accountant.get_epsilon(delta))


def renyi_curve(events: Iterable[Event], orders: Sequence[float]) -> np.ndarray:
    """Renyi divergence of all events together at each of ascending orders, shape (orders,).

    Raises:
        ParameterError: an event has a delta of its own, or no guarantee.
    """
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(orders)
    for event in events:
        accountant.compose(_as_dp_event(event))
    return np.minimum.accumulate(np.asarray(accountant.rdp)[::-1])[::-1]  # never below that of a larger order


def _as_dp_event(event: Event) -> Any:
    """As `dp_accounting` has it; a choice of range epsilon is epsilon^2 / 8 concentrated (Cesar and Rogers 2021).

    Discrete Gaussian noise on whole numbers is concentrated as continuous noise is (Canonne, Kamath and Steinke 2020,
    theorem 4, whose proof holds for each order and each vector of whole numbers).
    """
    from dp_accounting import dp_event

    if event.noise_multiplier is not None and event.mechanism is not Mechanism.SELECTION:
        one = dp_event.GaussianDpEvent(event.noise_multiplier)
        if event.sampling_rate < 1:
            one = dp_event.PoissonSampledDpEvent(event.sampling_rate, one)
    elif event.mechanism is Mechanism.LAPLACE and event.epsilon is not None:
        one = dp_event.LaplaceDpEvent(1 / event.epsilon)
    elif event.mechanism is Mechanism.EXPONENTIAL and event.epsilon is not None:
        one = dp_event.ZCDpEvent(event.epsilon**2 / 8)
    else:
        raise ParameterError(
            f"'{event.released}' has a delta of its own, or no guarantee: it cannot be repeated inside a private "
            "selection; release it once, outside"
        )
    return dp_event.SelfComposedDpEvent(one, event.steps)
