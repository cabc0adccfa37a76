"""The cost of choosing agrees with Papernot and Steinke, evaluated here by other means, and with the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from outcome import value_of
from scipy.optimize import minimize_scalar

from raysynth.dp.accounting.calibration import PrivacyBudget, least_scale
from raysynth.dp.accounting.ledger import Event, approximate, exponential, gaussian, laplace, subsampled_gaussian
from raysynth.dp.accounting.scope import RunScope
from raysynth.dp.accounting.selection import (
    LEAST_ORDER,
    ORDERS,
    POISSON,
    Repetitions,
    RunBudget,
    most_order,
    renyi_curve,
    selection_epsilon,
)
from raysynth.dp.mechanisms.noise import InsecureSeededNoise
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


@pytest.mark.parametrize("mean", [3.0, 8.0, 40.0])
@pytest.mark.parametrize("sigma", [1.0, 5.0])
def test_the_cost_is_that_of_the_theorems(sigma: float, mean: float) -> None:
    for law, curve in (("geometric", geometric_curve(sigma, mean)), (POISSON, poisson_curve(sigma, mean))):
        expected = pytest.approx(epsilon_at(DELTA, curve), rel=0.01)
        assert selection_epsilon(RunBudget(sigma), Repetitions(mean, law), DELTA) == expected
        capped = RunBudget(sigma, most_order(sigma, DELTA))
        assert selection_epsilon(capped, Repetitions(mean, law), DELTA) == expected, "no larger order is worth it"


def test_the_choice_among_runs_really_loses_no_more() -> None:
    """A run says one of three numbers by randomised response: the best of K's exact loss is below what is charged."""
    epsilon, mean = 0.5, 6.0
    truth = np.exp([epsilon, 0.0, 0.0])
    first, second = truth / truth.sum(), truth[::-1] / truth.sum()
    largest = 0.0
    for p, q in ((first, second), (second, first)):
        best_p, best_q = (best_of(x, mean) for x in (p, q))
        largest = max(largest, float(np.log(best_p / best_q).max()))
    charged = selection_epsilon(budget_of(laplace("run", epsilon)), Repetitions(mean), 1e-12)
    assert epsilon < largest <= charged


def best_of(p: np.ndarray, mean: float) -> np.ndarray:
    """The exact law of the largest of K outcomes, K geometric: by its generating function s g / (1 - s (1 - g))."""
    g, up_to = 1 / mean, np.cumsum(p)
    within = up_to * g / (1 - up_to * (1 - g))
    return np.diff(within, prepend=0.0)


def budget_of(*events: Event) -> RunBudget:
    """The smallest budget that covers some events."""
    found = least_scale(lambda x: RunBudget(1 / x).covers(events), 1.0, 1e-4, 1e6)
    assert found is not None
    return RunBudget(1 / found)


def test_more_runs_and_dearer_ones_cost_more() -> None:
    cheap, dear = RunBudget(4.0), RunBudget(2.0)
    few, many = (selection_epsilon(dear, Repetitions(m), DELTA) for m in (2.0, 20.0))
    assert selection_epsilon(cheap, Repetitions(2.0), DELTA) < few < many


def test_a_budget_covers_what_costs_no_more_at_any_order() -> None:
    """Two Gaussians of sigma sqrt(2) s cost one of s; a choice of range epsilon one of sigma 2 / epsilon."""
    budget = RunBudget(3.0)
    half = gaussian("part", 3.0 * math.sqrt(2))
    assert budget.covers([half, half]) and not budget.covers([half, half, gaussian("more", 100.0)])
    assert budget.covers([exponential("choice", 2 / 3)]) and not budget.covers([exponential("choice", 0.67)])


@pytest.mark.parametrize("plan", ["gaussian", "sgd"])
def test_a_run_is_calibrated_to_its_budget_and_held_to_it(plan: str) -> None:
    budget = RunBudget(3.7, most_order(3.7, DELTA))
    scope = RunScope(PrivacyBudget(1.0), budget, 1000, preprocessing_share=0.1)
    scope.charge(gaussian("score", 20.0))
    if plan == "gaussian":
        sigma = scope.calibrated(lambda x: [gaussian("fit", x)])
        assert sigma == pytest.approx((3.7**-2 - 20.0**-2) ** -0.5, rel=2e-3)
        event = gaussian("fit", sigma)
    else:
        sigma = scope.noise_multiplier_for(0.05, 200)
        event = subsampled_gaussian("fit", sigma, sampling_rate=0.05, steps=200)
        less = subsampled_gaussian("fit", 0.98 * sigma, sampling_rate=0.05, steps=200)
        assert 0.5 < sigma < 5 and not budget.covers([gaussian("score", 20.0), less])
    scope.charge(event)
    with pytest.raises(ParameterError, match="'again' would cost more than one run"):
        scope.charge(gaussian("again", 50.0))
    assert [e.released for e in scope.ledger] == ["score", "fit"]


def test_what_has_a_delta_of_its_own_is_refused() -> None:
    with pytest.raises(ParameterError, match="'lists' has a delta of its own"):
        RunBudget(1.0).covers([approximate("lists", 0.0, 1e-7)])


@pytest.mark.statistical
def test_the_number_of_runs_has_its_mean_and_its_law() -> None:
    """1,000 draws; false alarms: 5 standard errors, below one in a million."""
    noise = InsecureSeededNoise(0)
    for law, variance, least in (("geometric", 8.0 * 7.0, 1), (POISSON, 8.0, 0)):
        drawn = value_of(lambda law=law: np.array([Repetitions(8.0, law).draw(noise) for _ in range(1000)]))
        assert abs(drawn.mean() - 8.0) < 5 * math.sqrt(variance / 1000) and drawn.min() >= least


@pytest.mark.parametrize(("mean", "law"), [(0.5, "geometric"), (math.inf, POISSON), (4.0, "grid")])
def test_bad_laws(mean: float, law: str) -> None:
    with pytest.raises(ParameterError, match="number of trials"):
        Repetitions(mean, law)


def test_renyi_curves_are_those_of_the_laws() -> None:
    """Closed forms: Gaussian a / (2 s^2), Laplace (Mironov 2017, table II), a choice of range epsilon^2 a / 8."""
    orders = [1.5, 2.0, 8.0]
    found = renyi_curve([gaussian("x", 3.0)], orders)
    np.testing.assert_allclose(found, np.array(orders) / 18)
    np.testing.assert_allclose(renyi_curve([exponential("x", 0.6, steps=4)], orders), 4 * 0.36 / 8 * np.array(orders))
    e = 0.4
    closed = [
        math.log(a / (2 * a - 1) * math.exp((a - 1) * e) + (a - 1) / (2 * a - 1) * math.exp(-a * e)) / (a - 1)
        for a in orders
    ]
    np.testing.assert_allclose(renyi_curve([laplace("x", e)], orders), closed)
    np.testing.assert_allclose(
        renyi_curve([laplace("x", e), gaussian("y", 3.0)], orders), closed + np.array(orders) / 18
    )
    every = renyi_curve([subsampled_gaussian("x", 2.0, sampling_rate=1.0, steps=3)], orders)
    np.testing.assert_allclose(every, 3 * np.array(orders) / 8)
    some = renyi_curve([subsampled_gaussian("x", 2.0, sampling_rate=0.1, steps=3)], orders)
    assert (some < 0.1 * every).all() and (np.diff(some) >= 0).all()


def test_the_largest_order_is_where_one_gaussians_epsilon_is_least() -> None:
    assert most_order(3.0, math.exp(-8)) == pytest.approx(1 + 3 * 4) and most_order(0.01, DELTA) == 2.0
    assert (
        RunBudget(1.0).orders.tolist() == [a for a in ORDERS if a >= LEAST_ORDER]
        and RunBudget(1.0).most_order == ORDERS[-1]
    )
    finer, coarser = np.array(ORDERS[:120]) - 1, np.array(ORDERS[119:])
    for part, ends in ((finer, (0.01, 10.0)), (coarser, (11.0, 2048.0))):  # of even ratios, one behind the other
        np.testing.assert_allclose(part, np.geomspace(*ends, len(part)))
    assert RunBudget(1.0, ORDERS[-4]).orders.max() == ORDERS[-4]
