"""Boosted trees that tell two tables apart."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.methods.trees.boosting import BoostedTrees, Boosting, boosted
from raysynth.methods.trees.drawing import exchanged

LEAST = 20.0


def _tables(seed: int, n: int = 4_000) -> np.ndarray:
    """Rows of which the first n have their first column below the second, twice as many others as they come."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 100, (3 * n, 4)).astype(np.uint8)
    x[:n, :2] = np.sort(x[:n, :2], axis=1)
    return x


@pytest.fixture(scope="module")
def told() -> tuple[BoostedTrees, float]:
    x = _tables(0)
    return boosted(x, 4_000, np.ones(4_000), LEAST, Boosting(), np.random.default_rng(1))


def test_sum_is_the_log_ratio_of_both_tables(told: tuple[BoostedTrees, float]) -> None:
    fresh = _tables(2)[4_000:]
    sums = told[0].sums(fresh)
    below = fresh[:, 0] < fresh[:, 1]
    assert abs(np.exp(sums[below]).mean() - 2.0) < 0.1  # twice as often
    assert np.exp(sums[fresh[:, 0] > fresh[:, 1].astype(int) + 10]).mean() < 0.1
    assert told[1] > 0.1


def test_tables_of_one_law_are_not_told_apart() -> None:
    x = np.random.default_rng(3).integers(0, 50, (9_000, 5)).astype(np.uint8)
    trees, fall = boosted(x, 3_000, np.ones(3_000), LEAST, Boosting(), np.random.default_rng(4))
    assert fall < 2e-3
    assert trees.sums(x).std() < 0.2


def test_leaves_are_of_enough_persons_and_other_rows(told: tuple[BoostedTrees, float]) -> None:
    x, trees = _tables(0), told[0]
    held = np.random.default_rng(1).random(len(x)) < Boosting().held
    for root in trees.roots[:: max(len(trees.roots) // 20, 1)]:
        node = np.full(len(x), root)
        while (inner := trees.feature[node] >= 0).any():
            at = np.flatnonzero(inner)
            goes_right = x[at, trees.feature[node[at]]] > trees.threshold[node[at]]
            node[at] = trees.left[node[at]] + goes_right
        _, first = np.unique(node[:4_000][~held[:4_000]], return_counts=True)
        _, others = np.unique(node[4_000:][~held[4_000:]], return_counts=True)
        assert min(first.min(), others.min()) >= LEAST


def test_rows_of_one_person_are_no_leaf() -> None:
    x = _tables(5, 2_000)
    one = np.full(2_000, LEAST / 2_001, np.float32)  # all rows together are less than `LEAST` persons
    trees, _ = boosted(x, 2_000, one, LEAST, Boosting(), np.random.default_rng(6))
    assert not (trees.feature >= 0).any()


def test_same_rows_and_stream_give_the_same_trees(told: tuple[BoostedTrees, float]) -> None:
    again, fall = boosted(_tables(0), 4_000, np.ones(4_000), LEAST, Boosting(), np.random.default_rng(1))
    assert fall == told[1]
    for name in ("feature", "threshold", "left", "value", "roots"):
        assert np.array_equal(getattr(again, name), getattr(told[0], name))


def test_rows_are_exchanged_until_shares_are_the_wanted_ones() -> None:
    rng = np.random.default_rng(7)
    cells_NF = rng.integers(0, 4, (4_000, 3)).astype(np.uint8)
    ins, outs = np.arange(1_000), np.arange(1_000, 4_000)
    wanted_FB = np.tile([400.0, 300.0, 200.0, 100.0], (3, 1))
    excess_FB, changes = -wanted_FB, (np.empty((3, 4)), np.empty((3, 4)))
    exchanged(cells_NF, ins, outs, np.ones(4_000), excess_FB, 1.0 / wanted_FB, changes, 30_000, np.uint64(7))
    assert len(np.unique(np.concatenate([ins, outs]))) == 4_000
    found_FB = np.stack([np.bincount(cells, minlength=4) for cells in cells_NF[ins].T])
    assert np.array_equal(found_FB - wanted_FB, excess_FB)
    assert np.abs(excess_FB).max() <= 2.0


def _by_walking(trees: BoostedTrees, x: np.ndarray) -> np.ndarray:
    """The sum of all trees, each row taken down each tree."""
    total = np.zeros(len(x))
    for root in trees.roots:
        node = np.full(len(x), root)
        while (at := np.flatnonzero(trees.feature[node] >= 0)).size:
            goes_right = x[at, trees.feature[node[at]]] > trees.threshold[node[at]]
            node[at] = trees.left[node[at]] + goes_right
        total += trees.value[node]
    return total


@pytest.mark.parametrize("n_trees", [0, 1, 2, 7])
def test_a_sum_is_that_of_the_leaves_which_a_row_reaches(told: tuple[BoostedTrees, float], n_trees: int) -> None:
    """Odd numbers of trees, none, a tree that is one leaf, full ones; groups from 0 to 255."""
    every = told[0]
    end = every.roots[n_trees]
    parts = (getattr(every, name)[:end] for name in ("feature", "threshold", "left", "value"))
    some = BoostedTrees(*parts, every.roots[:n_trees])
    x = np.random.default_rng(8).integers(0, 256, (3_000, 4)).astype(np.uint8)
    assert np.array_equal(some.sums(x), _by_walking(some, x))
    leaf = BoostedTrees(
        *(
            np.append(getattr(some, name), np.array(one, getattr(some, name).dtype))
            for name, one in (("feature", -1), ("threshold", 0), ("left", 0), ("value", 0.5))
        ),
        np.append(some.roots, end),
    )
    assert np.array_equal(leaf.sums(x), _by_walking(leaf, x))
