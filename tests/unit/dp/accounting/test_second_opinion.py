"""A planned training is looked at by another accountant, which may agree, disagree, or have no answer in time."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from outcome import value_of

from raysynth.dp.accounting import second_opinion
from raysynth.dp.accounting.ledger import Ledger, subsampled_gaussian
from raysynth.dp.accounting.second_opinion import NOT_CHECKED, checked_by, prv_bounds
from raysynth.errors import TrainingError

DELTA = 1e-5
PLAN = subsampled_gaussian("gradients", 1.0, sampling_rate=0.019, steps=1560)


def test_opacus_agrees_with_the_measured_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 4.7, measured 4.59 to 4.69 at an error of 1 %; read back from the ledger."""
    monkeypatch.setattr(second_opinion, "SECONDS", 300.0)
    found = prv_bounds(0.019, 1.0, 1560, DELTA, 300.0)
    assert found is not None and 4.5 < found[0] < found[1] < 4.8
    said = checked_by(PLAN, DELTA)
    assert said.startswith("Opacus' PRV accountant: epsilon 4.")
    event = subsampled_gaussian("x", 1.0, sampling_rate=0.1, steps=2)
    kept = Ledger([type(event)(**{**event.__dict__, "checked": said})])
    assert Ledger.from_json(kept.to_json()).events[0].checked == said


@pytest.mark.parametrize("bounds", [(5.5, 5.6), (3.0, 3.2)], ids=["ours too low", "ours too high"])
def test_a_disagreement_is_an_error_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, bounds: tuple[float, float]
) -> None:
    monkeypatch.setattr(second_opinion, "prv_bounds", lambda *_: bounds)
    with pytest.raises(TrainingError, match="two accountants disagree on 'gradients'"):
        checked_by(PLAN, DELTA)


def test_no_answer_in_time_is_written_down() -> None:
    assert prv_bounds(1e-3, 0.5, 100_000, DELTA, 0.05) is None
    assert checked_by(PLAN, DELTA) == NOT_CHECKED, "tests give it no time"


@pytest.mark.parametrize(
    ("low", "high", "agrees"),
    [(1.009, 2.0, True), (1.011, 2.0, False), (0.0, 1 - 0.029, True), (0.0, 1 - 0.031, False), (1.0, 1.0, True)],
)
def test_accountants_agree_within_a_hundredth_below_and_three_above(
    low: float, high: float, agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_opinion, "total_epsilon", lambda events, delta: 1.0)
    monkeypatch.setattr(second_opinion, "prv_bounds", lambda *_: (low, high))
    if agrees:
        assert checked_by(PLAN, DELTA) == f"Opacus' PRV accountant: epsilon {low:.4g} to {high:.4g} at delta 1e-05"
    else:
        with pytest.raises(TrainingError, match="two accountants disagree"):
            checked_by(PLAN, DELTA)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("[0.5, 0.6, 0.7]", (0.5, 0.7)),
        ("[0, 0, 0]", (0, 0)),
        ("[0.7, 0.6, 0.5]", None),
        ("[-1, 0, 1]", None),
        ("[Infinity, Infinity, Infinity]", None),
        ("", None),
    ],
)
def test_bounds_are_what_the_other_process_says_in_any_time_that_it_is_given(
    answer: str, expected: tuple[float, float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error asked for is a hundredth of our figure."""
    told: list[dict[str, Any]] = []
    run = lambda command, **given: told.append(given) or SimpleNamespace(stdout=answer)  # noqa: E731
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(second_opinion, "total_epsilon", lambda events, delta: 0.3)
    prv_bounds.cache_clear()
    assert value_of(lambda: prv_bounds(0.02, 1.5, 40, DELTA, 0.5)) == expected
    assert prv_bounds(0.02, 1.5, 40, DELTA, 0.0) is None and len(told) == 1, "no time, no process"
    assert json.loads(told[0]["input"]) == pytest.approx([0.02, 1.5, 40, DELTA, 0.003]) and told[0]["timeout"] == 0.5
    monkeypatch.setattr(second_opinion, "total_epsilon", lambda events, delta: 0.001)
    prv_bounds.cache_clear()
    value_of(lambda: prv_bounds(0.02, 1.5, 40, DELTA, 0.5))
    assert json.loads(told[1]["input"])[-1] == pytest.approx(1e-4), "of a tiny figure no finer one"
    prv_bounds.cache_clear()
