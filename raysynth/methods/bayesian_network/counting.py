"""Contingency tables of column sets, asked for in batches so that the rows are streamed as few times as possible.

The search below asks for hundreds of small tables (a column, its parents, a candidate). A table of a larger set of
columns holds all tables of its subsets, so the needed sets, where they are few, are packed into fewer blocks of
columns (a covering design, found greedily) and each block is counted once. A set of columns is a bit mask: bit c is
set for column c.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from raysynth.errors import ParameterError

BATCH_CELLS = 1 << 25  # of tables counted in one pass: 256 MB
GREEDY_SETS = 2500  # sets of which a covering is worth its planning, which is of order their number squared

Count = Callable[[Sequence[tuple[int, ...]]], Mapping[tuple[int, ...], np.ndarray]]
"""Tables of counts for sets of columns (ascending indices), shaped by the cardinalities: one pass over the rows."""


def mask_of(columns: Iterable[int]) -> int:
    """The bit mask of some column indices."""
    return sum(1 << c for c in set(columns))


def columns_of(mask: int) -> tuple[int, ...]:
    """The column indices of a bit mask, ascending."""
    columns = []
    while mask:
        low = mask & -mask
        columns.append(low.bit_length() - 1)
        mask ^= low
    return tuple(columns)


class SetCounts:
    """Tables of column sets, counted on demand in batches, kept while they are small.

    Args:
        count: counts tables of column sets in one pass over all rows.
        cardinalities: number of codes of each column, shape (C,).
        n_rows: rows of the table (decides how large a block of columns may be).
        kept_bytes: tables kept for later reading; those beyond it are counted again when they are needed.

    Attributes:
        n_passes: passes over the rows so far.
        n_tables: tables counted so far.
    """

    def __init__(self, count: Count, cardinalities: Sequence[int], n_rows: int, kept_bytes: int = 1 << 27) -> None:
        self.cardinalities = np.asarray(cardinalities, dtype=np.int64)
        # A block's rows and the reading of its subsets should cost about the same; and it should stay in the L2 cache.
        self.block_cells = int(np.clip(n_rows // 8, 1 << 10, 1 << 16))
        self.n_passes = 0
        self.n_tables = 0
        self._count = count
        self._kept: dict[int, np.ndarray] = {}
        self._kept_with: list[list[int]] = [[] for _ in cardinalities]
        self._room = kept_bytes // 8

    def cells(self, mask: int) -> int:
        """Number of cells of the table of a column set."""
        return int(np.prod([int(self.cardinalities[c]) for c in columns_of(mask)], dtype=object))

    def count(self, masks: Iterable[int]) -> dict[int, np.ndarray]:
        """The table of each column set, axes in ascending order of columns; all of them in memory at once.

        Args:
            masks: column sets.

        Returns: counts, float64, for each mask shaped by the cardinalities of its columns.
        """
        return dict(self.visit(masks))

    def visit(self, masks: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Each column set with its table as in `count`, one after the other: a pass for each `BATCH_CELLS` of tables.

        So memory does not grow with the number of sets, where a table is dropped before the next one is asked for.
        """
        missing = []
        for mask in dict.fromkeys(masks):
            if (block := self._kept_block(mask)) is not None:
                yield mask, marginal(self._kept[block], block, mask)
            else:
                missing.append(mask)
        members: dict[int, list[int]] = {mask: [mask] for mask in missing}
        if len(missing) <= GREEDY_SETS:
            members = {block: [] for block in plan_blocks(missing, self.cardinalities, self.block_cells)}
            for mask in missing:
                members[next(block for block in members if mask & block == mask)].append(mask)
        for blocks in self._batches(members):
            for block, table in self._pass(blocks):
                for mask in members[block]:
                    yield mask, marginal(table, block, mask)

    def _batches(self, blocks: Iterable[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        room = BATCH_CELLS
        for block in blocks:
            cells = self.cells(block)
            if batch and cells > room:
                yield batch
                batch, room = [], BATCH_CELLS
            batch.append(block)
            room -= cells
        if batch:
            yield batch

    def _pass(self, blocks: Sequence[int]) -> Iterable[tuple[int, np.ndarray]]:
        names = {columns_of(block): block for block in blocks}
        tables = dict(self._count(list(names)))
        self.n_passes += 1
        self.n_tables += len(names)
        for columns, block in names.items():
            if columns not in tables:
                raise ParameterError(f"the counting function returned no table for the columns {columns}")
            table = np.asarray(tables.pop(columns)).reshape(self.cardinalities[list(columns)])
            if table.size <= self._room:
                self._room -= table.size
                self._kept[block] = table
                for c in columns:
                    self._kept_with[c].append(block)
            yield block, table

    def _kept_block(self, mask: int) -> int | None:
        near = min((self._kept_with[c] for c in columns_of(mask)), key=len, default=[])
        return min((b for b in near if mask & b == mask), key=lambda block: self._kept[block].size, default=None)


def marginal(table: np.ndarray, block: int, mask: int) -> np.ndarray:
    """The table of a subset of a block's columns, float64."""
    drop = tuple(axis for axis, c in enumerate(columns_of(block)) if not mask >> c & 1)
    return table.sum(axis=drop, dtype=np.float64) if drop else table.astype(np.float64)


def plan_blocks(masks: Sequence[int], cardinalities: np.ndarray, block_cells: int) -> list[int]:
    """Blocks of columns, each of at most `block_cells` cells, that together cover every given set.

    Greedy: start from the largest set not yet covered, then add the column that completes most others. A set that is
    larger than the limit by itself becomes a block of its own.
    """
    n_columns = len(cardinalities)
    ordered = sorted(set(masks), key=lambda m: (-m.bit_count(), m))
    open_SC = np.array([[m >> c & 1 for c in range(n_columns)] for m in ordered], dtype=bool).reshape(-1, n_columns)
    log_cards = np.log(np.asarray(cardinalities, dtype=float))
    limit = np.log(block_cells) + 1e-9
    blocks = []
    while len(open_SC):
        block = open_SC[0].copy()
        while (column := _best_column(block, open_SC, log_cards, limit)) is not None:
            block[column] = True
        blocks.append(mask_of(np.flatnonzero(block).tolist()))
        open_SC = open_SC[(open_SC & ~block).any(axis=1)]
    return blocks


def _best_column(block: np.ndarray, open_SC: np.ndarray, log_cards: np.ndarray, limit: float) -> int | None:
    """The column whose addition completes the most open sets per unit of growth; None if none fits or helps."""
    fits = ~block & (log_cards[block].sum() + log_cards <= limit)
    if not fits.any():
        return None
    absent_SC = open_SC & ~block
    n_absent_S = absent_SC.sum(axis=1)
    # Sets that lack one column count in full, those that lack two a little, so that later additions complete them.
    gain = absent_SC[n_absent_S == 1].sum(axis=0) + 0.01 * absent_SC[n_absent_S == 2].sum(axis=0)
    gain = np.where(fits, gain / np.maximum(log_cards, 0.1), 0.0)
    best = int(gain.argmax())
    return best if gain[best] > 0 else None


def all_subsets(n_columns: int, size: int) -> list[int]:
    """The masks of all sets of `size` columns."""
    return [mask_of(s) for s in combinations(range(n_columns), size)]
