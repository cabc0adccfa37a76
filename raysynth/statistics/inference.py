"""What kind each column is: declared by the user, or inferred from the statistics, with a reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table
from raysynth.errors import SchemaError
from raysynth.kinds.identifier.key_pattern import infer_pattern, integer_pattern, row_number_pattern
from raysynth.kinds.identifier.repeated import personal_by_name, repeated_key
from raysynth.kinds.names import named_like_key, provider_by_name, words_of
from raysynth.kinds.personal.recognition import PUBLIC, are_public, noun_of, recognise_personal
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.numeric import is_numeric
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics

_INFERRED = (
    "kind",
    "dtype",
    "pandas_dtype",
    "nullable",
    "decimals",
    "pattern",
    "personal",
    "value",
    "date_format",
    "levels",
)
_EXAMPLES = 1000  # distinct texts looked at for patterns
_NUMBERS_OF_PERSONS = ("phone_number", "ssn", "credit_card_number")  # personal data that may come as whole numbers
_SEQUENCE_ROWS = 50  # a shorter run of consecutive numbers is no evidence of a key
_COINCIDENCES = 10  # equal pairs that independent whole numbers of this range would have at least: none has e**-10
_FEWEST_KEYS = 20  # different texts that are keys where other rows have none
_TWO_VALUED_ROWS = 10  # in a smaller table two distinct numbers are no evidence of a category


def infer_schema(
    table: Table,
    statistics: TableStatistics,
    declared: TableSchema | None = None,
    kinds: Mapping[Kind, Iterable[str] | None] | None = None,
    *,
    check_rows: bool = True,
) -> TableSchema:
    """The schema of a table: declared columns as declared, the others inferred.

    Args:
        table: for types and the dtypes of a DataFrame.
        statistics: of the same table.
        declared: a schema of all or some of the columns; it wins, and its constraints and limits are kept.
        kinds: lists of column names by kind (`categorical_columns=[...]`); they win over `declared`.
        check_rows: also check that the rows keep to what was declared. False under a privacy budget, where no error may
            depend on a row.

    Raises:
        SchemaError: a declared column is not in the table, or does not fit its type or (with `check_rows`) its rows.
    """
    listed = _listed(kinds or {}, table)
    if declared is not None:
        declared = replace(declared, columns=tuple(_as_held(c, table) for c in declared.columns))
    if declared is not None and (unknown := [n for n in declared.names if n not in table.names]):
        raise SchemaError(f"the schema has column '{unknown[0]}', but the table has: {', '.join(table.names)}")
    columns = []
    for name in table.names:
        seen = statistics.columns[name]
        pandas_dtype = table.pandas_dtypes.get(name)
        rare = TableSchema(()).rare_threshold if declared is None else declared.rare_threshold
        if declared is not None and name in declared:
            column = _declared_column(declared[name], seen, pandas_dtype)
            if name in listed and listed[name] is not column.kind:
                column = _column_of_kind(seen, listed[name], pandas_dtype)
        elif name in listed:
            column = _column_of_kind(seen, listed[name], pandas_dtype)
        else:
            column = _inferred_column(seen, pandas_dtype, rare)
        if check_rows:
            _check_rows(column, seen, rare)
        given = declared[name] if declared is not None and name in declared else None
        column = _as_in_frame(column, seen, table, rare)
        columns.append(replace(column, inferred=_read_from_rows(column, given, name in listed)))
    base = declared if declared is not None else TableSchema(columns=())
    return replace(base, columns=tuple(columns)).validate()


def _read_from_rows(column: ColumnSchema, given: ColumnSchema | None, kind_is_listed: bool) -> tuple[str, ...]:
    """Fields of a column that nobody declared: they follow from the rows."""
    if given is None:
        own = {"kind", "dtype", "nullable"} | {f for f in _INFERRED if getattr(column, f) is not None}
    else:
        own = {f for f in _INFERRED if getattr(column, f) != getattr(given, f)} | set(given.inferred)
    return tuple(f for f in _INFERRED if f in own and not (f == "kind" and kind_is_listed))


def _as_in_frame(column: ColumnSchema, seen: ColumnStatistics, table: Table, rare: int) -> ColumnSchema:
    """The column with what a DataFrame alone knows of it: a number as its name, the order of its categories.

    A level that stands in some rows, but in fewer than `rare`, is protected like any rare category.
    """
    column = replace(column, label=table.labels.get(column.name, column.label))
    levels = table.levels.get(column.name)
    if levels is None or column.kind is not Kind.CATEGORICAL:
        return column
    counts = seen.categories().value
    few = {v for v, n in zip(counts.values, counts.counts, strict=True) if n < rare}
    return replace(column, levels=tuple(v for v in levels if v not in few) or None)


def dtype_text(type_: pa.DataType) -> str:
    """The text form of a canonical type in a schema: 'string' for text, else Arrow's own."""
    return "string" if is_text(type_) else str(type_)


def _as_held(column: ColumnSchema, table: Table) -> ColumnSchema:
    """A declared column as models see it, where its dates have been read from text already."""
    return column.as_modelled() if column.name in table.text_forms else column


def _listed(kinds: Mapping[Kind, Iterable[str] | None], table: Table) -> dict[str, Kind]:
    result: dict[str, Kind] = {}
    for kind, names in kinds.items():
        if isinstance(names, str):
            raise SchemaError(f"the {kind} columns must be a list of names; found the text '{names}'")
        for name in names or ():
            if name not in table.names:
                raise SchemaError(
                    f"column '{name}' is listed as {kind}, but the table has no such column; "
                    f"it has: {', '.join(table.names)}"
                )
            if result.get(name, kind) is not kind:
                raise SchemaError(f"column '{name}' is listed both as {result[name]} and as {kind}; keep one")
            result[name] = Kind(kind)
    return result


def _inferred_column(seen: ColumnStatistics, pandas_dtype: str | None, rare: int) -> ColumnSchema:
    kind, reason, extra = _kind_of(seen, pandas_dtype, rare)
    return _column(seen, kind, reason, pandas_dtype, **extra)


def _kind_of(seen: ColumnStatistics, pandas_dtype: str | None, rare: int) -> tuple[Kind, str, dict[str, Any]]:
    """Kind, reason, and what else the kind needs."""
    if seen.n_distinct == 0:
        return Kind.CONSTANT, "no value in any row: all missing in synthetic rows too", {"value": None}
    if _has_few_values(seen, rare):
        n = seen.n_rows - seen.missing
        reason = f"values in {n} row{'s' if n > 1 else ''} of {seen.n_rows:,} only, which are protected: all missing"
        return Kind.CONSTANT, reason, {"value": None}
    if seen.n_distinct == 1 and seen.missing == 0:
        return Kind.CONSTANT, "every row has the same value", {}
    if pt.is_boolean(seen.type):
        return Kind.BOOLEAN, "true or false", {}
    if pt.is_timestamp(seen.type) or pt.is_date32(seen.type):
        return Kind.DATETIME, f"type {seen.type}", {}
    if pt.is_duration(seen.type):
        return Kind.TIMEDELTA, f"type {seen.type}", {}
    if is_text(seen.type):
        return _kind_of_text(seen, pandas_dtype, rare)
    return _kind_of_number(seen, pandas_dtype, rare)


def _has_few_values(seen: ColumnStatistics, rare: int) -> bool:
    """Whether so few rows have a value, in a table of more rows, that every value is protected."""
    return seen.n_rows >= 2 * rare and seen.n_rows - seen.missing - seen.n_inf < rare


def _kind_of_number(seen: ColumnStatistics, pandas_dtype: str | None, rare: int) -> tuple[Kind, str, dict[str, Any]]:
    is_integer = pt.is_integer(seen.type)
    whole = is_integer or _decimals(seen) == 0  # a frame holds integers with gaps as doubles
    if pandas_dtype == "category":
        return Kind.CATEGORICAL, "pandas dtype 'category'", {}
    if is_integer and (provider := recognise_personal(seen.name, seen.examples(_EXAMPLES))) in _NUMBERS_OF_PERSONS:
        return Kind.PERSONAL, f"looks like {noun_of(provider)}: regenerated, never copied", {"personal": provider}
    fewest = _FEWEST_KEYS if seen.missing or not is_integer else 3
    is_named_so = named_like_key(seen.name) or "code" in words_of(seen.name)
    if whole and is_named_so and seen.summary.all_unique and seen.n_distinct >= fewest:
        have = "has" if not seen.missing else "that has a number has"
        return Kind.IDENTIFIER, f"every row {have} another whole number, and it is named like a key", {}
    if is_integer and seen.is_unique and seen.n_rows > 2:
        if seen.n_rows >= _SEQUENCE_ROWS and _is_sequence(seen):
            return Kind.IDENTIFIER, "the numbers of a sequence without gaps, each once", {}
        if seen.n_rows >= _SEQUENCE_ROWS and _is_drawn_once(seen):
            return Kind.IDENTIFIER, "each whole number once, where measured ones would repeat: a key", {}
    if seen.n_distinct <= 2 and seen.n_rows > _TWO_VALUED_ROWS and seen.categories().value.counts.max() >= rare:
        return Kind.CATEGORICAL, f"{seen.n_distinct} distinct number{'s' if seen.n_distinct > 1 else ''}", {}
    if whole and (why := _repeated_key(seen)) is not None:
        return Kind.IDENTIFIER, why, {}
    noun = "whole numbers" if whole else "numbers"
    return Kind.CONTINUOUS, f"{noun}, {_amount(seen)} distinct", {}


def _kind_of_text(seen: ColumnStatistics, pandas_dtype: str | None, rare: int) -> tuple[Kind, str, dict[str, Any]]:
    examples = seen.examples(_EXAMPLES)
    counts = seen.rows_per_value()
    if are_public(seen.name, examples, counts, rare):
        return Kind.CATEGORICAL, f"{_amount(seen)} {PUBLIC}", {}
    if (provider := recognise_personal(seen.name, examples, float(counts.mean()))) is not None:
        cure = " (public ones: list it in categorical_columns)" if provider == "name" else ""
        return Kind.PERSONAL, f"looks like {noun_of(provider)}: regenerated, never copied{cure}", {"personal": provider}
    if (why := _repeated_key(seen)) is not None:
        return Kind.IDENTIFIER, why, {}
    if (provider := personal_by_name(seen.name, examples, seen.n_distinct)) is not None:
        return Kind.PERSONAL, f"named like {noun_of(provider)}: regenerated, never copied", {"personal": provider}
    if pandas_dtype == "category":
        return Kind.CATEGORICAL, f"pandas dtype 'category', {_amount(seen)} distinct", {}
    if seen.is_unique and seen.n_rows > 2:
        return Kind.IDENTIFIER, "every row has another text: regenerated, never copied", {}
    if seen.summary.all_unique and seen.n_distinct >= _FEWEST_KEYS:
        return Kind.IDENTIFIER, "every row that has a text has another one: regenerated, never copied", {}
    return Kind.CATEGORICAL, f"text, {_amount(seen)} distinct", {}


def _repeated_key(seen: ColumnStatistics) -> str | None:
    """Why a column whose values repeat is a key; None where it is none, or no value repeats."""
    rows = seen.n_rows - seen.missing - seen.n_inf
    if seen.summary.all_unique:
        return None
    why = repeated_key(seen.name, seen.examples(_EXAMPLES), seen.n_distinct, rows, is_text=is_text(seen.type))
    return None if why is None else f"{why}, {_amount(seen)} different in {rows:,} rows: regenerated, never copied"


def _column_of_kind(seen: ColumnStatistics, kind: Kind, pandas_dtype: str | None) -> ColumnSchema:
    """A column whose kind the user listed by name."""
    if kind is Kind.CONTINUOUS and pt.is_temporal(seen.type):
        kind = Kind.TIMEDELTA if pt.is_duration(seen.type) else Kind.DATETIME
    extra: dict[str, Any] = {"personal": provider_by_name(seen.name)} if kind is Kind.PERSONAL else {}
    column = _column(seen, kind, "declared", pandas_dtype, **extra)
    _check_type(column, seen)
    return column


def _column(seen: ColumnStatistics, kind: Kind, reason: str, pandas_dtype: str | None, **extra: Any) -> ColumnSchema:
    if kind is Kind.CONTINUOUS:
        extra["decimals"] = _decimals(seen)
    if kind is Kind.CONSTANT and "value" not in extra:
        extra["value"] = constant_value(seen)
    if kind is Kind.IDENTIFIER:
        extra["pattern"] = key_pattern(seen)
    return ColumnSchema(
        name=seen.name,
        kind=kind,
        dtype=dtype_text(seen.type),
        pandas_dtype=pandas_dtype,
        nullable=seen.missing > 0 or seen.n_inf > 0,
        reason=reason,
        **extra,
    )


def _declared_column(column: ColumnSchema, seen: ColumnStatistics, pandas_dtype: str | None) -> ColumnSchema:
    """The declared column with the table's own type, and what a kind needs filled in from the statistics."""
    if _family(column.arrow_type) != _family(seen.type):
        raise SchemaError(
            f"column '{column.name}' is declared as {column.dtype}, but the table holds {dtype_text(seen.type)}; "
            "convert the column or correct the schema"
        )
    column = replace(column, dtype=dtype_text(seen.type), pandas_dtype=pandas_dtype or column.pandas_dtype)
    _check_type(column, seen)
    if column.kind is Kind.CONTINUOUS and column.decimals is None:
        column = replace(column, decimals=_decimals(seen))
    if column.kind is Kind.CONSTANT and column.value is None and seen.missing == 0:
        column = replace(column, value=constant_value(seen))
    if column.kind is Kind.IDENTIFIER and column.pattern is None:
        column = replace(column, pattern=key_pattern(seen))
    return column


def _check_type(column: ColumnSchema, seen: ColumnStatistics) -> None:
    """Raise `SchemaError` where a kind does not go with the table's type."""
    fits = {
        Kind.BOOLEAN: pt.is_boolean(seen.type),
        Kind.CONTINUOUS: is_numeric(seen.type) and not pt.is_temporal(seen.type),
        Kind.DATETIME: pt.is_timestamp(seen.type) or pt.is_date32(seen.type),
        Kind.TIMEDELTA: pt.is_duration(seen.type),
        Kind.IDENTIFIER: is_text(seen.type) or pt.is_integer(seen.type) or _are_whole(seen),
        Kind.PERSONAL: is_text(seen.type) or pt.is_integer(seen.type),
    }
    if not fits.get(column.kind, True):
        cures = {
            Kind.BOOLEAN: "declare it categorical, or convert it to bool",
            Kind.CONTINUOUS: "declare it categorical, or convert it with pd.to_numeric",
            Kind.DATETIME: "declare its `date_format`, for example '%d/%m/%Y', or convert it with pd.to_datetime",
            Kind.TIMEDELTA: "convert it with pd.to_timedelta",
            Kind.IDENTIFIER: "a key is text or a whole number; declare it continuous or categorical",
        }
        cure = cures.get(column.kind, "declare another kind, or convert it to text")
        raise SchemaError(
            f"column '{column.name}' is declared {column.kind}, but holds {dtype_text(seen.type)}; {cure}"
        )


def _check_rows(column: ColumnSchema, seen: ColumnStatistics, rare: int) -> None:
    """Raise `SchemaError` where rows do not keep to what was declared."""
    where = f"column '{column.name}'"
    is_protected = column.kind is Kind.CONSTANT and column.value is None and _has_few_values(seen, rare)
    if is_protected or seen.n_distinct == 0:
        return
    if column.kind is Kind.CONSTANT and (seen.n_distinct > 1 or (seen.n_distinct == 1 and seen.missing)):
        raise SchemaError(f"{where} is declared constant, but its rows differ; declare another kind")
    if not column.nullable and seen.missing:
        raise SchemaError(
            f"{where} is declared not nullable, but {seen.missing:,} rows are missing; fill them or allow it"
        )
    if column.bounds is not None and seen.extremes is not None and "bounds" not in column.inferred:
        low, high = seen.extremes
        if low < column.bounds[0] or high > column.bounds[1]:
            raise SchemaError(
                f"{where} has values outside the declared bounds {column.bounds}; widen them or clip the rows"
            )
    if column.categories is not None:
        counts = seen.categories().value
        if outside := [v for v in counts.values if v not in column.categories]:
            raise SchemaError(
                f"{where} has {len(outside):,} values that the declared categories lack; add them, or leave "
                "`categories` out"
            )
    if pt.is_decimal(seen.type) and seen.extremes is not None and (column.kind.is_modelled or seen.type.scale):
        found = seen.distribution().value.decimals
        digits = seen.type.scale if found is None else min(seen.type.scale, found + 1)
        if max(map(abs, seen.extremes)) * 10.0**digits >= 2.0**53:
            raise SchemaError(
                f"{where} holds decimals of more digits than the 15 that are exact; make them whole numbers of a "
                "smaller unit, which are exact to 18 (cents for euros), or text"
            )
    if column.kind is Kind.CATEGORICAL:
        seen.categories()  # raises where there are too many distinct numbers


def constant_value(seen: ColumnStatistics) -> Any:
    """The one value of a constant column, as JSON knows it: times as integers of their unit, decimals as text."""
    if seen.n_distinct == 0:
        return None
    if pt.is_temporal(seen.type) and seen.extremes is not None:
        return seen.extremes[0]
    value = seen.categories().value.values[0]
    return str(value) if pt.is_decimal(seen.type) else value


def key_pattern(seen: ColumnStatistics) -> str:
    """How the column's keys look, in the language of `kinds/identifier/pattern.py`."""
    if not is_text(seen.type) and seen.extremes is not None:
        bits = seen.type.bit_width - pt.is_signed_integer(seen.type) if pt.is_integer(seen.type) else 53
        low, high, largest = int(seen.extremes[0]), int(seen.extremes[1]), min(2**bits, 2**63) - 1
        numbers = row_number_pattern(low, high, seen.n_rows, largest) if seen.is_unique else None
        return numbers or integer_pattern(low, high, seen.n_rows, largest)
    return infer_pattern(seen.examples(_EXAMPLES), seen.n_rows)


def _decimals(seen: ColumnStatistics) -> int | None:
    if pt.is_integer(seen.type):
        return 0
    decimals = seen.distribution().value.decimals
    if pt.is_decimal(seen.type):  # a database may give all columns more digits than any value has
        return min(seen.type.scale, 15 if decimals is None else decimals)
    return decimals


def _are_whole(seen: ColumnStatistics) -> bool:
    """Whether a column of doubles or decimals holds whole numbers, as a frame has integers with gaps."""
    return is_numeric(seen.type) and not pt.is_temporal(seen.type) and _decimals(seen) == 0


def _is_sequence(seen: ColumnStatistics) -> bool:
    if seen.extremes is None:
        return False
    low, high = seen.extremes
    return high - low + 1 == seen.n_rows


def _is_drawn_once(seen: ColumnStatistics) -> bool:
    """Whether so many whole numbers in so short a range cannot differ by chance; years and steps of a series may."""
    assert seen.extremes is not None
    low, high = (int(v) for v in seen.extremes)
    n = seen.n_rows - seen.missing
    step = seen.distribution().value.step or 1
    is_series = (high - low) // step + 1 == n
    are_years = low >= 1000 and high < 3000
    return n * n / 2 >= _COINCIDENCES * ((high - low) // step + 1) and not is_series and not are_years


def _family(type_: pa.DataType) -> str:
    if is_text(type_) or pt.is_string(type_) or pt.is_large_string(type_):
        return "text"
    if pt.is_timestamp(type_) or pt.is_date32(type_):
        return "datetime"
    if pt.is_duration(type_):
        return "duration"
    if pt.is_boolean(type_):
        return "boolean"
    return "null" if pt.is_null(type_) else "number"


def _amount(seen: ColumnStatistics) -> str:
    return f"{seen.n_distinct:,}"
