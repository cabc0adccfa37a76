"""How what is made is written: whose children a total counts, and the random streams of blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import making, writing
from raysynth.related.grouping import NO_PARENT
from raysynth.related.making import TRIED, Made, Roots
from raysynth.related.opened import OpenDatabase
from raysynth.related.plan import number_of
from raysynth.related.private import _line, _table_model
from raysynth.related.siblings import Siblings
from raysynth.related.writing import BLOCK_ROWS, Blocks, Request, _is_meant
from raysynth.schema.relations import Relation
from raysynth.schema.table import TableSchema


def test_a_rule_that_names_its_key_means_that_one() -> None:
    relation: Any = SimpleNamespace(child_key=("buyer",))
    means = {key: _is_meant(SimpleNamespace(child_key=key), relation) for key in ((), ("buyer",), ("seller",))}  # type: ignore[arg-type]
    assert means == {(): True, ("buyer",): True, ("seller",): False}


def test_blocks_and_what_they_share_have_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def made(models: Any, roots: Any, scale: Any, referenced: Any, rng: np.random.Generator, *shares: Any) -> Any:
        drawn.append(rng.random())
        return {}

    monkeypatch.setattr(writing, "make_tables", made)
    model: Any = SimpleNamespace(tables={}, roots={}, references={})
    blocks = Blocks(model, Request({}, 1.0, 5), 3, frozenset())
    common = blocks.made_once()
    for index in range(3):
        blocks.block(index, common)
    assert len({*drawn}) == 4


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
    model: Any = SimpleNamespace(plan=SimpleNamespace(primary=relation), summaries=same, model=object())
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
    plan: Any = SimpleNamespace(primary=None, matched=(), totals=(), located=())
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
    value_of(lambda: making._without_repeats(model, made, np.random.default_rng(0)))
    pairs = {*zip(parents[first].tolist(), parents[matched].tolist(), strict=True)}
    assert (len(pairs) == 4) == exchanged and sorted(parents[matched]) == [5, 5, 6, 7]
