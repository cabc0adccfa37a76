"""Schemas from public knowledge alone, as a privacy budget needs them: what the user declares, or what a codebook says.

Taken as public are the names of the columns and whether each holds text, numbers, true and false, or times. Everything
else (whole numbers or not, decimals, whether values can be missing, lists of values, ranges, patterns of keys) comes
from the declared schema, or, for types, from the table's own where the user says that these are public. What nobody
declared is the most general: numbers are float64, every column can have missing values.

A codebook is a CSV file with one line a column and these headings, in any order, all but the first optional:

    column (name, variable, field)     the column's name in the table
    kind (type)                        categorical, boolean, continuous (number, integer), datetime (date), identifier
    low, high (min, max)               the smallest and largest value there can be, as numbers or dates
    values (categories, levels)        all values there can be, divided by '|' or ';'; of '1=male' the value is 1
    decimals                           digits after the point; 0 for whole numbers
    nullable (missing)                 yes or no: whether a value may be missing
    date_format (format)               how dates are written, for example %d/%m/%Y; without it %Y-%m-%d

No row is read for either.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.total_cast import total_cast
from raysynth.errors import SchemaError
from raysynth.kinds.arrow_text import TEXT, dtype_text, held
from raysynth.kinds.continuous import NUMBERS as NUMBERS
from raysynth.kinds.date_text import DateFormat
from raysynth.kinds.evidence import PublicField
from raysynth.kinds.registry import kind_held, told_publicly
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.base import one_array
from raysynth.schema.table import TableSchema

UNIT_KEY = "key of the privacy unit: made anew, never copied"


def public_schema(
    table: Table,
    declared: TableSchema | None,
    kinds: Mapping[Kind, Iterable[str] | None],
    *,
    public_types: bool = False,
    found: Iterable[ColumnSchema] = (),
    unit: str | None = None,
) -> TableSchema:
    """The schema of a table from public facts alone; rare values need no protection of their own then.

    Args:
        table: its names and families of types are read, no row is.
        declared: wins.
        kinds: lists of column names by kind; they win over `declared`.
        public_types: the types that a Parquet or Arrow file stores (whole numbers, decimals, units) are public.
        found: columns that nobody declared and whose kind was released with noise (`families.py`).
        unit: the column that names the privacy unit: a key that is made anew, whatever is declared of it.

    Raises:
        SchemaError: names the column: it is not in the table, of another family than declared, a constant without a
            value, or a unit that is neither text nor number; its declaration was read from rows; or `public_types` of
            a table whose types no file stores.
    """
    if public_types and table.untyped:
        raise SchemaError(
            f"public_types=True takes the types that a Parquet or Arrow file stores, and {table.source} has none: its "
            "types follow from its rows, and one cell changes them; declare the columns in a schema"
        )
    if declared is not None:
        declared.require_public()
        declared.validate()
    listed = {name: Kind(kind) for kind, names in kinds.items() for name in names or ()}
    known = () if declared is None else declared.names
    if unknown := [n for n in (*known, *listed) if n not in table.names]:
        raise SchemaError(f"column '{unknown[0]}' is declared, but the table has: {', '.join(table.names)}")
    columns, released = [], {c.name: c for c in found}
    for field in table.schema:
        if declared is not None and field.name in declared:
            column = declared[field.name]
            if not _is_comparable(table, field, column):
                raise SchemaError(
                    f"column '{column.name}' is declared as {column.dtype}, but the table holds "
                    f"{dtype_text(field.type)}; convert the column or correct the schema"
                )
        else:
            column = released.get(field.name) or undeclared(field, public_types)
        if field.name == unit:
            column = _key_of_unit(column, public_types)
        elif field.name in listed:
            column = _of_kind(column, listed[field.name], retyped=field.name in table.untyped)
        columns.append(_complete(column))
    base = declared if declared is not None else TableSchema(columns=())
    return replace(base, columns=tuple(columns), rare_threshold=1).validate()


def _is_comparable(table: Table, field: pa.Field, column: ColumnSchema) -> bool:
    """Whether a stored type goes with the declared one; what no file stores is read as declared."""
    is_stored = field.name not in table.untyped and not pt.is_null(field.type)
    return not is_stored or held(column.arrow_type) == held(field.type)


def as_declared(table: Table, schema: TableSchema) -> Table:
    """The table with the schema's types: a pure function of each row, in which what does not fit is missing."""
    return cast_to(table, {c.name: c.arrow_type for c in schema.columns})


def cast_to(table: Table, declared: Mapping[str, pa.DataType]) -> Table:
    """As `as_declared`, for types by column; a column without one stays as it is."""
    types = {n: TEXT if pt.is_string(t) else t for n, t in declared.items() if n in table.names}
    if all(table.schema.field(n).type.equals(t) for n, t in types.items()):
        return table
    return table.mapped(partial(_cast_rows, types))


def undeclared(field: pa.Field, public_types: bool = False) -> ColumnSchema:
    """A column of which nothing is declared: by name, what its type holds and, where that is public, the type."""
    kind, found = told_publicly(PublicField(field.name, field.type, public_types))
    return ColumnSchema(field.name, kind, reason=found.reason, **found.fields)


def _key_of_unit(column: ColumnSchema, public_types: bool) -> ColumnSchema:
    """The column that names the privacy unit: its values are never released, so every made row is somebody else's.

    Raises:
        SchemaError: it holds neither text nor numbers.
    """
    if column.kind.is_key or column.kind.is_made:
        return replace(column, nullable=False)
    found = held(column.arrow_type)
    if found not in ("text", "number"):
        raise SchemaError(
            f"privacy_unit '{column.name}' holds {found}; a key that can be made anew is text or a number: turn it "
            "into text"
        )
    was_declared = column.reason in ("", "declared") or public_types
    dtype = column.dtype if found == "text" or was_declared else "int64"
    return ColumnSchema(
        column.name, Kind.IDENTIFIER, dtype, column.pandas_dtype, False, label=column.label, reason=UNIT_KEY
    )


def _of_kind(column: ColumnSchema, kind: Kind, *, retyped: bool = False) -> ColumnSchema:
    """A column of a listed kind, as a number where it is `retyped`.

    Raises:
        SchemaError: the kind does not go with the type.
    """
    found = held(column.arrow_type)
    if kind.is_number:
        by_type = kind_held(found)
        kind = by_type if by_type is not None and by_type.is_numeric else kind
        if found in ("text", "boolean") and not retyped:
            raise SchemaError(f"column '{column.name}' is listed as {kind}, but holds {found}; list it categorical")
        if found in ("text", "boolean"):
            return ColumnSchema(column.name, kind, "double", reason=NUMBERS)
    if kind is column.kind:
        return column
    changes: dict[str, Any] = {"kind": kind, "reason": "declared", "personal": None}
    if not kind.is_numeric:
        changes["bounds"] = None
    if not kind.is_discrete:
        changes["categories"] = None
    return replace(column, **changes)


def _complete(column: ColumnSchema) -> ColumnSchema:
    if column.kind.is_constant and column.value is None:
        raise SchemaError(
            f"column '{column.name}' is declared constant; under a privacy budget its `value` must be declared, too"
        )
    if column.kind.is_number and column.decimals is None and pt.is_integer(column.arrow_type):
        return replace(column, decimals=0)
    return column


def _cast_rows(types: Mapping[str, pa.DataType], rows: pa.Table) -> pa.Table:
    columns = {n: one_array(rows.column(n)) for n in rows.column_names}
    return pa.table({n: total_cast(a, types[n]) if n in types else a for n, a in columns.items()})


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
