"""Growing: no leaf of too few rows, and what rows left out decide: made inputs, and larger leaves of few codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from raysynth.methods.trees.columns import ColumnView
from raysynth.methods.trees.forest import Forest
from raysynth.methods.trees.grow import GrowthRule, Nodes
from raysynth.methods.trees.recipe import learn_table

N, R = 3_000, 201
LINE = ColumnView(R, True, np.append(np.linspace(0, 1, R - 1), 0.5), np.append(np.linspace(-2, 2, R - 1), 0), 0.0, None)
KINDS = ColumnView(5, False, np.zeros(5), np.zeros(5), 0.0, None)
RULE = GrowthRule(3, 10, 0.632)


def nodes() -> Nodes:
    """x <= 3, then x <= 5, then x <= 8: leaves 1, 3, 5, 6."""
    return Nodes(
        np.array([0, -2, 0, -2, 0, -2, -2]),
        np.array([3.0, -2, 5, -2, 8, -2, -2]),
        np.array([1, -1, 3, -1, 5, -1, -1]),
        np.array([2, -1, 4, -1, 6, -1, -1]),
    )


def test_few_rows_go_with_the_other_side_whose_splits_stay() -> None:
    grown, x_FN = nodes(), np.array([[1, 2, 4, *[7] * 4, *[9] * 4]], np.uint16)
    leaf_N = grown.leaves(x_FN)
    assert np.bincount(leaf_N, minlength=7).tolist() == [0, 2, 0, 1, 0, 4, 4]
    pruned, after = grown.without_small(x_FN, 3)
    assert (after == pruned.leaves(x_FN)).all()
    assert len(set(after.tolist())) == 2 and (after[:7] == after[0]).all() and (after[7:] == after[10]).all()
    assert (nodes().without_small(x_FN, 5)[1] == 0).all()


def learned(own: np.ndarray, view: ColumnView, *others: np.ndarray) -> Forest:
    codes_CN = np.stack([*others, own]).astype(np.uint16)
    columns = (*[LINE] * len(others), view)
    return learn_table(codes_CN, columns, range(len(columns)), RULE, 5, 1)[-1]


def test_made_inputs_serve_a_sum_and_are_left_out_of_what_follows_one_column() -> None:
    rng = np.random.default_rng(0)
    others = [rng.integers(0, R - 1, N) for _ in range(5)]
    total = np.clip(sum(others) // 5 + rng.integers(-2, 3, N), 0, R - 2)
    near = np.clip((others[0] * 7) % (R - 1) + rng.integers(-2, 3, N), 0, R - 2)
    assert learned(total, LINE, *others).scores
    assert not learned(near, LINE, *others).scores


def test_leaves_of_few_codes_grow_where_rows_left_out_lose_nothing() -> None:
    """A column that the other one tells nothing of, and one that changes every 45 rows of it."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, R - 1, N)
    free = rng.integers(0, 4, N)
    bound = np.where(rng.random(N) < 0.9, first // 3 % 4, free)
    rows = [(f.stop - f.start)[f.feature < 0] for f in (learned(own, KINDS, first) for own in (free, bound))]
    assert rows[0].min() >= 30
    assert 10 <= rows[1].min() < 30


def test_one_tree_alone_decides_too() -> None:
    rng = np.random.default_rng(0)
    codes_CN = np.stack([rng.integers(0, R - 1, N), rng.integers(0, 4, N)]).astype(np.uint16)
    forest = learn_table(codes_CN, (LINE, KINDS), (0, 1), replace(RULE, n_trees=1), 5, 1)[1]
    assert len(forest.roots) == 1
