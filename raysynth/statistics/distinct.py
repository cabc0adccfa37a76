"""How many distinct values there are, from the k smallest hashes (KMV sketch) with the exact counts of these values.

A value whose hash is among the k smallest of the whole is among the k smallest of every part that holds it, so its
count is exact and the sample is the same however the rows are split (Bar-Yossef et al. 2002; Beyer et al. 2007,
section 4).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def _no_hashes() -> np.ndarray:
    return np.empty(0, dtype=np.uint64)


def _no_counts() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass
class DistinctSample:
    """The `size` distinct values with the smallest hashes.

    Sensitivity (add/remove one row): one count by 1, or one value enters and another leaves.
    """

    size: int
    hashes: np.ndarray = field(default_factory=_no_hashes)
    counts: np.ndarray = field(default_factory=_no_counts)

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
