"""Summaries of columns of true and false, and of columns without any value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.statistics.released import CategoryCounts


@dataclass
class BooleanSummary:
    """Counts of true, false and missing. Sensitivity (add/remove one row): one count by 1 (L1 = L2 = 1)."""

    true: int = 0
    false: int = 0
    missing: int = 0

    def update(self, array: pa.BooleanArray) -> None:
        """Add the rows of an array."""
        true = array.true_count
        self.true += true
        self.false += len(array) - array.null_count - true
        self.missing += array.null_count

    def merge(self, other: BooleanSummary) -> None:
        """Add the rows of another summary."""
        self.true += other.true
        self.false += other.false
        self.missing += other.missing

    @property
    def n_distinct(self) -> int:
        """0, 1 or 2."""
        return (self.true > 0) + (self.false > 0)

    @property
    def all_unique(self) -> bool:
        """True when no value occurs twice."""
        return self.true <= 1 and self.false <= 1

    def categories(self) -> CategoryCounts:
        """Counts of True and False, the more frequent first."""
        pairs = sorted(((n, v) for n, v in ((self.false, False), (self.true, True)) if n), key=lambda p: (-p[0], p[1]))
        return CategoryCounts(
            values=tuple(v for _, v in pairs),
            counts=np.array([n for n, _ in pairs], dtype=np.int64),
            missing=float(self.missing),
            n_distinct=self.n_distinct,
        )


@dataclass
class NullSummary:
    """A column of type null: it has missing rows only."""

    missing: int = 0
    n_distinct: int = 0
    all_unique: bool = True

    def update(self, array: pa.Array) -> None:
        """Add the rows of an array."""
        self.missing += len(array)

    def merge(self, other: NullSummary) -> None:
        """Add the rows of another summary."""
        self.missing += other.missing

    def categories(self) -> CategoryCounts:
        """Counts of no value: all rows are missing ones."""
        return CategoryCounts((), np.empty(0, dtype=np.int64), float(self.missing), 0)
