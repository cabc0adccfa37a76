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
