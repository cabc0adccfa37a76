"""Sums of floats without rounding, so that a mean does not depend on the order in which rows are added.

Every finite double is an integer times 2**-1074; the sum of such integers is kept as one Python integer (the idea of
reproducible summation: Demmel and Nguyen, 'Parallel reproducible summation', IEEE TC 2015, with an exact accumulator).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LOWEST = 1127  # 1074 + 53: the scale that makes every mantissa of 53 bits an integer
_HALF = 26
_MASK = (1 << _HALF) - 1
_MAX_ROWS = 1 << 25  # weights of 27 bits add up exactly in a double up to here


@dataclass
class ExactSum:
    """A running sum of weighted doubles; sensitivity to one row: the largest absolute value."""

    scaled: int = 0  # the sum times 2**_LOWEST

    def add(self, values: np.ndarray, counts: np.ndarray) -> None:
        """Add values (N,) float64, finite, each counts (N,) int64 times; at most 2**25 rows at once."""
        if len(values) == 0:
            return
        if int(counts.sum()) > _MAX_ROWS:
            half = len(values) // 2
            if half == 0:
                self.scaled += int(counts[0]) * _scaled(float(values[0]))
                return
            self.add(values[:half], counts[:half])
            self.add(values[half:], counts[half:])
            return
        mantissa, exponent = np.frexp(values)
        integer = np.ldexp(mantissa, 53).astype(np.int64)
        lowest = int(exponent.min())
        bins = (exponent - lowest).astype(np.int64)
        high = np.bincount(bins, weights=(integer >> _HALF) * counts)
        low = np.bincount(bins, weights=(integer & _MASK) * counts)
        for k in np.flatnonzero((high != 0) | (low != 0)):
            whole = (int(high[k]) << _HALF) + int(low[k])
            self.scaled += whole << (lowest + int(k) - 53 + _LOWEST)

    def merge(self, other: ExactSum) -> None:
        """Add another sum."""
        self.scaled += other.scaled

    def mean(self, n: int) -> float:
        """The sum divided by n, correctly rounded."""
        return self.scaled / (n << _LOWEST)


def _scaled(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return (numerator << _LOWEST) // denominator
