"""Progress bars: shown on a terminal, silent elsewhere, nested without quarrel."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from raysynth.running import progress as module
from raysynth.running.progress import progress


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


def test_silent_where_standard_error_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress("counting", 2) as advance:
        advance(2)
    assert capfd.readouterr() == ("", "")


def test_silent_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYNTH_QUIET", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert module.console_of_progress() is None
