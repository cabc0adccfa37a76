"""Columns of sequences whose values often stay: which they are, how they are learned, and that they come back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related.grouping import Family
from raysynth.related.siblings import AS_BEFORE, Siblings, Walk, _means_before, _runs_before, _ties
from raysynth.schema.columns import ColumnSchema, Kind

PARENTS, STEPS = 60, 8


def histories() -> tuple[pa.Table, Family]:
    """Town stays in nine of ten steps (of eight towns), mood is drawn anew in each."""
    rng = np.random.default_rng(0)
    town = rng.integers(0, 8, (PARENTS, STEPS))
    for step in range(1, STEPS):
        town[:, step] = np.where(rng.random(PARENTS) < 0.9, town[:, step - 1], town[:, step])
    mood = rng.integers(0, 3, PARENTS * STEPS)
    names = np.array(list("ABCDEFGH"))
    rows = pa.table({"town": names[town.ravel()], "mood": names[mood]})
    return rows, Family.of(np.repeat(np.arange(PARENTS), STEPS), PARENTS, np.tile(np.arange(STEPS), PARENTS))


def test_values_that_mostly_stay_are_learned_as_staying_and_come_back() -> None:
    rows, family = histories()
    columns = tuple(ColumnSchema(name, Kind.CATEGORICAL, "string") for name in rows.column_names)
    siblings = Siblings(columns, is_sequence=True).with_repeated(rows, family)
    assert siblings.repeated == {"town"}
    assert not Siblings(columns, is_sequence=False).with_repeated(rows, family).repeated
    learned = rows.set_column(0, "town", siblings.forward(rows, family)["town"])
    town = np.array(rows["town"].to_pylist()).reshape(PARENTS, STEPS)
    shown = np.array(learned["town"].to_pylist()).reshape(PARENTS, STEPS)
    assert (shown[:, 0] == town[:, 0]).all()
    assert ((shown[:, 1:] == AS_BEFORE) == (town[:, 1:] == town[:, :-1])).all()
    last: pa.Table | None = None
    for step in range(STEPS):
        last = siblings.inverse(learned.take(pa.array(np.arange(PARENTS) * STEPS + step)), last)
        assert last["town"].to_pylist() == town[:, step].tolist()


def test_numbers_that_repeat_the_row_before_are_exactly_it() -> None:
    """A flight stays in half of the steps; goals are mostly none, which is no repetition, and a size is always new."""
    rng = np.random.default_rng(1)
    flight = rng.integers(0, 900, (PARENTS, STEPS))
    for step in range(1, STEPS):
        flight[:, step] = np.where(rng.random(PARENTS) < 0.5, flight[:, step - 1], flight[:, step])
    n = PARENTS * STEPS
    goals = np.where(rng.random(n) < 0.8, 0, rng.integers(1, 30, n))
    rows = pa.table({"flight": flight.ravel(), "goals": goals, "size": rng.normal(size=n)})
    family = Family.of(np.repeat(np.arange(PARENTS), STEPS), PARENTS, np.tile(np.arange(STEPS), PARENTS))
    columns = tuple(
        ColumnSchema(n, Kind.CONTINUOUS, "double" if n == "size" else "int64", decimals=None if n == "size" else 0)
        for n in rows.column_names
    )
    siblings = Siblings(columns, is_sequence=True).with_repeated(rows, family)
    assert siblings.echoed == {"flight"} and not siblings.repeated
    assert list(siblings.learned({c.name: c for c in columns})) == ["flight as before", *rows.column_names]
    stays = siblings.forward(rows, family)["flight as before"].to_numpy().reshape(PARENTS, STEPS)
    assert not stays[:, 0].any() and (stays[:, 1:] == (flight[:, 1:] == flight[:, :-1])).all()
    blurred = np.where(stays == 1, -1, flight)  # what is drawn of a number that stays does not matter
    drawn = pa.table({"flight as before": stays.ravel(), "flight": blurred.ravel()})
    last: pa.Table | None = None
    for step in range(STEPS):
        last = siblings.inverse(drawn.take(pa.array(np.arange(PARENTS) * STEPS + step)), last)
        assert last.column_names == ["flight"] and last["flight"].to_pylist() == flight[:, step].tolist()


def test_runs_before_a_row_are_those_of_the_last_value_without_a_break() -> None:
    """Two families, the rows in another order than theirs."""
    code, place = np.array([7, 7, 9, 7, 7, 7, 7, 7]), np.array([0, 1, 2, 3, 4, 5, 0, 1])
    expected = np.array([np.nan, 1, 2, 1, 1, 2, np.nan, 1])
    mixed = np.array([5, 2, 7, 0, 4, 1, 6, 3])
    order = np.argsort(mixed)
    np.testing.assert_array_equal(_runs_before(code[mixed], order, place[mixed]), expected[mixed])


def test_a_first_row_that_was_drawn_as_the_one_before_has_the_value_of_another() -> None:
    siblings = Siblings((ColumnSchema("town", Kind.CATEGORICAL, "string"),), True, frozenset({"town"}))
    drawn = pa.table({"town": ["A", AS_BEFORE, "B", AS_BEFORE, AS_BEFORE]})
    assert value_of(lambda: siblings.inverse(drawn, None))["town"].to_pylist() == ["A", "B", "B", "B", "A"]


def test_a_walk_knows_for_how_many_rows_a_value_has_stayed() -> None:
    siblings = Siblings((ColumnSchema("town", Kind.CATEGORICAL, "string"),), True)
    walk = Walk(siblings, None, {}).add(pa.table({"town": ["A", "B", "C"]}), np.arange(3))
    assert walk.known["town"][0].tolist() == [1, 1, 1]
    walk = walk.add(pa.table({"town": ["A", "B", "A"]}), np.arange(3))
    assert walk.known["town"][0].tolist() == [2, 2, 1]
    walk = walk.add(pa.table({"town": ["A", "A"]}), np.array([0, 2]))
    assert walk.known["town"][0].tolist() == [3, 2]


def test_ties_with_the_row_before_stand_beside_those_by_chance() -> None:
    code, before = np.array([0, 0, 1, 1, 0, -1]), np.array([-1, 0, 1, 2, 3, 4])
    assert _ties(code, before, np.arange(1, 6), -1) == pytest.approx((2 / 5, 3 / 6 * 3 / 5 + 2 / 6 * 2 / 5))
    assert _ties(code, before, np.arange(1, 6), 0) == pytest.approx((1 / 2, 2 / 6))
    assert _ties(code, before, np.array([], int), -1) == (0.0, 0.0)


def test_means_before_a_row_are_of_its_own_sequence() -> None:
    x, place = np.array([1.0, 3.0, np.nan, 5.0, 10.0, 20.0]), np.array([0, 1, 2, 3, 0, 1])
    np.testing.assert_allclose(_means_before(x, np.arange(6), place), [np.nan, 1, 2, 2, np.nan, 10])
