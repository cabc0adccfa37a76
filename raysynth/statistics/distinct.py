"""How many distinct values there are, from the k smallest hashes (KMV sketch) with the exact counts of these values.

A value whose hash is among the k smallest of the whole is among the k smallest of every part that holds it, so its
count is exact and the sample is the same however the rows are split (Bar-Yossef et al. 2002; Beyer et al. 2007,
section 4).

Hashes have 64 bits, by NumPy alone, and are fixed (no random key), so that partial results from different processes and
runs agree.

Which persons share a value (`Sharers`): of each cell the k persons with the smallest hashes are kept (the same sketch,
cell by cell), enough to tell whether k share it. A person
among the k smallest of the whole is among the k smallest of every part, so the result is the same however the rows are
split. For any cells together it tells exactly whether at least k different persons have a row in them: either one of
the cells has k persons itself, or all persons of all of them are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_WORD = 8  # bytes hashed at a time


def hash_integers(values: np.ndarray) -> np.ndarray:
    """Hash of each int64, as uint64: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection."""
    h = np.ascontiguousarray(values, dtype=np.int64).view(np.uint64) + _PRIME
    return _mix(h)


def hash_strings(values: pa.StringArray) -> np.ndarray:
    """Hash of each string's UTF-8 bytes, as uint64, shape (len(values),); no value may be null.

    Works on eight bytes of all strings at a time, so its cost is a few nanoseconds for each eight bytes.
    """
    if len(values) == 0:
        return np.empty(0, dtype=np.uint64)
    _, offsets_buffer, data_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    begin, lengths = offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64)
    n_bytes = int(offsets[-1])
    data = np.zeros(n_bytes + _WORD, dtype=np.uint8)  # padded, so that the last word can be read whole
    if data_buffer is not None:
        data[:n_bytes] = np.frombuffer(data_buffer, dtype=np.uint8, count=n_bytes)
    words = np.lib.stride_tricks.as_strided(data[:_WORD].view("<u8"), shape=(n_bytes + 1,), strides=(1,))
    hashes = _mix(lengths.astype(np.uint64) + _PRIME)
    rows = np.arange(len(lengths))
    for start in range(0, int(lengths.max()), _WORD):
        rows = rows[lengths[rows] > start]
        word = words[begin[rows] + start]
        hashes[rows] = _mix(hashes[rows] * _PRIME ^ _without_tail(word, lengths[rows] - start))
    return hashes


def _without_tail(word: np.ndarray, n_bytes: np.ndarray) -> np.ndarray:
    """The first n bytes of each little-endian word; the rest zero."""
    bits = (_WORD - np.minimum(n_bytes, _WORD)).astype(np.uint64) * np.uint64(8)
    return (word << bits) >> bits


def _mix(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint64(30))) * _MIX_1
    h = (h ^ (h >> np.uint64(27))) * _MIX_2
    result: np.ndarray = h ^ (h >> np.uint64(31))
    return result


_no_hashes = partial(np.empty, 0, np.uint64)
_no_numbers = partial(np.empty, 0, np.int64)


@dataclass
class DistinctSample:
    """The `size` distinct values with the smallest hashes.

    Sensitivity (add/remove one row): one count by 1, or one value enters and another leaves.
    """

    size: int
    hashes: np.ndarray = field(default_factory=_no_hashes)
    counts: np.ndarray = field(default_factory=_no_numbers)

    def add(self, hashes: np.ndarray, counts: np.ndarray | None = None) -> None:
        """Add values by their hashes (N,) uint64, each counts (N,) int64 times (None: once); hashes may repeat."""
        if counts is None:
            counts = np.ones(len(hashes), dtype=np.int64)
        if len(self.hashes) >= self.size:
            small = hashes <= self.hashes[-1]
            hashes, counts = hashes[small], counts[small]
        elif len(hashes) > 4 * self.size:  # cut before sorting: hashes may repeat, so keep every copy of those kept
            kept = np.unique(np.partition(hashes, 2 * self.size)[: 2 * self.size])
            if len(kept) >= self.size:
                small = hashes <= kept[self.size - 1]
                hashes, counts = hashes[small], counts[small]
        if len(hashes) == 0:
            return
        merged, position = np.unique(np.concatenate([self.hashes, hashes]), return_inverse=True)
        total = np.zeros(len(merged), dtype=np.int64)
        np.add.at(total, position, np.concatenate([self.counts, counts]))
        self.hashes, self.counts = merged[: self.size], total[: self.size]

    def merge(self, other: DistinctSample) -> None:
        """Add another sample of the same size."""
        self.add(other.hashes, other.counts)

    @property
    def n_distinct(self) -> int:
        """Distinct values: exact below `size`, else estimated with a relative error of about 1/sqrt(size)."""
        if len(self.hashes) < self.size:
            return len(self.hashes)
        share = (float(self.hashes[-1]) + 1.0) / 2.0**64
        return round((self.size - 1) / share)

    @property
    def all_unique(self) -> bool:
        """True when no sampled value occurs twice (of a table with a share s of repeated values, by chance
        (1 - s)**size)."""
        return bool((self.counts <= 1).all())


_FEW = 64  # persons that are looked at before all of a range are


@dataclass(frozen=True)
class Sharers:
    """Pairs of a cell and a person, sorted, at most `most` of each cell.

    Args:
        most: k, at least 1.
        cell: shape (P,) int64, ascending.
        person: hash of each, shape (P,) uint64.
    """

    most: int
    cell: np.ndarray = field(default_factory=_no_numbers)
    person: np.ndarray = field(default_factory=_no_hashes)

    def with_rows(self, cell_N: np.ndarray, person_N: np.ndarray) -> Sharers:
        """With the cells and persons of N rows more."""
        cell = np.concatenate([self.cell, cell_N])
        person = np.concatenate([self.person, person_N])
        order = np.lexsort((person, cell))
        cell, person = cell[order], person[order]
        new = np.ones(len(cell), bool)
        new[1:] = (cell[1:] != cell[:-1]) | (person[1:] != person[:-1])
        cell, person = cell[new], person[new]
        first = np.searchsorted(cell, cell, side="left")
        kept = np.arange(len(cell)) - first < self.most
        return Sharers(self.most, cell[kept], person[kept])

    def merged(self, other: Sharers) -> Sharers:
        """With the rows of another part of the table."""
        return self.with_rows(other.cell, other.person)

    def counts(self, n_cells: int) -> np.ndarray:
        """Persons of each of the first cells, at most k, shape (n_cells,)."""
        start = np.searchsorted(self.cell, np.arange(n_cells + 1))
        return np.diff(start)

    def of_cell(self, cell: int) -> int:
        """Persons of one cell, at most k."""
        start, stop = np.searchsorted(self.cell, [cell, cell + 1])
        return int(stop - start)

    def are_enough(self, first: int, after: int) -> bool:
        """Whether at least k different persons have a row in the cells first .. after - 1."""
        start, stop = np.searchsorted(self.cell, [first, after])
        if stop - start < self.most:
            return False
        few = self.person[start : min(stop, start + _FEW)]
        return len(np.unique(few)) >= self.most or len(np.unique(self.person[start:stop])) >= self.most


@dataclass(frozen=True)
class SharersOfAll:
    """Who shares the cells of one column, where persons of several kinds have a row in common: k of each kind must.

    Args:
        parts: of each kind, of the same cells and the same k.
    """

    parts: tuple[Sharers, ...]

    @property
    def most(self) -> int:
        """k."""
        return self.parts[0].most

    def counts(self, n_cells: int) -> np.ndarray:
        """Persons of each of the first cells, of the kind that has fewest, at most k, shape (n_cells,)."""
        return np.min([p.counts(n_cells) for p in self.parts], axis=0)

    def are_enough(self, first: int, after: int) -> bool:
        """Whether at least k different persons of each kind have a row in the cells first .. after - 1."""
        return all(p.are_enough(first, after) for p in self.parts)


Sharing = Sharers | SharersOfAll
