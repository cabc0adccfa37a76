"""A codebook line by line: what each entry declares of a column of each stored type, and what it says of a fault."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.errors import SchemaError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.public_schema import schema_of, to_fill_in

STORED = pa.table(
    {
        "real": [1.5],
        "whole": pa.array([1], pa.int32()),
        "text": ["a"],
        "moment": pa.array([datetime(2020, 1, 1)], pa.timestamp("ms")),
        "day": pa.array([date(2020, 1, 1)]),
    }
)
DAY = 86_400_000


def declared(name: str, entry: dict[str, str], table: Any = STORED) -> ColumnSchema:
    book = "\t".join(["column", *entry]) + "\n" + "\t".join([name, *entry.values()]) + "\n"
    return value_of(lambda: schema_of(as_table(table, min_rows=0, private=True), book))[name]


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("real", {"low": "0", "high": "9.5"}, {"kind": Kind.CONTINUOUS, "bounds": (0.0, 9.5), "decimals": None}),
        ("real", {"min": "0"}, {"kind": Kind.CONTINUOUS, "bounds": None}),
        ("real", {"maximum": "7"}, {"kind": Kind.CONTINUOUS, "bounds": None}),
        ("real", {"decimals": "2"}, {"kind": Kind.CONTINUOUS, "decimals": 2, "dtype": "double"}),
        ("real", {"kind": "Integer"}, {"decimals": 0, "dtype": "double"}),
        ("real", {"type": "int", "decimals": "1"}, {"decimals": 1}),
        ("real", {"kind": "number"}, {"decimals": None}),
        ("whole", {"values": "1=male|2=female; 3 "}, {"kind": Kind.CATEGORICAL, "categories": (1, 2, 3)}),
        ("whole", {"levels": "1|2", "kind": "number"}, {"kind": Kind.CONTINUOUS, "categories": None}),
        ("whole", {"low": "-2", "high": "2", "kind": "factor"}, {"kind": Kind.CATEGORICAL, "bounds": None}),
        ("text", {"categories": "a| b=two |;c d"}, {"categories": ("a", "b", "c d"), "dtype": "string"}),
        ("text", {"kind": "date"}, {"kind": Kind.DATETIME, "dtype": "string", "date_format": "%Y-%m-%d"}),
        (
            "text",
            {"kind": "date", "format": "%d/%m/%Y", "low": "31/01/2020", "high": "2020-12-31"},
            {"date_format": "%d/%m/%Y", "bounds": (18_292.0, 18_627.0)},
        ),
        ("moment", {"kind": "date", "min": "1970-01-02", "max": "1970-01-11"}, {"bounds": (1.0 * DAY, 10.0 * DAY)}),
        ("moment", {"kind": "time", "format": "%Y"}, {"date_format": None, "dtype": "timestamp[ms]"}),
        ("day", {"kind": "date", "low": "1970-01-02", "high": "1970-01-11"}, {"bounds": (1.0, 10.0)}),
        *(("real", {"missing": said}, {"nullable": True, "reason": "declared"}) for said in ("yes", "TRUE", "1", "y")),
        *(("real", {"nullable": said}, {"nullable": False}) for said in ("no", "false", "0", "n")),
    ],
)
def test_an_entry_declares_what_it_says(name: str, entry: dict[str, str], expected: dict[str, Any]) -> None:
    column = declared(name, entry)
    assert {k: getattr(column, k) for k in expected} == expected


@pytest.mark.parametrize(
    ("entry", "dtype", "date_format"),
    [
        ({"kind": "integer"}, "int64", None),
        ({"decimals": "0"}, "int64", None),
        ({"decimals": "1"}, "double", None),
        ({"kind": "number", "low": "0", "high": "1"}, "double", None),
        ({"kind": "date"}, "string", "%Y-%m-%d"),
        ({"kind": "date", "date_format": "%m/%Y"}, "string", "%m/%Y"),
        ({"values": "1|2"}, "string", None),
    ],
)
def test_a_column_of_a_text_file_has_the_type_that_its_kind_is_stored_in(
    entry: dict[str, str], dtype: str, date_format: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2\n3,4\n")
    column = declared("x", entry, tmp_path / "t.csv")
    assert (column.dtype, column.date_format) == (dtype, date_format)


def test_lines_and_headings_are_found_however_they_are_written() -> None:
    """A mark of the byte order, blank lines, capitals, spaces in headings, unknown ones, short lines, other columns."""
    book = (
        "\ufeff\n Date Format ; Variable;notes; NULLABLE\n\n;real;seen;no\n  ;elsewhere;;\n%d.%m.%Y;day;;\n;;;yes\nx\n"
    )
    schema = schema_of(as_table(STORED, min_rows=0), book)
    assert schema.names == ("real", "whole", "text", "moment", "day")
    assert not schema["real"].nullable and schema["day"].nullable and schema["day"].reason == "declared"
    assert schema["whole"].reason != "declared" and schema.rare_threshold == TableSchema(()).rare_threshold
    assert schema_of(as_table(STORED, min_rows=0)).names == schema.names


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "colour"}, "'codebook', column 'whole': unknown kind 'colour'; known: "),
        ({"values": "1|x"}, "the value 'x' is none of the column's type, int32"),
        ({"decimals": "-1"}, "decimals must be a whole number; found '-1'"),
        ({"low": "0", "high": "tall"}, "'tall' is no end of a range of continuous; write a number"),
    ],
)
def test_a_fault_is_named_with_its_line(entry: dict[str, str], said: str) -> None:
    book = "\t".join(["column", *entry]) + "\n" + "\t".join(["whole", *entry.values()]) + "\n"
    with pytest.raises(SchemaError, match=said):
        schema_of(as_table(STORED, min_rows=0), book)


@pytest.mark.parametrize("name", ["text", "day"])
def test_an_end_that_is_no_date_is_named_with_the_form_of_one(name: str) -> None:
    with pytest.raises(SchemaError, match=r"'soon' is no end of a range of datetime; write a date, as (%Y-%m-%d|2024)"):
        schema_of(as_table(STORED, min_rows=0), f"column,kind,low,high\n{name},date,2020-01-01,soon\n")


def test_what_nobody_declared_has_an_empty_entry_to_fill_in() -> None:
    book = "column;low;high;values\nreal;0;1;\ntext;;;a|b\n"
    content = to_fill_in(value_of(lambda: schema_of(as_table(STORED, min_rows=0), book)))
    open_ = {e["name"]: [k for k in ("bounds", "categories") if k in e and e[k] is None] for e in content["columns"]}
    assert open_ == {"real": [], "whole": ["bounds"], "text": [], "moment": ["bounds"], "day": ["bounds"]}
    bare = to_fill_in(schema_of(as_table(STORED, min_rows=0)))
    assert {e["name"]: e.get("categories", 0) for e in bare["columns"]}["text"] is None
