"""Forests: the probabilities that they state are those of what they draw."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.methods.trees.columns import ColumnView
from raysynth.methods.trees.forest import Forest
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.recipe import learn_table

RARE = 5


def view(cardinality: int, *, ordered: bool) -> ColumnView:
    rank = np.append(np.linspace(0, 1, cardinality - 1), 0.5)
    run = np.append(np.zeros(cardinality - 1, np.int32), -1).astype(np.int32)
    return ColumnView(cardinality, ordered, rank, 4 * rank - 2, 0.0, run if ordered else None)


@pytest.fixture(scope="module")
def learned() -> tuple[np.ndarray, tuple[Forest, ...]]:
    """A number of 60 cells given 3 categories, each row's last code 'missing' never."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 2000)
    number = np.clip(rng.normal(15 + 12 * kind, 6), 0, 59).astype(int)
    codes_CN = np.stack([kind, number]).astype(np.uint16)
    columns = (view(4, ordered=False), view(61, ordered=True))
    return codes_CN, learn_table(codes_CN, columns, (0, 1), GrowthRule(3, 10, 0.6), RARE, 1)


def test_probabilities_sum_to_one(learned: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    _, forests = learned
    for kind in range(3):
        codes_CN = np.stack([np.full(61, kind), np.arange(61)]).astype(np.uint16)
        assert forests[1].probability(codes_CN, codes_CN[1]).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.statistical
def test_draws_have_the_stated_probabilities(learned: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    """Chi-square of 40,000 draws over 61 codes; false alarm 1e-4."""
    from scipy.stats import chisquare

    _, forests = learned
    n = 40_000
    codes_CN = np.stack([np.ones(n), np.zeros(n)]).astype(np.uint16)
    drawn = forests[1].draw(codes_CN, n, np.random.default_rng(1))
    every = np.stack([np.ones(61), np.arange(61)]).astype(np.uint16)
    expected = n * forests[1].probability(every, every[1])
    usual = expected >= 5
    seen = np.bincount(drawn, minlength=61)
    observed, wanted = (np.append(x[usual], x[~usual].sum()) for x in (seen, expected))
    keep = wanted > 0
    assert chisquare(observed[keep], wanted[keep] * observed[keep].sum() / wanted[keep].sum()).pvalue > 1e-4


def test_even_draws_vary_less_around_the_same_shares(learned: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    """Means of 60 draws of 500 rows within five standard errors of what is stated; false alarm 4e-5."""
    _, forests = learned
    n, repeats = 500, 60
    every = np.stack([np.ones(61), np.arange(61)]).astype(np.uint16)
    stated = forests[1].probability(every, every[1])
    codes_CN = np.stack([np.ones(n), np.zeros(n)]).astype(np.uint16)
    rng = np.random.default_rng(2)
    counts = np.stack([np.bincount(forests[1].draw(codes_CN, n, rng, even=True), minlength=61) for _ in range(repeats)])
    separate = n * stated * (1 - stated)
    assert (np.abs(counts.mean(0) - n * stated) <= 5 * np.sqrt(separate / repeats) + 1e-9).all()
    assert counts.var(0).sum() < 0.5 * separate.sum()


def test_each_leaf_holds_enough_rows(learned: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    _, forests = learned
    for forest in forests:
        leaf = forest.feature < 0
        assert (forest.stop - forest.start)[leaf].min() >= 10


def test_columns_are_learned_independently(learned: tuple[np.ndarray, tuple[Forest, ...]]) -> None:
    """The forest of a column does not change when a column that is drawn later is learned too."""
    codes_CN, forests = learned
    alone = learn_table(codes_CN[:1], (view(4, ordered=False),), (0,), GrowthRule(3, 10, 0.6), RARE, 1)
    np.testing.assert_array_equal(alone[0].codes, forests[0].codes)


def drawn_for_the_learned_rows(codes_CN: np.ndarray, forest: Forest, column: int, repeats: int = 40) -> float:
    """Largest difference of cumulative shares between the draws for the learned rows and these rows themselves."""
    every = np.repeat(codes_CN, repeats, axis=1)
    drawn = forest.draw(every, every.shape[1], np.random.default_rng(2))
    size = int(max(drawn.max(), codes_CN[column].max())) + 1
    shares = [np.bincount(codes, minlength=size) / len(codes) for codes in (drawn, codes_CN[column])]
    return float(np.abs(np.cumsum(shares[0] - shares[1])).max())


@pytest.mark.statistical
@pytest.mark.parametrize("noise", [5.0, 25.0, 300.0])
def test_a_column_keeps_its_distribution(noise: float) -> None:
    """For the rows that were learned, whatever back-off the noise asks for; 80,000 draws: false alarm below 1e-6."""
    rng = np.random.default_rng(3)
    first = rng.integers(0, 400, 2000)
    second = np.clip(200 + (first - 200) * np.sign(rng.normal(0.5, 1, 2000)) + rng.normal(0, noise, 2000), 0, 399)
    codes_CN = np.stack([first, second]).astype(np.uint16)
    columns = (view(401, ordered=True), view(401, ordered=True))
    forests = learn_table(codes_CN, columns, (0, 1), GrowthRule(3, 10, 0.6), RARE, 1)
    assert drawn_for_the_learned_rows(codes_CN, forests[1], 1) < 0.01


def test_both_children_of_a_node_lose_the_same_share() -> None:
    """Back-off moves no probability from one part of a tree to another: at each node the mean over its leaves stays."""
    rng = np.random.default_rng(4)
    first = rng.integers(0, 300, 1500)
    own = (rng.random(1500) < np.where(first < 40, 0.25, 0.5)).astype(int) + 2 * (rng.random(1500) < first / 400)
    codes_CN = np.stack([first, own]).astype(np.uint16)
    columns = (view(301, ordered=True), view(5, ordered=False))
    forest = learn_table(codes_CN, columns, (0, 1), GrowthRule(1, 10, 0.6), RARE, 1)[1]
    stated = [forest.probability(codes_CN, np.full(1500, code)).mean() for code in range(4)]
    np.testing.assert_allclose(stated, np.bincount(own, minlength=4) / 1500, atol=1e-5)
