"""The score of a private selection: how close synthetic rows are to the real ones in all pairs of columns.

    score = 1 - mean over pairs of 1/2 sum over cells x of |c(x) / n - s(x)|

c counts the real rows in the coarse cells of a pair (at most 8 bins a column, by released statistics), n is the noised
number of rows, released before, and s is the share of synthetic rows.

Sensitivity, one row more or less: the row stands in exactly one cell of each pair, so one |c(x) / n - s(x)| of each
pair changes by at most 1 / n, each pair's half sum by at most 1 / (2 n), and so does their mean: the cells, n and, once
a model is fitted, s do not depend on the row. Hence 1 / (2 n), however many columns and bins there are.

Shape legend: N rows, C columns, K cells of a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import Table
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.fitting.opened import OpenedTable
from raysynth.running.runner import summarise
from raysynth.statistics.contingency import ContingencyCounts, CountingPlan

SCORE_BINS = 8


@dataclass(frozen=True)
class CoarseCells:
    """Rows to coarse codes.

    Args:
        encoder: of the modelled columns, from released statistics.
        cell_of: the coarse code of each code, one array (cardinality,) a column.
    """

    encoder: TableEncoder
    cell_of: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, opened: OpenedTable) -> CoarseCells:
        """At most `SCORE_BINS` cells a column: quantile bins, or the most frequent categories and the rest."""
        encoder = build_encoder(
            opened.modelled_schema, opened.statistics.columns, numeric="bins", n_bins=SCORE_BINS - 1
        )
        return cls(encoder, tuple(_merged(shares) for shares in encoder.frequencies()))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Cells of each column."""
        return tuple(int(cells.max()) + 1 for cells in self.cell_of)

    @property
    def column_sets(self) -> tuple[tuple[int, ...], ...]:
        """All pairs of columns; of a table of one column that alone."""
        width = len(self.cell_of)
        return tuple((i, j) for i in range(width) for j in range(i + 1, width)) or ((0,),)

    @cached_property
    def plan(self) -> CountingPlan:
        """How they are counted, made once for all fragments."""
        return CountingPlan.of(self.cardinalities, self.column_sets)

    def count(self, table: Table) -> dict[tuple[int, ...], np.ndarray]:
        """Rows in each cell of each pair, in one pass; exact, so private."""
        make = partial(CoarseCounts, self)
        return summarise(table, make, columns=list(self.encoder.names), label="counting pairs").counts.tables


class CoarseCounts:
    """Counts of pairs of coarse cells: a summary with update and merge."""

    def __init__(self, cells: CoarseCells) -> None:
        self.cells = cells
        self.counts = ContingencyCounts(cells.cardinalities, cells.plan)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        codes_NC = self.cells.encoder.encode(batch).codes_NC
        coarse = [cell_of[codes_NC[:, i]] for i, cell_of in enumerate(self.cells.cell_of)]
        self.counts.update_codes(np.stack(coarse, axis=1).astype(np.uint16))

    def merge(self, other: CoarseCounts) -> None:
        """Add the counts of another part of the table."""
        self.counts.merge(other.counts)


def pair_score(
    real: Mapping[tuple[int, ...], np.ndarray], n_rows: int, synthetic: Mapping[tuple[int, ...], np.ndarray]
) -> float:
    """The exact score of synthetic rows; see the module.

    Args:
        real: counts of real rows in each pair's cells.
        n_rows: the noised number of real rows, at least 1.
        synthetic: counts of at least one synthetic row in the same cells.
    """
    distances = [
        0.5 * np.abs(counts / n_rows - synthetic[pair] / synthetic[pair].sum()).sum() for pair, counts in real.items()
    ]
    return float(1 - np.mean(distances))


def score_sensitivity(n_rows: int) -> float:
    """Most that one row more or less changes `pair_score`; see the module."""
    return 1 / (2 * n_rows)


def _merged(shares: np.ndarray) -> np.ndarray:
    """The coarse code of each code: the most frequent have one each, all others share the last."""
    order = np.argsort(-shares, kind="stable")
    cell_of = np.full(len(shares), min(len(shares), SCORE_BINS) - 1)
    kept = order[: SCORE_BINS - 1] if len(shares) > SCORE_BINS else order
    cell_of[kept] = np.arange(len(kept))
    return cell_of
