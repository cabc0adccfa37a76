"""The second pass over a table: counts of sets of columns and co-moments of numbers, block by block, mergeable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.comparison.coding import Coder, number_matrix

_DENSE_CELLS = 1 << 20  # a table of counts with more cells is kept as its occupied cells only


@dataclass(frozen=True)
class PassPlan:
    """What the second pass counts; built from the first pass' statistics.

    Args:
        coders: coder of each code column; a column may have several (ten bins, categories, coarse bins).
        sets: tuples of indices of `coders`: one table of counts for each.
        numbers: columns of numbers, for the correlations.
        centre, scale: of each column of numbers (V,), so that sums of squares do not cancel.
    """

    coders: tuple[Coder, ...]
    sets: tuple[tuple[int, ...], ...]
    numbers: tuple[str, ...]
    centre: np.ndarray
    scale: np.ndarray

    def cells(self, columns: Sequence[int]) -> int:
        """Number of cells of one set's table."""
        return int(np.prod([self.coders[c].cardinality for c in columns], dtype=np.float64))


class PassSummary:
    """Counts of every set and co-moments of the numbers over the rows seen so far (add one row, remove one row: every
    table of counts changes by one in one cell)."""

    def __init__(self, plan: PassPlan) -> None:
        self.plan = plan
        self.n_rows = 0
        self.counts: list[SparseCounts | np.ndarray] = [
            np.zeros(plan.cells(s)) if plan.cells(s) <= _DENSE_CELLS else SparseCounts() for s in plan.sets
        ]
        n = len(plan.numbers)
        self.n_VV, self.sum_VV, self.square_VV, self.product_VV = (np.zeros((n, n)) for _ in range(4))

    def update(self, batch: pa.RecordBatch) -> None:
        """Count one block of rows."""
        self.n_rows += batch.num_rows
        codes = [coder.codes(batch.column(coder.name)) for coder in self.plan.coders]
        for position, columns in enumerate(self.plan.sets):
            cell = codes[columns[0]]
            for c in columns[1:]:
                cell = cell * self.plan.coders[c].cardinality + codes[c]
            table = self.counts[position]
            if isinstance(table, SparseCounts):
                table.add(*np.unique(cell, return_counts=True))
            else:
                table += np.bincount(cell, minlength=len(table))
        self._add_moments(batch)

    def merge(self, other: PassSummary) -> None:
        """Add the counts of other rows, in place."""
        self.n_rows += other.n_rows
        for position, theirs in enumerate(other.counts):
            mine = self.counts[position]
            if isinstance(mine, SparseCounts) and isinstance(theirs, SparseCounts):
                mine.add(theirs.cells, theirs.counts)
            elif isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
                mine += theirs
        for name in ("n_VV", "sum_VV", "square_VV", "product_VV"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def correlations(self) -> np.ndarray:
        """Pearson coefficients (V, V) over the rows where both values are present; NaN where undefined."""
        with np.errstate(all="ignore"):
            mean = self.sum_VV / self.n_VV
            covariance = self.product_VV / self.n_VV - mean * mean.T
            variance = np.maximum(self.square_VV / self.n_VV - mean**2, 0)
            spread = np.sqrt(variance * variance.T)
            return np.where(spread > 1e-12, np.clip(covariance / spread, -1, 1), np.nan)

    def _add_moments(self, batch: pa.RecordBatch) -> None:
        if not self.plan.numbers:
            return
        x_NV = (number_matrix(batch, self.plan.numbers) - self.plan.centre) / self.plan.scale
        present_NV = np.isfinite(x_NV).astype(float)
        x_NV = np.where(present_NV > 0, x_NV, 0)
        self.n_VV += present_NV.T @ present_NV
        self.sum_VV += x_NV.T @ present_NV
        self.square_VV += (x_NV**2).T @ present_NV
        self.product_VV += x_NV.T @ x_NV


class SparseCounts:
    """Counts of occupied cells only, kept sorted by cell."""

    def __init__(self) -> None:
        self.cells: np.ndarray = np.zeros(0, dtype=np.int64)
        self.counts: np.ndarray = np.zeros(0)

    def add(self, cells: np.ndarray, counts: np.ndarray) -> None:
        """Add counts of distinct cells."""
        self.cells, where = np.unique(np.concatenate([self.cells, cells]), return_inverse=True)
        self.counts = np.bincount(where, weights=np.concatenate([self.counts, counts]))


def aligned(real: SparseCounts | np.ndarray, synthetic: SparseCounts | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tables' counts over the same cells."""
    if isinstance(real, SparseCounts) and isinstance(synthetic, SparseCounts):
        cells = np.union1d(real.cells, synthetic.cells)
        result = (np.zeros(len(cells)), np.zeros(len(cells)))
        for out, table in zip(result, (real, synthetic), strict=True):
            out[np.searchsorted(cells, table.cells)] = table.counts
        return result
    if isinstance(real, np.ndarray) and isinstance(synthetic, np.ndarray):
        return real, synthetic
    raise TypeError("tables of the same set are both dense or both sparse")
