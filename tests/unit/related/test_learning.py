"""What is learned of a table beside its own columns: numbers of rows, orders, ancestors, siblings, released ranges."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.dp.accounting.calibration import PrivacyBudget, gaussian_noise_multiplier
from raysynth.related import learning, opened, private
from raysynth.related.grouping import NO_PARENT, Family
from raysynth.related.learning import _Extended
from raysynth.related.making import Made
from raysynth.related.plan import code_of, number_of
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys
from raysynth.schema.table import TableSchema

KEY = Relation("p", "c", ("id",), ("p",))
OTHER = Relation("q", "c", ("id",), ("q",))
PART = Relation("c", "d", ("p", "year"), ("p", "year"))


def plan(**given: Any) -> Any:
    known = {
        "name": "c",
        "primary": KEY,
        "learned": ("no", "x"),
        "order": None,
        "matched": (),
        "located": (),
        "brings": (),
    }
    return SimpleNamespace(**{**known, "references": (), **given})


def number(name: str, **given: Any) -> ColumnSchema:
    return ColumnSchema(name, Kind.CONTINUOUS, "double", **{"nullable": False, **given})


def line_of(no: list[int | None], parent_N: list[int], n_parents: int = 12, **given: Any) -> tuple[str, int] | None:
    rows = pa.table({"x": pa.array([0.5] * len(no)), "no": pa.array(no, pa.int64())})
    database: Any = SimpleNamespace(
        parents={KEY: np.array(parent_N)}, tables={"p": SimpleNamespace(rows=pa.table({"id": range(n_parents)}))}
    )
    table: Any = SimpleNamespace(rows=rows)
    return value_of(lambda: learning._line(table, plan(**given), database))


def test_a_column_numbers_the_rows_of_each_parent_without_gaps() -> None:
    """From 0 or 1, in any order of rows; in enough families of several; not with gaps, nor without a parent's rows."""
    enough = learning.FEWEST_NUMBERED
    parents = [p for p in range(enough) for _ in range(3)]
    for start in (0, 1):
        assert line_of([start + 2, start, start + 1] * enough, parents, enough) == ("no", start)
    assert line_of([2, 3, 4] * enough, parents, enough) is None, "from 2"
    assert line_of([1, 2, 4] * enough, parents, enough) is None and line_of([1, 2, 2] * enough, parents, enough) is None
    assert line_of([1, 2, None] * enough, parents, enough) is None
    assert line_of([1, 2, 3] * (enough - 1) + [1], parents[:-2], enough) is None, "too few families of several"
    assert line_of([1, 2, 3] * enough, parents, enough, primary=None) is None
    assert line_of([1, 2, 3] * enough, parents, enough, learned=("x",)) is None


def test_of_too_many_rows_all_of_some_parents_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "MOST_ROWS", 300)
    parent_N = np.append(np.repeat(np.arange(200), 3), np.full(600, NO_PARENT))
    family = Family.of(parent_N, 200, np.arange(1200))
    kept = value_of(lambda: learning._families(family, np.random.default_rng(0)))
    assert (np.diff(kept) > 0).all() and 230 < len(kept) < 370
    held = parent_N[kept][parent_N[kept] >= 0]
    assert set(np.bincount(held).tolist()) <= {0, 3} and 100 < (parent_N[kept] < 0).sum() < 200
    root = Family(np.full(900, NO_PARENT), np.zeros(900, int), np.zeros(0, int))
    alone = value_of(lambda: learning._families(root, np.random.default_rng(0)))
    assert len(set(alone.tolist())) == 300 and (np.diff(alone) > 0).all()


def test_rows_see_their_parents_columns_and_those_of_ancestors_but_no_private_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = {n: number(n) for n in ("age", "hidden")}
    parent = _Extended(
        {"age": pa.array([10.0, 20.0]), "hidden": pa.array([1.0, 2.0])}, columns,
        {"g: size": pa.array([7.0, 8.0]), "g: own": pa.array([0.0, 0.0])},
        {n: number(n) for n in ("g: size", "g: own")}, None, private=frozenset({"hidden", "g: own"}),
    )  # fmt: skip
    own = _Extended({}, {}, {}, {}, None)
    value_of(lambda: learning._inherit(own, parent, "p", np.array([1, NO_PARENT, 0])))
    assert {n: v.to_pylist() for n, v in own.context.items()} == {"p: age": [20, None, 10], "g: size": [8, None, 7]}
    assert all(c.nullable and c.name == n for n, c in own.context_schema.items())
    whole = _Extended({}, {}, {}, {}, None)
    learning._inherit(whole, parent, "p", np.array([1, 0]))
    assert not any(c.nullable for c in whole.context_schema.values())
    monkeypatch.setattr(learning, "MOST_GIVEN", 1)
    few = _Extended({}, {}, {}, {}, None)
    learning._inherit(few, parent, "p", np.array([1, 0]))
    assert list(few.context) == ["p: age"]


def test_siblings_show_each_other_what_is_not_told_by_their_parent() -> None:
    x, g, code = number("x"), number("g"), ColumnSchema("kind of d by p", Kind.CATEGORICAL, "int64")
    drawn = {"x": x, "g": g, code.name: code}

    def shown(above: Any = None, nested: tuple[Relation, ...] = (), **given: Any) -> tuple[list[str], bool]:
        own = _Extended({}, dict(drawn), {}, {}, None, above=above, private=frozenset({"g"}))
        parts = SimpleNamespace(above=SimpleNamespace(of_categories=(g,)))
        below = Relation("c", "d", ("id",), ("p",))
        extended: Any = {"c": own, "d": parts}
        found = value_of(lambda: learning._siblings(plan(brings=(below,), **given), extended, drawn, nested))
        return [c.name for c in found.columns], found.is_sequence

    assert shown() == (["x"], False)
    assert shown(nested=(Relation("c", "d", ("id",), ("p",)),)) == (["x", "g", code.name], False)
    assert shown(SimpleNamespace(order=None, numbers=(x,))) == ([], False)
    assert shown(SimpleNamespace(order="x", numbers=(x,))) == (["x"], True)
    assert shown(SimpleNamespace(order=None, numbers=(x,)), order="x") == (["x", "x"], True)
    assert shown(order="day") == (["x"], True), "the number of the row"
    root: Any = {"c": _Extended({}, {}, {}, {}, None)}
    assert learning._siblings(plan(primary=None), root, drawn, ()).columns == ()


def test_a_line_says_how_a_table_is_made() -> None:
    def said(nested: tuple[Relation, ...] = (), rules: tuple[str, ...] = (), **given: Any) -> str:
        told, found = SimpleNamespace(constraints=rules), given.pop("apart", ())
        model: Any = SimpleNamespace(plan=plan(**given), n_rows=1234, schema=told, apart=found)
        return value_of(lambda: learning._described(model, nested))

    assert said() == "table 'c': 1,234 rows, made with its parent in 'p'"
    assert said(primary=None) == "table 'c': 1,234 rows, made a root"
    assert said((KEY,)) == "table 'c': 1,234 rows, made as parts of rows of 'p', since each has one of the same (p)"
    assert said((PART,), order="day").endswith("with its parent in 'p', in the order of 'day'")
    assert said(matched=(OTHER,)).endswith(f"; matched: {OTHER}")
    assert said(located=(OTHER,)).endswith(f"; found by the values of the key: {OTHER}")
    assert said(rules=("r", "s")).endswith("in 'p'; rules: r; s")
    assert said(apart=(("day",), ("year", "stint"))).endswith("; apart within their parent by: day, year+stint")
    assert said(references=(OTHER,)).endswith(f"; into reference tables: {OTHER}")


@pytest.mark.parametrize(("largest", "warns"), [(1030, False), (100_000, True)])
def test_few_parents_of_many_rows_are_warned_of(largest: int, warns: bool) -> None:
    """What lies above the number that five parents reach, wherever they stand, cannot be learned."""
    counts = np.random.default_rng(2).permutation([largest, 1026, 1024, 1022, 1020, *range(1, 1001)]).tolist()
    parent_N = np.append(np.repeat(np.arange(1005), counts), [NO_PARENT] * 7)
    parent = SimpleNamespace(schema=TableSchema((), rare_threshold=5), rows=pa.table({"id": range(1005)}))
    database: Any = SimpleNamespace(tables={"p": parent}, parents={KEY: parent_N})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        value_of(lambda: opened._warn_of_large_families(database, plan()))
        value_of(lambda: opened._warn_of_large_families(database, plan(primary=None)))
    assert bool(found) == warns
    if warns:
        assert f"has {largest:,} of the {sum(counts):,} rows" in str(found[0].message)
        assert "while 5 have 1,020 or more" in str(found[0].message)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_of_a_budget_is_that_of_its_gaussians_rho(share: float) -> None:
    budget = PrivacyBudget(2.0, 1e-6)
    epsilon = value_of(lambda: private.epsilon_of(budget, share))
    sigma = gaussian_noise_multiplier(2.0, 1e-6) / math.sqrt(share)
    assert gaussian_noise_multiplier(epsilon, 1e-6) == pytest.approx(sigma, rel=1e-6)
    assert private.epsilon_of(budget, 1.0) == 2.0 == private.epsilon_of(budget, 1.5)


def test_columns_are_declared_below_as_their_table_released_them() -> None:
    column = ColumnSchema("x", Kind.CONTINUOUS, "double", reason="found")
    cells = SimpleNamespace(low=np.array([1.0, 3.0]), high=np.array([2.0, 9.0]), decimals=1)
    numbers: Any = SimpleNamespace(numbers=SimpleNamespace(value=cells), counts=None)
    found = value_of(lambda: private._as_released(column, numbers))
    assert (found.bounds, found.decimals, found.reason) == ((1.0, 9.0), 1, "")
    whole = private._as_released(ColumnSchema("x", Kind.CONTINUOUS, "double", decimals=0), numbers)
    assert whole.decimals == 0 and private._as_released(column, None) is column
    counts: Any = SimpleNamespace(numbers=None, counts=SimpleNamespace(value=SimpleNamespace(values=("a", "b"))))
    listed = ColumnSchema("g", Kind.CATEGORICAL, "string")
    assert private._as_released(listed, counts).categories == ("a", "b")
    assert private._as_released(ColumnSchema("g", Kind.BOOLEAN, "bool"), counts).categories is None
    counted = private._counted("n", 4, nullable=True)
    assert counted.categories == (0, 1, 2, 3) and counted.nullable and counted.kind is Kind.CATEGORICAL


@pytest.mark.parametrize(("numbers", "expected"), [([2, 0, 3], [0, 0, 2, 2, 2]), ([0, -1, None], [0, 1, 2])])
def test_drawn_rows_see_ancestors_as_often_as_these_have_children(
    numbers: list[int | None], expected: list[int]
) -> None:
    """Where none has any, once each."""
    rows = pa.table({"age": [0, 1, 2], number_of(KEY): pa.array(numbers, pa.int64())})
    parents = Made(rows, pa.table({"": pa.nulls(3)}), {}, np.zeros(3, int))
    seen = value_of(lambda: private._drawn_context(("p: age",), KEY, parents))
    assert seen.to_pydict() == {"p: age": expected}


@pytest.mark.parametrize("differ", [True, False])
def test_parents_have_the_number_of_their_children_and_a_kind_where_there_are_several(differ: bool) -> None:
    """Two kinds of parents, whose children lie about 0 or about 10; else all are alike, and no kind is told."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(120), 4)
    x = (10.0 * (of % 2) if differ else 0.0) + rng.normal(0, 0.1, len(of))
    frames = {
        "p": pd.DataFrame({"id": np.arange(120), "age": rng.normal(40, 9, 120)}),
        "c": pd.DataFrame({"p": of, "x": x if differ else np.full(len(of), 1.5), "y": rng.normal(size=len(of))}),
    }
    if not differ:
        frames["c"] = frames["c"].drop(columns="y")
    schema = DatabaseSchema((TableKeys("p", ("id",)), TableKeys("c")), (KEY,))
    database = value_of(lambda: opened.open_tables(frames, schema, {}, "error"))
    found = value_of(lambda: learning._extended(database, 0))["p"]
    assert found.own[number_of(KEY)].to_pylist() == [4] * 120
    assert (code_of(KEY) in found.own) == differ
    if differ:
        code = found.own[code_of(KEY)].to_numpy()
        assert not set(code[::2]) & set(code[1::2])
