"""The scope: nothing is released without a charge, and no charge goes beyond the budget."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from outcome import value_of

from raysynth.dp import InsecureSeededNoise, Ledger, PrivacyBudget, PrivacyScope, SecureNoise
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.calibration import gaussian_delta
from raysynth.dp.accounting.scope import ROW_COUNT_SHARE, RunScope
from raysynth.dp.accounting.selection import RunBudget
from raysynth.errors import ParameterError

GRADIENTS = {"sampling_rate": 0.01, "steps": 100}


def test_a_whole_fit_spends_its_budget_and_no_more() -> None:
    scope = PrivacyScope(PrivacyBudget(2.0, 1e-5))
    scope.release_row_count(5000)
    scope.charge(ledger.gaussian("counts", scope.share_multiplier(scope.preprocessing_share)))
    sigma = scope.noise_multiplier_for(**GRADIENTS)
    scope.charge(ledger.subsampled_gaussian("gradients", sigma, **GRADIENTS))
    assert 1.98 <= scope.spent.epsilon <= 2.0 and scope.spent.guarantee
    with pytest.raises(ParameterError, match="privacy budget is epsilon = 2"):
        scope.charge(ledger.subsampled_gaussian("gradients", sigma, sampling_rate=0.01, steps=10))
    assert len(scope.ledger) == 3, "a refused charge leaves nothing"


def test_segments_cost_what_the_whole_does_and_a_repeated_one_is_counted_twice() -> None:
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5))
    sigma = scope.noise_multiplier_for(**GRADIENTS)
    segment = ledger.subsampled_gaussian("gradients", sigma, sampling_rate=0.01, steps=50)
    scope.charge(segment)
    once = scope.spent.epsilon
    resumed = PrivacyScope(scope.budget, ledger=Ledger(scope.ledger.events))
    resumed.charge(segment)
    assert once < resumed.spent.epsilon <= 1.0
    with pytest.raises(ParameterError, match="raise epsilon"):
        resumed.charge(segment)


def test_the_number_of_rows_is_noised_and_private_until_released() -> None:
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5))
    with pytest.raises(ParameterError, match="private and was not released"):
        _ = scope.n_rows
    drawn = {PrivacyScope(PrivacyBudget(1.0, 1e-5)).release_row_count(1000) for _ in range(20)}
    assert len(drawn) > 5, "noise of scale 50: 20 equal draws cannot be"
    assert PrivacyScope(PrivacyBudget(1e-3, 1e-5)).release_row_count(2) >= 1


def test_seeded_noise_voids_the_guarantee_of_every_event() -> None:
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(0))
    scope.release_row_count(100)
    assert not any(e.guarantee for e in scope.ledger)
    assert not scope.spent.guarantee and "no guarantee" in str(scope.spent)


def test_secure_mode_and_unit_are_kept() -> None:
    scope = PrivacyScope(PrivacyBudget(1.0), secure_mode=True, unit="patient")
    scope.release_row_count(100)
    assert isinstance(scope.noise, SecureNoise) and scope.secure_mode
    assert [e.unit for e in scope.ledger] == ["patient"]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ParameterError, match="preprocessing_share"):
        PrivacyScope(PrivacyBudget(1.0), preprocessing_share=share)


def test_earlier_releases_are_replayed_into_an_empty_ledger_of_their_unit() -> None:
    earlier = PrivacyScope(PrivacyBudget(1.0, 1e-5), unit="patient")
    n_rows = earlier.release_row_count(500)
    replays = [PrivacyScope(PrivacyBudget(2.0, 1e-5), unit=unit) for unit in ("row", "patient")]
    with pytest.raises(ValueError, match="an empty ledger of the same unit"):
        replays[0].replay(earlier.ledger.events, n_rows)
    replays[1].replay(earlier.ledger.events, n_rows)
    assert replays[1].n_rows == n_rows and replays[1].ledger.events == earlier.ledger.events
    with pytest.raises(ValueError, match="an empty ledger of the same unit"):
        replays[1].replay(earlier.ledger.events, n_rows)


@pytest.mark.parametrize("epsilon", [0.5, 4.0])
def test_a_number_of_rows_costs_a_share_of_the_budget(epsilon: float) -> None:
    scope = PrivacyScope(PrivacyBudget(epsilon, 1e-5))
    scope.release_row_count(1000)
    (event,) = scope.ledger
    assert event.epsilon == pytest.approx(ROW_COUNT_SHARE * epsilon) and ROW_COUNT_SHARE < 0.1


@pytest.mark.parametrize(("epsilon", "k"), [(0.8, 1), (5.0, 3)])
def test_noised_numbers_cost_a_fiftieth_and_a_hundredth_and_spread_as_they_say(epsilon: float, k: int) -> None:
    """Of epsilon; a unit has k rows. The deviation of 1,500 draws is within 15 % of what is said (5 errors)."""
    scope = PrivacyScope(PrivacyBudget(epsilon, 1e-5), rows_per_unit=k, noise=InsecureSeededNoise(1))
    scope.release_row_count(1000)
    assert scope.n_units == scope.n_rows, "rows, where nothing else was released"
    scope.release_unit_count(400)
    rows, units = scope.ledger
    assert (rows.epsilon, rows.sensitivity) == (pytest.approx(epsilon / 50), k)
    assert (units.epsilon, units.sensitivity) == (pytest.approx(epsilon / 100), 1)
    assert {rows.composition, units.composition} == {"basic"}
    assert scope.row_count_sigma == pytest.approx(math.sqrt(2) * k * 50 / epsilon)
    for release, sigma in (("release_row_count", scope.row_count_sigma), ("release_unit_count", 141.42 / epsilon)):
        noise = InsecureSeededNoise(2)
        drawn = [
            getattr(PrivacyScope(scope.budget, rows_per_unit=k, noise=noise), release)(100_000) for _ in range(1500)
        ]
        assert np.std(drawn) == pytest.approx(sigma, rel=0.15)
    assert PrivacyScope(PrivacyBudget(1e-3, 1e-5)).release_unit_count(2) >= 1


def test_a_budget_is_spent_to_its_end_and_an_unsafe_event_stays_one() -> None:
    scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), unit="patient")
    half = ledger.laplace("half", 0.5, composition="basic")
    value_of(lambda: scope.charge(replace(half, guarantee=False)))
    (event,) = value_of(lambda: scope.charge(half))
    assert [e.guarantee for e in scope.ledger] == [False, True] and event.unit == "patient"
    assert scope.spent.epsilon == pytest.approx(1.0) and not scope.spent.guarantee
    with pytest.raises(ParameterError, match=r"is epsilon = 1; with 'crumb' it would be 1\b"):
        scope.charge(ledger.laplace("crumb", 1e-6, composition="basic"))


@pytest.mark.parametrize(("epsilon", "fits"), [(1.0, False), (1.1, True), (0.9, False)])
def test_a_replay_has_to_leave_something_of_the_budget(epsilon: float, fits: bool) -> None:
    earlier = (ledger.laplace("counts", 1.0, composition="basic"),)
    scope = PrivacyScope(PrivacyBudget(epsilon, 1e-5))
    if fits:
        scope.replay(earlier, 77)
        assert scope.n_rows == 77 and scope.ledger.events == earlier
        return
    with pytest.raises(ParameterError, match=rf"cost epsilon = 1 at .* is epsilon = {epsilon:g}: raise it, or go"):
        scope.replay(earlier, 77, otherwise="go")
    assert not len(scope.ledger)


def test_a_replay_of_events_of_which_some_have_another_unit_is_refused() -> None:
    events = [replace(ledger.laplace("counts", 0.1, composition="basic"), unit=unit) for unit in ("row", "patient")]
    with pytest.raises(ValueError, match="an empty ledger of the same unit"):
        PrivacyScope(PrivacyBudget(1.0, 1e-5)).replay(events, 77)


def test_a_run_may_cost_what_was_fixed_for_all_and_no_more() -> None:
    def run_scope(**given: Any) -> RunScope:
        return RunScope(PrivacyBudget(1.0, 1e-5), RunBudget(4.0), 500, preprocessing_share=0.25, **given)

    run = run_scope()
    assert (run.n_rows, run.secure_mode, run.preprocessing_share) == (500, False, 0.25) and run_scope(
        secure_mode=True
    ).secure_mode
    value_of(lambda: run.charge(replace(ledger.gaussian("half", 4.1 * 2**0.5), guarantee=False)))
    sigma = value_of(lambda: run.calibrated(lambda x: [ledger.gaussian("rest", x)], start=1.0))
    assert 1 / sigma**2 + 1 / (2 * 4.1**2) == pytest.approx(1 / 4.0**2, rel=0.02)
    with pytest.raises(ParameterError, match="'whole' would cost more than one run of a private selection may"):
        run.charge(ledger.gaussian("whole", 4.0))
    (event,) = value_of(lambda: run.charge(ledger.gaussian("rest", sigma)))
    assert [e.guarantee for e in run.ledger] == [False, True] and event.released == "rest"
    with pytest.raises(ParameterError, match="the noise would drown every step"):
        run.calibrated(lambda x: [ledger.gaussian("nothing is left", 4.0)])


@pytest.mark.parametrize(("share", "delta_share"), [(1.0, 0.0), (0.25, 0.0), (0.5, 0.5)])
def test_the_noise_of_a_share_is_that_of_its_rho(share: float, delta_share: float) -> None:
    scope = PrivacyScope(PrivacyBudget(2.0, 1e-5))
    sigma = scope.share_multiplier(share, delta_share)
    whole = math.sqrt((sigma**2 - ledger.ROUNDING**2) * share)
    assert gaussian_delta(2.0 * 0.98, whole) == pytest.approx(1e-5 * (1 - delta_share), rel=1e-4)


def test_the_least_scale_of_a_plan_spends_what_is_left() -> None:
    scope = PrivacyScope(PrivacyBudget(2.0, 1e-5))
    scope.charge(ledger.gaussian("first", 5.0))
    for start in (0.1, 30.0):
        sigma = scope.calibrated(lambda x: [ledger.gaussian("second", 2 * x)], start=start)
        together = 1 / math.sqrt(1 / 5.0**2 + 1 / (2 * sigma) ** 2)
        assert gaussian_delta(2.0, together) == pytest.approx(1e-5, rel=0.05)
    assert PrivacyScope.asks_twice and not RunScope.asks_twice
