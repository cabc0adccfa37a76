"""Schemas of databases: text and JSON of keys and rules, the order of tables, cycles, and what messages name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from raysynth.errors import SchemaError
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation, TableKeys


def database(*relations: str, rules: tuple[str, ...] = (), order: str | None = None) -> DatabaseSchema:
    keys = tuple(Relation.parse(r) for r in relations)
    names = sorted({r.parent for r in keys} | {r.child for r in keys})
    tables = tuple(TableKeys(n, order=order if n == "visits" else None) for n in names)
    return DatabaseSchema(tables, keys, tuple(CrossTableRule.parse(r) for r in rules))


def test_text_of_relations_and_back() -> None:
    plain = Relation.parse("visits.patient_id -> patients.id")
    assert plain == Relation("patients", "visits", ("id",), ("patient_id",))
    both = Relation.parse("flights.(origin, time_hour) -> weather.(origin,time_hour), nullable")
    assert both == Relation("weather", "flights", ("origin", "time_hour"), ("origin", "time_hour"), nullable=True)
    odd = Relation('the "shop"', "order lines", ("shop.no", "->"), ("a,b", '"'))
    for relation in (plain, both, odd):
        assert Relation.parse(str(relation)) == relation


def test_a_text_is_a_key_of_one_column() -> None:
    assert Relation("patients", "visits", "id", "patient_id") == Relation.parse("visits.patient_id -> patients.id")  # type: ignore[arg-type]
    assert TableKeys("patients", "id").primary_key == ("id",)  # type: ignore[arg-type]
    assert CrossTableRule("count", "lines", "", "orders", "n", ["a", "b"]).child_key == ("a", "b")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="names of tables; found"):
        Relation("visits", ("patient_id",), "patients", ("id",)).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["visits -> patients", "a.b <- c.d", "a.(b,c) -> d.e", "a.(b,b) -> d.(e,f)", "", 3, "a.(" + "b" * 40 + " -> c.d"],
)
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="relation"):
        Relation.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "visits.day >= patients.born",
        "lines.buyer == orders.buyer by order_id",
        "orders.total = sum(lines.amount)",
        "orders.lines = count(lines) by (a,b)",
    ],
)
def test_text_of_rules_and_back(text: str) -> None:
    assert str(CrossTableRule.parse(text)) == text


@pytest.mark.parametrize("text", ["visits.day ~ patients.born", "orders.total = sum(lines)", "orders.n = count(a.b)"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="no rule across tables"):
        CrossTableRule.parse(text)


def test_parents_come_first_and_roots_have_none() -> None:
    schema = database("a.b_id -> b.id", "b.c_id -> c.id", "a.d_id -> d.id", "c.boss -> c.id, nullable")
    order = schema.topological()
    assert order.index("c") < order.index("b") < order.index("a") > order.index("d")
    assert schema.roots() == ("c", "d")
    assert [str(r) for r in schema.set_aside()] == ["c.boss -> c.id, nullable"]
    public = DatabaseSchema(tuple(replace(t, reference=t.name == "b") for t in schema.tables), schema.relations[:1])
    assert public.roots() == ("a", "b", "c", "d")  # a key into a reference table makes no child
    assert [r.parent for r in schema.parents_of("a")] == ["b", "d"]
    assert [r.child for r in schema.children_of("c")] == ["b", "c"]


def test_a_cycle_opens_at_its_nullable_key_and_nowhere_else() -> None:
    """'a' hangs below the cycle by a nullable key, which has no reason to wait."""
    schema = database("m.n_id -> n.id", "n.best_m -> m.id, nullable", "a.m_id -> m.id, nullable")
    assert schema.topological() == ("n", "m", "a")
    assert [str(r) for r in schema.set_aside()] == ["n.best_m -> m.id, nullable"]
    assert schema.roots() == ("n",)


def test_a_cycle_of_keys_that_may_not_be_missing_is_named() -> None:
    schema = database("a.x -> b.id", "b.y -> c.id", "c.z -> a.id", "d.w -> a.id")
    with pytest.raises(SchemaError, match=r"a\.x -> b\.id; b\.y -> c\.id; c\.z -> a\.id form a cycle.*nullable"):
        schema.topological()


def test_json_and_back(tmp_path: Path) -> None:
    schema = database(
        "visits.patient_id -> patients.id", "visits.sent_by -> patients.id, nullable",
        rules=("visits.day >= patients.born by patient_id",), order="day",
    )  # fmt: skip
    schema.save(tmp_path / "keys.json")
    assert DatabaseSchema.load(tmp_path / "keys.json") == schema


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tables": [{"name": 3}]}, "name"),
        ({"tables": ["a", "a"], "relations": []}, "twice: a"),
        ({"relations": ["a.b -> c.d"]}, "no table 'c'.*leave the relation out"),
        ({"relations": ["a.b -> a.d", "a.b -> a.d, nullable"]}, "twice"),
        ({"tables": [{"name": "a", "order": "t"}]}, "no parent"),
        ({"rules": ["a.b >= a.c"]}, "there is none"),
        ({"keys": []}, "no entry 'keys'"),
        ({"format_version": 2}, "format_version 1"),
        ({"relations": "a.b -> c.d"}, "must be a list"),
    ],
)
def test_a_file_at_fault_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"format_version": 1, "tables": ["a"], "relations": []} | change))
    with pytest.raises(SchemaError, match=message) as caught:
        DatabaseSchema.load(file)
    assert "keys.json" in str(caught.value)


def test_a_rule_says_which_of_two_keys_it_follows() -> None:
    keys = ("visits.patient_id -> patients.id", "visits.sent_by -> patients.id, nullable")
    with pytest.raises(SchemaError, match="by COLUMN"):
        database(*keys, rules=("visits.day >= patients.born",))
    schema = database(*keys, rules=("visits.day >= patients.born by sent_by",))
    assert schema.relation_of(schema.rules[0]).nullable


def test_columns_that_are_not_there_are_named() -> None:
    schema = database("visits.patient_id -> patients.id", rules=("visits.day >= patients.born",))
    fine = {"patients": ["id", "born"], "visits": ["patient_id", "day"]}
    assert schema.validate(fine) is schema
    with pytest.raises(
        SchemaError, match=r"relation visits\.patient_id -> patients\.id: table 'patients' has no column"
    ):
        schema.validate(fine | {"patients": ["born"]})
    with pytest.raises(SchemaError, match="rule .* table 'visits' has no column 'day'"):
        schema.validate(fine | {"visits": ["patient_id"]})
    with pytest.raises(SchemaError, match="no table 'visits'"):
        schema.validate({"patients": ["id", "born"]})
    with pytest.raises(SchemaError, match="'doctors' is not in the schema"):
        schema.validate(fine | {"doctors": ["id"]})


def test_without_tables_or_keys_go_the_rules_and_orders_along_them() -> None:
    schema = database("b.a_id -> a.id", "visits.b_id -> b.id", rules=("visits.day >= b.day",), order="day")
    assert schema.without() == schema and schema["visits"].order == "day"
    left = schema.without({"b"})
    assert left.names == tuple(n for n in schema.names if n != "b") and not left.relations and not left.rules
    assert not [t for t in left.tables if t.order is not None]
    kept = schema.without(relations=schema.relations[:1])
    assert kept.names == schema.names and kept.relations == schema.relations[1:] and kept.rules == schema.rules


def test_a_key_that_a_catalogue_repeats_is_one() -> None:
    schema = database("b.a_id -> a.id")
    assert DatabaseSchema(schema.tables, schema.relations * 2) == schema
