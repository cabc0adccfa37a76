"""How long work of unlike parts will take: the pace of what has ended, parts passed over, parts side by side."""

from __future__ import annotations

import pytest

from raysynth.running import forecast as module
from raysynth.running.forecast import Forecast, forecast, left_in_all, part
from raysynth.running.plain_lines import Step, in_all
from raysynth.running.progress import progress


def test_the_rest_goes_at_the_pace_of_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRUST", 0.0)
    work = Forecast("work", {"a": 2.0, "b": 4.0, "c": 4.0})
    assert work.left(0.0) is None
    work.begin("a", 0.0)
    work.end("a", 6.0)  # three times as long as expected
    assert work.left(6.0) == pytest.approx(24.0)
    work.begin("b", 6.0)
    assert work.left(8.0) == pytest.approx(22.0)


def test_before_anything_has_ended_what_is_expected_is_believed_until_it_is_overdue() -> None:
    work = Forecast("work", {"a": 2.0, "b": 4.0})
    work.begin("a", 0.0)
    assert work.left(1.0) == pytest.approx(5.0)
    late = work.left(20.0)
    assert late is not None and late > 20.0, "b will be late, too"


def test_a_process_that_waits_for_a_processor_takes_as_much_longer() -> None:
    used = iter([0.0, *[1.0] * 9])
    work = Forecast("work", {"a": 50.0, "b": 50.0}, processor=lambda: next(used), crowd=2.0)
    work.begin("a", 0.0)
    assert work.left(0.5) == pytest.approx(199.5), "too early to see: as the machine's load says"
    assert work.left(4.0) == pytest.approx(4 * 100.0 - 4.0)


def test_a_part_that_counts_is_expected_at_its_own_speed_the_more_it_has_done() -> None:
    work = Forecast("work", {"a": 2.0})
    work.begin("a", 0.0, lambda: 0.9)
    assert work.left(90.0) == pytest.approx(10.0, rel=0.1)


def test_parts_that_are_passed_over_do_not_come_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRUST", 0.0)
    work = Forecast("work", {"a": 2.0, "skipped": 100.0, "b": 4.0})
    work.begin("a", 0.0)
    work.end("a", 2.0)
    work.begin("b", 2.0)
    assert work.left(2.0) == pytest.approx(4.0)
    assert not work.begin("unknown", 3.0) and not work.begin("b", 3.0)


def test_parts_of_a_kind_take_as_long_as_those_of_it_that_ended_and_run_side_by_side() -> None:
    kinds = {"0": "quick", "1": "slow", "2": "quick", "3": "slow"}
    work = Forecast("trials", dict.fromkeys(kinds, 10.0), kinds, at_once=2)
    for name, took in (("0", 1.0), ("1", 30.0)):
        work.begin(name, 0.0)
        work.end(name, took)
    assert work.left(30.0) == pytest.approx((1.0 + 30.0) / 2)
    work.begin("3", 30.0)
    assert work.left(30.0) == pytest.approx(30.0), "not before the longest has ended"


def test_steps_and_bars_of_its_names_are_its_parts_and_a_forecast_inside_is_none() -> None:
    with forecast("outer", {"reading": 2.0, "inner": 4.0}):
        assert left_in_all() is None
        with progress("reading", 4) as advance:
            advance(2)
            with forecast("second", {"inner": 100.0}), progress("another"):
                told = left_in_all()
        assert told is not None and told[0] == "outer" and told[1] <= 6.0 * module._crowd()
        with part("inner"), pytest.raises(ZeroDivisionError), part("inner"):
            _ = 1 / 0
    assert module._open == []


def test_work_in_other_processes_is_forecast_before_any_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_crowd", lambda: 1.0)
    with forecast("trials", {"1": 30.0, "2": 50.0}, at_once=2):
        assert left_in_all() == ("trials", 40.0)
    with forecast("trials", {}, at_once=2):
        assert left_in_all() is None


def test_a_step_that_is_the_whole_work_tells_one_figure_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own speed would contradict the forecast: the first of six trials ends late."""
    monkeypatch.setattr(module, "_crowd", lambda: 1.0)
    with forecast("trials", dict.fromkeys("123456", 10.0), at_once=2):
        whole, other = Step("trials", 6, 0), Step("fitting", 6, 0)
        for step in (whole, other):
            step.begun -= 20.0
            step.advance(1)
        assert whole.line() == "trials: 1 of 6, 5 left, 20 s" and in_all(whole) == "(about 30 s left in all)"
        assert other.line().endswith("about 1 min 40 s left") and in_all(other) == "(trials: about 30 s left in all)"
