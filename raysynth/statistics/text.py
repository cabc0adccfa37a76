"""Summary of one text column: counts of its values in bounded memory, however many there are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.statistics.distinct import DistinctSample, hash_strings
from raysynth.statistics.released import CategoryCounts

CAP = 262_144  # distinct values counted exactly
FREQUENT = 65_536  # counters kept above that
_SAMPLE = 16_384  # values sampled (by hash) above that


@dataclass(frozen=True)
class Counted:
    """Distinct values with counts, sorted by hash: hashes (M,) uint64, counts (M,) int64, values (M,) text."""

    hashes: np.ndarray
    counts: np.ndarray
    values: pa.StringArray

    def __len__(self) -> int:
        return len(self.counts)

    def take(self, rows: np.ndarray) -> Counted:
        """Some of them, in ascending order of rows."""
        return Counted(self.hashes[rows], self.counts[rows], self.values.take(pa.array(rows)))

    def merged(self, other: Counted) -> Counted:
        """Counts of equal values added."""
        if len(self) == 0 or len(other) == 0:
            return self if len(other) == 0 else other
        hashes = np.concatenate([self.hashes, other.hashes])
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        counts = np.add.reduceat(np.concatenate([self.counts, other.counts])[order], starts)
        values = pa.concat_arrays([self.values, other.values]).take(pa.array(order[starts]))
        return Counted(hashes[starts], counts, values)


def _nothing() -> Counted:
    return Counted(np.empty(0, np.uint64), np.empty(0, np.int64), pa.array([], pa.string()))


@dataclass
class TextSummary:
    """Counts of the values of one text column.

    Up to 262,144 distinct values all counts are exact and independent of how rows are split. Above, two bounded
    summaries remain: the 16,384 values with the smallest hashes, with exact counts (independent of the split too), and
    65,536 counters of frequent values (Misra and Gries 1982, merged as in Agarwal et al. 2013): a counter is too low by
    at most `count_error`, which is at most rows / 65,536.

    Sensitivity (add/remove one row): of the exact counts, one count by 1 (L1 = L2 = 1; which values exist needs a
    stability threshold); of Misra-Gries counters, every counter may move by 1, so they have no noised release.
    """

    counted: Counted = field(default_factory=_nothing)
    sampled: Counted = field(default_factory=_nothing)
    overflowed: bool = False
    count_error: int = 0
    n_present: int = 0
    missing: int = 0

    def update(self, array: pa.DictionaryArray) -> None:
        """Add the rows of a dictionary array."""
        block = _count_block(array)
        present = len(array) - array.null_count
        self.missing += array.null_count
        self.n_present += present
        self._add(block, block)

    def merge(self, other: TextSummary) -> None:
        """Add the rows of another summary of the same column."""
        self.missing += other.missing
        self.n_present += other.n_present
        self.count_error += other.count_error
        if other.overflowed and not self.overflowed:
            self._overflow()
        self._add(other.counted, other.sampled if other.overflowed else other.counted)

    @property
    def n_distinct(self) -> int:
        """Distinct values: exact up to 262,144, else estimated within about 1 %."""
        return self._distinct.n_distinct if self.overflowed else len(self.counted)

    @property
    def all_unique(self) -> bool:
        """True when no value occurs twice (above 262,144 distinct values: none of 16,384 sampled ones)."""
        known = self.sampled if self.overflowed else self.counted
        return bool((known.counts <= 1).all())

    def examples(self, n: int) -> list[str]:
        """Up to n distinct values, chosen by hash: an even sample, the same for any split of the rows."""
        known = self.sampled if self.overflowed else self.counted
        return known.values.slice(0, n).to_pylist()

    def categories(self) -> CategoryCounts:
        """Values with counts, most frequent first; above 262,144 distinct values only frequent ones."""
        table = pa.table({"value": self.counted.values, "count": pa.array(self.counted.counts)})
        table = table.take(pc.sort_indices(table, sort_keys=[("count", "descending"), ("value", "ascending")]))
        counts = table["count"].to_numpy()
        return CategoryCounts(
            values=tuple(table["value"].to_pylist()),
            counts=counts,
            missing=float(self.missing),
            n_distinct=self.n_distinct,
            complete=not self.overflowed,
            other=float(self.n_present - int(counts.sum())),
            count_error=float(self.count_error),
        )

    @property
    def _distinct(self) -> DistinctSample:
        return DistinctSample(_SAMPLE, self.sampled.hashes, self.sampled.counts)

    def _add(self, block: Counted, to_sample: Counted) -> None:
        if self.overflowed:
            self._sample(to_sample)
        self.counted = self.counted.merged(block)
        if not self.overflowed and len(self.counted) > CAP:
            self._overflow()
        elif self.overflowed:
            self._keep_frequent()

    def _overflow(self) -> None:
        self.overflowed = True
        self._sample(self.counted)
        self._keep_frequent()

    def _sample(self, block: Counted) -> None:
        """Keep the smallest hashes of the present sample and the block (both sorted by hash)."""
        merged = self.sampled.merged(block.take(np.arange(min(_SAMPLE, len(block)))))
        self.sampled = merged.take(np.arange(min(_SAMPLE, len(merged))))

    def _keep_frequent(self) -> None:
        surplus = len(self.counted) - FREQUENT
        if surplus <= 0:
            return
        cut = int(np.partition(self.counted.counts, surplus - 1)[surplus - 1])  # the largest count that must go
        kept = self.counted.take(np.flatnonzero(self.counted.counts > cut))
        self.counted = Counted(kept.hashes, kept.counts - cut, kept.values)
        self.count_error += cut


def _count_block(array: pa.DictionaryArray) -> Counted:
    """Counts of the values that occur in one block; equal values of a careless dictionary are joined."""
    n_values = len(array.dictionary)
    indices = array.indices.fill_null(n_values) if array.null_count else array.indices
    counts = np.bincount(indices.to_numpy(zero_copy_only=False), minlength=n_values)[:n_values]
    present = np.flatnonzero(counts)
    values = array.dictionary if len(present) == n_values else array.dictionary.take(pa.array(present))
    hashes = hash_strings(values)
    order = np.argsort(hashes)
    result = Counted(hashes[order], counts[present][order], values.take(pa.array(order)))
    if np.any(result.hashes[1:] == result.hashes[:-1]):
        return _joined(result)
    return result


def _joined(counted: Counted) -> Counted:
    starts = np.flatnonzero(np.concatenate([[True], counted.hashes[1:] != counted.hashes[:-1]]))
    counts = np.add.reduceat(counted.counts, starts)
    return Counted(counted.hashes[starts], counts, counted.values.take(pa.array(starts)))
