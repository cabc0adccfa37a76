"""Persons with several rows: whose each row is, what protection then counts, and what is made anew for each of them.

Without a privacy budget only: under one, `privacy_unit` says whose a row is, and nothing is read from rows to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.encoding.repeated import rows_each_of
from raysynth.errors import SchemaError
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.kinds.identifier.pattern import ROW_NUMBERS_FROM
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import dated
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.key_order import with_keys_in_order
from raysynth.statistics.persons import count_persons, found_entity, other_persons, repeating_together
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics, collect

_LISTED = "from a short public list, on which real ones stand too"
_CHANCE = 1e-6  # of a made key to be a real one that is worth a word

Infer = Callable[[str], TableSchema]


@dataclass(frozen=True)
class Persons:
    """A schema and statistics that know of persons.

    Args:
        table: with dates that are written as text read.
        schema: with what identifiers and personal data repeat like, and `entity`.
        statistics: with who shares each value, where there are persons of several rows.
        said: what is to be told of it, line by line.
        constant: modelled columns that are the same in all rows of each person, where persons have several; where there
            are any, the persons' key, too, if it is `in_order`.
    """

    table: Table
    schema: TableSchema
    statistics: TableStatistics
    said: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()


def known_persons(
    table: Table, declared: TableSchema | None, kinds: Mapping[Kind, Iterable[str] | None], entity: str | None
) -> Persons:
    """Schema and statistics of a table, from a pass for its columns and one for persons of several rows.

    Raises:
        DataError, SchemaError: as `infer_schema` and `with_persons`.
    """
    table, statistics = dated(table, collect(table, label="statistics"), declared, kinds)
    schema = infer_schema(table, statistics, declared, kinds)

    def with_key(name: str) -> TableSchema:
        return infer_schema(table, statistics, declared, {**kinds, Kind.IDENTIFIER: [name]})

    known = with_persons(table, schema, statistics, entity, with_key)
    odd = {n: ", ".join(map(repr, f.odd)) for n, f in table.text_forms.items() if f.odd}
    said = tuple(f"'{n}': texts that are no such date, for example {shown}" for n, shown in odd.items())
    return replace(known, said=(*said, *known.said))


def with_persons(
    table: Table, schema: TableSchema, statistics: TableStatistics, asked: str | None, infer: Infer
) -> Persons:
    """Find the persons of a table, and count them in a second pass where they have several rows.

    Args:
        table: any.
        schema: inferred. statistics: exact.
        asked: the column of persons; None: that of the schema, else one that looks like it.
        infer: gives the schema in which a column, by name, is an identifier.

    Raises:
        SchemaError: the column asked for is not in the table, or cannot be made anew.
    """
    declared = asked or schema.entity
    if declared is not None:
        schema = _with_entity_made_anew(table, schema, declared, infer)
    entity = declared or found_entity(schema, statistics)
    columns = tuple(
        _with_rows_each(c, statistics.columns[c.name], schema.rare_threshold, entity) for c in schema.columns
    )
    schema = with_keys_in_order(table, replace(schema, columns=columns, entity=entity), statistics)
    if entity is None:
        said = _said_of_repeats(repeating_together(table, schema, statistics), schema, statistics)
        return Persons(table, schema, statistics, said)
    if statistics.columns[entity].summary.all_unique:
        return Persons(table, schema, statistics)
    others = other_persons(schema, statistics, entity)
    counted = count_persons(table, schema.as_modelled(), statistics, entity, others)
    within = [n for n in counted.constant if schema[n].kind.is_made and not statistics.columns[n].missing]
    known = replace(schema, columns=tuple(_within(c, entity) if c.name in within else c for c in schema.columns))
    schema = with_keys_in_order(table, known, statistics)
    if schema != known:  # second keys of persons
        counted = count_persons(table, schema.as_modelled(), statistics, entity, others)
    constant = tuple(n for n in counted.constant if schema[n].kind.is_modelled)
    columns = tuple(_within(c, entity) if c.name in constant else c for c in schema.columns)
    constant += tuple(n for n in within if schema[n].in_order)
    constant += (entity,) if schema[entity].in_order and constant else ()
    said = (_said(entity, declared is not None, statistics.columns[entity], schema.rare_threshold),)
    said += tuple(
        f"'{n}' names persons, too: numbers and times that fewer than {schema.rare_threshold} of them have do not leave"
        for n in others
    )
    said += tuple(
        f"'{n}' varies within {share:.2%} of the persons, as slips would make it: taken as the same in all their rows"
        for n, share in counted.varying.items()
        if n in (*within, *constant)
    )
    statistics = statistics.with_sharers(counted.sharers)
    columns = tuple(_with_shared_levels(c, statistics, schema.rare_threshold) for c in columns)
    columns = tuple(_of_few(c) if c.name in counted.of_few else c for c in columns)
    constant = tuple(n for n in constant if n not in counted.of_few)
    return Persons(table, replace(schema, columns=columns), statistics, said, constant)


def sharing(table: Table, schema: TableSchema, statistics: TableStatistics, entity: str | None) -> TableStatistics:
    """Statistics of the changed columns of a table, with who shares their values; as they are without an entity."""
    if entity is None or entity not in table.names:
        return statistics
    others = other_persons(schema, statistics, entity)
    return statistics.with_sharers(count_persons(table, schema, statistics, entity, others).sharers)


def entity_of(rows: pa.Table, asked: str | None) -> str | None:
    """The column of persons of rows in memory; None where each person has one row.

    Raises:
        SchemaError: the rows have no column of that name.
    """
    table = as_table(rows, min_rows=0)
    statistics = collect(table, label="looking for persons", check_values=False)
    if asked is not None and asked not in table.names:
        raise SchemaError(f"entity '{asked}' is no column of the table; it has: {', '.join(table.names)}")
    if asked is None:
        typed, statistics = dated(table, statistics)  # times as text are no keys
        empty = [n for n, c in statistics.columns.items() if c.n_distinct == 0]
        schema = infer_schema(typed, statistics, None, {Kind.CATEGORICAL: empty}, check_rows=False)
        asked = found_entity(schema, statistics)
    return None if asked is None or statistics.columns[asked].summary.all_unique else asked


def divided_by(schema: TableSchema, statistics: TableStatistics, asked: str | None) -> tuple[TableSchema, str | None]:
    """The column of persons by which rows are to be divided, None where each person has one row; it is made anew.

    Args:
        schema: inferred. statistics: exact.
        asked: the column of persons; None: that of the schema, else one that looks like it.

    Raises:
        SchemaError: the schema has no such column.
    """
    entity = asked or schema.entity
    if entity is not None and entity not in schema:
        raise SchemaError(f"entity '{entity}' is no column of the table; it has: {', '.join(schema.names)}")
    entity = entity or found_entity(schema, statistics)
    if entity is None or statistics.columns[entity].summary.all_unique:
        return schema, None
    if not schema[entity].kind.is_made:
        changes = {"categories": None, "bounds": None, "decimals": None, "value": None}
        schema = schema.with_column(entity, kind=Kind.IDENTIFIER, **changes)
    return schema, entity


def with_repeated_keys(schema: TableSchema, statistics: TableStatistics) -> TableSchema:
    """The schema with the rows that share a value of each key, where keys repeat."""
    seen, rare = statistics.columns, schema.rare_threshold
    return replace(schema, columns=tuple(_with_rows_each(c, seen[c.name], rare, None) for c in schema.columns))


def design_effect(schema: TableSchema) -> float:
    """How many rows of a table count as one where all rows of a person say the same (Kish 1965, section 8.2).

    The sum of squares of the persons' numbers of rows over their sum; 1 where each has one row.
    """
    each = None if schema.entity is None else schema[schema.entity].rows_each
    if each is None:
        return 1.0
    rows, persons = (np.array(x, dtype=float) for x in zip(*each, strict=True))
    return float((persons * rows**2).sum() / (persons * rows).sum())


def _with_entity_made_anew(table: Table, schema: TableSchema, entity: str, infer: Infer) -> TableSchema:
    if entity not in table.names:
        raise SchemaError(f"entity '{entity}' is no column of the table; it has: {', '.join(table.names)}")
    column = schema[entity]
    if column.kind.is_made:
        return schema
    if column.reason in ("declared", ""):
        raise SchemaError(
            f"column '{entity}' says whose each row is (entity), so it is made anew; it cannot be {column.kind} too: "
            "leave its kind out, or name another entity"
        )
    return infer(entity)


def _with_rows_each(column: ColumnSchema, seen: ColumnStatistics, rare: int, entity: str | None) -> ColumnSchema:
    """A key (or the column of persons) with the rows that share a value, and how made values come to be real ones."""
    if column.personal == "first_name" and column.reason and _LISTED not in column.reason:
        column = replace(column, reason=f"{column.reason}; {_LISTED}")
    if not column.kind.is_key and not (column.kind.is_made and column.name == entity):
        return column
    is_known = column.rows_each is not None or column.within is not None
    if not is_known and not seen.summary.all_unique and len(seen.rows_per_value()):
        read = tuple(dict.fromkeys((*column.inferred, "rows_each")))
        column = replace(column, rows_each=rows_each_of(seen.rows_per_value(), rare), inferred=read)
    if column.kind.is_key and column.reason and "by chance" not in column.reason:
        size = IdentifierEncoder.from_schema(column).size
        if seen.n_distinct / _CHANCE > size:  # a whole number beyond what a double holds, for keys of long texts
            column = replace(column, reason=f"{column.reason}; {_chance(seen.n_distinct / size)}")
    return column


def _with_shared_levels(column: ColumnSchema, statistics: TableStatistics, rare: int) -> ColumnSchema:
    """Ordered categories without those that only few persons have."""
    if column.levels is None:
        return column
    counts = statistics.columns[column.name].categories().value
    persons = counts.counts if counts.persons is None else counts.persons
    few = {v for v, n in zip(counts.values, persons, strict=True) if n < rare}
    return replace(column, levels=tuple(v for v in column.levels if v not in few) or None)


def _of_few(column: ColumnSchema) -> ColumnSchema:
    """A column whose values fewer persons have than must share what leaves; as it is where its kind was declared."""
    if "kind" not in column.inferred:
        return column
    reason = "values of a few persons only, which are protected: all missing"
    bare = replace(column, categories=None, bounds=None, decimals=None, levels=None, within=None, date_format=None)
    return replace(bare, kind=Kind.CONSTANT, value=None, nullable=True, reason=reason)


def _within(column: ColumnSchema, entity: str) -> ColumnSchema:
    read = (*(f for f in column.inferred if f not in ("within", "rows_each")), "within")
    if column.kind.is_modelled:
        return replace(column, within=entity, inferred=read)
    return replace(
        column, within=entity, rows_each=None, reason=f"{column.reason}; one for each '{entity}'", inferred=read
    )


def _chance(share: float) -> str:
    if share >= ROW_NUMBERS_FROM:
        return (
            f"numbers that count through, made anew in the same range and joined to any row: {min(share, 1.0):.0%} of "
            "them are real ones by chance (a wider `pattern` makes that rarer)"
        ).replace("%", " %")
    return f"one made key in {1 / share:,.0f} is a real one by chance (a wider `pattern` makes it rarer)"


def _said(entity: str, is_declared: bool, seen: ColumnStatistics, rare_threshold: int) -> str:
    how = "" if is_declared else ", found by its name and values"
    return (
        f"protection counts persons: '{entity}'{how} has {seen.n_distinct:,} values, of "
        f"{float(np.mean(seen.rows_per_value())):.3g} rows on average; what fewer than {rare_threshold} of them share "
        "does not leave"
    )


def _said_of_repeats(names: Sequence[str], schema: TableSchema, statistics: TableStatistics) -> tuple[str, ...]:
    """What a fit says where columns of many values repeat together and no column of persons is known."""
    if not names:
        return ()
    seen = statistics.columns[names[0]]
    keys = [n for n in names if not schema[n].kind.is_numeric or schema[n].decimals == 0]
    cure = f"entity='{keys[0]}' (--entity {keys[0]})" if keys else "a column of persons, as `entity` (--entity)"
    listed, each = ", ".join(map(repr, names)), (seen.n_rows - seen.missing) / max(seen.n_distinct, 1)
    return (
        f"{listed} repeat together, {seen.n_distinct:,} values of {each:.3g} rows on average: if each is a person, "
        f"give {cure}; protection counts rows now, and what {schema.rare_threshold} rows of one share may be drawn",
    )


def said_of_constant(columns: Sequence[str], kept: bool) -> list[str]:
    """What a fit says of columns that are the same in all rows of a person: whether they are in those of a made one."""
    names = ", ".join(f"'{n}'" for n in columns)
    if not columns:
        return []
    if kept:
        return [f"the same in all rows of a person, and drawn once for each made one: {names}"]
    return [
        f"the same in all rows of a person, but may vary within a made one, whose rows are made singly: {names} "
        "(methods 'trees' and 'autoregressive' draw them once for each)"
    ]


def regenerators(schema: TableSchema) -> dict[str, Any]:
    """The encoder of each identifier and of each column of personal data, by name."""
    result: dict[str, Any] = {}
    for column in schema.columns:
        if (maker := column.kind.about.maker) is not None:
            result[column.name] = maker(column)
        entity = column.within or column.name
        if column.name in result and (rows_each := schema[entity].rows_each) is not None:
            from raysynth.encoding.repeated import RepeatedEncoder, RowsEach

            result[column.name] = RepeatedEncoder(result[column.name], RowsEach(rows_each), entity)
    return result
