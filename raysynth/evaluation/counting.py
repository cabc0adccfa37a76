"""The second pass over a table: counts of sets of columns and co-moments of numbers, block by block, mergeable.

Two columns together, for drawing, are the shares of every combination of their groups in both tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.comparison.coding import CategoryCoder, Coder, number_matrix
from raysynth.evaluation.section import format_value
from raysynth.schema.columns import Kind

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


N_DRAWN = 40  # pairs of a page; more would make it slow


@dataclass(frozen=True)
class Joint:
    """The shares of a pair of columns, each in about ten groups of the real table.

    Args:
        first, second: names of the columns.
        rows, columns: labels of the groups of the first and of the second, those without a row left out.
        real, synthetic: shares in [0, 1], shape (rows, columns).
    """

    first: str
    second: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    real: np.ndarray
    synthetic: np.ndarray


def joints(
    pairs: Sequence[tuple[str, str]], kinds: Mapping[str, Kind], real: PassSummary, synthetic: PassSummary
) -> tuple[Joint, ...]:
    """The first of the named pairs of columns, from the counts of the second pass over both tables."""
    n = len(real.plan.coders) // 2  # the coarse coders follow as many fine ones
    coarse = {coder.name: i + n for i, coder in enumerate(real.plan.coders[n:])}
    where = {s: i for i, s in enumerate(real.plan.sets)}
    found = []
    for pair in pairs[:N_DRAWN]:
        ends = sorted(coarse[name] for name in pair)
        coders = [real.plan.coders[e] for e in ends]
        sizes = [c.cardinality for c in coders]
        tables = [_shares(summary.counts[where[tuple(ends)]], sizes) for summary in (real, synthetic)]
        kept = [np.flatnonzero((tables[0] + tables[1]).sum(axis=1 - axis)) for axis in (0, 1)]
        labels = [tuple(_labels(c, kinds[c.name])[k] for k in at) for c, at in zip(coders, kept, strict=True)]
        shares = [t[np.ix_(*kept)] for t in tables]
        found.append(Joint(coders[0].name, coders[1].name, labels[0], labels[1], shares[0], shares[1]))
    return tuple(found)


def _shares(counts: SparseCounts | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if isinstance(counts, SparseCounts):
        table = np.zeros(math.prod(shape))
        table[counts.cells] = counts.counts
    else:
        table = counts
    total = float(table.sum()) or 1.0
    return (table / total).reshape(shape)


def _labels(coder: Coder, kind: Kind) -> list[str]:
    """One label for each code: the category, or the interval of numbers."""
    if isinstance(coder, CategoryCoder):
        return [*coder.texts, "missing", "other"]
    edges = [format_value(float(c), kind) for c in getattr(coder, "cuts", getattr(coder, "edges", ()))]
    if not edges:
        return ["any", "missing"]
    between = [f"{a} to {b}" for a, b in zip(edges, edges[1:], strict=False)]
    return [f"below {edges[0]}", *between, f"from {edges[-1]}", "missing"]
