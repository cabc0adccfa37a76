"""Progress where there is no terminal: plain lines on standard error, a step's every five seconds.

    [raysynth] growing trees: 3 of 12, 9 left, 14 s, about 42 s left
    [raysynth] growing trees: done, 56 s
    [raysynth] similarity: 2 s (evaluation: about 40 s left in all)

Steps stand inside steps; a line tells of the innermost one. A step of under a second writes none. A thread of
the outermost step writes them, so that a step that counts nothing is told, too. What a command does between its steps
is told by the command's own (`progress.still_working`), where nothing was written for five seconds.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from raysynth.running.forecast import left_in_all, part

FIRST_SECONDS, SECONDS = 1.0, 5.0  # before the first line of a step, and between two lines

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_only_public: ContextVar[bool] = ContextVar("only_public", default=False)
_lock = threading.Lock()
_steps: list[Step] = []  # that run now, of all threads, the innermost last
_written = [-SECONDS]  # when the latest line was, by the monotonic clock


@dataclass(eq=False)
class Step:
    """How far a step is.

    Args:
        label: what is being done.
        total: units of work in all; None where it is not known.
        done: units that are done; at first, those that an earlier run did.
        is_patient: tells nothing before five seconds went by without a line, and not its end.
        fewest: units that are left at least where the work may end early; None: it does not.
    """

    label: str
    total: float | None
    done: float
    is_patient: bool = False
    fewest: Callable[[], float] | None = None
    before: float = field(init=False)  # units that earlier runs did
    begun: float = field(default_factory=time.monotonic)
    told: bool = False
    patience: float = field(default=0.0, init=False)  # the most that `fewest` has been

    def __post_init__(self) -> None:
        self.before = self.done

    def advance(self, n: float) -> None:
        """n more units are done; from any thread."""
        with _lock:
            self.done += n

    def share(self) -> float | None:
        """Of the units of this run that are done; None where there is no number of them."""
        own = (self.total or 0.0) - self.before
        return (self.done - self.before) / own if self.total and own > 0 else None

    def seconds_left(self) -> float | None:
        """Until the end, at the speed so far; None where nothing is known.

        Of work that may end early, the geometric mean of the least and the most (within a factor of two of the truth
        where these lie within one of four), nearer to the least the more of its patience is used up.
        """
        done = self.done - self.before
        if not self.total or done <= 0:
            return None
        most = max(self.total - self.done, 0.0)
        least = most if self.fewest is None else min(max(self.fewest(), 0.0), most)
        self.patience = max(self.patience, least)
        early = 1 - least / (2 * self.patience) if 0 < least < most else 0.5
        return (time.monotonic() - self.begun) * least**early * most ** (1 - early) / done

    def is_whole(self) -> bool:
        """Whether it is the very work that is forecast: then the forecast says what is left, and nothing beside it."""
        whole = left_in_all()
        return whole is not None and whole[0] == self.label

    def line(self) -> str:
        """How far it is, how long it took and will take."""
        seconds, left = time.monotonic() - self.begun, None if self.is_whole() else self.seconds_left()
        if not self.total:
            return f"{self.label}: {duration(seconds)}"
        done = int(self.done + 1e-6)  # parts of a unit are summed
        expected = "" if left is None else f", about {duration(left)} left"
        most = "at most " if self.fewest is not None else ""
        return (
            f"{self.label}: {done:,} of {most}{self.total:,.0f}, {self.total - done:,.0f} left, "
            f"{duration(seconds)}{expected}"
        )


@contextmanager
def told(*, quiet: bool = False, only_public: bool = False) -> Iterator[None]:
    """What the lines of the block may say; a block inside can only say less.

    Args:
        quiet: no lines.
        only_public: no count that follows from the rows (of fragments, of trials drawn), only label and time.
    """
    tokens = _quiet.set(_quiet.get() or quiet), _only_public.set(_only_public.get() or only_public)
    try:
        yield
    finally:
        _quiet.reset(tokens[0])
        _only_public.reset(tokens[1])


def is_quiet() -> bool:
    """Whether no line may be written here."""
    return _quiet.get()


def hides_counts() -> bool:
    """Whether only public counts may be shown here."""
    return _only_public.get()


@contextmanager
def plain_step(
    label: str, total: float | None = None, *, is_patient: bool = False
) -> Iterator[Callable[[float], None]]:
    """A step whose progress is reported in plain lines; yields `advance(n)`. Arguments as in `Step`."""
    with told_in_lines(Step(label, total, 0, is_patient)) as advance:
        yield advance


@contextmanager
def told_in_lines(step: Step) -> Iterator[Callable[[float], None]]:
    """The step runs in the block and is reported; yields `advance(n)`."""
    if _quiet.get():
        yield lambda n: None
        return
    with _lock:
        is_outermost = not _steps
        _steps.append(step)
    writer = Ticker("progress", FIRST_SECONDS / 4, _write_line_due) if is_outermost else None
    try:
        with part(step.label, step.share):
            yield step.advance
        if step.told and not step.is_patient:
            _write(f"{step.label}: done, {duration(time.monotonic() - step.begun)}")
    finally:
        with _lock:
            _steps.remove(step)
        if writer is not None:
            writer.stop()


class Ticker:
    """A thread that does something at every tick until it is stopped.

    Args:
        name: of the thread.
        seconds: between two ticks.
        tick: what it does.
    """

    def __init__(self, name: str, seconds: float, tick: Callable[[], None]) -> None:
        self._ended, self._seconds, self._tick = threading.Event(), seconds, tick
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is done after this."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._tick()


def _write_line_due() -> None:
    """The line of the innermost step: a second after it began, then every five."""
    if (line := _line_due(time.monotonic())) is not None:
        _write(line)


def _line_due(now: float) -> str | None:
    """The line of the innermost step of over a second: at once where it is new, else after five seconds without any."""
    with _lock:
        step = next((s for s in reversed(_steps) if now - s.begun >= FIRST_SECONDS), None)
        if step is None or (step.told or step.is_patient) and now - max(_written[0], _steps[0].begun) < SECONDS:
            return None
        step.told = True
    return f"{step.line()} {in_all(step)}".rstrip()


def in_all(step: Step) -> str:
    """What is left of the work that is forecast, in brackets, named where it is not the step; empty without one."""
    whole = left_in_all()
    if whole is None:
        return ""
    named = "" if step.is_whole() else f"{whole[0]}: "
    return f"({named}about {duration(whole[1])} left in all)"


def duration(seconds: float) -> str:
    """Seconds in the largest fitting units: '42 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def _write(line: str) -> None:
    _written[0] = time.monotonic()
    with contextlib.suppress(OSError, ValueError):  # whoever read standard error is gone: the work goes on without
        sys.stderr.write(f"[raysynth] {line}\n")
        sys.stderr.flush()
