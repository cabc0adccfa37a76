"""Sums of floats without rounding, so that a mean does not depend on the order in which rows are added.

Every finite double is an integer times 2**-1074; the sum of such integers is kept as one Python integer (the idea of
reproducible summation: Demmel and Nguyen, 'Parallel reproducible summation', IEEE TC 2015, with an exact accumulator).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LOWEST = 1127  # 1074 + 53: the scale that makes every mantissa of 53 bits an integer
_HALF = 26  # bits of the mantissa's upper part
_MAX_ROWS = 1 << 25  # parts of up to 27 bits add up exactly in a double for so many rows


@dataclass
class ExactSum:
    """A running sum of weighted doubles; sensitivity to one row: the largest absolute value."""

    scaled: int = 0  # the sum times 2**_LOWEST

    def add(self, values: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add values (N,) float64, finite, each counts (N,) int64 times (None: once)."""
        if len(values) == 0:
            return
        n_rows = len(values) if counts is None else int(counts.sum())
        if n_rows > _MAX_ROWS and len(values) == 1:
            self.scaled += n_rows * _scaled(float(values[0]))
            return
        if n_rows > _MAX_ROWS:
            half = len(values) // 2
            self.add(values[:half], None if counts is None else counts[:half])
            self.add(values[half:], None if counts is None else counts[half:])
            return
        mantissa, exponent = np.frexp(values)
        mantissa *= 2.0**_HALF
        high = np.floor(mantissa)
        low = (mantissa - high) * 2.0 ** (53 - _HALF)  # both parts are whole numbers
        if counts is not None:
            high *= counts
            low *= counts
        lowest = int(exponent.min())
        bins = (exponent - lowest).astype(np.int64)
        sums_high, sums_low = np.bincount(bins, weights=high), np.bincount(bins, weights=low)
        for k in np.flatnonzero((sums_high != 0) | (sums_low != 0)):
            whole = (int(sums_high[k]) << (53 - _HALF)) + int(sums_low[k])
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
