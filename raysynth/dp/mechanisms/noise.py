"""Where noise comes from (never a user's seed: who knows it subtracts the noise), and what was answered with it.

Three sources of the same shape. Counts get discrete noise, whose bits (`words`) are those of the operating system's
cryptographic generator always (`counts.py`). For the rest: `OsNoise`: NumPy's generator, seeded afresh from the
operating system. `SecureNoise`: the operating system's cryptographic generator for every draw, and Gaussians as sums of
several, so that the gaps of floating-point numbers tell nothing (Mironov 2012; Holohan and Braghin 2021, "Secure random
sampling in differential privacy", section 4). `InsecureSeededNoise`: for tests; whatever it touches is marked 'no
guarantee'.

Mechanisms draw through `answered`. It draws, and hands question and answer to who listens, which is an audit
(`attacks/audit/releases.py`) or, in a fit, nobody. Only an audit of its own fits may give an answer that was drawn
before in the place of a new one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from scipy.special import logsumexp

from raysynth.errors import ParameterError

SUMMED_DRAWS = 4
_BITS = 53


class NoiseSource(Protocol):
    """Draws of privacy noise and of private samples."""

    @property
    def guarantee(self) -> bool:
        """False where the draws can be repeated by someone who knows a seed."""
        ...

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Numbers in (0, 1), float64."""
        ...

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Standard normal numbers, float64."""
        ...

    def words(self, n: int) -> np.ndarray:
        """64 random bits each, uint64 (n,)."""
        ...


class OsNoise:
    """NumPy's PCG64DXSM, seeded with 256 bits of the operating system's entropy."""

    guarantee = True

    def __init__(self) -> None:
        self._rng = np.random.Generator(np.random.PCG64DXSM(secrets.randbits(256)))

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Numbers in (0, 1), float64."""
        return np.maximum(self._rng.random(shape), 2.0**-_BITS)

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Standard normal numbers, float64."""
        return self._rng.standard_normal(shape)

    def words(self, n: int) -> np.ndarray:
        """64 random bits each, uint64 (n,), from the operating system."""
        return _os_words(n)


class SecureNoise:
    """The operating system's cryptographic generator for every draw; a normal number is a sum of four."""

    guarantee = True

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Numbers in (0, 1), float64, of 53 random bits each."""
        size = (shape,) if isinstance(shape, int) else shape
        words = _os_words(int(np.prod(size))) >> np.uint64(64 - _BITS)
        return np.ldexp(words.astype(np.float64) + 0.5, -_BITS).reshape(size)

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Standard normal numbers, float64: sums of four by Box and Muller's transform, over 2."""
        size = (shape,) if isinstance(shape, int) else shape
        total = np.zeros(size)
        for _ in range(SUMMED_DRAWS // 2):
            radius = np.sqrt(-2 * np.log(self.uniform(size)))
            angle = 2 * np.pi * self.uniform(size)
            total += radius * np.cos(angle)
            radius = np.sqrt(-2 * np.log(self.uniform(size)))
            angle = 2 * np.pi * self.uniform(size)
            total += radius * np.sin(angle)
        return total / np.sqrt(SUMMED_DRAWS)

    def words(self, n: int) -> np.ndarray:
        """64 random bits each, uint64 (n,)."""
        return _os_words(n)


class InsecureSeededNoise:
    """Repeatable draws, for tests only: a ledger of events with it says 'no guarantee'."""

    guarantee = False

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._rng = np.random.default_rng(seed)

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Numbers in (0, 1), float64."""
        return np.maximum(self._rng.random(shape), 2.0**-_BITS)

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        """Standard normal numbers, float64."""
        return self._rng.standard_normal(shape)

    def words(self, n: int) -> np.ndarray:
        """64 random bits each, uint64 (n,)."""
        return self._rng.integers(0, 1 << 64, n, dtype=np.uint64)


def _os_words(n: int) -> np.ndarray:
    return np.frombuffer(os.urandom(8 * n), dtype=np.uint64)


def noise_source(secure_mode: bool) -> NoiseSource:
    """The source that a fit under a budget draws from."""
    return SecureNoise() if secure_mode else OsNoise()


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
