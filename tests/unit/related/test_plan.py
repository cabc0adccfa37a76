"""Plans of tables: which key brings their rows, which columns are learned, which keys are places or parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.related import located, nested
from raysynth.related.plan import TablePlan, code_of, number_of, place_of, plan_of, wanted_of
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation, TableKeys

ROWS = {"people": 50, "shops": 20, "lands": 5, "orders": 200, "lines": 600}
TYPES = {
    "people": pa.schema([("id", pa.int64()), ("age", pa.int64()), ("total", pa.float64()), ("town", pa.string())]),
    "shops": pa.schema([("id", pa.string()), ("land", pa.int64()), ("size", pa.int64())]),
    "lands": pa.schema([("id", pa.int64()), ("name", pa.string())]),
    "orders": pa.schema(
        [("id", pa.int64()), ("who", pa.int64()), ("shop", pa.string()), ("paid", pa.float64()), ("town", pa.string())]
    ),
    "lines": pa.schema([("order", pa.int64()), ("no", pa.int64()), ("what", pa.int64()), ("x", pa.float64())]),
}
WHO, SHOP = Relation("people", "orders", ("id",), ("who",)), Relation("shops", "orders", ("id",), ("shop",))
LAND, ORDER = Relation("lands", "shops", ("id",), ("land",)), Relation("orders", "lines", ("id",), ("order",))


def planned(
    *relations: Relation,
    rules: tuple[str, ...] = (),
    reference: str = "",
    keys: dict[str, tuple[str, ...]] | None = None,
    **given: Any,
) -> dict[str, TablePlan]:
    tables = tuple(TableKeys(n, (keys or {}).get(n, ()), reference=n == reference) for n in TYPES)
    schema = DatabaseSchema(tables, relations, tuple(map(CrossTableRule.parse, rules)))
    return {p.name: p for p in value_of(lambda: plan_of(schema, TYPES, ROWS, **given))}


def nullable(relation: Relation) -> Relation:
    return Relation(relation.parent, relation.child, relation.parent_key, relation.child_key, nullable=True)


def test_the_closest_parent_brings_the_rows() -> None:
    """By a rule, then a key that may not be missing, that the primary key holds, whose parent has one, by likeness, by
    the number of parents."""

    def primary(*relations: Relation, **given: Any) -> Relation | None:
        return planned(*relations, **given)["orders"].primary

    assert primary(WHO, SHOP) == WHO == primary(SHOP, WHO), "more parents"
    assert primary(WHO, SHOP, alike={SHOP: 0.3, WHO: 0.2}) == SHOP
    assert primary(WHO, SHOP, LAND, alike={WHO: 0.9}) == SHOP, "whose parent has one itself"
    assert primary(WHO, SHOP, LAND, keys={"orders": ("who", "id")}) == WHO, "within the primary key"
    assert primary(nullable(WHO), SHOP, keys={"orders": ("who", "id")}) == SHOP
    ruled = primary(nullable(WHO), SHOP, rules=("orders.paid >= people.age",))
    assert ruled == nullable(WHO)
    assert primary(WHO, SHOP, reference="people") == SHOP and primary() is None
    assert planned(WHO, SHOP, located={WHO})["orders"].primary == SHOP


def test_columns_are_learned_but_for_keys_copies_and_totals() -> None:
    rules = ("people.total = sum(orders.paid)", "orders.town == people.town")
    plans = planned(
        WHO, SHOP, LAND, ORDER, rules=rules, reference="lands", keys={"people": ("id",), "lines": ("order", "no")}
    )
    people, orders, shops, lines = (plans[n] for n in ("people", "orders", "shops", "lines"))
    assert (
        list(plans).index("people") < list(plans).index("orders") < list(plans).index("lines") and "lands" not in plans
    )
    assert people.learned == ("age", "town") and people.made == ("id",) and people.keys == ()
    assert [r.kind for r in people.totals] == ["sum"] and not people.copies and people.brings == (WHO,)
    assert orders.learned == ("paid",) and orders.copies == {"town": "town"} and not orders.totals
    assert orders.matched == (SHOP,) and orders.foreign == {"who", "shop"} and orders.brings == (ORDER,)
    assert shops.references == (LAND,) and shops.foreign == {"land"} and shops.learned == ("size",)
    assert lines.keys == (("order", "no"),) and lines.made == () and lines.learned == ("no", "what", "x")
    compared = planned(WHO, rules=("orders.paid >= people.age",))["orders"]
    assert list(compared.compared) == ["paid"] and "paid" in compared.learned and not compared.copies
    at = planned(WHO, SHOP, located={SHOP})["orders"]
    assert at.located == (SHOP,) and not at.matched and "shop" in at.learned
    assert planned(WHO, SHOP, located={SHOP})["shops"].brings == ()


@pytest.mark.parametrize(
    ("relations", "rules", "said"),
    [
        ((WHO, SHOP), ("orders.paid >= people.age", "orders.paid >= shops.size"), "hold along that key only"),
        ((WHO, Relation("shops", "orders", ("id", "land"), ("shop", "who"))), (), "belongs to another of its keys"),
    ],
)
def test_what_no_plan_fits_is_refused(relations: tuple[Relation, ...], rules: tuple[str, ...], said: str) -> None:
    schema = DatabaseSchema(tuple(map(TableKeys, TYPES)), relations, tuple(map(CrossTableRule.parse, rules)))
    with pytest.raises(SchemaError, match=said):
        plan_of(schema, TYPES, ROWS)


@pytest.mark.parametrize("name", [number_of, code_of])
def test_names_that_are_added_may_not_be_taken(name: Any) -> None:
    schema = DatabaseSchema(tuple(map(TableKeys, TYPES)), (WHO, SHOP))
    for relation, table in ((WHO, "people"), (SHOP, "shops")):
        types = {**TYPES, table: TYPES[table].append(pa.field(name(relation), pa.int64()))}
        with pytest.raises(SchemaError, match=f"'{table}'.*has a name that the model needs"):
            plan_of(schema, types, ROWS)
    wanted = {**TYPES, "orders": TYPES["orders"].append(pa.field(wanted_of(SHOP), pa.int64()))}
    with pytest.raises(SchemaError, match="has a name that the model needs"):
        plan_of(schema, wanted, ROWS)
    free = {**TYPES, "orders": TYPES["orders"].append(pa.field(place_of(SHOP), pa.int64()))}
    assert value_of(lambda: plan_of(schema, free, ROWS))


@pytest.mark.parametrize(("n", "is_grid"), [(18, True), (17, False)])
def test_a_key_is_a_grid_of_which_half_is_filled(n: int, is_grid: bool) -> None:
    """Of six times six; none of fractions."""
    at = np.arange(36)[::1][np.r_[0:6, 6:36:6, [7, 14, 21, 28, 35], 8:36][:n]]
    keys = pa.table({"a": at // 6, "b": at % 6})
    assert keys.num_rows == n and len(set(at.tolist())) == n
    assert value_of(lambda: located._is_grid(keys)) == is_grid
    assert not located._is_grid(keys.set_column(0, "a", keys["a"].cast(pa.float64())))


def test_times_of_the_day_are_learned_where_there_are_some_on_several_days() -> None:
    day = 86_400
    for seconds, has in (([0, day], False), ([5, 7], False), ([5, day], True), ([day + 5, None], False)):
        values = pa.chunked_array([pa.array(seconds, pa.timestamp("s"))])
        assert value_of(lambda values=values: located._has_times(values)) == has


def test_times_of_keys_that_are_places_are_parted_on_both_sides() -> None:
    """Of a child's key, and of a parent's key that another table points to; other times are left."""
    hours = pa.array([5, 86_400 + 7], pa.timestamp("s"))
    rows = pa.table({"hour": hours, "at": hours, "other": hours, "n": [1, 2]})
    weather = Relation("weather", "flights", ("place", "hour"), ("from", "at"))
    flights: Any = SimpleNamespace(name="flights", located=(weather,))
    above: Any = SimpleNamespace(name="weather", located=())
    plans = (above, flights)
    child = value_of(
        lambda: located.parted_times(flights, plans, rows.append_column("from", pa.array(["a", "b"])), set())
    )
    assert child == {"at"}
    parent = value_of(
        lambda: located.parted_times(above, plans, rows.append_column("place", pa.array(["a", "b"])), set())
    )
    assert parent == {"hour"}
    assert located.parted_times(above, plans, rows.append_column("place", pa.array(["a", "b"])), {"hour"}) == set()


def test_the_nearest_parent_is_by_deviations_and_never_of_another_category() -> None:
    parents = pa.table({"place": ["a", "a", "b", "b", None], "hour": [0.0, 10.0, 0.0, 10.0, 3.0]})
    keys = pa.table({"place": ["a", "b", "b", "c"], "hour": [4.0, 6.0, 1e3, 9.0]})
    found = value_of(lambda: located._nearest(keys, parents))
    assert found[:3].tolist() == [0, 3, 3] and found[3] in (1, 3)
    assert located._nearest(keys, parents[4:]).tolist() == [-1] * 4


def parts(**columns: Any) -> Any:
    return as_table(pd.DataFrame(columns), min_rows=0)


def plan(name: str, learned: tuple[str, ...]) -> Any:
    primary = Relation("people", name, ("id",), ("who",))
    return SimpleNamespace(name=name, learned=learned, primary=primary)


@pytest.mark.parametrize(
    ("years", "clubs", "expected"),
    [
        ([1, 2, 1, 1], ["x", "y", "z", "z"], ("who", "year")),
        ([1, 2, 1, 3], ["x", "y", "z", "z"], ("who", "club")),  # a year without a season
        ([1, 2, 1, 3], ["x", "y", "z", "q"], None),
        ([1, 2, 1, 1], ["x", "y", "z", "w"], ("who", "year")),
    ],
)
def test_a_part_has_exactly_one_row_of_the_whole_by_its_shortest_key(
    years: list[int], clubs: list[str], expected: tuple[str, ...] | None
) -> None:
    seasons = parts(who=[1, 1, 2], year=[1, 2, 1], club=["x", "y", "z"], games=[5, 6, 7])
    positions = parts(who=[1, 1, 2, 2], year=years, club=clubs, position=["p", "c", "p", "f"])
    tables = {"seasons": seasons, "positions": positions}
    part, whole = plan("positions", ("year", "club", "position")), plan("seasons", ("year", "club", "games"))
    relation = value_of(lambda: nested._key_between(part, whole, tables))
    assert relation == (None if expected is None else Relation("seasons", "positions", expected, expected))
    if expected != ("who", "year"):
        return
    assert relation is not None
    copied = [r.child_column for r in nested._copies(relation, part, whole, tables)]
    assert copied == (["club"] if clubs[3] == "z" else [])


def test_tables_below_each_other_are_followed() -> None:
    found = {"c": Relation("b", "c", ("x",), ("x",)), "b": Relation("a", "b", ("x",), ("x",))}
    assert nested._is_below("c", "a", found) and nested._is_below("c", "b", found)
    assert not nested._is_below("a", "c", found) and not nested._is_below("b", "c", found)
