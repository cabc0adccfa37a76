"""What follows from a campaign: budgets that hold or do not, records that are told or not."""

from __future__ import annotations

import math
from typing import Any

from raysynth.campaigns.results import campaign_purposes


def game(epsilon: float | None, low: float, high: float = 0.9, holds: bool | None = True) -> dict[str, Any]:
    budget = {"epsilon": epsilon, "respects_epsilon": None if epsilon is None else holds}
    return {"method": "copula", "attack": "distance", "auc": 0.6, "auc_low": low, "auc_high": high, **budget}


def test_a_broken_budget_is_named_and_stops_the_release() -> None:
    budgets, _ = campaign_purposes([game(1.0, 0.4), game(3.0, 0.4, holds=False)])
    assert (budgets.answer, budgets.level) == ("no", "bad")
    assert "copula at epsilon 3" in budgets.reason and "at epsilon 1" not in budgets.reason
    assert campaign_purposes([game(1.0, 0.4)])[0].answer == "not refuted"


def test_records_that_are_told_lead_to_the_largest_budget_at_which_none_is() -> None:
    games = [game(1.0, 0.45), game(3.0, 0.48), game(10.0, 0.53), game(None, 0.55)]
    records = campaign_purposes(games)[-1]
    assert (records.answer, records.level) == ("yes", "bad")
    assert "2 of 4 games" in records.reason and "copula, distance" in records.reason
    assert records.next_step.startswith("Fit with epsilon 3;")
    assert campaign_purposes([game(1.0, 0.55)])[-1].next_step.startswith("Fit with a smaller budget;")


def test_one_of_many_games_that_lies_above_one_half_by_chance_accuses_nobody() -> None:
    for n, answer in ((1, "yes"), (20, "not shown")):
        assert campaign_purposes([game(None, 0.51)] + [game(None, 0.45)] * (n - 1))[-1].answer == answer


def test_intervals_that_hold_one_half_show_nothing_and_say_how_far_they_reach() -> None:
    (records,) = campaign_purposes([game(None, 0.4, 0.72), game(None, math.nan, math.nan)])
    assert records.answer == "not shown" and "0.72" in records.reason
    (without,) = campaign_purposes([game(None, math.nan, math.nan)])
    assert without.answer == "not decided" and "nan" not in without.reason and "ten models" in without.next_step
