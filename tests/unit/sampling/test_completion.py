"""Rows completed together: what is known stays, rules hold, and what is drawn follows from what is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from raysynth import SequentialTrees, infer_schema
from raysynth.constraints import Expression
from raysynth.sampling.completion import _comparable


def _orders(n: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"price": rng.integers(1, 30, n) * 5, "pieces": rng.integers(1, 6, n)})
    table["weight"] = (table.pieces + rng.normal(0, 0.2, n)).round(1)
    table["shop"] = np.where(table.pieces + rng.random(n) > 3.5, "north", "south")
    table["note"] = pd.Series(rng.choice(["x", "y"], n)).where(rng.random(n) > 0.2)
    table["sum"] = table.price * table.pieces
    return table


@pytest.fixture(scope="module")
def orders() -> tuple[pd.DataFrame, SequentialTrees]:
    table = _orders()
    schema = replace(infer_schema(table), constraints=(Expression("sum == price * pieces"),))
    return table, SequentialTrees(seed=0, schema=schema, verbose=False).fit(table)


@pytest.mark.parametrize("known", [["shop", "sum"], ["weight", "shop", "price"], ["sum", "note"], ["weight"]])
def test_known_values_stay_and_the_rule_holds(orders: tuple[pd.DataFrame, SequentialTrees], known: list[str]) -> None:
    """Each cell that is given, a computed one and a missing one too (NaN in a DataFrame leaves it open)."""
    table, model = orders
    inner = table[table.weight.between(1, 5) & table["sum"].between(30, 300)]
    given = inner[known].sample(120, random_state=1).reset_index(drop=True)
    made = model.sample(conditions=given, seed=2)
    for name in known:
        there = given[name].notna()
        assert (made[name][there] == given[name][there]).all()
    assert (made["sum"] == made.price * made.pieces).all()


def test_one_row_that_knows_almost_all_is_not_refused(orders: tuple[pd.DataFrame, SequentialTrees]) -> None:
    """Rejection alone never draws such a row."""
    table, model = orders
    given = table[table.weight.between(1, 5)][["price", "weight", "shop"]].head(1)
    made = model.sample(conditions=given, seed=2)
    assert made[["price", "weight", "shop"]].iloc[0].tolist() == given.iloc[0].tolist()


@pytest.mark.statistical
def test_the_rest_follows_from_what_is_known(orders: tuple[pd.DataFrame, SequentialTrees]) -> None:
    """The weight tells the number of pieces but for noise of .2: nearly all rows have it. Fixed seed; by chance among
    five numbers a row had it once in five."""
    table, model = orders
    given = table[table.weight.between(1, 5)][["weight"]].reset_index(drop=True)
    made = model.sample(conditions=given, seed=5)
    assert (made.pieces == given.weight.round()).mean() > 0.85
    assert abs((made.shop == "north").mean() - (table.shop == "north").mean()) < 0.08


def test_numbers_are_compared_as_numbers_and_a_missing_one_as_nan() -> None:
    np.testing.assert_array_equal(_comparable([1, None, 2.5]), [1.0, np.nan, 2.5])
    assert _comparable(["a", None, True]).tolist() == ["a", None, True]
