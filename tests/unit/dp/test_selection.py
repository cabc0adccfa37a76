"""The cost of choosing agrees with Papernot and Steinke, evaluated here by other means, and with the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from raysynth.dp.ledger import approximate, exponential, gaussian, laplace
from raysynth.dp.noise import InsecureSeededNoise
from raysynth.dp.selection import POISSON, Repetitions, selection_epsilon
from raysynth.errors import ParameterError

DELTA = 1e-6


def epsilon_at(delta: float, rho_of: object) -> float:
    """From a Renyi curve to epsilon (Canonne, Kamath and Steinke 2020, proposition 12)."""

    def bound(log: float) -> float:
        order = 1 + math.exp(log)
        return rho_of(order) + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)  # type: ignore[operator]

    return min(bound(x) for x in np.linspace(math.log(0.02), math.log(2000), 4000))


def geometric_curve(sigma: float, mean: float) -> object:
    """Theorem 2 with shape 1, for a Gaussian: gamma = 1 / mean, the inner order found by a continuous search."""

    def inner(log: float) -> float:
        order = 1 + math.exp(log)
        return (1 - 1 / order) * order / (2 * sigma**2) + math.log(mean) / order

    least = 2 * minimize_scalar(inner, bounds=(-6, 9), method="bounded").fun
    return lambda order: order / (2 * sigma**2) + least + math.log(mean) / (order - 1)


def poisson_curve(sigma: float, mean: float) -> object:
    """Theorem 6 for a Gaussian; delta-hat from its Renyi curve, by a search of its own."""

    def rho(order: float) -> float:
        hat = math.log1p(1 / (order - 1))
        orders = 1 + np.geomspace(0.01, 3000, 3000)
        log_delta = (orders - 1) * (orders / (2 * sigma**2) - hat) + orders * np.log1p(-1 / orders) - np.log(orders - 1)
        delta = min(1.0, float(np.exp(log_delta.min())))
        return order / (2 * sigma**2) + mean * delta + math.log(mean) / (order - 1)

    return rho


@pytest.mark.parametrize("mean", [1.5, 8.0, 40.0])
@pytest.mark.parametrize("sigma", [1.0, 5.0])
def test_the_cost_is_that_of_the_theorems(sigma: float, mean: float) -> None:
    for law, curve in (("geometric", geometric_curve(sigma, mean)), (POISSON, poisson_curve(sigma, mean))):
        found = selection_epsilon([[gaussian("run", sigma)]], Repetitions(mean, law), DELTA)
        assert found == pytest.approx(epsilon_at(DELTA, curve), rel=0.01)


def test_the_choice_among_runs_really_loses_no_more() -> None:
    """A run says one of three numbers by randomised response: the best of K's exact loss is below what is charged."""
    epsilon, mean = 0.5, 6.0
    truth = np.exp([epsilon, 0.0, 0.0])
    first, second = truth / truth.sum(), truth[::-1] / truth.sum()
    largest = 0.0
    for p, q in ((first, second), (second, first)):
        best_p, best_q = (best_of(x, mean) for x in (p, q))
        largest = max(largest, float(np.log(best_p / best_q).max()))
    charged = selection_epsilon([[laplace("run", epsilon)]], Repetitions(mean), 1e-12)
    assert epsilon < largest <= charged


def best_of(p: np.ndarray, mean: float) -> np.ndarray:
    """The exact law of the largest of K outcomes, K geometric: by its generating function s g / (1 - s (1 - g))."""
    g, up_to = 1 / mean, np.cumsum(p)
    within = up_to * g / (1 - up_to * (1 - g))
    return np.diff(within, prepend=0.0)


def test_more_runs_and_dearer_settings_cost_more_and_a_space_costs_its_dearest() -> None:
    cheap, dear = [gaussian("run", 4.0)], [gaussian("run", 2.0)]
    few, many = (selection_epsilon([dear], Repetitions(m), DELTA) for m in (2.0, 20.0))
    assert selection_epsilon([cheap], Repetitions(2.0), DELTA) < few < many
    assert selection_epsilon([cheap, dear], Repetitions(2.0), DELTA) == few
    crossing = [[exponential("choice", 0.5)], [gaussian("run", 5.0)]]
    each = [selection_epsilon([s], Repetitions(4.0), DELTA) for s in crossing]
    assert selection_epsilon(crossing, Repetitions(4.0), DELTA) >= max(each) * (1 - 1e-9)


def test_what_has_a_delta_of_its_own_is_refused() -> None:
    with pytest.raises(ParameterError, match="'lists' has a delta of its own"):
        selection_epsilon([[approximate("lists", 0.0, 1e-7)]], Repetitions(4.0), DELTA)


def test_the_number_of_runs_has_its_mean_and_its_law() -> None:
    """4,000 draws; false alarms: 5 standard errors, below one in a million."""
    noise = InsecureSeededNoise(0)
    for law, variance, least in (("geometric", 8.0 * 7.0, 1), (POISSON, 8.0, 0)):
        drawn = np.array([Repetitions(8.0, law).draw(noise) for _ in range(4000)])
        assert abs(drawn.mean() - 8.0) < 5 * math.sqrt(variance / 4000) and drawn.min() >= least


@pytest.mark.parametrize(("mean", "law"), [(0.5, "geometric"), (math.inf, POISSON), (4.0, "grid")])
def test_bad_laws(mean: float, law: str) -> None:
    with pytest.raises(ParameterError, match="number of trials"):
        Repetitions(mean, law)
