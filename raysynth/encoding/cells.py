"""Cells of ordered numbers, and the line on which they are cut: what finding cells and their tails share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_DEPTH = 80  # halvings at most


class Holders(Protocol):
    """Who has a row in some of the cells."""

    def are_enough(self, first: int, after: int) -> bool:
        """Whether at least k persons have a row in the cells first .. after - 1."""
        ...


@dataclass(frozen=True)
class Values:
    """Ordered cells with rows (each (M,)), the unit of the values (0: none) and the offset of the grid."""

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    unit: float
    offset: float

    def mirrored(self) -> Values:
        """The values with the other sign, ascending again."""
        return Values(0.0 - self.high[::-1], 0.0 - self.low[::-1], self.counts[::-1], self.unit, 0.0 - self.offset)

    def part(self, first: int, after: int) -> Values:
        """The cells first .. after - 1."""
        own = slice(first, after)
        return Values(self.low[own], self.high[own], self.counts[own], self.unit, self.offset)


@dataclass(frozen=True)
class Cell:
    """An interval, or an atom where low == high, with its rows."""

    low: float
    high: float
    rows: float


def coarsest_between(low: float, high: float) -> float:
    """The multiple of the largest power of two in [low, high], or the middle where floats have none."""
    if low <= 0 <= high:
        return 0.0
    size = 2.0 ** np.ceil(np.log2(max(abs(low), abs(high))))
    for _ in range(_DEPTH):
        point = np.ceil(low / size) * size
        if point <= high:
            return float(point)
        size /= 2
    return low / 2 + high / 2


def place_of(values: Values, x: np.ndarray) -> np.ndarray:
    """Where values lie on the line that is halved: its whole numbers lie between them, half a unit away."""
    return x if values.unit == 0 else (x - values.offset) / values.unit + 0.5


def value_at(values: Values, place: float) -> float:
    """The inverse of `place_of`."""
    return float(place if values.unit == 0 else values.offset + (place - 0.5) * values.unit)
