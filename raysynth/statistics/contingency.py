"""Contingency tables of chosen sets of coded columns, counted in one pass.

Several sets are counted by one larger table where this is small enough for the processor's cache: the table of (a, b,
c) gives those of (a, b), (a, c) and (b, c) by summing, so 105 pairs of 15 columns take some 20 to 40 counts.

Shape legend: N rows, C columns, K cells of a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from raysynth.errors import ParameterError

_CACHED_CELLS = 1 << 16  # int64 cells of one table that stay in the second-level cache
_ROWS = 1 << 15  # rows counted at a time, so that their codes stay in the cache


class ContingencyCounts:
    """Counts of the combinations of codes in some sets of columns; mergeable, exact, independent of any split.

    Sensitivity (add/remove one row): one cell of each table by 1; over T tables L1 = T and L2 = sqrt(T).

    Args:
        cardinalities: codes of column c run from 0 to cardinalities[c] - 1.
        column_sets: sets of column indices; a table's axes follow the set's own order.
    """

    def __init__(self, cardinalities: Sequence[int], column_sets: Iterable[Sequence[int]]) -> None:
        self.cardinalities = tuple(int(k) for k in cardinalities)
        self.column_sets = tuple(dict.fromkeys(tuple(int(c) for c in s) for s in column_sets))
        self.n_rows = 0
        for columns in self.column_sets:
            if (
                not columns
                or len(set(columns)) != len(columns)
                or not all(0 <= c < len(cardinalities) for c in columns)
            ):
                raise ParameterError(f"column set {columns} must be distinct indices below {len(cardinalities)}")
        self._counted = _covering(self.cardinalities, self.column_sets)
        self._flat = [np.zeros(_cells(self.cardinalities, s), dtype=np.int64) for s in self._counted]

    def update_codes(self, codes_NC: np.ndarray) -> None:
        """Add rows of codes (N, C), unsigned integers; every code below its column's cardinality."""
        tables = list(zip(self._flat, self._counted, strict=True))
        small = [t for t in tables if len(t[0]) <= _CACHED_CELLS]
        large = [t for t in tables if len(t[0]) > _CACHED_CELLS]  # better counted over many rows at once
        for start in range(0, len(codes_NC), _ROWS):
            self._count(small, codes_NC[start : start + _ROWS])
        for table in large:
            self._count([table], codes_NC)
        self.n_rows += len(codes_NC)

    def merge(self, other: ContingencyCounts) -> None:
        """Add the rows of another count of the same sets."""
        for mine, theirs in zip(self._flat, other._flat, strict=True):
            mine += theirs
        self.n_rows += other.n_rows

    @property
    def tables(self) -> dict[tuple[int, ...], np.ndarray]:
        """For each set the table of counts, int64, one axis for each column of the set."""
        return {columns: self.table(columns) for columns in self.column_sets}

    def table(self, columns: Sequence[int]) -> np.ndarray:
        """The table of one of the sets (or of any set that lies within one)."""
        wanted = tuple(columns)
        for flat, counted in zip(self._flat, self._counted, strict=True):
            if set(wanted) <= set(counted):
                full = flat.reshape([self.cardinalities[c] for c in counted])
                kept = [c for c in counted if c in wanted]
                summed = full.sum(axis=tuple(i for i, c in enumerate(counted) if c not in wanted))
                result: np.ndarray = summed.transpose([kept.index(c) for c in wanted])
                return result
        raise ParameterError(f"column set {wanted} was not counted")

    def _count(self, tables: list[tuple[np.ndarray, tuple[int, ...]]], codes_NC: np.ndarray) -> None:
        columns = {c: codes_NC[:, c].astype(np.int64) for c in sorted({c for _, s in tables for c in s})}
        for flat, columns_set in tables:
            index = columns[columns_set[0]]
            for c in columns_set[1:]:
                index = index * self.cardinalities[c]
                index += columns[c]
            if len(flat) <= 4 * len(index):
                flat += np.bincount(index, minlength=len(flat))
            else:
                np.add.at(flat, index, 1)


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


def _cells(cardinalities: tuple[int, ...], columns: Sequence[int]) -> int:
    cells = 1
    for c in columns:
        cells *= cardinalities[c]
    return cells
