"""The cost of choosing: the best of a random number of runs of one private mechanism, of which only it is released.

Papernot and Steinke 2022, "Hyperparameter tuning with Renyi differential privacy" (arXiv 2110.03620). A mechanism M
gives (score, output). K is drawn without the data, M runs K times, independently, and the run of highest score is all
that leaves. Where M is (order, rho)-Renyi-private for each order, so is the choice with a larger rho: theorem 2 for a
geometric K (truncated negative binomial of shape 1), theorem 6 for a Poisson K (nothing leaves where K = 0). Both ask
that neither K nor anything of the other runs is seen.

M may itself draw one of finitely many settings at random. Its output is then a mixture with weights that do not depend
on the data, and exp((order - 1) * Renyi divergence) of a mixture is at most the largest of its parts' (joint convexity
of the f-divergence x^order), so M is charged, at each order, what the dearest setting costs at that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from raysynth.dp.ledger import Event, Mechanism
from raysynth.dp.noise import NoiseSource
from raysynth.errors import ParameterError

GEOMETRIC, POISSON = "geometric", "poisson"
ORDERS = tuple(np.unique(np.concatenate([1 + np.geomspace(0.01, 10, 120), np.geomspace(11, 2048, 80)])).tolist())


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
        if self.law not in (GEOMETRIC, POISSON):
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


def selection_epsilon(settings: Sequence[Sequence[Event]], repetitions: Repetitions, delta: float) -> float:
    """Epsilon at `delta` of the release of the best run.

    Args:
        settings: for each setting that M may draw the events of one run, its noised score among them.
        repetitions: the law of K.
        delta: of the choice.

    Raises:
        ParameterError: an event has a delta of its own (it belongs outside), or none of Renyi's kind.
    """
    from dp_accounting import dp_event

    accountant = _accountant_class()(ORDERS)
    runs = _AnyOf(tuple(dp_event.ComposedDpEvent([_as_dp_event(e) for e in events]) for events in settings))
    accountant.compose(dp_event.RepeatAndSelectDpEvent(runs, repetitions.mean, repetitions.shape))
    return float(accountant.get_epsilon(delta))


def _as_dp_event(event: Event) -> Any:
    """As `dp_accounting` has it; a choice of range epsilon is epsilon^2 / 8 concentrated (Cesar and Rogers 2021)."""
    from dp_accounting import dp_event

    if event.mechanism is Mechanism.GAUSSIAN and event.noise_multiplier is not None:
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


@dataclass(frozen=True)
class _AnyOf:
    """One of several events, drawn without the data; for the accountant below alone."""

    events: tuple[Any, ...]


@cache
def _accountant_class() -> Any:
    """`RdpAccountant` that knows `_AnyOf`: at each order the dearest."""
    from dp_accounting.rdp import RdpAccountant

    class Accountant(RdpAccountant):
        _rdp: Any

        def _maybe_compose(self, event: Any, count: int, do_compose: bool) -> Any:
            if not isinstance(event, _AnyOf):
                return super()._maybe_compose(event, count, do_compose)
            if do_compose:
                curves = [RdpAccountant(self._orders).compose(e)._rdp for e in event.events]
                self._rdp = self._rdp + count * np.max(curves, axis=0)
            return None

    return Accountant
