"""Compiled drawing gives what plain NumPy gives, bit by bit: rows of a seed stay those of earlier versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raysynth.errors import ModelFileError
from raysynth.methods.trees.columns import ColumnView
from raysynth.methods.trees.drawing import packed, walked
from raysynth.methods.trees.forest import GOLDEN, Forest, Score
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.recipe import learn_table

N = 3_001  # no multiple of four


@pytest.fixture(scope="module")
def forests() -> tuple[np.ndarray, tuple[Forest, ...]]:
    """A category, a number that follows it, their sum with noise, and a number of all: some are scored or located."""
    rng = np.random.default_rng(0)
    kind, first = rng.integers(0, 5, N), rng.integers(0, 200, N)
    second = np.clip(first * 0.5 + 20 * kind + rng.normal(0, 8, N), 0, 199).astype(int)
    third = np.clip((first + second + 30 * (kind == 2)) / 2 + rng.normal(0, 20, N), 0, 199).astype(int)
    codes_CN = np.stack([kind, first, second, third]).astype(np.uint16)
    rank = np.append(np.linspace(0, 1, 200), 0.5)
    run = np.append(np.repeat([0, 1], 100), -1).astype(np.int32)
    number = ColumnView(201, True, rank, 4 * rank - 2, 0.0, run)
    views = (ColumnView(6, False, np.linspace(0, 1, 6), np.zeros(6), 0.0, None), number, number, number)
    grown = learn_table(codes_CN, views, (0, 1, 2, 3), GrowthRule(3, 10, 0.6), 5, 1)
    scored = replace(grown[3], scores=(_score(rng), _score(rng)))
    return codes_CN, (*grown[:3], _split_by_scores(scored))


def _score(rng: np.random.Generator) -> Score:
    tables = tuple(rng.normal(size=size).astype(np.float32) for size in (6, 201, 201))
    return Score(tables, -3.0, 4.0, np.sort(rng.integers(0, 512, 8192)).astype(np.uint16))


def _split_by_scores(forest: Forest) -> Forest:
    """The same forest, some of whose nodes split by the scores instead."""
    inner = np.flatnonzero(forest.feature >= 0)[::3]
    feature, threshold = forest.feature.copy(), forest.threshold.copy()
    feature[inner], threshold[inner] = 3 + np.arange(len(inner)) % 2, 100 + np.arange(len(inner)) % 300
    return replace(forest, feature=feature, threshold=threshold)


def plain_features(forest: Forest, codes_CN: np.ndarray) -> np.ndarray:
    result_NF = np.zeros((codes_CN.shape[1], len(forest.inputs) + len(forest.scores)), np.int64)
    for f, (c, order) in enumerate(zip(forest.inputs, forest.orders, strict=True)):
        result_NF[:, f] = codes_CN[c] if order is None else order[codes_CN[c]]
    for s, score in enumerate(forest.scores):
        total = score.tables[0][codes_CN[forest.inputs[0]]]
        for table, c in zip(score.tables[1:], forest.inputs[1:], strict=True):
            total += table[codes_CN[c]]
        if score.correction is not None:
            x_NF = np.stack([g[codes_CN[c]] for g, c in zip(score.correction.group, forest.inputs, strict=True)], 1)
            total += score.correction.trees.sums(x_NF).astype(np.float32)
        result_NF[:, len(forest.inputs) + s] = score.of(total)
    return result_NF


def plain_leaves(forest: Forest, x_NF: np.ndarray, tree_N: np.ndarray) -> np.ndarray:
    node_N = forest.roots[tree_N].copy()
    while (at := np.flatnonzero(forest.feature[node_N] >= 0)).size:
        node = node_N[at]
        node_N[at] = forest.left[node] + (x_NF[at, forest.feature[node]] > forest.threshold[node])
    return node_N


def plain_draw(forest: Forest, codes_CN: np.ndarray, n: int, rng: np.random.Generator, even: bool) -> np.ndarray:
    tree_N = rng.integers(0, len(forest.roots), n, dtype=np.int32)
    tree_N = rng.permutation((np.arange(n) + tree_N[:1]) % len(forest.roots)) if even else tree_N
    leaf_N = plain_leaves(forest, plain_features(forest, codes_CN), tree_N)
    node_N = leaf_N.copy()
    rows = np.flatnonzero(rng.random(n) >= forest.keep[node_N])
    while len(rows):
        node_N[rows] = up = forest.parent[node_N[rows]]
        rows = rows[rng.random(len(rows)) >= forest.keep[up]]
    part_N = plain_spread(forest.start[node_N], rng) if even else rng.random(n)
    start_N, stop_N = forest.start[node_N], forest.stop[node_N]
    place = part_N * (stop_N - start_N)
    codes_N: np.ndarray = forest.codes[start_N + place.astype(np.int64)]
    for row in range(n if forest.run is not None else 0):
        way = place[row] - np.floor(place[row])
        lower = start_N[row] + int(place[row]) - (way < 0.5)
        if node_N[row] == leaf_N[row] and start_N[row] <= lower < stop_N[row] - 1:
            low, high = int(forest.codes[lower]), int(forest.codes[lower + 1])
            if forest.run is not None and forest.run[low] == forest.run[high] >= 0:
                codes_N[row] = low + int((way + 0.5) % 1.0 * (high - low + 1))
    return codes_N


def plain_spread(start_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(len(start_N))
    order = order[np.argsort(start_N[order], kind="stable")]
    spread_N = np.empty(len(start_N))
    spread_N[order] = (np.arange(len(start_N)) * GOLDEN + rng.random()) % 1.0
    return spread_N


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("n", [64, N])
def test_codes_are_those_of_plain_numpy(forests: tuple[np.ndarray, tuple[Forest, ...]], n: int, even: bool) -> None:
    codes_CN, by_column = forests
    codes_CN = codes_CN[:, :n]
    assert by_column[3].location is None and by_column[1].run is not None
    for column, forest in enumerate(by_column):
        if forest.location is None:
            one, other = np.random.default_rng(column), np.random.default_rng(column)
            drawn = forest.draw(codes_CN, n, one, even=even)
            assert np.array_equal(drawn, plain_draw(forest, codes_CN, n, other, even)), column
            assert one.random() == other.random(), "as many numbers are drawn"


def test_probabilities_are_of_the_leaves_that_draws_come_from(forests: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    codes_CN, by_column = forests
    forest = by_column[3]
    x_NF = forest.features(codes_CN)
    assert np.array_equal(x_NF, plain_features(forest, codes_CN))
    for tree in range(len(forest.roots)):
        tree_N = np.full(N, tree)
        assert np.array_equal(forest.leaves(x_NF, tree_N), plain_leaves(forest, x_NF.astype(np.int64), tree_N))


def test_codes_of_any_layout_are_read_alike(forests: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    codes_CN, by_column = forests
    turned = np.asfortranarray(codes_CN)
    assert np.array_equal(by_column[3].features(turned), by_column[3].features(codes_CN))


@pytest.mark.parametrize("n", [1, 4, 6])
def test_a_tree_that_never_ends_is_said(n: int) -> None:
    """Node 1 is its own child."""
    nodes = packed(np.array([0, 0, -1], np.int16), np.array([0, 9, 2**31 - 1], np.int32), np.array([1, 1, 2], np.int32))
    assert not walked(nodes, np.zeros((n, 1), np.uint16), np.zeros(n, np.int32))
    assert walked(nodes, np.full((n, 1), 10, np.uint16), at := np.zeros(n, np.int32)) and (at == 2).all()


def test_a_file_with_such_a_tree_is_refused(forests: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    codes_CN, by_column = forests
    root = by_column[2].roots[0]
    left = by_column[2].left.copy()
    left[root] = root
    broken = replace(by_column[2], left=left)
    with pytest.raises(ModelFileError, match="refit the model"):
        broken.draw(np.zeros_like(codes_CN), N, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("threshold", "value", "goes_right"), [(65_535, 65_535, False), (2**31 - 2, 65_535, False), (0, 1, True)]
)
def test_thresholds_beyond_any_input_keep_rows_left(threshold: int, value: int, goes_right: bool) -> None:
    nodes = packed(
        np.array([0, -1, -1], np.int16), np.array([threshold, 0, 0], np.int32), np.array([1, 0, 0], np.int32)
    )
    node_N = np.zeros(5, np.int32)
    assert walked(nodes, np.full((5, 1), value, np.uint16), node_N)
    assert (node_N == 1 + goes_right).all()
