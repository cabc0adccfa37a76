"""Columns of dates written as text become datetimes: which ones, what is counted of them, and back to how they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import collect, infer_schema
from raysynth.statistics.dated_table import as_written, dated, declared_forms, declared_types, text_forms, with_forms

DAYS = [t.strftime("%d.%m.%Y") for t in pd.date_range("2003-01-15", periods=60)]


def table_of(**columns: Any) -> Table:
    return as_table(pd.DataFrame(columns))


def forms_of(table: Table, declared: TableSchema | None = None, **kinds: list[str]) -> dict[str, Any]:
    return value_of(lambda: text_forms(table, collect(table), declared, {Kind(k): v for k, v in kinds.items()}))


def test_texts_and_digits_that_are_dates_are_read_and_others_stay() -> None:
    digits = [int(t.strftime("%Y%m%d")) for t in pd.date_range("2003-01-15", periods=60)]
    table = table_of(
        day=[*DAYS[:58], "Oslo", "-"],
        digits=[0, *digits[1:]],
        word=["a1", "b2"] * 30,
        n=np.arange(60),
        same=["1.1.2003"] * 60,
    )
    statistics = collect(table)
    found, again = value_of(lambda: dated(table, statistics))
    assert {n: f.format for n, f in found.text_forms.items()} == {"day": "%d.%m.%Y", "digits": "%Y%m%d"}
    assert found.text_forms["day"].odd == ("Oslo",) and found.text_forms["digits"].odd == ()
    assert {n: f.dtype for n, f in found.text_forms.items()} == {"day": "string", "digits": "int64"}
    rows = found.to_arrow()
    assert [str(rows.schema.field(n).type) for n in ("day", "digits")] == ["date32[day]"] * 2
    assert rows["word"].to_pylist() == ["a1", "b2"] * 30
    assert rows["day"].to_pylist()[:58] == pd.to_datetime(DAYS[:58], format="%d.%m.%Y").date.tolist()
    assert rows["day"].null_count == 2 and rows["digits"].null_count == 1
    assert (again.columns["day"].missing, again.columns["digits"].missing, again.columns["word"].missing) == (2, 1, 0)
    assert again.columns["n"].n_distinct == 60 and again.n_rows == 60
    nothing = table_of(word=["a1", "b2"] * 30)
    seen = collect(nothing)
    same, still = dated(nothing, seen)
    assert same is nothing and still is seen


@pytest.mark.parametrize(("n", "found"), [(2, False), (3, True)])
def test_three_different_whole_numbers_can_be_dates(n: int, found: bool) -> None:
    table = table_of(date=[20030115, 20040229, 20050301][:n] * 20)
    assert ("date" in forms_of(table)) is found
    for far in ([20030115, 20040229, 21010101_000000 * 10], [10_100, 20040229, 20050301], [-1, 20040229, 20050301]):
        assert not forms_of(table_of(date=far * 20))


def test_what_is_declared_or_listed_goes_before_what_is_found() -> None:
    table = table_of(day=DAYS, x=np.arange(60.0))
    text = TableSchema((ColumnSchema("day", Kind.CATEGORICAL, "string"),))
    assert forms_of(table, text) == {} and forms_of(table, categorical=["day"]) == {}
    assert forms_of(table, continuous=["day"])["day"].format == "%d.%m.%Y"
    given = TableSchema((ColumnSchema("day", Kind.DATETIME, "string", date_format="%d.%m.%Y", reason="mine"),))
    form = forms_of(table, given)["day"]
    assert (form.format, form.dtype, form.reason, form.odd) == ("%d.%m.%Y", "string", "mine", ())
    assert forms_of(table, given, categorical=["day"]) == {}, "a list wins"
    marked = table_of(day=pd.Categorical(DAYS))
    assert forms_of(marked) == {}, "a category in the frame is one"
    with pytest.raises(SchemaError, match="'x1' is declared datetime, but its text is in no known form.*'a[12]'"):
        other = table_of(x1=["a1", "a2"] * 30)
        text_forms(other, collect(other), None, {Kind.DATETIME: ["x1"]})


@pytest.mark.parametrize(("odd", "fits"), [(3, True), (4, False)])
def test_five_rows_of_a_hundred_may_lack_a_declared_form(odd: int, fits: bool) -> None:
    """Of 60 rows three; signs for no date do not count."""
    table = table_of(day=[*DAYS[: 54 - odd], *["-"] * 6, *[f"week {i}" for i in range(odd)]])
    given = TableSchema((ColumnSchema("day", Kind.DATETIME, "string", date_format="%d.%m.%Y"),))
    if fits:
        assert len(forms_of(table, given)["day"].odd) == 3
        return
    with pytest.raises(SchemaError, match=r"date_format '%d.%m.%Y', but 4 rows have another form, for example 'week"):
        text_forms(table, collect(table), given, {})


def test_forms_come_from_a_schema_and_go_back_into_it() -> None:
    table = table_of(day=[*DAYS[:59], None], x=np.arange(60.0))
    found, statistics = dated(table, collect(table))
    schema = value_of(lambda: as_written(infer_schema(found, statistics), found))
    assert (schema["day"].kind, schema["day"].dtype, schema["day"].date_format) == (Kind.DATETIME, "string", "%d.%m.%Y")
    assert schema["day"].reason == found.text_forms["day"].reason and schema["x"].date_format is None
    assert {n: (f.format, f.dtype) for n, f in declared_forms(schema).items()} == {"day": ("%d.%m.%Y", "string")}
    assert declared_types(schema) == {"day": pa.string(), "x": pa.float64()}
    assert declared_forms(None) == {} and declared_types(None) is None
    again = value_of(lambda: with_forms(table, declared_forms(schema)))
    assert again.to_arrow().equals(found.to_arrow())
    assert with_forms(found, declared_forms(schema)) is found and with_forms(table, {}) is table
    coded = as_table(pa.table({"day": pa.array(DAYS[:9]).dictionary_encode()}))
    assert with_forms(coded, declared_forms(schema)).to_arrow()["day"].null_count == 0
    empty = table_of(day=["-", "unknown"] * 30, x=np.arange(60.0))
    gone = with_forms(empty, declared_forms(schema))
    kept = as_written(infer_schema(gone, collect(gone)), gone)
    assert (kept["day"].kind, kept["day"].dtype) == (Kind.CONSTANT, "string")
