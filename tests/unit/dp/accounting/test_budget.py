"""The budget: what is refused, and the rule for delta."""

import pytest

from raysynth.dp import PrivacyBudget
from raysynth.errors import ParameterError


@pytest.mark.parametrize("epsilon", [0, -1.0, float("nan"), float("inf"), 1e5, 1e300, "1", True, None])
def test_an_epsilon_that_promises_nothing_is_refused(epsilon: object) -> None:
    with pytest.raises(ParameterError, match="epsilon must be a number > 0"):
        PrivacyBudget(epsilon, 1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("delta", [0, 1, 1.5, -1e-9, float("nan"), "1e-5"])
def test_a_delta_outside_its_range_is_refused(delta: object) -> None:
    with pytest.raises(ParameterError, match="delta must be a number between 0 and 1"):
        PrivacyBudget(1.0, delta)  # type: ignore[arg-type]


def test_delta_is_the_users_else_by_rule() -> None:
    assert PrivacyBudget.fixed(1.0, 1e-3, about_rows=1e9).delta == 1e-3
    assert PrivacyBudget.fixed(1.0).delta == 1e-5
    assert PrivacyBudget.fixed(1.0, about_rows=1000).delta == 1e-5
    assert PrivacyBudget.fixed(1.0, about_rows=1e7).delta == pytest.approx(1e7**-1.1)
    with pytest.raises(ParameterError, match="about_rows"):
        PrivacyBudget.fixed(1.0, about_rows=0)


def test_a_delta_above_one_over_n_is_warned_of() -> None:
    assert PrivacyBudget(1.0, 1e-5).warning(10_000) is None
    warning = PrivacyBudget(1.0, 1e-5).warning(1_000_000)
    assert warning is not None and "1,000,000" in warning and "set delta to 3e-07" in warning


def test_the_smallest_numbers_of_rows_and_a_delta_of_exactly_one_over_n() -> None:
    assert PrivacyBudget.fixed(1.0, about_rows=1).delta == 1e-5
    for rows in (0.99, float("nan"), "9", float("inf")):
        with pytest.raises(ParameterError, match="about_rows must be a number >= 1"):
            PrivacyBudget.fixed(1.0, about_rows=rows)  # type: ignore[arg-type]
    assert PrivacyBudget(1.0, 0.25).warning(4) is None and PrivacyBudget(1.0, 0.999).warning(0) is None
    warning = PrivacyBudget(1.0, 0.6).warning(1.9)
    assert warning is not None and "about 2)" in warning and "set delta to 0.5" in warning
