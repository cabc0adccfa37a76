"""Rows under a public schema: what does not fit a declared type is missing, and no value raises."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest

from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.codebook import schema_of
from raysynth.statistics.public_schema import as_declared, public_schema

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
