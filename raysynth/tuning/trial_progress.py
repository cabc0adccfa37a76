"""How many trials of a sweep have ended, as progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ray import tune

from raysynth.running.progress import progress

_advance: ContextVar[Callable[[float], None] | None] = ContextVar("advance", default=None)


class TrialProgress(tune.Callback):
    """Moves the progress of `trials_shown` as trials end; it holds none itself, since Tune pickles its callbacks."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """One more has ended."""
        if (advance := _advance.get()) is not None:
            advance(1)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """One more has ended, without a result."""
        self.on_trial_complete(iteration, trials, trial)


@contextmanager
def trials_shown(number: int) -> Iterator[None]:
    """Progress over so many trials, for the duration of the block; a private selection does not tell their number."""
    with progress("trials", number) as advance:
        token = _advance.set(advance)
        try:
            yield
        finally:
            _advance.reset(token)
