"""Ordered cells: a sketch of the distribution of numbers that is the same however the rows are split.

Numbers are mapped to int64 keys of the same order. At level 0 every distinct key is a cell. When there are more than
`CAP` cells, the level rises by one: keys are shifted right by one more bit, which merges neighbours. Levels are
nested, so the final level is the lowest at which the data's distinct keys fit the cap: a property of the data, not of
the order in which rows came. Each cell keeps its smallest and largest key, so a cell of one value is known as such (an
atom).

Keys of floats: the bits, with the sign turned into two's complement, so cells are fine near zero and of constant
relative width elsewhere. Keys of integers: themselves at level 0 (exact over all 64 bits), those of the nearest double
above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CAP = 65_536
_MAX_LEVEL = 64
_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Cells:
    """Sorted disjoint cells: smallest and largest key (M,) int64, counts (M,) int64, at one level.

    Sensitivity (add/remove one row): one count by 1 at a given level; the level and the edges have no bounded
    sensitivity, so a cell sketch is never released with noise (the design: fixed-grid histograms take its place).
    """

    is_integer: bool
    level: int
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def low_values(self) -> np.ndarray:
        """Smallest value of each cell: int64 for integers, float64 for floats."""
        return self.low if self.is_integer else from_float_keys(self.low)

    @property
    def high_values(self) -> np.ndarray:
        """Largest value of each cell: int64 for integers, float64 for floats."""
        return self.high if self.is_integer else from_float_keys(self.high)

    def at_level(self, level: int) -> Cells:
        """The same rows in the coarser cells of a level."""
        if level == self.level or len(self) == 0:
            return Cells(self.is_integer, level, self.low, self.high, self.counts)
        ids = _ids(self.low, level, self.is_integer)
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        ends = np.append(starts[1:], len(ids)) - 1
        return Cells(self.is_integer, level, self.low[starts], self.high[ends], np.add.reduceat(self.counts, starts))

    def fitted(self, cap: int = CAP) -> Cells:
        """The same rows at the lowest level, from the present one on, that has at most `cap` cells."""
        if len(self) <= cap:
            return self
        below, above = self.level, _MAX_LEVEL  # too fine, coarse enough
        while above - below > 1:
            middle = (below + above) // 2
            if _n_cells(self.low, middle, self.is_integer) <= cap:
                above = middle
            else:
                below = middle
        return self.at_level(above)

    def merged(self, other: Cells, cap: int = CAP) -> Cells:
        """The rows of both."""
        level = max(self.level, other.level)
        a, b = self.at_level(level), other.at_level(level)
        if len(a) == 0 or len(b) == 0:
            return (a if len(b) == 0 else b).fitted(cap)
        low = np.concatenate([a.low, b.low])
        order = np.argsort(low, kind="stable")  # two sorted runs: linear
        low = low[order]
        high = np.concatenate([a.high, b.high])[order]
        counts = np.concatenate([a.counts, b.counts])[order]
        ids = _ids(low, level, self.is_integer)
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        cells = Cells(
            self.is_integer, level, low[starts], np.maximum.reduceat(high, starts), np.add.reduceat(counts, starts)
        )
        return cells.fitted(cap)


def no_cells(is_integer: bool) -> Cells:
    """No rows yet."""
    empty = np.empty(0, dtype=np.int64)
    return Cells(is_integer, 0, empty, empty, empty)


def cells_of(keys: np.ndarray, is_integer: bool) -> Cells:
    """The cells, at level 0, of keys (N,) int64 in any order: one cell for each distinct key."""
    if len(keys) == 0:
        return no_cells(is_integer)
    unique, counts = _counted_small_range(keys) if is_integer else (None, None)
    if unique is None or counts is None:
        unique, counts = _counted_by_sorting(keys)
    return Cells(is_integer, 0, unique, unique, counts)


def float_keys(values: np.ndarray) -> np.ndarray:
    """Keys (N,) int64 in the order of values (N,) float64; -0.0 and 0.0 share one. NaN must not occur."""
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> np.int64(63)) & _MAGNITUDE)


def from_float_keys(keys: np.ndarray) -> np.ndarray:
    """The inverse of `float_keys`."""
    bits = keys ^ ((keys >> np.int64(63)) & _MAGNITUDE)
    return np.ascontiguousarray(bits).view(np.float64)


def _ids(keys: np.ndarray, level: int, is_integer: bool) -> np.ndarray:
    if not is_integer:
        return keys >> np.int64(min(level, 63))
    if level == 0:
        return keys
    return float_keys(keys.astype(np.float64)) >> np.int64(level - 1)


def _n_cells(keys: np.ndarray, level: int, is_integer: bool) -> int:
    ids = _ids(keys, level, is_integer)
    return 1 + int(np.count_nonzero(ids[1:] != ids[:-1]))


def _counted_small_range(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Distinct integers and counts by counting, where their range is small next to the number of rows."""
    lowest, highest = int(keys.min()), int(keys.max())
    if highest - lowest >= max(65_536, min(4 * len(keys), 1 << 22)):
        return None, None
    counts = np.bincount(keys - lowest)
    present = np.flatnonzero(counts)
    return present + lowest, counts[present]


def _counted_by_sorting(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.diff(np.append(starts, len(keys)))
