"""The accountant against closed forms and other accountants."""

import math

import numpy as np
import pytest

from raysynth.dp import total_epsilon
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.accountant import CELLS_PER_STEP, _bounded_range, _interval, _largest_loss, _rho
from raysynth.dp.accounting.calibration import gaussian_delta, gaussian_noise_multiplier

DELTA = 1e-5


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_gaussians_compose_as_the_closed_form_says(epsilon: float) -> None:
    """Balle and Wang 2018; n Gaussians are one of sqrt(n) times the precision."""
    sigma = gaussian_noise_multiplier(epsilon, DELTA)
    events = [ledger.gaussian("x", sigma * 2)] * 2 + [ledger.gaussian("y", sigma * math.sqrt(2))]
    assert total_epsilon(events, DELTA) == pytest.approx(epsilon, rel=1e-3)
    steps = ledger.subsampled_gaussian("z", sigma * 3, sampling_rate=1.0, steps=9)
    assert total_epsilon([steps], DELTA) == pytest.approx(epsilon, rel=1e-3)
    assert gaussian_delta(epsilon, sigma) == pytest.approx(DELTA, rel=1e-6)


def test_subsampled_gaussians_agree_with_the_measured_figure() -> None:
    """The design's: 1,560 steps at q = 0.019, sigma = 1: 4.71 by PLD and by PRV alike; measured here 4.64 .. 4.72."""
    event = ledger.subsampled_gaussian("gradients", 1.0, sampling_rate=0.019, steps=1560)
    assert total_epsilon([event], DELTA) == pytest.approx(4.68, abs=0.05)


def exponential_epsilon(t: float, epsilon: float, steps: int, delta: float) -> float:
    """Exact epsilon of `steps` two-point mechanisms of losses t and t - epsilon, by enumeration of the binomial."""
    p = (math.exp(epsilon) - math.exp(t)) / math.expm1(epsilon)
    k = np.arange(steps + 1)
    losses = k * t + (steps - k) * (t - epsilon)
    log_p = [
        math.lgamma(steps + 1) - math.lgamma(i + 1) - math.lgamma(steps - i + 1)
        + i * math.log(max(p, 1e-300)) + (steps - i) * math.log(max(1 - p, 1e-300))
        for i in k
    ]  # fmt: skip
    mass = np.exp(log_p)
    low, high = 0.0, steps * epsilon
    for _ in range(60):
        middle = (low + high) / 2
        found = float((mass * np.maximum(1 - np.exp(middle - losses), 0)).sum())
        low, high = (middle, high) if found > delta else (low, middle)
    return high


@pytest.mark.parametrize(("epsilon", "steps"), [(0.05, 30), (0.3, 10), (1.0, 3), (1.0, 1)])
def test_exponential_mechanisms_cost_no_less_than_the_worst_of_them(epsilon: float, steps: int) -> None:
    """Every two-point mechanism of the range is an exponential mechanism's worst case (Dong, Durfee, Rogers 2020)."""
    claimed = total_epsilon([ledger.exponential("choice", epsilon, steps=steps)], DELTA)
    worst = max(exponential_epsilon(t, epsilon, steps, DELTA) for t in np.linspace(0, epsilon, 101))
    assert worst <= claimed * (1 + 1e-9)
    assert claimed <= 1.15 * worst
    assert claimed <= total_epsilon([ledger.approximate("choice", epsilon, 0.0, steps=steps)], DELTA) * (1 + 1e-3)


def test_the_profile_of_bounded_range_is_the_supremum_over_its_members() -> None:
    epsilon = 0.7
    distribution = _bounded_range(epsilon, 1e-4)
    for a in np.exp(np.linspace(-epsilon, epsilon, 15)[1:-1]):
        t = np.linspace(0, epsilon, 20_001)
        p = (math.exp(epsilon) - np.exp(t)) / math.expm1(epsilon)
        members = p * np.maximum(1 - a * np.exp(-t), 0) + (1 - p) * np.maximum(1 - a * np.exp(epsilon - t), 0)
        assert distribution.get_delta_for_epsilon(math.log(a)) == pytest.approx(members.max(), abs=2e-5)


def test_the_number_of_rows_is_added_and_its_delta_taken_off() -> None:
    rest = ledger.gaussian("x", 4.0)
    alone = total_epsilon([rest], DELTA)
    assert total_epsilon([ledger.laplace("n", 0.1, composition="basic"), rest], DELTA) == pytest.approx(alone + 0.1)
    joint = total_epsilon([ledger.laplace("n", 0.1), rest], DELTA)
    assert alone < joint < alone + 0.1
    noised = ledger.Event(ledger.Mechanism.APPROXIMATE, "n", steps=2, epsilon=0.1, delta=DELTA / 4, composition="basic")
    less = total_epsilon([rest], DELTA / 2)
    assert total_epsilon([noised, rest], DELTA) == pytest.approx(less + 0.2) and less > alone + 0.01
    assert total_epsilon([noised, noised, rest], DELTA) == math.inf, "nothing of delta is left"


def test_deltas_of_selection_are_paid_for() -> None:
    stable = [ledger.approximate("categories", 0.0, DELTA / 4)] * 3
    left = total_epsilon([ledger.gaussian("x", 4.0)], DELTA / 4)
    assert total_epsilon([*stable, ledger.gaussian("x", 4.0)], DELTA) == pytest.approx(left, rel=1e-3)
    assert total_epsilon([*stable, *stable, ledger.gaussian("x", 4.0)], DELTA) == math.inf


def test_what_is_not_covered_costs_nothing_and_nothing_costs_nothing() -> None:
    assert total_epsilon([ledger.not_covered("selection")], DELTA) == 0.0
    assert total_epsilon([], DELTA) == 0.0


def test_what_the_grid_is_made_for_is_about_what_the_events_are() -> None:
    """Ten standard deviations out a step loses (20 sigma + 1) / (2 sigma^2), less for being sampled; of the width no
    more depends on it than how fine the result is."""
    narrow, wide = (ledger.subsampled_gaussian("x", s, sampling_rate=0.01, steps=1) for s in (0.4, 5.0))
    assert _largest_loss(narrow) == pytest.approx((20 * 0.4 + 1) / (2 * 0.4**2) + math.log(0.01))
    assert _largest_loss(wide) == 10.0
    assert _rho(wide) == pytest.approx(0.01**2 / 50) and _rho(ledger.laplace("x", 0.5)) == pytest.approx(0.125)


@pytest.mark.parametrize("sigma", [0.5, 4.0])
def test_cells_are_a_tenth_of_the_typical_loss_of_a_step(sigma: float) -> None:
    event = ledger.subsampled_gaussian("x", sigma, sampling_rate=1e-3, steps=1)
    assert _interval((event,), 1e-6, 1e3) == pytest.approx(1e-3 / sigma / CELLS_PER_STEP)
