"""Rows under a public schema: what does not fit a declared type is missing, and no value raises."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.public_schema import UNIT_KEY, as_declared, public_schema, schema_of

NUMBERS = [1.0, 2.6, None, float("nan"), float("inf"), -float("inf"), 300.0, -1e300, 1e19]


def test_a_table_of_wild_values_is_read_under_its_declared_types() -> None:
    table = as_table(pa.table({"n": pa.array(NUMBERS), "day": pa.array([datetime(9999, 1, 1)] * 9)}))
    schema = TableSchema(
        (ColumnSchema("n", Kind.CONTINUOUS, "int16"), ColumnSchema("day", Kind.DATETIME, "timestamp[ns]"))
    )
    rows = as_declared(table, schema).to_arrow()
    assert rows.column("n").to_pylist() == [1, 3, None, None, None, None, 300, None, None]
    assert rows.num_rows == 9


def test_a_state_of_an_address_is_a_category_and_an_address_is_personal() -> None:
    schema = public_schema(as_table(pa.table({"addr_state": ["CA", "TX"], "address": ["1 A St", "2 B St"]})), None, {})
    assert [c.kind for c in schema.columns] == [Kind.CATEGORICAL, Kind.PERSONAL]


def test_a_codebook_says_what_the_table_holds_and_without_one_nothing_is_declared() -> None:
    table = as_table(pa.table({"age": [1.0, 2.0], "sex": ["f", "m"]}))
    book = "name;low;high;values;decimals\nage;0;110;;0\nsex;;;f=female|m=male;\n"
    age, sex = schema_of(table, book).columns
    assert (age.kind, age.bounds, age.decimals) == (Kind.CONTINUOUS, (0, 110), 0)
    assert (sex.kind, sex.categories) == (Kind.CATEGORICAL, ("f", "m"))
    age, sex = schema_of(table).columns
    assert age.bounds is None and sex.categories is None
    with pytest.raises(SchemaError, match="'own book' has no heading 'column'"):
        schema_of(table, "low,high\n0,1\n", "own book")


TYPED = as_table(
    pa.table(
        {
            "who": pa.array(["a", "b"]),
            "n": pa.array([1, 2], pa.int16()),
            "x": pa.array([0.5, 1.5]),
            "ok": pa.array([True, False]),
            "day": pa.array([datetime(2020, 1, 1)] * 2),
            "none": pa.nulls(2),
        }
    )
)


def columns_of(declared: list[ColumnSchema] | None = None, kinds: Any = None, **given: Any) -> dict[str, ColumnSchema]:
    known = [ColumnSchema("none", Kind.CATEGORICAL, "string"), *(declared or [])]
    schema = value_of(lambda: public_schema(TYPED, TableSchema(tuple(known)), kinds or {}, **given))
    assert schema.rare_threshold == 1 and schema.names == ("who", "n", "x", "ok", "day", "none")
    return {c.name: c for c in schema.columns}


@pytest.mark.parametrize("public_types", [False, True])
def test_types_are_public_where_somebody_says_so(public_types: bool) -> None:
    found = columns_of(public_types=public_types)
    assert (found["n"].dtype, found["n"].decimals) == (("int16", 0) if public_types else ("double", None))
    assert (found["x"].kind, found["x"].dtype, found["x"].decimals) == (Kind.CONTINUOUS, "double", None)
    assert found["ok"].kind is Kind.BOOLEAN and found["day"].kind is Kind.DATETIME
    assert all(c.nullable and c.categories is None and c.bounds is None for c in found.values())


def test_what_is_declared_wins_and_what_was_released_comes_before_the_most_general() -> None:
    """An integer that is declared has no decimals; a column without a type is read as declared."""
    declared = [ColumnSchema("n", Kind.CONTINUOUS, "int64"), ColumnSchema("x", Kind.CONTINUOUS, "double", decimals=1)]
    released = [replace(c, bounds=(0.0, 9.0)) for c in declared] + [ColumnSchema("who", Kind.IDENTIFIER, "string")]
    found = columns_of(declared, found=released)
    assert (found["n"].decimals, found["x"].decimals) == (0, 1) and found["n"].bounds is None
    assert found["who"].kind is Kind.IDENTIFIER and found["none"].kind is Kind.CATEGORICAL


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("n", "categorical", (Kind.CATEGORICAL, "double")),
        ("n", "identifier", (Kind.IDENTIFIER, "double")),
        ("x", "continuous", (Kind.CONTINUOUS, "double")),
        ("day", "continuous", (Kind.DATETIME, "timestamp[us]")),
        ("who", "identifier", (Kind.IDENTIFIER, "string")),
        ("ok", "categorical", (Kind.CATEGORICAL, "bool")),
    ],
)
def test_a_listed_kind_wins_and_takes_off_what_does_not_go_with_it(
    name: str, kind: str, expected: tuple[Kind, str]
) -> None:
    own = columns_of()[name]
    declared = [replace(own, reason="own")]
    if own.kind.is_numeric:
        declared = [replace(own, bounds=(0.0, 5.0))]
    elif own.kind.is_discrete:
        declared = [replace(own, categories=(True, False) if name == "ok" else ("a", "b"))]
    found = columns_of(declared, {kind: [name]})[name]
    assert (found.kind, found.dtype) == expected
    assert found.bounds == (declared[0].bounds if expected[0].is_numeric else None)
    assert found.categories == (declared[0].categories if expected[0].is_discrete else None)
    assert found == declared[0] if expected[0] is own.kind else found.reason == "declared"


def test_a_type_that_no_file_stores_is_what_is_declared_or_listed() -> None:
    """Else text and truth values are no numbers; and such types are never public."""
    of_rows = replace(TYPED.select(["who", "ok"]), untyped=frozenset({"who", "ok"}))
    for name, held_as in (("who", "text"), ("ok", "boolean")):
        kinds = {Kind.CONTINUOUS: [name], Kind.CATEGORICAL: None}
        found = {c.name: c for c in value_of(lambda kinds=kinds: public_schema(of_rows, None, kinds)).columns}
        assert (found[name].kind, found[name].dtype, found[name].decimals) == (Kind.CONTINUOUS, "double", None)
        with pytest.raises(SchemaError, match=f"'{name}' is listed as continuous, but holds {held_as}"):
            public_schema(TYPED.select([name]), None, kinds)
    declared = TableSchema((ColumnSchema("who", Kind.CONTINUOUS, "int64"),))
    assert value_of(lambda: public_schema(of_rows, declared, {}))["who"].decimals == 0
    with pytest.raises(SchemaError, match="public_types=True takes the types that a Parquet or Arrow file stores"):
        public_schema(of_rows, None, {}, public_types=True)


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        (None, {"unit": "who"}, (Kind.IDENTIFIER, "string", UNIT_KEY)),
        (None, {"unit": "n"}, (Kind.IDENTIFIER, "int64", UNIT_KEY)),
        (None, {"unit": "n", "public_types": True}, (Kind.IDENTIFIER, "int16", UNIT_KEY)),
        (ColumnSchema("n", Kind.CONTINUOUS, "int32"), {"unit": "n"}, (Kind.IDENTIFIER, "int32", UNIT_KEY)),
        (ColumnSchema("who", Kind.PERSONAL, "string", personal="name"), {"unit": "who"}, (Kind.PERSONAL, "string", "")),
        (ColumnSchema("who", Kind.IDENTIFIER, "string"), {"unit": "who"}, (Kind.IDENTIFIER, "string", "")),
    ],
)
def test_who_names_the_unit_is_a_key_that_is_made_anew(
    declared: ColumnSchema | None, given: dict[str, Any], expected: tuple[Kind, str, str]
) -> None:
    found = columns_of([] if declared is None else [declared], **given)[given["unit"]]
    assert (found.kind, found.dtype, found.reason) == expected and not found.nullable


@pytest.mark.parametrize(
    ("declared", "given", "said"),
    [
        (ColumnSchema("absent", Kind.CATEGORICAL, "string"), {}, "column 'absent' is declared, but the table has: who"),
        (None, {"kinds": {"categorical": ["other"]}}, "column 'other' is declared"),
        (ColumnSchema("n", Kind.CATEGORICAL, "string"), {}, "'n' is declared as string, but the table holds int16"),
        (ColumnSchema("n", Kind.CONSTANT, "int64"), {}, "'n' is declared constant; under a privacy budget its `value`"),
        (None, {"unit": "day"}, "privacy_unit 'day' holds datetime"),
        (None, {"unit": "ok"}, "privacy_unit 'ok' holds boolean"),
    ],
)
def test_what_no_public_fact_supports_is_refused(
    declared: ColumnSchema | None, given: dict[str, Any], said: str
) -> None:
    known = [ColumnSchema("none", Kind.CATEGORICAL, "string"), *([] if declared is None else [declared])]
    with pytest.raises(SchemaError, match=said):
        public_schema(TYPED, TableSchema(tuple(known)), **{"kinds": {}, **given})


def test_a_column_without_a_type_is_declared_or_refused() -> None:
    with pytest.raises(SchemaError, match="'none' has no type"):
        public_schema(TYPED, None, {})
    constant = ColumnSchema("none", Kind.CONSTANT, "int64", value=7)
    found = value_of(lambda: public_schema(TYPED, TableSchema((constant,)), {}))
    assert found.columns[-1].value == 7
    alike = TableSchema(tuple(replace(c, categories=None) for c in found.columns[:1]))
    assert as_declared(TYPED, replace(alike, columns=())) is TYPED, "nothing is cast where nothing differs"
    rows = value_of(lambda: as_declared(TYPED, found).to_arrow())
    assert rows.column("n").to_pylist() == [1.0, 2.0] and rows.schema.field("n").type == pa.float64()
