"""The accountant against closed forms and other accountants."""

import math

import numpy as np
import pytest

from raysynth.dp import total_epsilon
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.accountant import (
    CELLS_PER_STEP,
    MOST_CELLS,
    Spent,
    _bounded_range,
    _cells,
    _grouped,
    _interval,
    _largest_loss,
    _rho,
    least_epsilon,
    spent,
)
from raysynth.dp.accounting.calibration import gaussian_delta, gaussian_noise_multiplier
from raysynth.dp.accounting.ledger import CUT_OFF, Event, Mechanism, closeness, continuous_multiplier
from raysynth.errors import ParameterError

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


NINE = math.exp(-9)  # a delta


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        # rho = 1 / (2 sigma^2) for each release, epsilon about rho + 2 sqrt(9 rho)
        ([ledger.gaussian("x", 1.0)], 1e-4),  # epsilon 4.7
        ([ledger.gaussian("x", 10.0)], 1e-5),  # .43
        ([ledger.gaussian("x", 10.0)] * 40, 1e-4),  # 2.9
        ([ledger.gaussian("x", 1e6)], 1e-6),  # never finer
        ([ledger.exponential("x", 0.1, steps=2)], 1e-5),  # rho .0025, epsilon .3
        ([ledger.laplace("x", 0.17)] * 2, 1e-4),  # rho .029, epsilon 1.05
        ([ledger.laplace("x", 9.0)], 1e-3),  # rho 9, not 40.5
        ([ledger.discrete_gaussian("x", 200.0, steps=400_000)], 5e-4),  # epsilon 18; a tenth of one loss
        ([ledger.discrete_gaussian("x", 1000.0, steps=2 * 10**8)], 160e-6),  # no more than a million cells
        ([ledger.discrete_gaussian("x", 100.0, rows=2)] * 400, 1e-5),  # not of known changes: epsilon .87
        ([ledger.subsampled_gaussian("x", 4.0, sampling_rate=0.5, steps=10_000)], 1e-2),  # rho 78, epsilon 131
        ([ledger.subsampled_gaussian("x", 4.0, sampling_rate=0.01, steps=10)], 2.5e-4),  # a tenth of q / sigma
        ([ledger.subsampled_gaussian("x", 0.4, sampling_rate=0.01, steps=10)], 3e-5 * (28.125 + math.log(0.01))),
        ([ledger.subsampled_gaussian("x", 90.0, sampling_rate=1e-7, steps=1)], 1e-8),  # never finer
    ],
)
def test_cells_are_a_ten_thousandth_of_the_epsilon_that_concentrated_dp_says(
    events: list[Event], expected: float
) -> None:
    assert _interval(events, NINE, 1.0) == pytest.approx(expected)
    if events[0].sampling_rate == 1:
        assert _interval(events, NINE, 10.0) == pytest.approx(10 * expected)


def test_cells_of_a_step_are_those_of_both_signs() -> None:
    step = ledger.subsampled_gaussian("x", 4.0, sampling_rate=0.01, steps=10)
    assert _cells(step, 1e-3) == pytest.approx(20_000)
    assert _cells(ledger.exponential("x", 0.3), 1e-3) == pytest.approx(600)
    assert _cells(ledger.discrete_gaussian("x", 3.0, coordinates=4), 1e-3) == pytest.approx(24 * 6)
    for one in (ledger.gaussian("x", 4.0), ledger.laplace("x", 0.3), ledger.discrete_gaussian("x", 3.0, rows=2)):
        assert _cells(one, 1e-3) == 1


def test_equal_events_are_one_with_their_number_and_all_plain_gaussians_one() -> None:
    bounded = ledger.discrete_gaussian("x", 5.0, rows=2, steps=3)
    groups = _grouped(
        [
            ledger.gaussian("x", 2.0),
            ledger.subsampled_gaussian("x", 4.0, sampling_rate=1.0, steps=8),
            bounded,
            ledger.subsampled_gaussian("x", 4.0, sampling_rate=0.5, steps=8),
            ledger.subsampled_gaussian("y", 4.0, sampling_rate=0.5, steps=2),
            ledger.discrete_gaussian("x", 3.0, coordinates=4, steps=5),
            ledger.discrete_gaussian("x", 6.0, steps=5),
            ledger.laplace("x", 0.5),
            ledger.approximate("x", 0.5, 1e-7, steps=2),
        ]
    )
    precision = 1 / 4 + 8 / 16 + 3 / continuous_multiplier(bounded) ** 2
    (plain,) = (key for key in groups if key[0] is Mechanism.GAUSSIAN and key[2] == 1)
    assert plain[1] == pytest.approx(precision**-0.5) and groups.pop(plain) == 1
    assert groups == {
        (Mechanism.GAUSSIAN, 4.0, 0.5): 10,
        (Mechanism.DISCRETE_GAUSSIAN, 6.0, 1.0): 25,
        (Mechanism.LAPLACE, 0.5, 0.0): 1,
        (Mechanism.APPROXIMATE, 0.5, 1e-7): 2,
    }
    assert _grouped([ledger.laplace("x", 0.5)]) == {(Mechanism.LAPLACE, 0.5, 0.0): 1}


def test_discrete_noise_is_a_continuous_one_but_for_what_its_closeness_says() -> None:
    """Epsilon and the logarithm of delta, of changes that are not known; of known ones tails that are cut off."""
    for known, multiplier in ((False, 0.95), (True, 30.0)):
        event = ledger.discrete_gaussian("x", multiplier, coordinates=1, steps=7, known=known)
        near = 0.0 if known else closeness(event)
        one = ledger.gaussian("x", (multiplier if known else continuous_multiplier(event)) / math.sqrt(7))
        low = total_epsilon([event], DELTA)
        high = near + total_epsilon([one], DELTA * math.exp(-near))
        assert low == pytest.approx(high, rel=0.01 if known else 1e-9) and (known or near > 0.01)
    tails = CUT_OFF * 4 * 7
    tiny = ledger.discrete_gaussian("x", 3.0, coordinates=4, steps=7)
    assert total_epsilon([tiny], 0.9 * tails) == math.inf > total_epsilon([tiny], 1e-14)


def test_the_least_epsilon_is_the_total_where_time_suffices_and_that_of_the_costliest_where_it_does_not() -> None:
    costly = ledger.gaussian("x", 1.0)
    cheap = [ledger.laplace("n", 0.02), ledger.exponential("e", 0.3, steps=2), ledger.approximate("a", 0.3, 0.0)]
    basic = ledger.laplace("n", 0.5, composition="basic")
    for first in (costly, ledger.exponential("e", 3.0), ledger.discrete_gaussian("d", 1.0), ledger.laplace("l", 4.0)):
        events = (basic, *cheap, first)
        assert least_epsilon(events, DELTA, 1e3) == pytest.approx(total_epsilon(events, DELTA), rel=1e-9)
        assert least_epsilon(events, DELTA, 0.0) == pytest.approx(0.5 + total_epsilon([first], DELTA), rel=2e-3)
    for second in (ledger.laplace("l", 1.6), ledger.exponential("e", 0.4, steps=10)):  # 2.56 and 1.6 beside 4
        events = (second, ledger.gaussian("x", 0.5))
        assert least_epsilon(events, DELTA, 0.0) == pytest.approx(total_epsilon(events[1:], DELTA), rel=2e-3)
    many = (ledger.laplace("l", 0.5), ledger.gaussian("x", 9.0), ledger.exponential("e", 0.2, steps=40))
    assert least_epsilon(many, DELTA, 0.0) == pytest.approx(total_epsilon(many[2:], DELTA), rel=2e-3)
    assert least_epsilon((basic,), DELTA, 1e3) == 0.5
    spender = ledger.Event(Mechanism.APPROXIMATE, "n", epsilon=0.1, delta=DELTA, composition="basic")
    assert least_epsilon((spender, costly), DELTA, 1e3) == math.inf
    assert least_epsilon((ledger.discrete_gaussian("x", 0.1, known=False),), DELTA, 1e3) == math.inf


def test_a_loss_of_too_many_cells_is_refused() -> None:
    wide = ledger.exponential("of a model", 30.0)
    assert _cells(wide, _interval((wide,), DELTA, 1.0)) < MOST_CELLS
    fine = ledger.subsampled_gaussian("steps", 1e6, sampling_rate=1e-7, steps=1)
    with pytest.raises(ParameterError, match="'steps' is out of every range"):
        least_epsilon((ledger.gaussian("x", 1e5), fine), DELTA, 1e3)


def test_what_is_spent_says_what_it_does_not_cover_and_what_guarantees_nothing() -> None:
    whole = spent([ledger.gaussian("x", 4.0)], DELTA)
    assert whole.guarantee and whole.delta == DELTA and str(whole) == f"epsilon = {whole.epsilon:.4g}, delta = 1e-05"
    part = spent([ledger.gaussian("x", 4.0), ledger.not_covered("selection")], DELTA)
    assert not part.guarantee and part.not_covered == ("selection",) and part.epsilon == whole.epsilon
    assert str(part).endswith("; not covered by it: selection")
    assert Spent(1.0, DELTA).guarantee and Spent(1.0, DELTA, guarantee=False).not_covered == ()
    assert str(Spent(1.0, DELTA, guarantee=False)).startswith("no guarantee (seeded noise); with fresh noise: epsilon")
