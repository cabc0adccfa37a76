"""Boosted corrections of a column's additive prediction: what several columns say only together.

A leaf of few rows says little of a mean, and a tree halves its rows at each split. Boosted trees add up many shallow
ones, each over all rows, so they see interactions that one tree of wide leaves cannot. Their sum is added to the
additive prediction (`additive.py`), whose remainder they are fitted to. As with that, trees that are grown on the rows
that a correction was fitted to would believe it too much: they see each row as it is corrected from the rows of other
folds (stacked generalization; Wolpert 1992).

Leaves hold at least 20 persons, and 2 x `rare_threshold`; thresholds lie between codes.

Shape legend: N rows, F inputs, R codes of a column, G folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raysynth.methods.trees.boosting import BoostedTrees, Boosting, corrected, grouped
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons

MOST_GROUPS = 64  # of a column's codes: counting more costs time where leaves are small
LEAST_PERSONS = 20  # in a leaf
FOLDS = 5
CELLS = 100_000  # rows to learn from times columns of the table, at most: the cost of a fit grows with both
MOST_ROWS = 12_000
LEAST_ROWS = 3_000  # of a table: with fewer, corrections bring less than they vary
WORTH = 0.95  # of the squared error may be left by a correction
HOW = Boosting(rate=0.08, leaves=24, trees=120, patience=10, held=0.15)


@dataclass(frozen=True)
class Correction:
    """What is added to a prediction: the sum of trees.

    Args:
        trees: on groups of the inputs' codes.
        group: of each code, by input, (R,) uint8; the same for all corrections of a column.
    """

    trees: BoostedTrees
    group: tuple[np.ndarray, ...]


def rows_to_learn_from(n_columns: int) -> int:
    """How many rows of a table of so many columns corrections are learned from."""
    return int(np.clip(CELLS // n_columns, 1_000, MOST_ROWS))


def groups_of(view: ColumnView, order: np.ndarray | None) -> np.ndarray:
    """At most 64 groups of a column's codes, (R,) uint8, ascending along the places that splits use.

    Args:
        order: None, or the place of each code.
    """
    if order is None and view.ordered and view.cardinality > MOST_GROUPS:
        group = np.append(np.floor(view.rank[:-1] * (MOST_GROUPS - 2)), MOST_GROUPS - 1)
    else:
        place = np.arange(view.cardinality) if order is None else order.astype(np.int64)
        group = place * MOST_GROUPS // max(view.cardinality, MOST_GROUPS)
    return np.clip(group, 0, MOST_GROUPS - 1).astype(np.uint8)


@dataclass(frozen=True)
class Correcting:
    """What the corrections of a column are learned from.

    Args:
        group: see `Correction`. codes_FN: of the rows, by input.
        targets_NK: what is predicted. foreseen_NK: the predictions so far, by rows of other folds.
        fold_N: of each row; all rows of a person are in one.
        persons: whose each row is, where persons have several.
        least: persons in a leaf. most: rows to learn from (`rows_to_learn_from`).
        seed: of the rows, and of those held back.
    """

    group: tuple[np.ndarray, ...]
    codes_FN: Sequence[np.ndarray]
    targets_NK: np.ndarray
    foreseen_NK: np.ndarray
    fold_N: np.ndarray
    persons: RowsOfPersons | None
    least: int
    most: int
    seed: int

    @cached_property
    def x_NF(self) -> np.ndarray:
        """Groups of the rows' codes, uint8."""
        return grouped(self.group, self.codes_FN)

    @cached_property
    def persons_N(self) -> np.ndarray:
        """How much of a person each row is."""
        return np.ones(len(self.fold_N)) if self.persons is None else self.persons.share_N

    def addend(self, target: int) -> np.ndarray | None:
        """The correction (N,) of each row's prediction by rows of other folds; None where it brings little.

        What it brings shows in the first fold; where that is little, the others are spared.
        """
        addend_N = np.zeros(len(self.x_NF), np.float32)
        for fold in range(FOLDS):
            own = np.flatnonzero(self.fold_N % FOLDS == fold)
            addend_N[own] = self._trees(np.flatnonzero(self.fold_N % FOLDS != fold), target, fold).sums(self.x_NF[own])
            left = self.targets_NK[own, target] - self.foreseen_NK[own, target]
            if fold == 0 and np.square(left - addend_N[own]).sum() > WORTH * np.square(left).sum():
                return None
        return addend_N

    def learned(self, target: int) -> Correction | None:
        """The correction by all rows; None where there is none."""
        trees = self._trees(np.arange(len(self.x_NF)), target, FOLDS)
        return Correction(trees, self.group) if len(trees.roots) else None

    def _trees(self, rows: np.ndarray, target: int, part: int) -> BoostedTrees:
        rng = np.random.default_rng([self.seed, 3, target, part])
        rows = np.sort(rng.choice(rows, self.most, replace=False)) if len(rows) > self.most else rows
        y_N, begun_N = self.targets_NK[rows, target], self.foreseen_NK[rows, target]
        return corrected(self.x_NF[rows], y_N, begun_N, self.persons_N[rows], max(self.least, LEAST_PERSONS), HOW, rng)
