"""Boosted trees over groups of codes (gradient boosting; Friedman 2001, Chen and Guestrin 2016), of two kinds.

Those that tell the rows of two tables apart (logistic loss): their sum is the logarithm of how many times as often the
first table has a row. And those that come nearer to a column than a prediction so far does (squared loss).

Trees grow best leaf first; of a divided leaf the smaller part is counted, the other is the difference. Rows held back
decide how many trees are kept. The loops stand in `loops.py`.

Shape legend: N rows, F inputs, B groups of an input, M nodes, T trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_LEAVES = 32  # of a tree
ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Boosting:
    """How trees are grown.

    Args:
        rate: share of a leaf's step that is taken. ridge: added to a leaf's sum of second derivatives.
        leaves: of a tree at most. trees: at most.
        patience: trees that may fail to lower the loss of the rows held back.
        held: share of the rows held back.
    """

    rate: float = 0.06
    ridge: float = 2.0
    leaves: int = MOST_LEAVES
    trees: int = 300
    patience: int = 12
    held: float = 0.2


@dataclass(frozen=True)
class BoostedTrees:
    """Trees as arrays.

    Args:
        feature: input that a node divides by; -1 in a leaf, (M,) int16.
        threshold: rows whose group is at most this go left, (M,) uint8.
        left: the left child, which the right one follows; children come after their parent, (M,) int32.
        value: what a leaf adds, (M,) float32.
        roots: (T,) int32.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    value: np.ndarray
    roots: np.ndarray

    def sums(self, x_NF: np.ndarray) -> np.ndarray:
        """The sum of all trees for each row of groups, (N,)."""
        from raysynth.methods.trees.loops import sums

        nodes, starts = (self.feature, self.threshold, self.left), np.append(self.roots, len(self.feature))
        result = np.zeros(len(x_NF))
        sums(np.ascontiguousarray(x_NF.T), nodes, self.value, starts, np.empty(ROWS_AT_ONCE, np.uint8), result)
        return result


def grouped(group: Sequence[np.ndarray], codes_CN: Any) -> np.ndarray:
    """Groups (N, C) uint8 of codes, given by column."""
    return np.ascontiguousarray(np.stack([g.take(codes) for g, codes in zip(group, codes_CN, strict=True)], axis=1))


def boosted(
    x_NF: np.ndarray, n_first: int, persons_N: np.ndarray, least: float, how: Boosting, rng: np.random.Generator
) -> tuple[BoostedTrees, float]:
    """Trees that tell the first `n_first` rows from the others, which count as much in all.

    Args:
        x_NF: groups, uint8.
        persons_N: how much of a person each of the first rows is; a leaf has at least `least` of them, and as many of
            the other rows.

    Returns:
        (trees, how far they lower the mean logistic loss of the rows held back, in nats); no trees where they do not.
    """
    n = len(x_NF)
    is_first_N = np.arange(n) < n_first
    held_N2 = np.stack([np.zeros(n), ~is_first_N], 1).astype(np.float32)
    held_N2[:n_first, 0] = persons_N
    weight_N = np.where(is_first_N, 1.0, n_first / max(n - n_first, 1)).astype(np.float32)
    rows = (x_NF, is_first_N.astype(np.float32), held_N2, weight_N, np.zeros((n, 2), np.float32), np.zeros(n))
    return _grown(rows, least, how, rng, is_squared=False)


def corrected(
    x_NF: np.ndarray,
    target_N: np.ndarray,
    foreseen_N: np.ndarray,
    persons_N: np.ndarray,
    least: float,
    how: Boosting,
    rng: np.random.Generator,
) -> BoostedTrees:
    """Trees whose sum, added to what is foreseen, comes nearer to the targets (squared loss); none where it does not.

    Args:
        x_NF: groups, uint8.
        target_N, foreseen_N: what to predict, and the prediction so far.
        persons_N: how much of a person each row is; a leaf has at least `least` of them.
    """
    persons = np.repeat(persons_N.astype(np.float32)[:, None], 2, axis=1)
    one, begun_N = np.ones(len(x_NF), np.float32), foreseen_N.astype(np.float64)
    rows = (x_NF, target_N.astype(np.float32), persons, one, np.zeros_like(persons), begun_N)
    return _grown(rows, least, how, rng, is_squared=True)[0]


def _grown(
    rows: tuple[np.ndarray, ...], least: float, how: Boosting, rng: np.random.Generator, *, is_squared: bool
) -> tuple[BoostedTrees, float]:
    """The trees that are kept, and how far they lower the mean loss of the rows held back; see `loops.grown`."""
    from raysynth.methods.trees.loops import grown

    x_NF = rows[0]
    sizes_F = x_NF.max(axis=0).astype(np.int64) + 1
    is_held_N = rng.random(len(x_NF)) < how.held
    train, held = np.flatnonzero(~is_held_N).astype(np.int32), np.flatnonzero(is_held_N).astype(np.int32)
    room, leaves = how.trees * (2 * how.leaves - 1), how.leaves
    nodes = (np.full(room, -1, np.int16), np.zeros(room, np.uint8), np.zeros(room, np.int32))
    value, starts = np.zeros(room, np.float32), np.zeros(how.trees + 1, np.int32)
    # working space; the compiled loops make no arrays
    space = (np.zeros((leaves, 3), np.int64), np.zeros((leaves, 3)), np.empty_like(train), np.empty_like(train))
    hist = np.zeros((leaves, x_NF.shape[1], int(sizes_F.max()), 4), np.float32)
    settings = ((float(least), how.ridge), how.rate, how.patience, is_squared)
    kept, fall = grown(rows, train, held, sizes_F, nodes, value, starts, hist, space, settings)
    feature, threshold, left = (a[: starts[kept]] for a in nodes)
    return BoostedTrees(feature, threshold, left, value[: starts[kept]], starts[:kept]), float(fall)
