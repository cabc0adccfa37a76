"""How what is made is written: whose children a total counts, and the random streams of blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import making, writing
from raysynth.related.distinct import exchange_parents
from raysynth.related.grouping import NO_PARENT
from raysynth.related.making import TRIED, Made, Roots
from raysynth.related.opened import OpenDatabase
from raysynth.related.plan import number_of
from raysynth.related.private import _line, _table_model
from raysynth.related.siblings import Siblings
from raysynth.related.writing import BLOCK_ROWS, Blocks, Output, Request, _is_meant
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import CrossTableRule, Relation
from raysynth.schema.table import TableSchema


def test_a_rule_that_names_its_key_means_that_one() -> None:
    relation: Any = SimpleNamespace(child_key=("buyer",))
    means = {key: _is_meant(SimpleNamespace(child_key=key), relation) for key in ((), ("buyer",), ("seller",))}  # type: ignore[arg-type]
    assert means == {(): True, ("buyer",): True, ("seller",): False}


def test_blocks_and_what_they_share_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    scales: list[float] = []

    def made(models: Any, roots: Any, scale: Any, referenced: Any, rng: np.random.Generator, *shares: Any) -> Any:
        drawn.append(rng.random())
        scales.append(scale)
        return {}

    monkeypatch.setattr(writing, "make_tables", made)
    model: Any = SimpleNamespace(tables={}, roots={}, references={})
    blocks = Blocks(model, Request({}, 1.5, 5), 3, frozenset())
    common = blocks.made_once()
    for index in range(3):
        blocks.block(index, common)
    assert len({*drawn}) == 4 and scales == [1.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("keys", "dtype", "line"),
    [
        ([("order", "line")], "number", "line"),
        ([("order", "line")], "text", None),
        ([("order", "line", "part")], "number", None),
        ([("order",)], "number", None),
        ([("order", "product")], "number", None),
    ],
)
def test_a_number_that_completes_the_key_of_the_parent_numbers_its_rows(
    keys: list[tuple[str, ...]], dtype: str, line: str | None
) -> None:
    schema: Any = {"line": SimpleNamespace(arrow_type=pa.int64() if dtype == "number" else pa.string())}
    plan: Any = SimpleNamespace(primary=SimpleNamespace(child_key=("order",)), keys=keys, foreign={"order", "product"})
    assert value_of(lambda: _line(plan, schema)) == line
    root: Any = SimpleNamespace(primary=None, keys=keys, foreign=set())
    assert value_of(lambda: _line(root, schema)) is None


def test_under_a_budget_siblings_have_no_order() -> None:
    plan: Any = SimpleNamespace(primary=None, keys=[], foreign=set(), made=())
    model = _table_model(plan, (), TableSchema(()), None)
    assert model.siblings == Siblings((), False)


def test_rows_without_a_parent_come_once_however_many_parts_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[int] = []

    def tried(model: Any, parents: Any, own_P: Any, number: Any, n_alone: int, *_: Any) -> tuple[pa.Table, pa.Table]:
        alone.append(n_alone)
        made = pa.table({"x": np.arange(number[own_P].sum() + n_alone)})
        return made, made

    monkeypatch.setattr(making, "_tried", tried)
    monkeypatch.setattr(making, "MOST_TRIED", 8 * TRIED)
    relation = Relation.parse("orders.buyer -> buyers.id")
    same: Any = SimpleNamespace(repaired=lambda rows, number: rows, seen=lambda own: {})
    model: Any = SimpleNamespace(
        plan=SimpleNamespace(primary=relation, keys=()), summaries=same, model=object(), apart=()
    )
    parents = Made(pa.table({number_of(relation): [4, 4, 4, 4, 4]}), pa.table({}), {}, np.zeros(5, np.int64))
    made = making.make_children(model, parents, 3, np.random.default_rng(0))
    assert len(alone) > 1 and alone == [0] * (len(alone) - 1) + [3]
    assert made.rows.num_rows == 23 == len(made.parents[relation])


def test_persons_of_children_are_those_of_their_parents_and_others_are_their_own() -> None:
    buyers, orders = SimpleNamespace(primary=None), SimpleNamespace(primary=Relation.parse("orders.buyer -> buyers.id"))
    database: Any = SimpleNamespace(
        plan={"buyers": buyers, "orders": orders}.__getitem__,
        tables={n: SimpleNamespace(rows=pa.table({"x": range(k)})) for n, k in (("buyers", 3), ("orders", 4))},
        parents={orders.primary: np.array([0, 2, NO_PARENT, NO_PARENT])},
    )
    database.persons = lambda name: OpenDatabase.persons(database, name)
    assert database.persons("buyers").tolist() == [0, 1, 2]
    found = database.persons("orders")
    assert found[:2].tolist() == [0, 2] and found[2] != found[3] and found[2:].min() > 2


@pytest.mark.parametrize(
    ("rows", "conditions", "number"), [(1, None, 1), (10 * BLOCK_ROWS, None, 10), (10 * BLOCK_ROWS, {}, 1)]
)
def test_so_many_blocks_as_the_expected_rows_ask_for(rows: int, conditions: Any, number: int) -> None:
    """One where roots are asked for by conditions."""
    plan: Any = SimpleNamespace(primary=None, matched=(), totals=(), located=(), keys=(), made=())
    model: Any = SimpleNamespace(tables={"t": SimpleNamespace(plan=plan, n_rows=rows)}, roots={"t": rows})
    request = Request({"t": Roots(rows, conditions, None)}, 1.0, 0)
    assert Blocks.of(model, request).number == number


@pytest.mark.parametrize(
    ("key", "exchanged"), [(("buyer", "item"), True), (("buyer", "item", "line"), False), (("buyer",), False)]
)
def test_parents_are_exchanged_only_where_foreign_keys_alone_make_the_primary_key(
    key: tuple[str, ...], exchanged: bool
) -> None:
    first, matched = Relation.parse("lines.buyer -> buyers.id"), Relation.parse("lines.item -> items.id")
    model: Any = SimpleNamespace(plan=SimpleNamespace(keys=[key], matched={matched: None}))
    parents = {first: np.array([0, 0, 1, 1]), matched: np.array([5, 5, 6, 7])}
    made = Made(pa.table({"x": range(4)}), pa.table({}), parents, np.zeros(4, np.int64))
    value_of(lambda: exchange_parents(model, made.rows, made.parents, np.random.default_rng(0)))
    pairs = {*zip(parents[first].tolist(), parents[matched].tolist(), strict=True)}
    assert (len(pairs) == 4) == exchanged and sorted(parents[matched]) == [5, 5, 6, 7]


BUYERS, ORDERS = Relation.parse("orders.buyer -> buyers.id"), Relation.parse("orders.seller -> buyers.id")


def output() -> Output:
    """Two buyers, and three orders of which one is nobody's; a shop of before beside them."""
    columns = {
        "buyers": {"id": "int64", "total": "int64", "n": "int32", "paid": "double", "town": "string"},
        "orders": {"no": "int64", "buyer": "int64", "seller": "int64", "town": "string", "price": "double"},
        "shops": {"id": "int64"},
    }
    schemas = {
        t: TableSchema(tuple(ColumnSchema(n, Kind.CATEGORICAL, d) for n, d in own.items()))
        for t, own in columns.items()
    }

    def model_of(name: str, line: Any, **given: Any) -> Any:
        plan = SimpleNamespace(**{"name": name, "copies": {}, "totals": (), "primary": None, **given})
        key = SimpleNamespace(values=lambda first, n, key: pa.array(100 + first + np.arange(n)))
        finished = lambda rows, column, first: rows.column(column.name)  # noqa: E731
        keys = {"id": key} if name == "buyers" else {}
        return SimpleNamespace(
            plan=plan, keys=keys, line=line, schema=schemas[name], key=7, model=SimpleNamespace(finished=finished)
        )

    rules = tuple(map(CrossTableRule.parse, ("buyers.total = sum(orders.price)", "buyers.n = count(orders)")))
    models = {
        "buyers": model_of("buyers", None, totals=rules),
        "orders": model_of("orders", ("no", 1), primary=BUYERS, copies={"town": "town"}),
    }
    model: Any = SimpleNamespace(
        key=7, tables=models, columns=schemas.__getitem__, references={"shops": (pa.table({"id": [4, 5]}), None)}
    )
    buyers = Made(pa.table({"paid": [0.5, None], "town": ["x", "y"]}), pa.table({}), {}, np.zeros(2, int))
    parents = {BUYERS: np.array([1, 1, NO_PARENT]), ORDERS: np.array([0, NO_PARENT, 1])}
    orders = Made(pa.table({"price": [1.6, 2.0, 5.0]}), pa.table({}), parents, np.array([0, 1, 0]))
    return Output(model, {"buyers": buyers, "orders": orders}, {"buyers": 30, "orders": 0})


def test_tables_are_written_with_keys_copies_totals_and_lines() -> None:
    found = output()
    buyers, orders = (value_of(lambda n=n: found.table(n)) for n in ("buyers", "orders"))
    numbers = {"id": [130, 131], "total": [0, 4], "n": [0, 2], "paid": [0.5, None]}
    assert buyers.drop_columns(["town"]).to_pydict() == numbers
    town = orders["town"]
    assert pa.types.is_dictionary(town.type) and town.to_pylist() == ["y", "y", None]
    assert {n: orders[n].to_pylist() for n in ("no", "buyer", "seller")} == {
        "no": [1, 2, 1],
        "buyer": [131, 131, None],
        "seller": [130, None, 131],
    }
    assert orders["price"].to_pylist() == [1.6, 2.0, 5.0]
    assert value_of(lambda: found.table("shops")).to_pydict() == {"id": [4, 5]}
    given = Output(found.model, found.made, found.first, {"orders": pa.table({"price": [9.0, 8.0, 7.0]})})
    assert value_of(lambda: given.column("orders", "price")).to_pylist() == [9.0, 8.0, 7.0]


@pytest.mark.parametrize(("decimals", "total"), [(None, 0.125), (2, 0.12), (1, 0.1), (0, 0.0)])
def test_sums_have_the_decimals_of_what_is_added(decimals: int | None, total: float) -> None:
    orders = pa.table({"price": [0.0625, 0.0625]})
    child = TableSchema((ColumnSchema("price", Kind.CONTINUOUS, "double", decimals=decimals),))
    model: Any = SimpleNamespace(tables={"orders": SimpleNamespace(schema=child)}, references={})
    made: Any = {"orders": Made(orders, pa.table({}), {BUYERS: np.array([0, 0])}, np.zeros(2, int))}
    rule = CrossTableRule.parse("buyers.total = sum(orders.price)")
    found = Output(model, made, {}, {"orders": orders})
    double = ColumnSchema("total", Kind.CONTINUOUS, "double")
    assert value_of(lambda: found._total(rule, double, 2)).to_pylist() == pytest.approx([total, 0.0])


def blocks_of(number: int, **of: Any) -> Blocks:
    model: Any = SimpleNamespace(tables={}, roots={}, references={})
    return Blocks(of.get("model", model), Request(of.get("roots", {}), 1.0, 5), number, frozenset(of.get("common", ())))


def test_blocks_share_rows_and_children_without_rest() -> None:
    """Each block has n / B rows of a root, and of each row of a common table the B-th part of its children."""
    blocks = blocks_of(7)
    shares = [blocks._share(100, i) for i in range(7)]
    assert sum(shares) == 100 and set(shares) == {14, 15}
    tables: Any = {"shops": SimpleNamespace(plan=SimpleNamespace(brings=[BUYERS]))}
    model: Any = SimpleNamespace(tables=tables, references={})
    blocks = blocks_of(3, model=model, common=("shops",))
    number = number_of(BUYERS)
    made = Made(pa.table({number: pa.array([10, None, 1, 0] * 50)}), pa.table({}), {}, np.zeros(200, int))
    parts = [value_of(lambda i=i: blocks._with_shares("shops", made, i)).rows[number].to_numpy() for i in range(3)]
    assert sum(parts).reshape(-1, 4).tolist() == [[10, 0, 1, 0]] * 50
    assert all(set(p.reshape(-1, 4)[:, 0].tolist()) <= {3, 4} for p in parts)
    assert all(5 < p.reshape(-1, 4)[:, 2].sum() < 30 for p in parts), "single children are of any block"
    kept = blocks_of(3, model=model, common=("shops", "orders"))
    assert value_of(lambda: kept._with_shares("shops", made, 0)).rows.equals(made.rows)


@pytest.mark.parametrize(
    ("n_small", "matched", "total", "common"),
    [
        (400, None, None, "small"),
        (6_000, None, None, ""),
        (400, "large", None, None),
        (400, "small", None, "small"),
        (400, None, "large", None),
        (400, None, "small", "small"),
    ],
)
def test_small_tables_are_made_once_for_all_blocks_where_nothing_leads_out_of_them(
    n_small: int, matched: str | None, total: str | None, common: str | None
) -> None:
    """Of ten blocks: roots of fewer than 5,000 rows; one block where these match, or count, what is not among them."""

    def plan(name: str) -> Any:
        own = name == "small"
        links = [SimpleNamespace(parent=matched)] if own and matched else []
        totals = [SimpleNamespace(child=total)] if own and total else []
        return SimpleNamespace(primary=None, matched=links, located=(), totals=totals, keys=(), made=())

    tables: Any = {n: SimpleNamespace(plan=plan(n), n_rows=r) for n, r in (("small", 10), ("large", 10 * BLOCK_ROWS))}
    model: Any = SimpleNamespace(tables=tables, roots={"small": 10, "large": 10 * BLOCK_ROWS})
    request = Request({"small": Roots(n_small), "large": Roots(10 * BLOCK_ROWS)}, 1.0, 0)
    found = value_of(lambda: Blocks.of(model, request))
    assert found.common == ({common} if common else set()) and found.number == (1 if common is None else 10)
