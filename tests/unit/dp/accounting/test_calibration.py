"""Calibration spends the budget, all of it and no more; a budget too small is refused with the size that would do."""

import math
import re

import numpy as np
import pytest

from raysynth.dp import PrivacyBudget, total_epsilon
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.calibration import (
    LEAST_NOISE,
    _by_secants,
    _refined,
    calibrated,
    dpsgd_noise_multiplier,
    gaussian_delta,
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
    assert len(looks) <= 16 and share(found) <= 1 < share(found / (1 + 1.01e-3))


def test_secants_find_no_scale_where_there_is_none_and_halve_where_there_is_no_slope() -> None:
    assert _by_secants(lambda scale: math.inf, 1.0, 1e-3) is None
    stepped = _by_secants(lambda scale: math.inf if scale < 2.5 else 0.0, 1.0, 1e-3)
    assert stepped is not None and 2.5 <= stepped <= 2.5 * (1 + 1e-3)
    least = _by_secants(lambda scale: 0.0, 1.0, 1e-3)
    assert least is not None and least < LEAST_NOISE


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
