"""Progress: bars on a terminal, plain lines elsewhere, nested without quarrel, quiet when asked."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from raysynth import GaussianCopula
from raysynth.running import plain_lines
from raysynth.running import progress as module
from raysynth.running.forecast import forecast
from raysynth.running.progress import progress
from raysynth.running.stages import stage


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_shows_label_and_share_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEEP_SECONDS", 0.0)
    console = terminal()
    with progress("counting", 4, console) as advance:
        advance(2)
        advance(2)
    assert "counting" in written(console)
    assert "100%" in written(console)


def test_steps_inside_steps_share_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEEP_SECONDS", 0.0)
    console = terminal()
    with progress("outer", 1, console) as outer:
        with progress("inner", 2, console) as inner:
            inner(2)
        outer(1)
    assert "outer" in written(console) and "inner" in written(console)
    assert module._shown == []


def test_display_ends_when_the_step_fails() -> None:
    with pytest.raises(ZeroDivisionError), progress("failing", 1, terminal()):
        _ = 1 / 0
    assert module._shown == []


def test_a_short_step_writes_no_line_where_standard_error_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("counting", 2) as advance:
        advance(2)
    assert capfd.readouterr() == ("", "")
    assert plain_lines._steps == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come after hundredths of a second."""
    monkeypatch.setattr(plain_lines, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(plain_lines, "SECONDS", 0.02)


def lines_until(capfd: pytest.CaptureFixture[str], wanted: str, seconds: float = 20.0) -> list[str]:
    """What stands on standard error once a line holds the wanted words."""
    written, end = "", time.monotonic() + seconds
    while wanted not in written and time.monotonic() < end:
        written += capfd.readouterr().err
    assert wanted in written, f"no line with {wanted!r} in {seconds} s"
    return written.splitlines()


@pytest.mark.usefixtures("impatient")
def test_lines_say_what_is_done_left_and_expected(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("growing trees", 12, done=2) as advance:
        lines_until(capfd, "[raysynth] growing trees: 2 of 12, 10 left")
        advance(1)
        assert "s left" in lines_until(capfd, "3 of 12, 9 left")[-1]
        with progress("inner"):
            lines_until(capfd, "[raysynth] inner: 0 s")
        assert "inner: done" in capfd.readouterr().err
    assert "[raysynth] growing trees: done" in capfd.readouterr().err
    assert plain_lines._steps == [] and not [t for t in threading.enumerate() if t.name == "progress"]


def test_the_rest_is_expected_at_the_speed_of_this_run() -> None:
    step = plain_lines.Step("training", 10, 6)  # six epochs were done before
    step.begun -= 30.0
    step.advance(2)
    assert step.line() == "training: 8 of 10, 2 left, 30 s, about 30 s left"


def test_work_that_may_end_early_is_expected_between_the_least_and_the_most() -> None:
    step = plain_lines.Step("training", 100, 0, fewest=lambda: 10.0)
    step.begun -= 10.0
    step.advance(10.5)
    left = step.seconds_left()
    assert left == pytest.approx(10 * (10.0 * 89.5) ** 0.5 / 10.5, rel=0.01)
    assert step.line().startswith("training: 10 of at most 100, 90 left, 10 s, about ")
    assert step.share() == pytest.approx(0.105)


def test_the_more_patience_is_used_up_the_nearer_is_the_end() -> None:
    """A training that ends with its patience of ten, after 20 of at most 40 epochs of 3 s: within 1.75 all the way."""
    since_best = 0.0
    step = plain_lines.Step("training", 40, 0, fewest=lambda: 10 - since_best)
    for epoch in range(5, 20):
        since_best = max(0.0, epoch - 10)
        step.done, step.begun = epoch, plain_lines.time.monotonic() - 3 * epoch
        left = step.seconds_left()
        assert left is not None and 1 / 1.75 < left / (3 * (20 - epoch)) < 1.75, epoch


def test_a_command_on_a_terminal_shows_that_it_works_where_it_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal()
    monkeypatch.setattr(module, "console_of_progress", lambda: console)
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.05)
    with module.still_working():
        until("working", console)
        with stage("similarity"):
            with progress("counting", 2) as advance:
                advance(1)
                assert [t.description for t in module._shown[0].tasks] == ["counting"], "it went with the first bar"
            until("similarity", console)
    assert module._shown == [] and module._idle == [] and module._stages == []
    assert not [t for t in threading.enumerate() if t.name == "idle"]


def until(words: str, console: Console, seconds: float = 20.0) -> None:
    """Wait for words on a terminal."""
    end = time.monotonic() + seconds
    while words not in written(console) and time.monotonic() < end:
        time.sleep(0.01)
    assert words in written(console)


@pytest.mark.usefixtures("impatient")
def test_lines_say_what_is_left_in_all_where_it_is_known(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysynth.running.forecast._crowd", lambda: 1.0)
    with forecast("evaluation", {"similarity": 2.0, "attacks": 40.0}), progress("similarity"):
        lines_until(capfd, "(evaluation: about 4")


@pytest.mark.usefixtures("impatient")
def test_a_command_is_told_where_no_step_is_and_a_young_step_hides_no_older_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with module.still_working():
        lines_until(capfd, "[raysynth] working: 0 s")
        with progress("reading", 2):
            lines_until(capfd, "reading: 0 of 2")
            plain_lines._steps.append(plain_lines.Step("young", None, 0, begun=time.monotonic() + 60))
            lines_until(capfd, "reading: 0 of 2")
            plain_lines._steps.pop()
        lines_until(capfd, "[raysynth] working: ")
    assert "working: done" not in capfd.readouterr().err and plain_lines._steps == []


def test_a_command_of_steps_that_are_told_is_not_told_besides() -> None:
    """The clock is the test's: the latest line was four seconds ago, then six."""
    step = plain_lines.Step("working", None, 0, is_patient=True, begun=0.0)
    plain_lines._steps.append(step)
    try:
        plain_lines._written[0] = 100.0
        assert plain_lines._line_due(104.0) is None
        assert plain_lines._line_due(106.0) is not None
    finally:
        plain_lines._steps.remove(step)
        plain_lines._written[0] = -plain_lines.SECONDS


@pytest.mark.usefixtures("impatient")
def test_a_stage_is_told_and_one_that_fails_is_not_said_to_be_done(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), stage("similarity"):
        lines_until(capfd, "[raysynth] similarity: 0 s")
        _ = 1 / 0
    assert "done" not in capfd.readouterr().err and plain_lines._steps == []


@pytest.mark.usefixtures("impatient")
def test_under_a_budget_only_public_counts_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    with plain_lines.told(only_public=True):
        with progress("reading", 7):
            lines = lines_until(capfd, "reading: 0 s")
        with progress("training", 3, public=True):
            lines_until(capfd, "training: 0 of 3")
    assert not [line for line in lines if "7" in line]


@pytest.mark.usefixtures("impatient")
def test_a_model_that_is_not_verbose_writes_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    with plain_lines.told(quiet=True), plain_lines.told(), progress("reading", 7):
        assert plain_lines._steps == [], "a block inside cannot say more"
    rows = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300), "c": list("abc") * 100})
    GaussianCopula(verbose=False, seed=0).fit(rows).sample(100)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_said_in_the_largest_fitting_units(seconds: float, text: str) -> None:
    assert plain_lines.duration(seconds) == text


def test_silent_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYNTH_QUIET", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert module.console_of_progress() is None
