"""Calibration spends the budget, all of it and no more; a budget too small is refused with the size that would do."""

import math
import re

import numpy as np
import pytest

from raysynth.dp import PrivacyBudget, total_epsilon
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.calibration import (
    LEAST_NOISE,
    _at_most_noise,
    _by_secants,
    _closer,
    _refined,
    _rounded_up,
    calibrated,
    dpsgd_noise_multiplier,
    gaussian_delta,
    gaussian_noise_multiplier,
    least_scale,
)
from raysynth.errors import ParameterError


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_dpsgd_spends_what_earlier_events_left(epsilon: float) -> None:
    budget = PrivacyBudget(epsilon, 1e-5)
    already = [ledger.gaussian("statistics", 15.0 / epsilon), ledger.laplace("n", 0.01, composition="basic")]
    sigma = dpsgd_noise_multiplier(budget, 0.02, 300, already)
    total = total_epsilon(
        [*already, ledger.subsampled_gaussian("gradients", sigma, sampling_rate=0.02, steps=300)], 1e-5
    )
    assert 0.995 * epsilon <= total <= epsilon


@pytest.mark.parametrize("epsilon", [0.3, 4.0])
def test_a_scale_of_the_coarse_grid_is_made_smaller_where_the_budget_has_room(epsilon: float) -> None:
    """An epsilon that falls as the inverse of the scale, on a grid that found a third too much, or a hundredth too
    little noise."""
    least = 2.0 / epsilon
    assert least <= _refined(lambda scale: 2.0 / scale, 1.5 * least, epsilon, 0.005) <= 1.05 * least
    assert least <= _refined(lambda scale: 2.0 / scale, 0.99 * least, epsilon, 0.005) <= 1.01 * least


@pytest.mark.parametrize("falls", [1.0, 0.5, 3.0], ids=lambda p: f"scale^-{p:g}")
@pytest.mark.parametrize("start", [1e-3, 1.0, 900.0])
def test_secants_find_the_least_scale_in_few_looks(start: float, falls: float) -> None:
    looks: list[float] = []

    def share(scale: float) -> float:
        looks.append(scale)
        return float((scale / 7.0) ** -falls + 0.3 * (scale / 7.0) ** (-2 * falls)) / 1.3

    found = _by_secants(share, start, 1e-3)
    assert found is not None and 7.0 <= found <= 7.0 * (1 + 1e-3) + 1e-9
    assert len(looks) <= (11 if start == 1.0 else 16) and share(found) <= 1 < share(found / (1 + 1.01e-3))


def test_secants_find_no_scale_where_there_is_none_and_halve_where_there_is_no_slope() -> None:
    assert _by_secants(lambda scale: math.inf, 1.0, 1e-3) is None
    stepped = _by_secants(lambda scale: math.inf if scale < 2.5 else 0.0, 1.0, 1e-3)
    assert stepped is not None and 2.5 <= stepped <= 2.5 * (1 + 1e-3)
    least = _by_secants(lambda scale: 0.0, 1.0, 1e-3)
    assert least is not None and least < LEAST_NOISE
    looks: list[float] = []
    steep = _by_secants(lambda scale: looks.append(scale) or (1e3 if scale < 2.5 else 0.999), 1.0, 1e-3)
    assert steep is not None and 2.5 <= steep <= 2.5 * (1 + 1e-3) and len(looks) < 30, "secants alone take a thousand"


def test_plans_of_several_mechanisms_share_one_scale() -> None:
    budget = PrivacyBudget(1.0, 1e-5)

    def plan(scale: float) -> list[ledger.Event]:
        return [ledger.exponential("edge", 0.1 / scale, steps=20), ledger.gaussian("tables", 5 * scale)]

    scale = calibrated(plan, budget)
    assert 0.995 <= total_epsilon(plan(scale), 1e-5) <= 1.0


def test_a_budget_too_small_says_what_would_do() -> None:
    with pytest.raises(ParameterError, match="too small to train") as raised:
        dpsgd_noise_multiplier(PrivacyBudget(1e-4, 1e-9), 0.5, 100_000)
    found = re.search(r"epsilon = ([\d.e+-]+) would do", str(raised.value))
    assert found is not None
    assert dpsgd_noise_multiplier(PrivacyBudget(float(found[1]), 1e-9), 0.5, 100_000) <= 1000


def test_a_budget_that_is_spent_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"taken already"):
        dpsgd_noise_multiplier(PrivacyBudget(0.5, 1e-5), 0.01, 10, [ledger.gaussian("x", 1.0)])


@pytest.mark.parametrize(("epsilon", "sigma"), [(0.5, 2.0), (1.0, 1.0), (3.0, 0.7), (0.0, 1.0)])
def test_delta_of_one_gaussian_release_is_the_mass_beyond_epsilon(epsilon: float, sigma: float) -> None:
    """The integral of (p - e^epsilon q)+ over both densities, by the trapezoidal rule."""
    x = np.linspace(-12 * sigma, 1 + 12 * sigma, 200_001)
    q, p = (np.exp(-0.5 * ((x - at) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi)) for at in (0.0, 1.0))
    beyond = np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0.0), x)
    assert abs(gaussian_delta(epsilon, sigma) - beyond) < 1e-7


@pytest.mark.parametrize("start", [1e-4, 1.0, 2.9, 3.0, 3.1, 40.0])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-6])
def test_the_least_scale_is_found_from_above_whatever_the_start(start: float, tolerance: float) -> None:
    looked: list[float] = []

    def fits(x: float) -> bool:
        looked.append(x)
        assert len(looked) < 100, "it ends"
        return x >= 3.0

    found = least_scale(fits, start, tolerance, math.inf)
    assert found is not None and 3.0 <= found <= 3.0 * (1 + tolerance)


def test_no_least_scale_is_given_above_the_most_nor_sought_below_the_least() -> None:
    looked: list[float] = []

    def never(x: float) -> bool:
        looked.append(x)
        return False

    assert least_scale(never, 1.0, 1e-3, 1.5**4 + 1e-9) is None
    assert looked == pytest.approx([1.5**i for i in range(6)]), "one look beyond the most"
    everywhere = least_scale(lambda x: True, 1.0, 1e-3, 1e3)
    assert everywhere is not None and LEAST_NOISE / 1.5 <= everywhere < LEAST_NOISE


@pytest.mark.parametrize("delta", [0.3, 1e-6])
def test_the_noise_of_one_release_is_the_least(delta: float) -> None:
    sigma = gaussian_noise_multiplier(0.8, delta)
    assert gaussian_delta(0.8, sigma) <= delta < gaussian_delta(0.8, sigma * (1 - 1e-8))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ((0.0, 1.0), (1.0, -1.0), 0.5 + 1e-3 / 3),  # the secant's zero, and a little noise more
        ((0.0, 3.0), (1.0, -1.0), 0.75 + 1e-3 / 3),
        ((2.0, 1.0), (4.0, -3.0), 2.5 + 1e-3 / 3),
        ((0.0, 1.0), (1.0, -1e-4), 1.0 - 0.95e-3),  # nearer to an end than the width: a look that ends the search
        ((0.0, 1e-4), (1.0, -1.0), 0.95e-3),
        ((0.0, math.inf), (1.0, -1.0), 0.5),  # no slope
        ((0.0, 1.0), (2.0, -math.inf), 1.0),
    ],
)
def test_a_search_looks_where_the_secant_is_zero(
    low: tuple[float, float], high: tuple[float, float], expected: float
) -> None:
    assert _closer(low, high, 1e-3) == pytest.approx(expected, abs=1e-12)


def test_epsilons_are_rounded_up_to_two_digits() -> None:
    assert [_rounded_up(x) for x in (1.21, 0.0341, 999.0, 5.0)] == ["1.3", "0.035", "1e+03", "5"]
    assert _rounded_up(math.inf) == "a larger one, with a larger delta,"


def test_an_epsilon_that_would_do_is_found_by_halves_of_delta_unless_one_has_none() -> None:
    before, planned = (ledger.gaussian("x", 4.0),), (ledger.gaussian("y", 3.0),)
    halves = total_epsilon(before, 5e-6) + total_epsilon(planned, 5e-6)
    assert _at_most_noise(before, planned, 1e-5) == pytest.approx(halves, rel=1e-2)
    assert _at_most_noise((), planned, 1e-5) == pytest.approx(total_epsilon(planned, 1e-5), rel=1e-2)
    needs = (ledger.approximate("x", 0.0, 7e-6),)
    both = _at_most_noise(needs, planned, 1e-5)
    assert both == pytest.approx(total_epsilon((*needs, *planned), 1e-5), rel=1e-2) and math.isfinite(both)
