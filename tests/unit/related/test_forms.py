"""Columns as they are learned, and how made rows find parents, against loops over rows."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.errors import DataError
from raysynth.related import distinct, making
from raysynth.related.forms import Forms, day_in, of_type
from raysynth.related.grouping import NO_PARENT, Family, kinds_of
from raysynth.related.making import Made
from raysynth.related.rules import check_rules
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation, TableKeys

DAY = ColumnSchema("day", Kind.DATETIME, "timestamp[s]", nullable=True)
SIZE = ColumnSchema("size", Kind.CONTINUOUS, "double", decimals=1)
PARENT_N = np.array([1, 0, NO_PARENT, 1, 2, 0])
FAMILY = Family.of(PARENT_N, 3, np.array([0, 1, 2, 5, 4, 3]))
PARENTS = pa.table({"from": pa.array([86_400 * 10, 86_400 * 20, None], pa.timestamp("s")), "least": [1.23, 4.0, 2.5]})


@pytest.mark.parametrize(
    ("kind", "beside", "sign"),
    [(">=", [4.0, 1.3, 2.5, 4.0, 2.5, 1.3], 1), (">", [4.0, 1.2, 2.5, 4.0, 2.5, 1.2], 1),
     ("<=", [4.0, 1.2, 2.5, 4.0, 2.5, 1.2], -1), ("<", [4.0, 1.3, 2.5, 4.0, 2.5, 1.3], -1)],
)  # fmt: skip
def test_differences_from_the_parents_value_keep_the_rule_on_the_grid(
    kind: str, beside: list[float], sign: int
) -> None:
    """Of tenths the parent's value is the next tenth on the side that keeps the rule; without one, the median's."""
    rule = CrossTableRule.parse(f"c.size {kind} p.least")
    forms = Forms((SIZE,), {"size": rule}, None)
    size = np.array(beside) + sign * np.array([0.0, 0.5, 1.0, 2.0, 0.1, 9.0])
    rows = pa.table({"size": size})
    learned = value_of(lambda: forms.forward(rows, PARENTS, FAMILY))
    np.testing.assert_allclose(learned["size"].to_numpy(), [0.0, 0.5, 1.0, 2.0, 0.1, 9.0])
    assert forms.schema[0].decimals == 1
    back = value_of(lambda: forms.inverse(pa.table(learned), PARENTS, PARENT_N))
    np.testing.assert_allclose(back["size"].to_numpy(), size)


@pytest.mark.parametrize("kind", [None, ">=", "<="])
def test_an_order_is_learned_by_its_first_value_and_its_steps(kind: str | None) -> None:
    """Row after row of each family the values come back; those that are learned as they are do not pass the bound."""
    x = np.array([30.0, 12.0, 50.0, 44.0, 90.0, 15.0]) * 86_400
    rows = pa.table({"day": pa.array(x.astype(int), pa.timestamp("s"))})
    compared = {} if kind is None else {"day": CrossTableRule.parse(f"c.day {kind} p.from")}
    forms = Forms((DAY,), compared, "day")
    learned = value_of(lambda: forms.forward(rows, PARENTS, FAMILY))
    assert list(learned) == ["first day", "step of day"] == [c.name for c in forms.schema]
    before = [
        next((j for j in range(6) if PARENT_N[j] == p and FAMILY.place[j] == FAMILY.place[i] - 1), None)
        if p != NO_PARENT
        else None
        for i, p in enumerate(PARENT_N)
    ]
    steps = [0.0 if b is None else x[i] - x[b] for i, b in enumerate(before)]
    assert learned["step of day"].to_pylist() == steps
    parent_days = {1: 20, 0: 10, 2: 20, NO_PARENT: 20}
    bound = np.array([parent_days[p] for p in PARENT_N.tolist()]) * 86_400.0
    first = np.array([x[i] if b is None else x[b] for i, b in enumerate(before)])
    shown = first - (bound if kind == ">=" else 0.0)
    assert (
        pa.array(learned["first day"]).cast(pa.int64()).to_pylist()
        == (np.abs(shown) if kind == ">=" else first).tolist()
    )
    value = np.zeros(6)
    for place in (0, 1):
        own = np.flatnonzero(FAMILY.place == place)
        drawn = pa.table({n: v.take(pa.array(own)) for n, v in learned.items()})
        previous = None if place == 0 else np.array([value[before[i]] for i in own])  # type: ignore[index]
        value[own] = value_of(lambda drawn=drawn, previous=previous: forms.absolute(drawn, previous))
    name, days = value_of(lambda: forms.order_column(value, PARENTS, PARENT_N))
    found = np.array(days.cast(pa.int64()).to_pylist())
    assert name == "day" and found.tolist() == (np.minimum(x, bound) if kind == "<=" else x).tolist()
    below = Forms((DAY,), {"day": CrossTableRule.parse("c.day < p.from")}, "day")
    latest = below.order_column(np.full(6, 1e9), PARENTS, PARENT_N)[1].cast(pa.int64()).to_numpy()
    assert latest.tolist() == (bound - 1).tolist()


def test_the_time_of_the_day_is_learned_beside_the_day() -> None:
    forms = Forms((DAY,), {}, None, frozenset({"day"}))
    seconds = [86_400 * 3 + 3_600, 86_400 * 4, None]
    rows = pa.table({"day": pa.array(seconds, pa.timestamp("s"))})
    family = Family(np.full(3, NO_PARENT), np.zeros(3, int), np.zeros(0, int))
    learned = value_of(lambda: forms.forward(rows, None, family))
    assert learned["time of day"].to_pylist() == [3_600, 0, None] and [c.name for c in forms.schema] == [
        "time of day",
        "day",
    ]
    drawn = pa.table({"day": rows["day"], "time of day": pa.array([86_500, -5, None])})
    back = value_of(lambda: forms.inverse(drawn, None, family.parent))
    assert back["day"].cast(pa.int64()).to_pylist() == [86_400 * 4 - 1, 86_400 * 4, None], "within the day"
    assert back.column_names == ["day"]
    assert value_of(lambda: forms.inverse(drawn, None, family.parent, {"day"}))["day"].equals(rows["day"])
    assert [day_in(t) for t in (pa.timestamp("s"), pa.timestamp("ns"), pa.date32())] == [86_400, 86_400e9, 1]


def test_numbers_become_values_of_their_type() -> None:
    def made(x: list[float], dtype: str, decimals: int | None = None) -> list[Any]:
        kind = Kind.DATETIME if "[" in dtype else Kind.CONTINUOUS
        return value_of(lambda: of_type(np.array(x), ColumnSchema("c", kind, dtype, decimals=decimals))).to_pylist()

    assert made([1.26, np.nan], "double", 1) == [1.3, None] and made([1.26], "double") == [1.26]
    assert made([1.6, np.nan], "int32") == [2, None] and str(made([1.265], "decimal128(5, 1)")[0]) == "1.3"
    assert made([1.6, np.nan], "date32[day]") == [datetime.date(1970, 1, 3), None]
    time = ColumnSchema("c", Kind.DATETIME, "timestamp[ns]")
    assert of_type(np.array([1499.0, 1501.0]), time).cast(pa.int64()).to_pylist() == [1000, 2000]
    micro = ColumnSchema("c", Kind.DATETIME, "timestamp[us]")
    assert of_type(np.array([1499.0]), micro).cast(pa.int64()).to_pylist() == [1499]


def test_repeated_combinations_are_found_and_partners_want_the_same() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(NO_PARENT, 4, 60), rng.integers(NO_PARENT, 3, 60)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    found = value_of(lambda: distinct.repeats([first, second]))
    assert found.tolist() == [i for i, p in enumerate(pairs) if p in pairs[:i]]
    wanted = rng.integers(NO_PARENT, 5, 60)
    drawn = [value_of(lambda: distinct._partners(np.arange(60), wanted, rng)) for _ in range(200)]
    assert all((wanted[d] == wanted).all() for d in drawn)
    for row in range(5):
        assert {int(d[row]) for d in drawn} == set(np.flatnonzero(wanted == wanted[row]).tolist())


KEY = Relation.parse("c.p -> p.id")


@pytest.mark.parametrize("nullable", [True, False])
def test_rows_of_a_reference_table_are_as_drawn_or_any(nullable: bool) -> None:
    relation = Relation("p", "c", ("id",), ("p",), nullable=nullable)
    rng, name = np.random.default_rng(0), making.place_of(relation)
    drawn = value_of(lambda: making._places(pa.table({name: [3, None, 0] * 50}), relation, 4, rng)).reshape(-1, 3)
    assert (drawn[:, [0, 2]] == [3, 0]).all()
    lost = set(drawn[:, 1].tolist())
    assert lost == ({NO_PARENT} if nullable else {0, 1, 2, 3})
    anyone = value_of(lambda: making._places(pa.table({"x": [1] * 90}), relation, 4, rng))
    assert set(anyone.tolist()) == {0, 1, 2, 3}
    assert kinds_of(pa.table({"x": [1, None]}), "x", 7).tolist() == [1, NO_PARENT]
    assert kinds_of(pa.table({"x": [1, None]}), "y", 7).tolist() == [7, 7]


def test_rows_see_their_parents_and_what_these_see() -> None:
    parents = Made(pa.table({"age": [10, 20]}), pa.table({"root: town": ["a", "b"]}), {}, np.zeros(2, int))
    seen = value_of(lambda: making.context_of(["p: age", "root: town"], parents, "p", np.array([1, NO_PARENT, 0])))
    assert seen["p: age"].to_pylist() == [20, None, 10] and seen["root: town"].to_pylist() == ["b", None, "a"]


def test_keys_of_several_parents_do_not_repeat_after_exchanges() -> None:
    """Twenty of the fifty pairs of five and ten: dealt at random they repeat, and at last each stands once."""
    one, two = Relation("p", "c", ("id",), ("p",)), Relation("q", "c", ("id",), ("q",))
    rng = np.random.default_rng(1)
    parents = {one: np.repeat(np.arange(5), 4), two: rng.permutation(np.tile(np.arange(10), 2))}
    made = Made(pa.table({"x": np.arange(20)}), pa.table({}), dict(parents), np.zeros(20, int))
    model: Any = SimpleNamespace(plan=SimpleNamespace(keys=[("p", "q")], matched=[two]))
    assert len(distinct.repeats(list(parents.values())))
    value_of(lambda: distinct.exchange_parents(model, made.rows, made.parents, rng))
    assert not len(distinct.repeats([made.parents[one], made.parents[two]]))
    assert np.bincount(made.parents[two]).tolist() == [2] * 10
    other: Any = SimpleNamespace(plan=SimpleNamespace(keys=[("p", "z"), ("p",)], matched=[two]))
    kept = Made(made.rows, made.context, {one: parents[one], two: np.zeros(20, int)}, made.place)
    distinct.exchange_parents(other, kept.rows, kept.parents, rng)
    assert not kept.parents[two].any(), "a key of other columns is none of theirs"


@pytest.mark.parametrize(
    ("rule", "own", "theirs", "n_broken"),
    [
        ("c.x >= p.y", [1.0, 2.0, None, 9.0], [2.0, 2.0, 5.0], 1),
        ("c.x > p.y", [1.0, 2.0, None, 9.0], [2.0, 2.0, 5.0], 2),
        ("c.x <= p.y", [1.0, 2.0, None, 9.0], [2.0, 2.0, 5.0], 1),
        ("c.x < p.y", [1.0, 2.0, 3.0, 9.0], [2.0, None, 1.0], 1),
        ("p.y = sum(c.x)", [1.0, 2.0, None, 4.0], [3.0, 4.0, 0.0], 0),
        ("p.y = sum(c.x)", [1.0, 2.0, None, 4.0], [3.0 + 1e-5, 4.0 + 3e-6, 1e-5], 2),
        ("p.y = sum(c.x)", [1e6, -1e6, None, 4.0], [1.0, None, 0.0], 0),  # relative to what was added
        ("p.y = count(c)", [1.0, 2.0, None, 4.0], [3.0, 1.0, 1.0], 2),
        ("p.y = count(c)", [1.0, 2.0, None, 4.0], [2.0, 1.0, 0.0], 0),
        ("c.x == p.y", [2.0, 2.0, None, None], [2.0, None, 5.0], 0),
        ("c.x == p.y", [2.0, 3.0, 5.0, None], [2.0, 1.0, 5.0], 2),
    ],
)
def test_rows_that_break_a_rule_are_counted(
    rule: str, own: list[float | None], theirs: list[float | None], n_broken: int
) -> None:
    """The first parent has two children, the second one, the third none; one row has no parent."""
    from raysynth.data.table import as_table

    parsed, parent_N = CrossTableRule.parse(rule), np.array([0, 0, NO_PARENT, 1])
    rows = {"c": pa.table({"x": pa.array(own, pa.float64())}), "p": pa.table({"y": pa.array(theirs, pa.float64())})}
    tables = {n: as_table(t) for n, t in rows.items()}
    keys = (TableKeys("c", ()), TableKeys("p", ()))
    schema = DatabaseSchema(keys, (KEY,), (parsed,))

    def check() -> None:
        check_rules(schema, tables, rows, {KEY: parent_N})

    if n_broken:
        with pytest.raises(
            DataError,
            match=rf"does not hold in {n_broken} of {len(rows[parsed.child if '(' not in rule else 'p'])} rows",
        ):
            check()
    else:
        value_of(check)


def test_the_first_row_of_each_whole_key_is_kept() -> None:
    rows = pa.table({"a": ["x", "y", "x", None, "x", "y"], "b": pa.array([1, 1, 1, 1, 2, None])})
    assert value_of(lambda: distinct._first_of_each(rows, ("a", "b"))).tolist() == [0, 1, 4]
    assert value_of(lambda: distinct._first_of_each(rows, ("a",))).tolist() == [0, 1]
