"""What a mechanism was asked, by which law it answered, and what: all that an adversary who sees every release knows.

Mechanisms draw through `answered`. It draws, and hands question and answer to who listens, which is an audit
(`attacks/audit/releases.py`) or, in a fit, nobody. Only an audit of its own fits may give an answer that was drawn
before in the place of a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import logsumexp

from raysynth.errors import ParameterError


class Law(StrEnum):
    """The law of an answer around the exact values; of a choice, its chance by exact scores."""

    DISCRETE_GAUSSIAN = "discrete Gaussian"
    GAUSSIAN = "Gaussian"
    LAPLACE = "discrete Laplace"
    CHOICE = "choice"


@dataclass(frozen=True)
class Question:
    """One release before its noise: private.

    Args:
        law: of the answer.
        exact: values, any shape; of a choice the scores.
        scale: the parameter of the noise; of a choice what scores are multiplied by in the exponent.
    """

    law: Law
    exact: np.ndarray
    scale: float

    def is_like(self, other: Question) -> bool:
        """Whether only the exact values differ."""
        return (self.law, self.scale, self.exact.shape) == (other.law, other.scale, other.exact.shape)

    def log_likelihood(self, answer: np.ndarray) -> float:
        """Of an answer, in nats, up to a number that all exact values of this law, scale and shape share."""
        if self.law is Law.CHOICE:
            weights = self.scale * self.exact
            return float(weights[int(answer)] - logsumexp(weights))
        gap = np.asarray(answer, dtype=np.float64) - self.exact
        if self.law is Law.LAPLACE:
            return -float(np.abs(gap).sum()) / self.scale
        return -float((gap**2).sum()) / (2 * self.scale**2)


Listener = Callable[[Question, Callable[[], np.ndarray]], np.ndarray]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def answered(question: Question, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """The answer to a question: what `draw` gives, or what an audit repeats."""
    listener = _listener.get()
    return draw() if listener is None else listener(question, draw)


def check_unheard(drawn: str) -> None:
    """Raises `ParameterError` where an audit listens, for noise that is no answer to a question."""
    if _listener.get() is not None:
        raise ParameterError(
            f"attack 'releases' is for methods that count, by one row more or less; this fit draws {drawn}: audit it "
            "with 'file' or 'gradients'"
        )


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """All questions of this thread go through a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
