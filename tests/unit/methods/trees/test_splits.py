"""Splits: the trees that scikit-learn's exact search gives, from inputs of many codes and of few."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from raysynth.methods.trees.splits import Inputs, leaves_of

N, CODES = 4_000, (2, 5, 31, 33, 1_000, 700)


def table(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (F, N) and a number (N,) that depends on them."""
    factors = rng.standard_normal((N, 3))
    columns = [factors @ rng.standard_normal(3) + rng.standard_normal(N) for _ in CODES]
    x_FN = np.stack([np.digitize(c, np.linspace(-3, 3, r - 1)) for c, r in zip(columns, CODES, strict=True)])
    x_FN[-1, x_FN[1] > 2] = 40  # the same below some splits
    return x_FN, factors @ np.ones(3) + 0.5 * rng.standard_normal(N)


def purity(leaf_N: np.ndarray, kind_N: np.ndarray) -> float:
    """Mean share of a row's own class in its leaf."""
    counts = np.zeros((leaf_N.max() + 1, 4))
    np.add.at(counts, (leaf_N, kind_N), 1)
    return float((counts**2 / np.maximum(counts.sum(1, keepdims=True), 1)).sum() / len(leaf_N))


@pytest.mark.parametrize("numbers", [1, 2, 3, 0])
@pytest.mark.parametrize("leaf_rows", [7, 300])
def test_rows_fall_apart_as_in_scikit_learn(numbers: int, leaf_rows: int) -> None:
    """But for ties between inputs, which classes of few rows have: their leaves are as pure as the other's."""
    rng = np.random.default_rng(leaf_rows)
    x_FN, number = table(rng)
    bag = rng.permutation(N)[: N // 2]
    kind = np.digitize(number, [-1, 0, 2])
    classes = numbers == 0
    targets_NK = number[:, None] ** np.arange(1, numbers + 1)
    if classes:
        targets_NK = (kind[:, None] == np.arange(4)).astype(float)
    rules = {"min_samples_leaf": leaf_rows, "max_depth": 48, "min_impurity_decrease": 1e-9, "random_state": 0}
    model = DecisionTreeClassifier(**rules) if classes else DecisionTreeRegressor(**rules)
    theirs = model.fit(x_FN.T[bag], kind[bag] if classes else targets_NK[bag]).tree_
    inputs = Inputs.of(x_FN)
    tree = inputs.splits(bag, targets_NK, leaf_rows, 0)
    ours_N, theirs_N = leaves_of(inputs.x_FN, *tree), theirs.apply(x_FN.T.astype(np.float32))
    assert np.bincount(ours_N[bag])[np.unique(ours_N[bag])].min() >= leaf_rows
    if classes:
        assert purity(ours_N[bag], kind[bag]) == pytest.approx(purity(theirs_N[bag], kind[bag]), rel=0.01)
    else:
        both_2B = np.stack([ours_N, theirs_N])[:, bag]  # rows between two of the bag may go either way
        assert len(np.unique(both_2B, axis=1).T) == theirs.n_leaves == len(np.unique(both_2B[0]))


def test_what_tells_nothing_and_what_never_changes_split_nothing() -> None:
    x_FN = np.stack([np.zeros(50, int), np.arange(50) * 9])
    feature, _, left, _ = Inputs.of(x_FN).splits(np.arange(50), np.ones((50, 2)), 5, 0)
    assert len(feature) == 1 and left[0] == -1
    feature, threshold, left, right = Inputs.of(x_FN).splits(np.arange(50), (np.arange(50.0) < 20)[:, None], 5, 0)
    assert (feature[0], threshold[0], left[0], right[0]) == (1, 175, 1, 2) and len(feature) == 3
