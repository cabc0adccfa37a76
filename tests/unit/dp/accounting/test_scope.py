"""The scope: nothing is released without a charge, and no charge goes beyond the budget."""

import pytest

from raysynth.dp import InsecureSeededNoise, Ledger, PrivacyBudget, PrivacyScope, SecureNoise
from raysynth.dp.accounting import ledger
from raysynth.dp.accounting.scope import ROW_COUNT_SHARE
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
