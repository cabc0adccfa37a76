"""Discrete noise, drawn exactly: no floating-point number is released whose gaps tell what was added to what.

Discrete Gaussian numbers by rejection from discrete Laplace ones (Canonne, Kamath and Steinke 2020, "The discrete
Gaussian for differential privacy", arXiv 2004.00010, algorithm 3), and these as the difference of two geometric ones.
Both come down to comparing a uniform number u with a real one: "u < exp(-g)?", "floor(-ln(u) * scale)?". u is known by
its first 64 bits, the other side in double precision with a bound on its error; where these do not decide, which
happens about once in 10^9 draws, u gets more bits and the other side more digits until they do. So the law is that of
the paper for the very float that `sigma` or `scale` is, as far as the operating system's bits are uniform, at the speed
of vectors. How long a draw takes is not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal, localcontext

import numpy as np

from raysynth.dp.mechanisms.noise import NoiseSource

WORD = 64  # bits
DIGITS = 40  # of the first exact look; 30 more at each further one
ACCEPTED = 0.7  # of the proposals, about


def geometric(scale: float, n: int, noise: NoiseSource) -> np.ndarray:
    """Numbers G >= 0 with P(G >= k) = exp(-k / scale): floor(-ln(u) * scale), int64 (n,)."""
    words = noise.words(n)
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-WORD
    logarithm = -np.log(uniform)
    # of -ln(u): the 64 bits of u that are known, and two roundings in double precision
    error = 1.0 / (words.astype(np.float64) + 0.5) + 2e-15 * (1 + logarithm)
    low = np.floor(np.maximum(logarithm - error, 0.0) * scale * (1 - 1e-15))
    high = np.where(words == 0, np.inf, np.floor((logarithm + error) * scale * (1 + 1e-15)))
    exact = Decimal(scale)

    def between(least: Decimal, most: Decimal, slack: Decimal) -> int | None:
        if least <= 0:
            return None
        below = (-most.ln() * exact * (1 - slack)).to_integral_value(ROUND_FLOOR)
        above = (-least.ln() * exact * (1 + slack)).to_integral_value(ROUND_FLOOR)
        return int(below) if below == above else None

    for i in np.flatnonzero(low != high).tolist():
        low[i] = _decided(int(words[i]), between, noise)
    return low.astype(np.int64)


def discrete_laplace(scale: float, n: int, noise: NoiseSource) -> np.ndarray:
    """Whole numbers with P(k) ~ exp(-|k| / scale), int64 (n,)."""
    return geometric(scale, n, noise) - geometric(scale, n, noise)


def discrete_gaussian(sigma: float, n: int, noise: NoiseSource) -> np.ndarray:
    """Whole numbers with P(k) ~ exp(-k^2 / (2 sigma^2)), int64 (n,); their variance is at most sigma^2.

    Args:
        sigma: > 0; at most 2^40, so that proposals are exact as float64.
        n: how many.
        noise: source of bits.
    """
    if not 0 < sigma <= 2.0**40:
        raise ValueError(f"the parameter of discrete Gaussian noise must be in (0, 2^40]; found {sigma!r}")
    scale = float(math.floor(sigma) + 1)
    made = [np.empty(0, np.int64)]
    while (missing := n - sum(len(m) for m in made)) > 0:
        proposed = discrete_laplace(scale, math.ceil(missing / ACCEPTED) + 16, noise)
        made.append(proposed[_accepted(np.abs(proposed), sigma, scale, noise)][:missing])
    return np.concatenate(made)


def _accepted(size: np.ndarray, sigma: float, scale: float, noise: NoiseSource) -> np.ndarray:
    """Which proposals stay: each with probability exp(-g), g = (|k| - sigma^2 / scale)^2 / (2 sigma^2)."""
    words = noise.words(len(size))
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-WORD
    chance = np.exp(-((size - sigma**2 / scale) ** 2) / (2 * sigma**2))
    accepted = uniform < chance
    for i in np.flatnonzero(np.abs(uniform - chance) <= 1e-11 * chance + 2.0**-60).tolist():
        k = int(size[i])

        def below(least: Decimal, most: Decimal, slack: Decimal, k: int = k) -> int | None:
            square = Decimal(sigma) ** 2
            exact = (-((k - square / Decimal(scale)) ** 2) / (2 * square)).exp()
            if most <= exact * (1 - slack):
                return 1
            return 0 if least >= exact * (1 + slack) else None

        accepted[i] = bool(_decided(int(words[i]), below, noise))
    return accepted


def _decided(word: int, decide: Callable[[Decimal, Decimal, Decimal], int | None], noise: NoiseSource) -> int:
    """What `decide(least u, most u, relative slack)` says as soon as enough of u's bits are known."""
    bits, digits = WORD, DIGITS
    while True:
        with localcontext() as context:
            context.prec = digits + 20
            unit = Decimal(2) ** -bits
            found = decide(word * unit, (word + 1) * unit, Decimal(10) ** -digits)
        if found is not None:
            return found
        word = (word << WORD) | int(noise.words(1)[0])
        bits, digits = bits + WORD, digits + 30
