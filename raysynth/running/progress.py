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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from raysynth.running.plain_lines import hides_counts, plain_step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

QUIET = "RAYSYNTH_QUIET"
_KEEP_SECONDS = 1.0  # a bar that lived shorter than this leaves no line behind

_lock = threading.Lock()
_shown: list[Progress] = []  # the display that is live now; at most one


@contextmanager
def progress(
    label: str,
    total: float | None = None,
    console: Console | None = None,
    *,
    done: int = 0,
    public: bool = False,
    is_patient: bool = False,
) -> Iterator[Callable[[float], None]]:
    """A bar with label, share done, elapsed time and estimated time left, for the duration of the `with` block.

    Args:
        label: what is being done, a few words.
        total: units of work in all; None where it is not known (the bar then only shows that work goes on).
        console: a rich console to write to; default: standard error.
        done: units that an earlier run has done already.
        is_patient: as of `plain_lines.plain_step`.
        public: the total follows from no row; any other is left out where a privacy budget holds (`plain_lines.told`).

    Yields:
        `advance(n)`: n more units are done. Safe to call from any thread.
    """
    if hides_counts() and not public:
        total = None
    console = console or console_of_progress()
    if console is None:
        with (
            nullcontext(lambda n: None)
            if _is_quiet()
            else plain_step(label, total, done, is_patient=is_patient) as advance
        ):
            yield advance
        return
    bar, is_ours = _join_or_start(console)
    task = bar.add_task(label, total=total, completed=done)
    begun = time.monotonic()
    try:
        yield lambda n: bar.advance(task, n)
        if total is None:
            bar.update(task, total=1, completed=1)
    finally:
        if time.monotonic() - begun < _KEEP_SECONDS:
            bar.remove_task(task)
        else:
            bar.stop_task(task)
        if is_ours:
            _stop(bar)


@contextmanager
def still_working() -> Iterator[None]:
    """A command from its begin to its end: where neither bars nor lines of a step say so for five seconds, it does."""
    if _is_quiet() or console_of_progress() is not None:
        yield
        return
    with plain_step("working", is_patient=True):
        yield


@contextmanager
def stage_line(name: str) -> Iterator[None]:
    """A plain line for a stage where there are no bars; a terminal shows the bars of its steps instead."""
    if _is_quiet() or console_of_progress() is not None:
        yield
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
        if _shown:
            return _shown[0], False
        bar = _new_display(console)
        _shown.append(bar)
        bar.start()
        return bar, True


def _new_display(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(),
        console=console,
    )


def _stop(bar: Progress) -> None:
    with _lock:
        _shown.remove(bar)
        if not bar.tasks:
            bar.live.transient = True
        bar.stop()
