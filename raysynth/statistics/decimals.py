"""What numbers have in common: how many digits after the point they need, and the step that all are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysynth.data.arrow_types import EXACT_DOUBLE

MAX_DECIMALS = 15
_SIGNIFICANT = 1e15  # a double holds 15 decimal digits for certain; a match beyond them is chance
_NOISE = 512  # units in the last place by which sums of decimals miss them at most: 0.1 + 0.2, or 0.1 a thousand times
_NOISY = 8e10  # fewer of them for more digits: so many over the digits' multiple, which one value in 3e4 has by chance


def needed_decimals(values: np.ndarray, so_far: int = 0) -> int:
    """The smallest d with round(x, d) == x for every x, at least `so_far`; `MAX_DECIMALS` + 1 where there is none.

    What the rounding of doubles adds to a value of few digits (0.1 + 0.2) counts as none. The result is the largest of
    the values' own needs, so it does not depend on how rows are split.

    Args:
        values: (N,) float32 or float64, finite.
        so_far: what earlier values needed.
    """
    if so_far > MAX_DECIMALS:
        return so_far
    for part in (values[:256], values):  # a few rows settle most columns of full precision
        rest = part[~_held(part, so_far)]
        d = 0
        while len(rest) and d <= MAX_DECIMALS:
            rest = rest[~_held(rest, d)]
            so_far = max(so_far, d if len(rest) == 0 else d + 1)
            d += 1
        if so_far > MAX_DECIMALS:
            break
    return so_far


def nearest_doubles(x: np.ndarray, scale: int) -> np.ndarray:
    """Decimals (N,) as Arrow's cast gives them, which misses the nearest double by a bit for some."""
    exact = np.abs(x) * 10.0**scale < EXACT_DOUBLE
    return np.where(exact, np.rint(x * 10.0**scale) / 10.0**scale, x)


def needed_digits(values: np.ndarray, most: int) -> np.ndarray:
    """For each value the smallest d with round(x, d) == x, up to `most`; `most` + 1 where it needs more.

    Args:
        values: (N,) float64, finite.
        most: digits looked at.
    """
    digits = np.full(len(values), most + 1)
    for d in range(most, -1, -1):
        digits[_held(values, d)] = d
    return digits


def _held(values: np.ndarray, decimals: int) -> np.ndarray:
    """Whether d digits hold each value (N,): exactly, or but for the noise that arithmetic leaves in a double."""
    if decimals > MAX_DECIMALS:
        return np.zeros(len(values), dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.round(values, decimals)
        size = np.abs(values)
        held = np.asarray(near == values) & ((size < _SIGNIFICANT / 10.0**decimals) | (decimals == 0))
        if values.dtype == np.float64 and not held.all():
            units = np.minimum(_NOISE, _NOISY / np.maximum(size * 10.0**decimals, 1))
            held |= (np.abs(near - values) <= units * np.spacing(size)) & (units >= 1)
    return np.asarray(held)


@dataclass(frozen=True)
class Step:
    """All values so far are `anchor` plus a multiple of `size`; size 0: one value only; anchor None: no value.

    The greatest common divisor of all differences: the same however the values are split.
    """

    anchor: int | None = None
    size: int = 0

    def merged(self, other: Step) -> Step:
        """The step of the values of both."""
        if self.anchor is None or other.anchor is None:
            return self if other.anchor is None else other
        size = math.gcd(self.size, other.size, abs(self.anchor - other.anchor))
        return Step(min(self.anchor, other.anchor), size)


def joint_step(step: Step, keys: np.ndarray) -> Step:
    """The step of earlier values and of keys (N,) int64."""
    if step.size == 1 or len(keys) == 0:
        return step
    lowest = keys.min()
    distances = (keys - lowest).view(np.uint64)  # right even where the difference overflows int64
    step = step.merged(Step(int(lowest), 0))
    size = math.gcd(step.size, int(np.gcd.reduce(distances[:256])))
    while True:  # most rows are multiples already; each round at least halves the step
        rest = distances[distances % np.uint64(size) != 0] if size else distances[distances != 0]
        if len(rest) == 0:
            return Step(step.anchor, size)
        size = math.gcd(size, int(np.gcd.reduce(rest[:256])))
        if size == 1:
            return Step(step.anchor, 1)


def decimal_step(values: np.ndarray, decimals: int) -> float | None:
    """The step of numbers (N,) of so many decimals, where it is larger than their last digit: 0.25, or 1 from 0.99 on.

    None where there is no such step, or the numbers are too large for their digits to be counted exactly.
    """
    scale = 10.0**decimals
    if not 0 <= decimals <= MAX_DECIMALS or not len(values) or np.abs(values).max() * scale >= _SIGNIFICANT:
        return None
    size = joint_step(Step(), np.rint(values * scale).astype(np.int64)).size
    return size / scale if size > 1 else None
