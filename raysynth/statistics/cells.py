"""Ordered cells: a sketch of the distribution of numbers that is the same however the rows are split.

Numbers are mapped to int64 keys of the same order. At level 0 every distinct key is a cell. When there are more than
`CAP` cells, the level rises by one: keys are shifted right by one more bit, which merges neighbours. Levels are
nested, so the final level is the lowest at which the data's distinct keys fit the cap: a property of the data, not of
the order in which rows came. Each cell keeps its smallest and largest key, so a cell of one value is known as such (an
atom), and the rows at its smallest key: round numbers are the smallest of their cell, so a spike at 40.0 is seen.

Keys of floats: the bits, with the sign turned into two's complement, so cells are fine near zero and of constant
relative width elsewhere. Keys of integers: themselves at level 0 (exact over all 64 bits; unsigned ones less 2**63),
those of the nearest double above.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

Numbers: TypeAlias = Literal["floats", "integers", "unsigned"]

CAP = 65_536
_MAX_LEVEL = 64
_SAMPLE = 2 * CAP  # keys that tell whether a block is better counted without sorting
_GLANCE = 4096  # keys that tell whether hashing beats sorting:
_REPEATING = 0.97  # it does where at most so many of them are distinct (of a million keys, up to about 70,000)
_DENSE = 1 << 22  # cells, occupied or not, that are counted without sorting
_MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class Cells:
    """Sorted disjoint cells: smallest and largest key, counts, and rows at the smallest key, each (M,) int64.

    Sensitivity (add/remove one row): one count by 1 at a given level; the level and the edges have no bounded
    sensitivity, so a cell sketch is never released with noise (the design: fixed-grid histograms take its place).
    """

    numbers: Numbers
    level: int
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    n_low: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def low_values(self) -> np.ndarray:
        """Smallest value of each cell: float64, int64 or uint64."""
        return values_of(self.low, self.numbers)

    @property
    def high_values(self) -> np.ndarray:
        """Largest value of each cell: float64, int64 or uint64."""
        return values_of(self.high, self.numbers)

    def with_spikes_apart(self) -> Cells:
        """Cells of several values whose smallest one stands out (over an eighth of the rows) cut in two: an atom and
        the rest, whose smallest key is then unknown and taken for the next one."""
        spike = (self.low < self.high) & (self.n_low > 1 + self.counts // 8)
        if not spike.any():
            return self
        low = np.concatenate([self.low, self.low[spike] + 1])
        order = np.argsort(low, kind="stable")
        high = np.concatenate([np.where(spike, self.low, self.high), self.high[spike]])
        counts = np.concatenate([np.where(spike, self.n_low, self.counts), (self.counts - self.n_low)[spike]])
        rest = np.concatenate([self.n_low, np.zeros(np.count_nonzero(spike), dtype=np.int64)])
        return Cells(self.numbers, self.level, low[order], high[order], counts[order], rest[order])

    def at_level(self, level: int) -> Cells:
        """The same rows in the coarser cells of a level."""
        if level == self.level or len(self) == 0:
            return replace(self, level=level)
        ids = _ids(self.low, level, self.numbers)
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        ends = np.append(starts[1:], len(ids)) - 1
        counts = np.add.reduceat(self.counts, starts)
        return Cells(self.numbers, level, self.low[starts], self.high[ends], counts, self.n_low[starts])

    def fitted(self, cap: int = CAP) -> Cells:
        """The same rows at the lowest level, from the present one on, that has at most `cap` cells."""
        if len(self) <= cap:
            return self
        below, above = self.level, _MAX_LEVEL  # too fine, coarse enough
        while above - below > 1:
            middle = (below + above) // 2
            if _n_cells(self.low, middle, self.numbers) <= cap:
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
        n_low = np.concatenate([a.n_low, b.n_low])[order]
        ids = _ids(low, level, self.numbers)
        is_start = np.concatenate([[True], ids[1:] != ids[:-1]])
        starts = np.flatnonzero(is_start)
        n_low[low != low[starts][np.cumsum(is_start) - 1]] = 0  # those at a key that is the smallest no more
        sums = [np.add.reduceat(x, starts) for x in (counts, n_low)]
        return Cells(self.numbers, level, low[starts], np.maximum.reduceat(high, starts), *sums).fitted(cap)


def no_cells(numbers: Numbers) -> Cells:
    """The cells of no rows, which those of batches are merged into."""
    empty = np.empty(0, dtype=np.int64)
    return Cells(numbers, 0, empty, empty, empty, empty)


def cells_of(keys: np.ndarray, numbers: Numbers, least_level: int = 0, cap: int = CAP) -> Cells:
    """The cells of keys (N,) int64 in any order.

    They are at level 0 (one cell for each distinct key, maybe more than `cap`), or, for many keys that have more than
    `cap` distinct ones for certain, at the lowest level from `least_level` on that has at most `cap` cells.
    """
    if len(keys) == 0:
        return no_cells(numbers)
    counted = _counted_small_range(keys) if numbers != "floats" else None
    counted = counted or _counted_by_hashing(keys)
    if counted is None and (coarse := _counted_coarsely(keys, numbers, least_level, cap)):
        return coarse
    unique, counts = counted or _counted_by_sorting(keys)
    return Cells(numbers, 0, unique, unique, counts, counts)


def float_keys(values: np.ndarray) -> np.ndarray:
    """Keys (N,) int64 in the order of values (N,) float64; -0.0 and 0.0 share one. NaN must not occur.

    They may be a view of the values.
    """
    bits: np.ndarray = values.view(np.int64)
    if len(bits) and bits.min() < 0:  # negative ones in the other order
        bits = (values + 0.0).view(np.int64)
        signs = bits >> np.int64(63)
        signs &= _MAGNITUDE
        bits ^= signs
    return bits


def from_float_keys(keys: np.ndarray) -> np.ndarray:
    """The inverse of `float_keys`."""
    bits = keys ^ ((keys >> np.int64(63)) & _MAGNITUDE)
    return np.ascontiguousarray(bits).view(np.float64)


def unsigned_keys(values: np.ndarray) -> np.ndarray:
    """Keys (N,) int64 in the order of values (N,) uint64."""
    keys: np.ndarray = (values ^ _SIGN).view(np.int64)
    return keys


def values_of(keys: np.ndarray, numbers: Numbers) -> np.ndarray:
    """The values (N,) that have these keys: float64, int64 or uint64."""
    if numbers == "floats":
        return from_float_keys(keys)
    return keys if numbers == "integers" else np.ascontiguousarray(keys).view(np.uint64) ^ _SIGN


def _ids(keys: np.ndarray, level: int, numbers: Numbers) -> np.ndarray:
    if numbers == "floats":
        return keys >> np.int64(min(level, 63))
    if level == 0:
        return keys
    return float_keys(values_of(keys, numbers).astype(np.float64)) >> np.int64(level - 1)


def _n_cells(keys: np.ndarray, level: int, numbers: Numbers) -> int:
    ids = _ids(keys, level, numbers)
    return 1 + int(np.count_nonzero(ids[1:] != ids[:-1]))


def _counted_small_range(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Distinct integers and counts by counting, where their range is small next to the number of rows."""
    lowest, highest = int(keys.min()), int(keys.max())
    if highest - lowest >= max(65_536, min(4 * len(keys), 1 << 22)):
        return None
    counts = np.bincount(keys - lowest)
    present = np.flatnonzero(counts)
    return present + lowest, counts[present]


def _counted_by_hashing(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Distinct keys, ascending, and counts, where a glance tells that hashing beats sorting."""
    glance = keys[:: -(-len(keys) // _GLANCE)]
    if len(keys) < 4 * _GLANCE or len(np.unique(glance)) > _REPEATING * len(glance):
        return None
    found = pa.array(keys).value_counts()
    unique, counts = (found.field(k).to_numpy() for k in (0, 1))
    order = np.argsort(unique)
    return unique[order], counts[order]


def _counted_coarsely(keys: np.ndarray, numbers: Numbers, least_level: int, cap: int) -> Cells | None:
    """Cells without sorting all keys; None where this would not be faster.

    The cells of a sample give a level that the whole cannot go below; from there on levels are tried.
    """
    if len(keys) < 4 * _SAMPLE:
        return None
    sample, counts = _counted_by_sorting(keys[:: len(keys) // _SAMPLE])
    level = Cells(numbers, 0, sample, sample, counts, counts).fitted(cap).level
    if level == 0:
        return None
    groups = [_Group(part, numbers) for part in _by_sign(keys)]
    for candidate in range(max(level, least_level), _MAX_LEVEL):
        if any(g.width(candidate) > _DENSE for g in groups):
            return None
        parts = [g.counts(candidate) for g in groups]
        if sum(map(np.count_nonzero, parts)) <= cap:
            cells = [g.cells(candidate, c) for g, c in zip(groups, parts, strict=True)]
            return reduce(lambda a, b: a.merged(b, cap), cells)
    return None


def _by_sign(keys: np.ndarray) -> list[np.ndarray]:
    """Negative numbers, zeros and positive ones, whose keys lie far apart; a part without numbers is left out."""
    if keys.min() > 0 or keys.max() < 0:
        return [keys]
    parts = (keys[keys < 0], keys[keys == 0], keys[keys > 0])
    return [p for p in parts if len(p)]


class _Group:
    """Keys of one sign, counted in a dense array of cells at some level above 0."""

    def __init__(self, keys: np.ndarray, numbers: Numbers) -> None:
        self.keys, self.numbers = keys, numbers
        whole = numbers != "floats"
        self._shift = int(whole)
        self._fine = float_keys(values_of(keys, numbers).astype(np.float64)) if whole else keys
        self._lowest, self._highest = int(self._fine.min()), int(self._fine.max())

    def width(self, level: int) -> int:
        """Cells from the lowest to the highest, occupied or not."""
        shift = level - self._shift
        return (self._highest >> shift) - (self._lowest >> shift) + 1

    def counts(self, level: int) -> np.ndarray:
        """Keys in each of these cells."""
        return np.bincount(self._index(level), minlength=self.width(level))

    def cells(self, level: int, counts: np.ndarray) -> Cells:
        """The occupied cells with their smallest and largest keys."""
        index = self._index(level)
        low = np.full(len(counts), np.iinfo(np.int64).max)
        high = np.full(len(counts), np.iinfo(np.int64).min)
        np.minimum.at(low, index, self.keys)
        np.maximum.at(high, index, self.keys)
        n_low = np.bincount(index[self.keys == low[index]], minlength=len(counts))
        present = np.flatnonzero(counts)
        return Cells(self.numbers, level, low[present], high[present], counts[present], n_low[present])

    def _index(self, level: int) -> np.ndarray:
        shift = level - self._shift
        index: np.ndarray = (self._fine >> np.int64(shift)) - np.int64(self._lowest >> shift)
        return index


def _counted_by_sorting(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = np.sort(keys)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.diff(np.append(starts, len(keys)))
