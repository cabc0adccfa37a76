"""Growing the trees of one column: splits from bags of rows, leaf counts from all of them.

scikit-learn's trees (CART; Breiman et al. 1984) find the splits, over codes; thresholds are then whole codes, so that
they lie on the encoder's grid, which no few rows decide. Leaves and what is drawn from them are ours.

Shape legend: N rows, F inputs, T trees, K targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.methods.trees.backoff import BackOff, keep_of
from raysynth.methods.trees.forest import HIGHEST
from raysynth.methods.trees.persons import RowsOfPersons


@dataclass(frozen=True)
class GrowthRule:
    """How the trees of a column are grown.

    Args:
        n_trees: T.
        leaf_rows: least rows of a leaf.
        bag_share: share of the rows that the splits of one tree are found from, below 1.
    """

    n_trees: int
    leaf_rows: int
    bag_share: float
    min_alpha: float = 0.0


def grow(
    x_FN: np.ndarray,
    targets_NK: np.ndarray,
    own_N: np.ndarray,
    cardinality: int,
    rule: GrowthRule,
    *,
    classes: bool,
    rng: np.random.Generator,
    persons: RowsOfPersons | None = None,
    one_each: bool = False,
) -> dict[str, np.ndarray]:
    """The arrays of a `Forest`: roots, feature, threshold, left, parent, start, stop, codes, keep.

    With `persons` a leaf is drawn from where `leaf_rows` of them stand behind it; `one_each`: all rows of a person say
    the same, so splits are found from one of each.
    """
    n = len(own_N)
    x_NF = np.ascontiguousarray(x_FN.T, dtype=np.float32)
    judge = BackOff(own_N, cardinality, rng)
    trees, few = [], []
    for _ in range(rule.n_trees):
        bag = (
            rng.permutation(n)[: max(2, round(rule.bag_share * n))]
            if persons is None
            else persons.bag(rule.bag_share, rng)
        )
        rows = persons.one_each(bag) if persons is not None and one_each else bag
        fitted = _fitted(x_NF[rows], targets_NK[rows], rule, classes, int(rng.integers(2**31)))
        tree, leaf_N, order_N = _filled(fitted, x_NF, own_N)
        if persons is None:
            judge.add(tree, leaf_N, order_N, bag)
        else:  # rows of a person know each other: judged are persons by others
            others, _, order = _filled(fitted, x_NF[rows], own_N[rows])
            judge.add(others, leaf_N, rows[order], bag, holds_judged=False)
        trees.append(tree)
        few.append(None if persons is None else persons.too_few(tree, order_N, rule.leaf_rows))
    alpha, of_pure = judge.best()
    alpha = max(alpha, rule.min_alpha)
    keeps = [keep_of(tree, alpha, of_pure) for tree in trees]
    keeps = [keep if f is None else np.where(f, np.float32(0), keep) for keep, f in zip(keeps, few, strict=True)]
    return _joined([{**tree, "keep": keep} for tree, keep in zip(trees, keeps, strict=True)])


def _fitted(x_NF: np.ndarray, targets_NK: np.ndarray, rule: GrowthRule, classes: bool, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    shared: dict[str, Any] = {
        "min_samples_leaf": rule.leaf_rows,
        "min_impurity_decrease": 1e-9,
        "random_state": seed,
        "max_depth": 48,
    }
    if classes:
        return DecisionTreeClassifier(**shared).fit(x_NF, targets_NK[:, 0]).tree_
    return DecisionTreeRegressor(**shared).fit(x_NF, targets_NK).tree_


def _filled(tree: Any, x_NF: np.ndarray, own_N: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """One tree with whole thresholds, children side by side, and the counts of all rows in its leaves."""
    old_left, old_right = tree.children_left, tree.children_right
    inner = old_left >= 0
    new = np.zeros(tree.node_count, np.int64)  # nodes in pairs: 0 the root, then both children of each inner node
    position = 1 + 2 * np.arange(inner.sum())
    new[old_left[inner]], new[old_right[inner]] = position, position + 1
    feature = np.full(tree.node_count, -1, np.int16)
    threshold = np.full(tree.node_count, HIGHEST, np.int32)
    left = np.zeros(tree.node_count, np.int32)
    parent = np.zeros(tree.node_count, np.int32)
    feature[new[inner]] = tree.feature[inner]
    threshold[new[inner]] = np.floor(tree.threshold[inner]).astype(np.int32)
    left[new[inner]] = position
    parent[position] = parent[position + 1] = new[inner]
    leaf_N = tree.apply(x_NF)
    rows = np.bincount(leaf_N, minlength=tree.node_count)
    before = np.concatenate([[0], np.cumsum(rows)])  # old numbers are those of a walk down the left side first
    end = np.arange(1, tree.node_count + 1)
    while True:
        further = np.where(inner, end[np.where(inner, old_right, 0)], end)
        if (further == end).all():
            break
        end = further
    start, stop = np.empty(tree.node_count, np.int32), np.empty(tree.node_count, np.int32)
    start[new], stop[new] = before[:-1], before[end]
    order = np.lexsort((own_N, leaf_N))
    arrays = {
        "feature": feature,
        "threshold": threshold,
        "left": left,
        "parent": parent,
        "start": start,
        "stop": stop,
        "codes": own_N[order].astype(np.uint16),
    }
    return arrays, new[leaf_N], order


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Trees one after the other: numbers of nodes and entries shifted."""
    nodes = np.cumsum([0] + [len(p["feature"]) for p in parts])
    entries = np.cumsum([0] + [len(p["codes"]) for p in parts])
    shift = {"left": nodes, "parent": nodes, "start": entries, "stop": entries}
    joined = {
        key: np.concatenate([p[key] + (shift[key][i] if key in shift else 0) for i, p in enumerate(parts)]).astype(
            parts[0][key].dtype
        )
        for key in parts[0]
    }
    return {"roots": nodes[:-1].astype(np.int32), **joined}
