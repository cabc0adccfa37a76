"""Which persons share a value: for each cell of a column up to k different ones, enough to tell whether k share it.

Of each cell the k persons with the smallest hashes are kept (the KMV sketch of `distinct.py`, cell by cell). A person
among the k smallest of the whole is among the k smallest of every part, so the result is the same however the rows are
split. For any cells together it tells exactly whether at least k different persons have a row in them: either one of
the cells has k persons itself, or all persons of all of them are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_FEW = 64  # persons that are looked at before all of a range are


def _no_cells() -> np.ndarray:
    return np.empty(0, np.int64)


def _nobody() -> np.ndarray:
    return np.empty(0, np.uint64)


@dataclass(frozen=True)
class Sharers:
    """Pairs of a cell and a person, sorted, at most `most` of each cell.

    Args:
        most: k, at least 1.
        cell: shape (P,) int64, ascending.
        person: hash of each, shape (P,) uint64.
    """

    most: int
    cell: np.ndarray = field(default_factory=_no_cells)
    person: np.ndarray = field(default_factory=_nobody)

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
