"""How long work of unlike parts will still take: what each is expected to take, corrected by those that have ended.

    with forecast("evaluation", {"similarity": 3.0, "attacks": 17.0}):
        ...  # steps and stages of these names are its parts; their progress says what is left in all

A machine that takes twice as long for the first parts will do so for the others; parts of one kind take about as long
as those of it that have ended. Until some have, seconds are longer by as much as the process waits for a processor.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

_TRUST = 2.0  # seconds: so much is believed to go as expected before anything has been seen
_GLANCE = 2.0  # seconds after which it is seen how much a process waits for a processor
_OVERDUE = 0.2  # of what a part has taken: what is left of one that should have ended

_lock = threading.RLock()
_open: list[Forecast] = []  # at most one: what is forecast inside a forecast are its parts

Share = Callable[[], float | None]  # of a running part that is done, in [0, 1]; None where it counts nothing


@dataclass
class _Running:
    begun: float
    share: Share


@dataclass
class Forecast:
    """The parts of a work, in order, and what is known of them.

    Args:
        label: of the work.
        expected: seconds of each part on an idle core, by name.
        kinds: parts of one kind are alike; one that is not named is of its own.
        at_once: parts that run side by side; with one, a part that was passed over does not come any more.
        processor: seconds of a processor that this process has had; None: the parts run in others.
        crowd: how many processes wait for each processor of the machine; at least 1.
    """

    label: str
    expected: dict[str, float]
    kinds: Mapping[str, str] = field(default_factory=dict)
    at_once: int = 1
    processor: Callable[[], float] | None = None
    crowd: float = 1.0
    _waiting: list[str] = field(init=False)
    _running: dict[str, _Running] = field(default_factory=dict, init=False)
    _ended: dict[str, float] = field(default_factory=dict, init=False)
    _since: tuple[float, float] | None = field(default=None, init=False)  # the first part's begin, by both clocks

    def __post_init__(self) -> None:
        self._waiting = list(self.expected)

    def begin(self, part: str, now: float, share: Share = lambda: None) -> bool:
        """A part begins; False where it is none of these, or runs already."""
        if part not in self.expected or part in self._running:
            return False
        if self._since is None:
            self._since = now, self.processor() if self.processor is not None else 0.0
        if part in self._waiting:
            at = self._waiting.index(part)
            self._waiting = self._waiting[at + 1 :] if self.at_once == 1 else [p for p in self._waiting if p != part]
        self._running[part] = _Running(now, share)
        return True

    def end(self, part: str, now: float) -> None:
        """A part has ended."""
        self._ended[part] = self._ended.get(part, 0.0) + now - self._running.pop(part).begun

    def left(self, now: float) -> float | None:
        """Seconds until all is done; None where nothing is expected, or, of parts that follow each other, before the
        first has begun."""
        if not self.expected or self._since is None and self.at_once == 1:
            return None
        pace, alike = self._pace(now), self._alike()
        left = [self._left_of(r, now, self._due(p, pace, alike)) for p, r in self._running.items()]
        waiting = sum(self._due(p, pace, alike) for p in self._waiting)
        return max([(sum(left) + waiting) / self.at_once, *left])

    def _pace(self, now: float) -> float:
        """What a second that was expected takes here."""
        spent = _TRUST * self._wait(now) + sum(self._ended.values())
        due = _TRUST + sum(self.expected[p] for p in self._ended)
        for part, running in self._running.items():
            elapsed, share = now - running.begun, running.share()
            if share:
                spent, due = spent + elapsed, due + share * self.expected[part]
            elif elapsed * due > self.expected[part] * spent:  # longer than it should
                spent, due = spent + elapsed, due + self.expected[part]
        return spent / max(due, 1e-9)

    def _wait(self, now: float) -> float:
        """Seconds that pass while a processor works for one; less than one where several do."""
        if self.processor is None or self._since is None or now - self._since[0] < _GLANCE:
            return self.crowd
        return (now - self._since[0]) / max(self.processor() - self._since[1], 0.01)

    def _alike(self) -> dict[str, float]:
        """Mean seconds of the parts that have ended, by kind."""
        seconds: dict[str, list[float]] = {}
        for part, took in self._ended.items():
            if part in self.kinds:
                seconds.setdefault(self.kinds[part], []).append(took)
        return {kind: sum(took) / len(took) for kind, took in seconds.items()}

    def _due(self, part: str, pace: float, alike: Mapping[str, float]) -> float:
        """Seconds that a part takes in all, as far as is known."""
        return alike.get(self.kinds.get(part, ""), pace * self.expected[part])

    @staticmethod
    def _left_of(running: _Running, now: float, due: float) -> float:
        """Of a part that counts, by its own speed the more it has done."""
        elapsed, share = now - running.begun, running.share()
        if not share:
            return max(due - elapsed, _OVERDUE * elapsed)
        return (1 - share) * (elapsed + (1 - share) * due)


@contextmanager
def forecast(
    label: str, expected: Mapping[str, float], kinds: Mapping[str, str] | None = None, *, at_once: int = 1
) -> Iterator[None]:
    """Reports how long all that is left will take, while the block runs; inside another forecast it is a part of that.

    Args:
        label, expected, kinds, at_once: as of `Forecast`.
    """
    own = time.process_time if at_once == 1 else None
    made = Forecast(label, dict(expected), kinds or {}, at_once, own, _crowd())
    with _lock:
        is_outermost = not _open
        if is_outermost:
            _open.append(made)
    try:
        yield
    finally:
        if is_outermost:
            with _lock:
                _open.remove(made)


def _crowd() -> float:
    """Load of the whole machine in the last minute by its processors (not by those that this process may use); between
    it and none, since some of what waits has a lower priority or waits for a disk."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, load / (os.cpu_count() or 1)) ** 0.5


@contextmanager
def part(name: str, share: Share = lambda: None) -> Iterator[None]:
    """A step or stage of this name runs in the block; nothing where no forecast knows it."""
    with _lock:
        whole = _open[0] if _open else None
        is_mine = whole is not None and whole.begin(name, time.monotonic(), share)
    try:
        yield
    finally:
        if is_mine and whole is not None:
            with _lock:
                whole.end(name, time.monotonic())


def left_in_all() -> tuple[str, float] | None:
    """Label and seconds left of the work that is forecast; None without one."""
    with _lock:
        left = _open[0].left(time.monotonic()) if _open else None
        return None if left is None else (_open[0].label, left)
