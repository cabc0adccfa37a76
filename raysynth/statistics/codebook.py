"""A schema from public knowledge alone: the names and stored types of a table, and what a codebook says of its columns.

A codebook is a CSV file with one line a column and these headings, in any order, all but the first optional:

    column (name, variable, field)     the column's name in the table
    kind (type)                        categorical, boolean, continuous (number, integer), datetime (date), identifier
    low, high (min, max)               the smallest and largest value there can be, as numbers or dates
    values (categories, levels)        all values there can be, divided by '|' or ';'; of '1=male' the value is 1
    decimals                           digits after the point; 0 for whole numbers
    nullable (missing)                 yes or no: whether a value may be missing
    date_format (format)               how dates are written, for example %d/%m/%Y; without it %Y-%m-%d

No row is read: such a schema is for a fit under a privacy budget.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.errors import SchemaError
from raysynth.kinds.date_text import DateFormat
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.public_schema import public_schema

_HEADINGS = {
    "column": ("column", "name", "variable", "field"),
    "kind": ("kind", "type"),
    "low": ("low", "min", "minimum"),
    "high": ("high", "max", "maximum"),
    "values": ("values", "categories", "levels"),
    "decimals": ("decimals",),
    "nullable": ("nullable", "missing"),
    "date_format": ("date_format", "format"),
}


def schema_of(table: Table, codebook: str | None = None, source: str = "codebook") -> TableSchema:
    """The public schema of a table; what is open in it (ranges, lists of values) is for the user to fill in.

    Args:
        table: opened as under a privacy budget: its names and stored types are read, no row is.
        codebook: text of one, as the module describes.
        source: its name, for messages.

    Raises:
        SchemaError: the codebook has no column of names, or a line at fault, which is named.
    """
    schema = public_schema(table, None, {}, public_types=not table.untyped)
    entries = {} if codebook is None else _entries(codebook, source)
    columns = tuple(
        _declared(c, entries[c.name], c.name in table.untyped, source) if c.name in entries else c
        for c in schema.columns
    )
    return replace(schema, columns=columns, rare_threshold=TableSchema(()).rare_threshold).validate()


def to_fill_in(schema: TableSchema) -> dict[str, Any]:
    """The schema as JSON values, with an empty entry for each range and list of values that nobody declared."""
    content = schema.to_dict()
    for entry, column in zip(content["columns"], schema.columns, strict=True):
        if column.kind.is_numeric and column.bounds is None:
            entry["bounds"] = None
        if column.kind.is_listed and column.categories is None:
            entry["categories"] = None
    return content


def _entries(text: str, source: str) -> dict[str, dict[str, str]]:
    """What the codebook says of each column, by the names of `_HEADINGS`."""
    lines = [line for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    known = {word: name for name, words in _HEADINGS.items() for word in words}
    headings = [known.get(h.strip().lower().replace(" ", "_")) for h in rows[0]] if rows else []
    if "column" not in headings:
        raise SchemaError(f"'{source}' has no heading 'column' (or name, variable, field); found {rows[:1]}")
    found = [{h: v.strip() for h, v in zip(headings, row, strict=False) if h and v.strip()} for row in rows[1:]]
    return {entry["column"]: entry for entry in found if "column" in entry}


def _declared(column: ColumnSchema, entry: Mapping[str, str], is_untyped: bool, source: str) -> ColumnSchema:
    """A column with what its line in the codebook says; raises `SchemaError`."""
    where = f"'{source}', column '{column.name}'"
    word = entry.get("kind", "").lower()
    kinds = {name: kind for kind in Kind for name in (*kind.about.words, str(kind)) if kind.about.words}
    if word and word not in kinds:
        raise SchemaError(f"{where}: unknown kind '{word}'; known: {', '.join(kinds)}")
    is_number = "low" in entry or "high" in entry or "decimals" in entry
    kind = kinds.get(word, Kind.CATEGORICAL if "values" in entry else Kind.CONTINUOUS if is_number else column.kind)
    whole = word in ("integer", "int") or entry.get("decimals") == "0"
    changes: dict[str, Any] = {"kind": kind, "reason": "declared", "date_format": None, "decimals": None}
    if is_untyped:
        changes["dtype"] = "int64" if whole and kind.is_number else kind.about.stored
    if kind.is_dated and (is_untyped or pt.is_string(column.arrow_type)):
        changes |= {"dtype": "string", "date_format": entry.get("date_format", "%Y-%m-%d")}
    if kind.is_number and ("decimals" in entry or whole):
        changes["decimals"] = _whole(entry.get("decimals", "0"), where)
    if "nullable" in entry:
        changes["nullable"] = entry["nullable"].lower() in ("yes", "true", "1", "y")
    if not kind.is_key:
        changes["pattern"] = None
    result = replace(column, **changes)
    if "values" in entry and kind.is_listed:
        values = [v.split("=")[0].strip() for v in re.split(r"[|;]", entry["values"])]
        result = replace(result, categories=tuple(_value(v, result.arrow_type, where) for v in values if v))
    if "low" in entry and "high" in entry and kind.is_numeric:
        result = replace(result, bounds=(_end(entry["low"], result, where), _end(entry["high"], result, where)))
    result.validate()
    return result


def _value(text: str, type_: pa.DataType, where: str) -> Any:
    """A category in the type of its column."""
    if pt.is_string(type_):
        return text
    try:
        return pa.scalar(text).cast(type_).as_py()
    except pa.ArrowInvalid:
        raise SchemaError(
            f"{where}: the value '{text}' is none of the column's type, {type_}; correct it, or the column's type"
        ) from None


def _whole(text: str, where: str) -> int:
    if not text.isdigit():
        raise SchemaError(f"{where}: decimals must be a whole number; found '{text}'")
    return int(text)


def _end(text: str, column: ColumnSchema, where: str) -> float:
    """An end of a range as a number, of dates in the unit of the modelled column."""
    type_ = column.as_modelled().arrow_type
    try:
        if column.date_format is not None:
            value = DateFormat(column.date_format).parse(pa.array([text]))[0]
            value = value if value.is_valid else DateFormat("%Y-%m-%d").parse(pa.array([text])).cast(type_)[0]
        elif pt.is_temporal(type_):
            value = pa.scalar(text).cast(type_)
        else:
            return float(text)
    except (ValueError, pa.ArrowInvalid):
        value = pa.scalar(None, pa.int64())
    if not value.is_valid:
        form = column.date_format or "2024-01-31"
        raise SchemaError(
            f"{where}: '{text}' is no end of a range of {column.kind}; write a "
            + (f"date, as {form}" if column.kind.is_dated else "number")
        )
    return float(value.cast(pa.int32() if pt.is_date32(value.type) else pa.int64()).as_py())
