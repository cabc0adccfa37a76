"""Progress bars: one way to show how far a step is and how long it will still take.

    with progress("counting", total=n_fragments) as advance:
        for fragment in fragments:
            ...
            advance(1)

Bars go to standard error, so that standard output stays for results. Where that is no terminal (nor a notebook with
widgets), plain lines take their place (`plain_lines.py`); nothing is shown where the environment has RAYSYNTH_QUIET=1.
Steps inside steps share one display.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from raysynth.running.forecast import part
from raysynth.running.plain_lines import Step, Ticker, duration, hides_counts, in_all, plain_step, told_in_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

QUIET = "RAYSYNTH_QUIET"
_KEEP_SECONDS = 1.0  # a bar that lived shorter than this leaves no line behind
_IDLE_SECONDS = 2.0  # without a bar, after which a command on a terminal says that it works

_lock = threading.Lock()
_shown: list[Progress] = []  # the display that is live now; at most one
_stages: list[str] = []  # that run now on a terminal, the innermost last


@contextmanager
def progress(
    label: str,
    total: float | None = None,
    console: Console | None = None,
    *,
    done: int = 0,
    public: bool = False,
    is_patient: bool = False,
    fewest: Callable[[], float] | None = None,
) -> Iterator[Callable[[float], None]]:
    """A bar with label, share done, elapsed time and estimated time left, for the duration of the `with` block.

    Args:
        label: what is being done, a few words.
        total: units of work in all; None where it is not known (the bar then only shows that work goes on).
        console: a rich console to write to; default: standard error.
        done: units that an earlier run has done already.
        is_patient, fewest: as of `plain_lines.Step`.
        public: the total follows from no row; any other is left out where a privacy budget holds (`plain_lines.told`).

    Yields:
        `advance(n)`: n more units are done. Safe to call from any thread.
    """
    step = Step(label, None if hides_counts() and not public else total, done, is_patient, fewest)
    console = console or console_of_progress()
    if console is None:
        with nullcontext(lambda n: None) if _is_quiet() else told_in_lines(step) as advance:
            yield advance
        return
    bar, is_ours = _join_or_start(console)
    task = bar.add_task(label, total=step.total, completed=done, step=step)

    def advance_bar(n: float) -> None:
        step.advance(n)
        bar.advance(task, n)

    try:
        with part(label, step.share):
            yield advance_bar
        if step.total is None:
            bar.update(task, total=1, completed=1)
    finally:
        if time.monotonic() - step.begun < _KEEP_SECONDS:
            bar.remove_task(task)
        else:
            bar.stop_task(task)
        if is_ours:
            _stop(bar)


@contextmanager
def still_working() -> Iterator[None]:
    """A command from its begin to its end: where neither bars nor lines of a step say so, it does, after five seconds
    in lines, after two on a terminal."""
    if _is_quiet():
        yield
        return
    if (console := console_of_progress()) is None:
        with plain_step("working", is_patient=True):
            yield
        return
    ticker = Ticker("idle", _IDLE_SECONDS / 8, partial(_show_idle, console))
    try:
        yield
    finally:
        ticker.stop()
        with _lock:
            _hide_idle()


def _show_idle(console: Console) -> None:
    """A bar that only moves while a command on a terminal has no other; gone with the next bar, without a trace."""
    with _lock:
        if not _shown and time.monotonic() - _at_rest[0] >= _IDLE_SECONDS:
            bar = _new_display(console)
            bar.live.transient = True
            label = _stages[-1] if _stages else "working"
            bar.add_task(label, total=None, step=Step(label, None, 0))
            _idle.append(bar)
            _shown.append(bar)
            bar.start()


_idle: list[Progress] = []  # the display of `_show_idle` while it is there
_at_rest = [0.0]  # since when there is no display, by the monotonic clock


def _hide_idle() -> None:
    """Take the display of `_show_idle` away (under the lock)."""
    while _idle:
        bar = _idle.pop()
        _shown.remove(bar)
        bar.stop()


@contextmanager
def stage_line(name: str) -> Iterator[None]:
    """A plain line for a stage where there are no bars; a terminal shows the bars of its steps, or its name where it
    has none."""
    if _is_quiet() or console_of_progress() is not None:
        _stages.append(name)
        try:
            with part(name):
                yield
        finally:
            _stages.remove(name)
        return
    with plain_step(name):
        yield


def console_of_progress() -> Console | None:
    """Where bars go, or None where they should not be."""
    if _is_quiet():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    has_widgets = console.is_jupyter and find_spec("ipywidgets") is not None
    return console if console.is_terminal or has_widgets else None


def _is_quiet() -> bool:
    return os.environ.get(QUIET, "") not in ("", "0")


def _join_or_start(console: Console) -> tuple[Progress, bool]:
    """The live display, and whether this call started it (and so has to stop it)."""
    with _lock:
        _hide_idle()
        if _shown:
            return _shown[0], False
        bar = _new_display(console)
        _shown.append(bar)
        bar.start()
        return bar, True


def _new_display(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Left(ProgressColumn):
        """What a step expects, and beside the first bar what is left in all."""

        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            """As the plain lines say it."""
            step = task.fields["step"]
            left = None if task.finished or step.is_whole() else step.seconds_left()
            words = "" if left is None else f"{duration(left)} left"
            is_first = task.id == min((t.id for t in bar.tasks), default=None)
            return Text(f"{words} {in_all(step) if is_first else ''}".strip(), style="dim")

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        Left(),
        console=console,
        redirect_stdout=sys.stdout.isatty(),
    )
    return bar


def _stop(bar: Progress) -> None:
    with _lock:
        _shown.remove(bar)
        _at_rest[0] = time.monotonic()
        if not bar.tasks:
            bar.live.transient = True
        bar.stop()
