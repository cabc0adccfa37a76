"""Keys of children that hold learned columns: no made row repeats one, whatever models of rows know."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of
from unit.related.measures import pointing_nowhere

from raysynth import RelationalSynthesizer, load_synthetic_model
from raysynth.related import writing
from raysynth.related.distinct import TRIES, FamilyKeys, _moved, distinct_roots, exchange_parents, repeats, say_fewer
from raysynth.related.grouping import numbers
from raysynth.related.plan import wanted_of
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

TREES = {"n_trees": 2}


def ward(seed: int = 0, patients: int = 150) -> tuple[dict[str, pd.DataFrame], DatabaseSchema]:
    """Patients, visits with a key of patient and day, tests with one of visit and what is tested."""
    rng = np.random.default_rng(seed)
    visits = [(p, d) for p in range(patients) for d in rng.choice(40, rng.integers(1, 12), replace=False)]
    found = pd.DataFrame(visits, columns=["patient", "day"])
    found["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(found["day"], unit="D")
    found["ward"] = rng.choice(["a", "b"], len(found))
    tests = found.loc[np.repeat(np.arange(len(found)), rng.integers(0, 4, len(found))), ["patient", "day"]]
    tests = tests.assign(test=rng.choice(["Na", "K", "CRP", "Hb"], len(tests))).drop_duplicates(ignore_index=True)
    tables = {
        "patients": pd.DataFrame({"id": range(patients), "age": rng.integers(20, 80, patients)}),
        "visits": found.sort_values(["patient", "day"], ignore_index=True),
        "tests": tests.assign(value=rng.normal(size=len(tests))),
    }
    keys = (
        TableKeys("patients", ("id",)),
        TableKeys("visits", ("patient", "day")),
        TableKeys("tests", ("patient", "day", "test")),
    )
    relations = "visits.patient -> patients.id", "tests.(patient,day) -> visits.(patient,day)"
    return tables, DatabaseSchema(keys, tuple(map(Relation.parse, relations)))


def test_no_key_of_a_parent_and_learned_columns_repeats(tmp_path: Path) -> None:
    tables, schema = ward()
    model = value_of(
        lambda: RelationalSynthesizer(relations=schema, seed=1, verbose=False, parameters=TREES).fit(tables)
    )
    made = model.sample(scale=2.0, seed=3)
    for keys in schema.tables:
        assert not made[keys.name].duplicated(list(keys.primary_key)).any()
        assert len(made[keys.name]) == pytest.approx(2 * len(tables[keys.name]), rel=0.15)
    assert all(pointing_nowhere(made, r) == 0 for r in schema.relations)
    assert made["visits"]["day"].between(tables["visits"]["day"].min(), tables["visits"]["day"].max()).all()
    model.sample_database(tmp_path / "ward.db", seed=3)
    with sqlite3.connect(tmp_path / "ward.db") as connection:
        assert connection.execute("SELECT count(*) FROM visits").fetchone()[0] > 0.8 * len(tables["visits"])


def test_a_key_of_matched_parents_and_a_learned_column_does_not_repeat() -> None:
    rng = np.random.default_rng(0)
    lines = pd.DataFrame({"order": rng.integers(0, 300, 2000), "product": rng.integers(0, 40, 2000)})
    lines["size"] = rng.choice(["S", "M", "L"], 2000)
    tables = {
        "orders": pd.DataFrame({"id": range(300), "day": rng.integers(1, 365, 300)}),
        "products": pd.DataFrame({"id": range(40), "price": rng.integers(1, 90, 40)}),
        "lines": lines.drop_duplicates(ignore_index=True),
    }
    names = (TableKeys("orders", ("id",)), TableKeys("products", ("id",)), TableKeys("lines", tuple(lines)))
    relations = tuple(map(Relation.parse, ("lines.order -> orders.id", "lines.product -> products.id")))
    model = RelationalSynthesizer(relations=DatabaseSchema(names, relations), seed=1, verbose=False, parameters=TREES)
    made = value_of(lambda: model.fit(tables).sample(seed=2))
    assert not made["lines"].duplicated(list(lines)).any()


def test_few_values_for_many_children_are_said_and_not_repeated() -> None:
    rng = np.random.default_rng(0)
    parents = pd.DataFrame({"id": range(80), "x": rng.normal(size=80)})
    children = pd.DataFrame([(p, c) for p in range(80) for c in "abc"], columns=["parent", "letter"])
    keys = TableKeys("parents", ("id",)), TableKeys("children", ("parent", "letter"))
    schema = DatabaseSchema(keys, (Relation.parse("children.parent -> parents.id"),))
    model = RelationalSynthesizer(relations=schema, seed=1, verbose=False, parameters=TREES)
    made = value_of(lambda: model.fit({"parents": parents, "children": children}).sample(seed=2)["children"])
    assert not made.duplicated().any() and len(made) > 150


@pytest.mark.parametrize("unit", [1.0, 86_400.0, 7.0])
def test_numbers_are_moved_to_the_next_free_ones_of_their_group(unit: float) -> None:
    group = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
    x = np.array([4, 4, 5, 4, 6, 9, 9, 8, 0, np.nan]) * unit
    moved = _moved(x, group, np.append(np.ones(9, bool), False))
    assert (moved[:9] / unit).tolist() == [4, 5, 6, 4, 6, 8, 9, 7, 0] and np.isnan(moved[9])


def test_numbers_that_differ_or_lie_on_no_grid_stay() -> None:
    rng = np.random.default_rng(1)
    group, x = rng.integers(0, 50, 400), rng.permutation(4000)[:400].astype(float)
    assert (_moved(x, group, np.ones(400, bool)) == x).all()
    assert (_moved(x * 0 + 0.5, group, np.ones(400, bool)) == 0.5).all()
    crowded = _moved(np.array([1.0, 1.0, 1.0, 2.0]), np.zeros(4, np.int64), np.ones(4, bool))
    assert set(crowded) == {1.0, 2.0}  # more rows than numbers: some stay equal, none leaves the range


def test_rows_without_a_parent_repeat_nothing() -> None:
    keys = FamilyKeys({("day",): True}, {"day": ColumnSchema("day", Kind.CONTINUOUS, "int64", decimals=0)})
    rows, parent = pa.table({"day": [3, 3, 3, 3, 8]}), np.array([0, 0, -1, -1, 1])
    assert keys.repeated(rows, parent).tolist() == [False, True, False, False, False]
    moved, kept = keys.without_repeats(rows, parent)
    assert moved["day"].to_pylist() == [3, 4, 3, 3, 8]
    assert kept.tolist() == [0, 1, 2, 3, 4]
    whole = FamilyKeys({("day",): False}, keys.movable)
    assert whole.repeated(rows, parent).tolist() == [False, True, True, True, False]
    assert len(set(whole.without_repeats(rows, parent)[0]["day"].to_pylist())) == 5


def test_a_key_of_a_time_alone_tells_all_rows_apart() -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(200), rng.poisson(4, 200))
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.choice(4000, len(owner), replace=False), unit="min")
    tables = {"meters": pd.DataFrame({"id": range(200), "kind": rng.choice(["a", "b"], 200)})}
    tables["readings"] = pd.DataFrame({"at": at, "meter": owner, "value": rng.normal(size=len(owner))})
    keys = TableKeys("meters", ("id",)), TableKeys("readings", ("at",))
    schema = DatabaseSchema(keys, (Relation.parse("readings.meter -> meters.id"),))
    made = value_of(
        lambda: (
            RelationalSynthesizer(relations=schema, seed=1, verbose=False, parameters=TREES).fit(tables).sample(seed=2)
        )
    )
    assert not made["readings"]["at"].duplicated().any()
    assert len(made["readings"]) == pytest.approx(len(owner), rel=0.1)


def earlier(rows: list[tuple[object, ...]]) -> list[int]:
    return [i for i, row in enumerate(rows) if row in rows[:i]]


@pytest.mark.parametrize("seed", range(5))
def test_rows_whose_numbers_are_those_of_an_earlier_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(-1, 4, 30), rng.integers(-1, 2, 30), rng.integers(0, 3, 30)]
    for n in (1, 2, 3):
        assert value_of(lambda n=n: repeats(columns[:n])).tolist() == earlier(list(zip(*columns[:n], strict=True)))


@pytest.mark.parametrize("seed", range(8))
def test_repeated_numbers_of_a_family_take_the_next_free_ones(seed: int) -> None:
    """Upwards, and from the upper end downwards; a missing one stays, and rows without a parent."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(24) < 0.1, np.nan, rng.integers(0, 9, 24) * 5.0 + 100)
    x[:2] = 100, 140
    parent = rng.integers(-1, 4, 24)
    keys = FamilyKeys({("x",): True}, {"x": ColumnSchema("x", Kind.CONTINUOUS, "double")})
    rows, kept = value_of(lambda: keys.without_repeats(pa.table({"x": pa.array(x, mask=np.isnan(x))}), parent))
    found = numbers(rows.column("x"))
    low, high = np.nanmin(x[parent >= 0]), np.nanmax(x[parent >= 0])
    lost = []
    for p in range(4):
        at = [i for i in np.argsort(x, kind="stable").tolist() if parent[i] == p and not np.isnan(x[i])]
        places = [round((x[i] - low) / 5) for i in at]
        for i in range(1, len(places)):
            places[i] = max(places[i], places[i - 1] + 1)
        places = [min(v, round((high - low) / 5)) for v in places]
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - 1)
        assert found[at].tolist() == [low + 5 * max(v, 0) for v in places]
        lost += [at[i] for i in range(1, len(at)) if max(places[i], 0) == max(places[i - 1], 0)]
    stays = np.flatnonzero((parent < 0) | np.isnan(x))
    np.testing.assert_array_equal(found[stays], x[stays])
    missing = [i for i in range(24) if np.isnan(x[i]) and parent[i] >= 0 and any(
        np.isnan(x[j]) and parent[j] == parent[i] for j in range(i))]  # fmt: skip
    assert sorted(set(range(24)) - set(kept.tolist())) == sorted(
        i for i in range(24) if i in missing or (parent[i] >= 0 and not np.isnan(x[i]) and any(
            found[j] == found[i] and parent[j] == parent[i] for j in range(i))))  # fmt: skip
    assert not lost or len(kept) < 24


@pytest.mark.parametrize("of_one", [True, False])
def test_a_key_tells_the_rows_of_one_parent_or_of_all_apart(of_one: bool) -> None:
    rows = pa.table({"a": ["x", "x", "y", "x", "x", "x"], "b": [1, 1, 1, 1, 1, 2]})
    parent = np.array([0, 0, 0, 1, -1, -1])
    keys = FamilyKeys({("a", "b"): of_one}, {})
    expected = [False, True, False, False, False, False] if of_one else [False, True, False, True, True, False]
    assert value_of(lambda: keys.repeated(rows, parent)).tolist() == expected
    same, kept = keys.without_repeats(rows, parent)
    assert same.equals(rows) and kept.tolist() == [i for i, r in enumerate(expected) if not r]
    without = np.full(6, -1)
    assert keys.repeated(rows, without).any() != of_one


def table_of(*keys: tuple[str, ...], matched: tuple[Relation, ...] = ()) -> Any:
    plan = SimpleNamespace(name="t", keys=keys, matched=matched)
    return SimpleNamespace(plan=plan)


def test_roots_are_drawn_until_there_are_as_many_keys() -> None:
    asked: list[int] = []

    def draw(n: int) -> pa.Table:
        asked.append(n)
        return pa.table({"k": pa.array([None, *range(len(asked) * 3, len(asked) * 3 + 3)])})

    rows = pa.table({"k": pa.array([0, 1, 1, None, 0])})
    found = value_of(lambda: distinct_roots(table_of(("k",), ("other",)), rows, 8, draw))
    assert found["k"].to_pylist() == [0, 1, 3, 4, 5, 6, 7, 8] and asked == [6, 3]
    asked.clear()
    many = value_of(lambda: distinct_roots(table_of(("k",)), pa.table({"k": list(range(97))}), 100, draw))
    assert many.num_rows == 100 and set(asked) == {25}
    asked.clear()
    same = pa.table({"k": [1]})
    with pytest.warns(UserWarning, match="1 of 8 rows made"):
        few = distinct_roots(table_of(("k",)), same, 8, lambda n: asked.append(n) or same)  # type: ignore[func-returns-value]
    assert few.equals(same) and asked == [7] * TRIES


@pytest.mark.filterwarnings("error")
def test_clearly_fewer_rows_are_said() -> None:
    say_fewer(table_of(), 90, 100, ("a", "b"))
    with pytest.warns(UserWarning, match=r"'t': 89 of 100 rows made, since its key \(a, b\) has no more values"):
        say_fewer(table_of(), 89, 100, ("a", "b"))


def test_parents_are_exchanged_between_rows_that_want_the_same_kind() -> None:
    first, second = Relation("p", "t", ("id",), ("p",)), Relation("q", "t", ("id",), ("q",))
    rng = np.random.default_rng(0)
    of_first = np.repeat(np.arange(40), 3)
    of_second = np.concatenate([rng.integers(0, 20, 60), rng.integers(20, 40, 60)])
    wanted = pa.table({wanted_of(second): (of_second >= 20).astype(np.int64)})
    parents = {first: of_first.copy(), second: of_second.copy()}
    before = earlier(list(zip(of_first, of_second, strict=True)))
    value_of(lambda: exchange_parents(table_of(("p", "q"), matched=(second,)), wanted, parents, rng))
    after = list(zip(parents[first], parents[second], strict=True))
    assert before and not earlier(after)
    assert (parents[first] == of_first).all() and sorted(parents[second]) == sorted(of_second)
    assert ((parents[second] >= 20) == (of_second >= 20)).all(), "none goes to a row that wants another kind"
    for key, matched in ((("p", "q"), ()), (("p", "q", "x"), (second,))):
        stays = {first: of_first.copy(), second: of_second.copy()}
        exchange_parents(table_of(key, matched=matched), wanted, stays, rng)
        assert (stays[second] == of_second).all()


def test_rows_that_repeat_a_key_give_way_to_rows_of_other_families_of_their_parent() -> None:
    keys = FamilyKeys({}, {}, (("day", "place"),))
    rows = pa.table({"day": [1, 1, 2, 1, 3, 1, 2, 1], "place": list("aaabaabb")})
    parent = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    instead = keys.instead(rows, parent, np.array([0, 1, 2, 5, 7]))
    assert instead.tolist() == [0, 3, 2, 5, 7]  # of two that are free for the first parent one is needed
    assert keys.instead(rows, parent, np.array([0, 1, 7])).tolist() == [0, 2, 7]
    day = FamilyKeys({}, {"day": ColumnSchema("day", Kind.CONTINUOUS, "int64", decimals=0)}, keys.found)
    assert day.instead(rows, parent, np.array([0, 1, 3, 4, 5, 7])).tolist() == [0, 2, 3, 4, 5, 7], "the place stays"
    assert day.instead(rows, parent, np.array([0, 1])).tolist() == [0, 2]
    crowded = pa.table({"day": [1, 1, 1], "place": list("aaa")})
    assert keys.instead(crowded, np.zeros(3, np.int64), np.array([0, 1])).tolist() == [0, 1], "none is free"
    alone = keys.instead(crowded, np.array([-1, -1, -1]), np.array([0, 1, 2]))
    assert alone.tolist() == [0, 1, 2], "rows without a parent repeat nothing"


def season(seed: int = 0, players: int = 300) -> dict[str, pd.DataFrame]:
    """Players and their rows of a year and a team, which two rows of one player never share."""
    rng = np.random.default_rng(seed)
    rows = [(p, y, t) for p in range(players) for y in range(2000, 2000 + rng.integers(1, 9)) for t in "ab"]
    found = pd.DataFrame(rows, columns=["player", "year", "team"])[rng.random(len(rows)) < 0.7]
    found = found.assign(goals=rng.poisson(3, len(found))).reset_index(drop=True)
    return {
        "players": pd.DataFrame({"id": range(players), "size": rng.normal(180, 8, players).round(1)}),
        "rows": found,
    }


def test_columns_that_tell_children_apart_without_being_declared_do_so_in_made_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tables = season()
    model = RelationalSynthesizer(relations=["rows.player -> players.id"], seed=1, parameters=TREES).fit(tables)
    assert "apart within their parent by: year+team" in capsys.readouterr().out
    made = model.sample(seed=2)["rows"]
    repeated = made.duplicated(["player", "year", "team"]).mean()
    assert repeated < 0.05 < tables["rows"].duplicated(["player", "year"]).mean(), "0.22 if nothing keeps them apart"
    assert len(made) == pytest.approx(len(tables["rows"]), rel=0.1)
    model.save(tmp_path / "m.raysynth")
    again = load_synthetic_model(tmp_path / "m.raysynth").sample(seed=2)["rows"]
    pd.testing.assert_frame_equal(again, made)


@pytest.mark.parametrize("whole", [False, True])
def test_keys_of_learned_columns_do_not_repeat_across_blocks(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a parent and a day, and of a time alone, whichever meter it is of: that table is made at once."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(200), rng.poisson(6, 200))
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.choice(3000, len(owner), replace=False), unit="min")
    tables = {
        "meters": pd.DataFrame({"id": range(200), "kind": rng.choice(["a", "b"], 200)}),
        "readings": pd.DataFrame({"at": at, "meter": owner, "value": rng.normal(size=len(owner))}),
        "shops": pd.DataFrame({"id": range(900), "kind": rng.choice(["a", "b"], 900)}),
    }
    keys = TableKeys("meters", ("id",)), TableKeys("shops", ("id",))
    keys += (TableKeys("readings", ("at",) if whole else ("meter", "at")),)
    schema = DatabaseSchema(keys, (Relation.parse("readings.meter -> meters.id"),))
    model = RelationalSynthesizer(relations=schema, seed=1, verbose=False, parameters=TREES).fit(tables)
    monkeypatch.setattr(writing, "BLOCK_ROWS", 500)
    monkeypatch.setattr(writing, "FEWEST_ROOTS", 20)
    blocks = writing.Blocks.of(model.database_, writing.Request(model._roots(1.0, None, None), 1.0, 2))
    assert blocks.number > 2 and ("readings" in blocks.common) == whole and "shops" not in blocks.common
    made = model.sample(seed=2)
    for own in keys:
        assert not made[own.name].duplicated(list(own.primary_key)).any()
    assert len(made["readings"]) == pytest.approx(len(owner), rel=0.1)
    assert pointing_nowhere(made, schema.relations[0]) == 0
