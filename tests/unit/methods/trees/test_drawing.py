"""Compiled drawing gives what plain NumPy makes of the same random numbers, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raysynth.errors import ModelFileError
from raysynth.methods.trees.columns import ColumnView
from raysynth.methods.trees.drawing import GOLDEN, TILE, packed, shuffled, unit, walked
from raysynth.methods.trees.forest import Forest, Score
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.recipe import learn_table

N = 3_001  # no multiple of eight, nor of a tile


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
    result_FN = np.zeros((len(forest.inputs) + len(forest.scores), codes_CN.shape[1]), np.int64)
    for f, (c, order) in enumerate(zip(forest.inputs, forest.orders, strict=True)):
        result_FN[f] = codes_CN[c] if order is None else order[codes_CN[c]]
    for s, score in enumerate(forest.scores):
        total = score.tables[0][codes_CN[forest.inputs[0]]]
        for table, c in zip(score.tables[1:], forest.inputs[1:], strict=True):
            total += table[codes_CN[c]]
        if score.correction is not None:
            x_NF = np.stack([g[codes_CN[c]] for g, c in zip(score.correction.group, forest.inputs, strict=True)], 1)
            total += score.correction.trees.sums(x_NF).astype(np.float32)
        result_FN[len(forest.inputs) + s] = score.of(total)
    return result_FN


def plain_leaves(forest: Forest, x_FN: np.ndarray, tree_N: np.ndarray) -> np.ndarray:
    node_N = forest.roots[tree_N].copy()
    while (at := np.flatnonzero(forest.feature[node_N] >= 0)).size:
        node = node_N[at]
        node_N[at] = forest.left[node] + (x_FN[forest.feature[node], at] > forest.threshold[node])
    return node_N


def plain_bits(key: np.uint64, i: np.ndarray) -> np.ndarray:
    """Random numbers of a key (SplitMix64; Vigna's published constants)."""
    z = np.asarray(i, np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = z ^ (z >> np.uint64(31))
    return result


def plain_units(key: np.uint64, n: int) -> np.ndarray:
    return (plain_bits(key, np.arange(n)) >> np.uint64(11)).astype(float) / 2.0**53


def plain_order(key: np.uint64, n: int) -> np.ndarray:
    order = list(range(n))
    for i in range(n - 1, 0, -2):
        bits = int(plain_bits(key, np.array([i]))[0])
        for at, part in ((i, bits % 2**32), (i - 1, bits >> 32)):
            j = part * (at + 1) >> 32
            order[at], order[j] = order[j], order[at]
    return np.array(order, np.int64)


def plain_draw(forest: Forest, codes_CN: np.ndarray, n: int, rng: np.random.Generator, even: bool) -> np.ndarray:
    keys, n_trees = rng.integers(0, 1 << 64, 3, dtype=np.uint64), len(forest.roots)
    order = plain_order(keys[2], n)
    if even:
        each = n // n_trees + ((np.arange(n_trees) - rng.integers(n_trees)) % n_trees < n % n_trees)
    else:
        each = rng.multinomial(n, np.full(n_trees, 1 / n_trees))
    x_FP = plain_features(forest, codes_CN)[:, order]
    leaf_P = plain_leaves(forest, x_FP, np.repeat(np.arange(n_trees), each))
    node_P, u_P, going = leaf_P.copy(), plain_units(keys[0], n), np.arange(n)
    while len(going := going[u_P[going] < 1 - forest.keep[node_P[going]]]):
        u_P[going] /= 1 - forest.keep[node_P[going]]
        node_P[going] = forest.parent[node_P[going]]
    part_P = plain_spread(forest.start[node_P], keys[1]) if even else plain_units(keys[1], n)
    start_P, n_P = forest.start[node_P].astype(np.int64), (forest.stop - forest.start)[node_P]
    codes_P = forest.codes[start_P + (part_P * n_P).astype(np.int64)]
    for p in range(n if forest.run is not None else 0):
        lower = int(np.floor(part_P[p] * n_P[p] - 0.5))
        if node_P[p] == leaf_P[p] and 0 <= lower < n_P[p] - 1:
            low, high = (int(forest.codes[start_P[p] + at]) for at in (lower, lower + 1))
            if forest.run is not None and forest.run[low] == forest.run[high] >= 0:
                codes_P[p] = low + int((part_P[p] * n_P[p] - 0.5 - lower) * (high - low + 1))
    codes_N = np.empty_like(codes_P)
    codes_N[order] = codes_P
    return codes_N


def plain_spread(start_P: np.ndarray, key: np.uint64) -> np.ndarray:
    spread_P = np.empty(len(start_P))
    spread_P[np.argsort(start_P, kind="stable")] = (np.arange(len(start_P)) * GOLDEN + plain_units(key, 1)) % 1.0
    return spread_P


def test_random_numbers_are_uniform_and_orders_are_random() -> None:
    """Against 1 / sqrt(n); each place of an order is as often each row."""
    u = np.array([unit(np.uint64(k), np.int64(i)) for k in (1, 2, 2**63) for i in range(2_000)])
    assert np.array_equal(u[2_000:4_000], plain_units(np.uint64(2), 2_000))
    assert abs(u.mean() - 0.5) < 4 * 12**-0.5 / len(u) ** 0.5
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / len(u) ** 0.5
    counts = np.zeros((7, 7))
    for k in range(4_900):
        order = np.empty(7, np.uint32)
        shuffled(np.uint64(k) * np.uint64(2**40), order)
        counts[np.arange(7), order] += 1
    assert ((counts - 700) ** 2 / 700).sum() < 36 + 5 * 72**0.5  # chi-square of 36 degrees


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
    x_FN = forest.features(codes_CN)
    assert np.array_equal(x_FN, plain_features(forest, codes_CN))
    for tree in range(len(forest.roots)):
        tree_N = np.full(N, tree)
        assert np.array_equal(forest.leaves(x_FN, tree_N), plain_leaves(forest, x_FN.astype(np.int64), tree_N))


def test_codes_of_any_layout_are_read_alike(forests: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    codes_CN, by_column = forests
    turned = np.asfortranarray(codes_CN)
    assert np.array_equal(by_column[3].features(turned), by_column[3].features(codes_CN))


@pytest.mark.parametrize("n", [1, 8, 11])
def test_a_tree_that_never_ends_is_said(n: int) -> None:
    """Node 1 is its own child."""
    nodes = packed(np.array([0, 0, -1], np.int16), np.array([0, 9, 2**31 - 1], np.int32), np.array([1, 1, 2], np.int32))
    assert not walked(nodes, np.zeros(TILE, np.uint16), np.zeros(n, np.uint32))
    assert walked(nodes, np.full(TILE, 10, np.uint16), at := np.zeros(n, np.uint32)) and (at == 2).all()


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
    node_N = np.zeros(5, np.uint32)
    assert walked(nodes, np.full(TILE, value, np.uint16), node_N)
    assert (node_N == 1 + goes_right).all()
