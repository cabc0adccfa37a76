"""Contingency tables of chosen sets of coded columns, counted in one pass.

Several sets are counted by one larger table where this is small enough for the processor's cache: the table of (a, b,
c) gives those of (a, b), (a, c) and (b, c) by summing, so 105 pairs of 15 columns take some 20 to 40 counts. Which
tables these are is planned once (`CountingPlan`), for many columns in time linear in the number of sets.

Shape legend: N rows, C columns, K cells of a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raysynth.errors import ParameterError

_CACHED_CELLS = 1 << 16  # int64 cells of one table that stay in the second-level cache
_ROWS = 1 << 15  # rows counted at a time, so that their codes stay in the cache
_GREEDY_SETS = 300  # beyond so many sets the greedy plan, of order sets squared, costs more than it saves
_TILE_CELLS = 32  # columns of few codes are counted together, as one column of up to so many codes

Parts = tuple[tuple[int, ...], ...]
"""A counted table's columns, those of a tile together."""


@dataclass(frozen=True)
class CountingPlan:
    """Which tables are counted so that each of some sets of columns lies within one; made once for all fragments.

    Args:
        cardinalities: codes of column c run from 0 to cardinalities[c] - 1.
        column_sets: the sets wanted, each once.
        blocks: the tables counted.
        block_of: for each set the block that it lies within.
    """

    cardinalities: tuple[int, ...]
    column_sets: tuple[tuple[int, ...], ...]
    blocks: tuple[Parts, ...]
    block_of: tuple[int, ...]

    @classmethod
    def of(cls, cardinalities: Sequence[int], column_sets: Iterable[Sequence[int]]) -> CountingPlan:
        """The plan for some sets; raises `ParameterError` for a set that is empty or names a column twice.

        Few sets are packed greedily. Of many, each is counted with the tiles that its columns stand in: small columns
        are put together into tiles of up to 32 cells, so that all pairs of C columns take at most C^2 / 2 tables.
        """
        cards = tuple(int(k) for k in cardinalities)
        sets = tuple(dict.fromkeys(tuple(int(c) for c in s) for s in column_sets))
        for columns in sets:
            if not columns or len(set(columns)) != len(columns) or not all(0 <= c < len(cards) for c in columns):
                raise ParameterError(f"column set {columns} must be distinct indices below {len(cards)}")
        if len(sets) <= _GREEDY_SETS:
            return cls._within(cards, sets, [tuple((c,) for c in s) for s in _covering(cards, sets)])
        tile_of = _tiles(cards, sets)
        index: dict[Parts, int] = {}
        block_of = []
        for columns in sets:
            parts = tuple(sorted({tile_of[c] for c in columns}))
            if _cells(cards, [c for tile in parts for c in tile]) > _CACHED_CELLS:
                parts = tuple((c,) for c in columns)
            block_of.append(index.setdefault(parts, len(index)))
        return cls(cards, sets, tuple(index), tuple(block_of))

    @classmethod
    def _within(cls, cards: tuple[int, ...], sets: tuple[tuple[int, ...], ...], blocks: list[Parts]) -> CountingPlan:
        inside = [{c for part in block for c in part} for block in blocks]
        return cls(
            cards, sets, tuple(blocks), tuple(next(i for i, b in enumerate(inside) if b >= set(s)) for s in sets)
        )

    @property
    def n_cells(self) -> int:
        """Cells of all tables counted."""
        return int(self.ends[-1]) if self.blocks else 0

    def split(self, n: int) -> list[CountingPlan]:
        """Plans of about as many cells and tables each, at most n, that count the same tables among them."""
        if n <= 1:
            return [self]
        work = np.cumsum(np.diff(self.ends, prepend=0) + _ROWS)
        part_of = np.minimum((work - 1) * n // work[-1], n - 1)
        plans = []
        for part in np.unique(part_of).tolist():
            first, last = np.searchsorted(part_of, [part, part + 1])
            own = [
                (s, b - int(first)) for s, b in zip(self.column_sets, self.block_of, strict=True) if first <= b < last
            ]
            sets, blocks = tuple(s for s, _ in own), tuple(b for _, b in own)
            plans.append(CountingPlan(self.cardinalities, sets, self.blocks[first:last], blocks))
        return plans

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each block's cells end when all stand in one array, shape (blocks,)."""
        return np.cumsum([_cells(self.cardinalities, _columns(block)) for block in self.blocks], dtype=np.int64)


class ContingencyCounts:
    """Counts of the combinations of codes in some sets of columns; mergeable, exact, independent of any split.

    Sensitivity (add/remove one row): one cell of each table by 1; over T tables L1 = T and L2 = sqrt(T).

    Args:
        cardinalities: codes of column c run from 0 to cardinalities[c] - 1.
        column_sets: sets of column indices; a table's axes follow the set's own order. Or a plan for them, which
            spares planning again.
    """

    def __init__(self, cardinalities: Sequence[int], column_sets: Iterable[Sequence[int]] | CountingPlan) -> None:
        if not isinstance(column_sets, CountingPlan):
            column_sets = CountingPlan.of(cardinalities, column_sets)
        self.plan = column_sets
        self.n_rows = 0
        self._cells = np.zeros(self.plan.n_cells, dtype=np.int64)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each column."""
        return self.plan.cardinalities

    @property
    def column_sets(self) -> tuple[tuple[int, ...], ...]:
        """The sets whose tables are counted."""
        return self.plan.column_sets

    def update_codes(self, codes_NC: np.ndarray) -> None:
        """Add rows of codes (N, C), unsigned integers; every code below its column's cardinality."""
        tables = list(zip(self._tables(), self.plan.blocks, strict=True))
        small = [t for t in tables if len(t[0]) <= _CACHED_CELLS]
        large = [t for t in tables if len(t[0]) > _CACHED_CELLS]  # better counted over many rows at once
        for start in range(0, len(codes_NC), _ROWS):
            self._count(small, codes_NC[start : start + _ROWS])
        for table in large:
            self._count([table], codes_NC)
        self.n_rows += len(codes_NC)

    def merge(self, other: ContingencyCounts) -> None:
        """Add the rows of another count of the same sets."""
        self._cells += other._cells
        self.n_rows += other.n_rows

    @property
    def tables(self) -> dict[tuple[int, ...], np.ndarray]:
        """For each set the table of counts, int64, one axis for each column of the set."""
        counted = list(self._tables())
        return {
            columns: self._summed(counted[block], block, columns)
            for columns, block in zip(self.column_sets, self.plan.block_of, strict=True)
        }

    def _tables(self) -> Iterator[np.ndarray]:
        ends = self.plan.ends.tolist()
        return (self._cells[low:high] for low, high in zip([0, *ends], ends, strict=False))

    def _summed(self, flat: np.ndarray, block: int, wanted: tuple[int, ...]) -> np.ndarray:
        counted = _columns(self.plan.blocks[block])
        full = flat.reshape([self.cardinalities[c] for c in counted])
        kept = [c for c in counted if c in wanted]
        if len(kept) < len(counted):
            full = full.sum(axis=tuple(i for i, c in enumerate(counted) if c not in wanted))
        result: np.ndarray = full.transpose([kept.index(c) for c in wanted])
        return result

    def _count(self, tables: Sequence[tuple[np.ndarray, Parts]], codes_NC: np.ndarray) -> None:
        of_part: dict[tuple[int, ...], np.ndarray] = {}
        for flat, block in tables:
            index: np.ndarray | None = None
            for part in block:
                if part not in of_part:
                    of_part[part] = self._together(part, codes_NC)
                codes = of_part[part]
                index = codes if index is None else index * _cells(self.cardinalities, part) + codes
            assert index is not None
            if len(flat) <= 4 * len(index):
                flat += np.bincount(index, minlength=len(flat))
            else:
                np.add.at(flat, index, 1)

    def _together(self, part: tuple[int, ...], codes_NC: np.ndarray) -> np.ndarray:
        """The codes of a tile's columns as one, shape (N,), int64."""
        together = codes_NC[:, part[0]].astype(np.int64)
        for c in part[1:]:
            together *= self.cardinalities[c]
            together += codes_NC[:, c]
        return together


def _tiles(cardinalities: tuple[int, ...], column_sets: Iterable[tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """The tile of each column: neighbours by size, as many as have up to `_TILE_CELLS` cells together."""
    tiles: list[list[int]] = []
    cells = 0
    for c in sorted({c for s in column_sets for c in s}, key=lambda c: (cardinalities[c], c)):
        if not tiles or cells * cardinalities[c] > _TILE_CELLS:
            tiles.append([])
            cells = 1
        tiles[-1].append(c)
        cells *= cardinalities[c]
    return {c: tuple(tile) for tile in tiles for c in tile}


def _covering(cardinalities: tuple[int, ...], column_sets: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    """Few sets, each small enough, that together contain every wanted set: greedy, by wanted pairs gained."""
    missing = {frozenset(s): s for s in sorted(column_sets, key=lambda s: -_cells(cardinalities, s))}
    all_columns = sorted({c for s in column_sets for c in s})
    result = []
    while missing:
        grown = next(iter(missing.values()))
        while best := _best_addition(grown, missing, all_columns, cardinalities):
            grown = (*grown, best[1])
        result.append(grown)
        inside = set(grown)
        missing = {key: s for key, s in missing.items() if not key <= inside}
    return result


def _best_addition(
    grown: tuple[int, ...],
    missing: dict[frozenset[int], tuple[int, ...]],
    all_columns: list[int],
    cardinalities: tuple[int, ...],
) -> tuple[float, int] | None:
    """(sets gained, column) of the column whose addition covers most further sets; None where none does."""
    cells = _cells(cardinalities, grown)
    best: tuple[float, int] | None = None
    for c in all_columns:
        if c in grown or cells * cardinalities[c] > _CACHED_CELLS:
            continue
        inside = {*grown, c}
        gained = sum(1 for key in missing if c in key and key <= inside)
        if gained and (best is None or (gained, -cardinalities[c]) > (best[0], -cardinalities[best[1]])):
            best = (gained, c)
    return best


def _columns(block: Parts) -> tuple[int, ...]:
    return tuple(c for part in block for c in part)


def _cells(cardinalities: tuple[int, ...], columns: Sequence[int]) -> int:
    cells = 1
    for c in columns:
        cells *= cardinalities[c]
    return cells
