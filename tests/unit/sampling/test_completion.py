"""Rows completed together: what is known stays, rules hold, and what is drawn follows from what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import SequentialTrees, infer_schema
from raysynth.constraints import Expression, Unique
from raysynth.sampling import completion
from raysynth.sampling.chunks import Piece, SamplingModel
from raysynth.sampling.completion import _as_compared, _comparable, _same, completed
from raysynth.sampling.conditions import ColumnCondition


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
    return table, value_of(lambda: SequentialTrees(seed=0, schema=schema, verbose=False).fit(table))


@pytest.mark.parametrize("known", [["shop", "sum"], ["weight", "shop", "price"], ["sum", "note"], ["weight"]])
def test_known_values_stay_and_the_rule_holds(orders: tuple[pd.DataFrame, SequentialTrees], known: list[str]) -> None:
    """Each cell that is given, a computed one and a missing one too (NaN in a DataFrame leaves it open)."""
    table, model = orders
    inner = table[table.weight.between(1, 5) & table["sum"].between(30, 300)]
    given = inner[known].sample(120, random_state=1).reset_index(drop=True)
    made = value_of(lambda: model.sample(conditions=given, seed=2))
    for name in known:
        there = given[name].notna()
        assert (made[name][there] == given[name][there]).all()
    assert (made["sum"] == made.price * made.pieces).all()


def test_one_row_that_knows_almost_all_is_not_refused(orders: tuple[pd.DataFrame, SequentialTrees]) -> None:
    """Rejection alone never draws such a row."""
    table, model = orders
    given = table[table.weight.between(1, 5)][["price", "weight", "shop"]].head(1)
    made = value_of(lambda: model.sample(conditions=given, seed=2))
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
    for drawn in (pa.array([1, None, 2.5]), pa.chunked_array([[1.0], [None, 2.5]])):
        np.testing.assert_array_equal(value_of(lambda drawn=drawn: _as_compared(drawn)), [1.0, np.nan, 2.5])
    for drawn in (pa.array(["a", None]), pa.array(["a", None]).dictionary_encode(), pa.array([True, None])):
        assert value_of(lambda drawn=drawn: _as_compared(drawn)).tolist() == drawn.to_pylist()


def test_a_missing_value_is_the_same_as_a_missing_one_alone() -> None:
    left, right = pa.chunked_array([[1, None], [None, 3]]), pa.array([1, 2, None, None])
    assert value_of(lambda: _same(left, right)).tolist() == [True, False, True, False]


@dataclass(frozen=True)
class Counted:
    """A generator that writes down how many rows it is asked to complete at once."""

    inner: Any
    rows: list[int] = field(default_factory=list)
    fills: bool = True

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """As the generator within."""
        self.rows.append(len(codes_NC))
        made: np.ndarray = self.inner.generate_given(codes_NC, known, rng)
        return made


def _counting(model: SequentialTrees) -> SamplingModel:
    fitted = model._fitted()
    return replace(fitted, generator=Counted(fitted.generator))


def _point(column: str, value: float) -> ColumnCondition:
    return ColumnCondition(column, low=value, high=value, points=(value,))


def _pieces(*asked: tuple[int, list[ColumnCondition]]) -> list[Piece]:
    return [Piece(tuple(conditions), 0, n) for n, conditions in asked]


def test_what_is_not_found_is_drawn_four_times_as_often_each_round(
    orders: tuple[pd.DataFrame, SequentialTrees], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sum is 7: rows that ask for it are left after eight rounds, of which each draws for one row of each shop."""
    model = _counting(orders[1])
    asked = [[ColumnCondition("shop", values=(shop,)), _point("sum", 7.0)] for shop in ("north", "south")]
    assert completed(model, _pieces((3, asked[0])), np.random.default_rng(0)) == {}
    assert model.generator.rows == [3, *(4**power for power in range(1, 8))]  # type: ignore[attr-defined]
    model = _counting(orders[1])
    monkeypatch.setattr(completion, "MOST_TOGETHER", 101)
    assert completed(model, _pieces((2, asked[0]), (3, asked[1])), np.random.default_rng(0)) == {}
    assert model.generator.rows == [5, 8, 32, *[100] * 5]  # type: ignore[attr-defined]


def test_what_is_drawn_for_one_row_serves_another_that_knows_the_same(
    orders: tuple[pd.DataFrame, SequentialTrees],
) -> None:
    """All sums that a price of 50 can have, each asked for twice, and one by itself: found, in few draws."""
    model = _counting(orders[1])
    sums = [50.0, 100.0, 150.0, 200.0, 250.0]
    wanted = [(2, [_point("price", 50.0), _point("sum", v)]) for v in sums]
    made = completed(model, _pieces(*wanted, (1, [_point("price", 100.0), _point("sum", 300.0)])), _rng())
    assert sorted(made) == list(range(6))
    assert [made[i]["sum"].to_pylist() for i in range(6)] == [*([v, v] for v in sums), [300]]
    assert [made[i]["price"].to_pylist() for i in range(6)] == [*[[50, 50]] * 5, [100]]
    drawn = model.generator.rows  # type: ignore[attr-defined]
    assert drawn[0] == 11 and all(n <= 2 * 4**power for power, n in enumerate(drawn[1:], 1)) and len(drawn) <= 5


def _rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_only_few_rows_that_ask_for_single_values_are_completed(orders: tuple[pd.DataFrame, SequentialTrees]) -> None:
    """At most eight; not a range, two values or two points, nor without any condition."""
    one = ColumnCondition("shop", values=("north",))
    missing = ColumnCondition("note", values=(None,), missing=True)
    pieces = _pieces(
        (8, [one]),
        (9, [one]),
        (2, [one, ColumnCondition("weight", low=1.0, high=2.0)]),
        (2, [ColumnCondition("weight", low=1.0, high=2.0, points=(1.0, 2.0))]),
        (2, [ColumnCondition("shop", values=("north", "south"))]),
        (2, []),
        (3, [one, missing]),
    )
    model = _counting(orders[1])
    made = completed(model, pieces, _rng())
    assert {place: rows.num_rows for place, rows in made.items()} == {0: 8, 6: 3}
    assert made[6]["note"].to_pylist() == [None] * 3 and made[0]["shop"].to_pylist() == ["north"] * 8
    assert completed(replace(model, generator=Counted(model.generator, fills=False)), pieces, _rng()) == {}
    rules: Any = model.rules
    assert completed(replace(model, rules=replace(rules, extra=(Unique(("price",)),))), pieces, _rng()) == {}


def test_a_number_can_be_asked_to_be_missing() -> None:
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"x": pd.Series(rng.normal(0, 1, 300)).where(rng.random(300) < 0.7).round(1)})
    table["y"] = np.where(table.x.isna(), "no", rng.choice(["a", "b"], 300))
    model = _counting(SequentialTrees(seed=0, verbose=False).fit(table))
    made = completed(model, _pieces((4, [ColumnCondition("x", missing=True)]), (4, [_point("x", 0.5)])), _rng())
    assert made[0]["x"].to_pylist() == [None] * 4 and made[1]["x"].to_pylist() == [0.5] * 4
    assert set(made[0]["y"].to_pylist()) == {"no"}
    assert model.generator.rows == [8]  # type: ignore[attr-defined]


def test_rows_are_completed_together_or_not_at_all(
    orders: tuple[pd.DataFrame, SequentialTrees], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five that ask for one sum of two shops the third was not found."""
    model = _counting(orders[1])
    drawn = pa.table({"at": [0, 1, 2, 3, 4]}), np.array([True, True, True, False, True])
    monkeypatch.setattr(completion._Asked, "drawn", lambda self, rng: drawn)
    pieces = _pieces(*((n, [_point("sum", 50.0)]) for n in (2, 2, 1)))
    found = completed(model, pieces, np.random.default_rng(0))
    assert {place: rows["at"].to_pylist() for place, rows in found.items()} == {0: [0, 1], 2: [4]}
