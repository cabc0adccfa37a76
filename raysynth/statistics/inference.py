"""What kind each column is: declared by the user, or inferred from the statistics, with a reason in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.errors import SchemaError
from raysynth.kinds.arrow_text import dtype_text, held
from raysynth.kinds.evidence import Evidence
from raysynth.kinds.registry import kind_held, told
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics

_INFERRED = (
    *("kind", "dtype", "pandas_dtype", "nullable", "decimals"),
    *("pattern", "personal", "value", "date_format", "levels"),
)


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
        rare = TableSchema(()).rare_threshold if declared is None else declared.rare_threshold
        evidence = Evidence(seen, table.pandas_dtypes.get(name), rare)
        if declared is not None and name in declared:
            column = _declared_column(declared[name], evidence)
            if name in listed and listed[name] is not column.kind:
                column = _column_of_kind(evidence, listed[name])
        elif name in listed:
            column = _column_of_kind(evidence, listed[name])
        else:
            column = _inferred_column(evidence)
        if check_rows:
            _check_rows(column, seen, evidence.has_few_values)
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
    others = () if given is None else tuple(f for f in given.inferred if f not in _INFERRED)  # the range of a rule
    return (*(f for f in _INFERRED if f in own and not (f == "kind" and kind_is_listed)), *others)


def _as_in_frame(column: ColumnSchema, seen: ColumnStatistics, table: Table, rare: int) -> ColumnSchema:
    """The column with what a DataFrame alone knows of it: a number as its name, the order of its categories.

    A level that stands in some rows, but in fewer than `rare`, is protected like any rare category.
    """
    column = replace(column, label=table.labels.get(column.name, column.label))
    levels = table.levels.get(column.name)
    if levels is None or not column.kind.is_listed:
        return column
    counts = seen.categories().value
    few = {v for v, n in zip(counts.values, counts.counts, strict=True) if n < rare}
    return replace(column, levels=tuple(v for v in levels if v not in few) or None)


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


def _inferred_column(evidence: Evidence) -> ColumnSchema:
    kind, found = told(evidence)
    return _column(evidence, kind, found.reason, found.fields)


def _column_of_kind(evidence: Evidence, kind: Kind) -> ColumnSchema:
    """A column whose kind the user listed by name; times that are listed as numbers stay times."""
    if kind.is_number and pt.is_temporal(evidence.seen.type):
        kind = kind_held(evidence.held) or kind
    column = _column(evidence, kind, "declared", {})
    _check_type(column, evidence)
    return column


def _column(evidence: Evidence, kind: Kind, reason: str, fields: Mapping[str, Any]) -> ColumnSchema:
    """A column with what its kind reads from the rows, where it is not among the fields that are known."""
    seen = evidence.seen
    read = {name: fill(evidence) for name, fill in kind.about.fills.items() if name not in fields}
    return ColumnSchema(
        name=seen.name,
        kind=kind,
        dtype=dtype_text(seen.type),
        pandas_dtype=evidence.pandas_dtype,
        nullable=seen.missing > 0 or seen.n_inf > 0,
        reason=reason,
        **read,
        **fields,
    )


def _declared_column(column: ColumnSchema, evidence: Evidence) -> ColumnSchema:
    """The declared column with the table's own type, and what a kind needs filled in from the statistics."""
    if held(column.arrow_type) != evidence.held:
        raise SchemaError(
            f"column '{column.name}' is declared as {column.dtype}, but the table holds "
            f"{dtype_text(evidence.seen.type)}; convert the column or correct the schema"
        )
    dtype, pandas_dtype = dtype_text(evidence.seen.type), evidence.pandas_dtype or column.pandas_dtype
    column = replace(column, dtype=dtype, pandas_dtype=pandas_dtype)
    _check_type(column, evidence)
    about = column.kind.about
    open_ = [name for name in about.fills if name not in about.needs and getattr(column, name) is None]
    return replace(column, **{name: about.fills[name](evidence) for name in open_}) if open_ else column


def _check_type(column: ColumnSchema, evidence: Evidence) -> None:
    """Raise `SchemaError` where a kind does not go with the table's type."""
    if not column.kind.about.fits(evidence):
        holds = dtype_text(evidence.seen.type)
        raise SchemaError(
            f"column '{column.name}' is declared {column.kind}, but holds {holds}; {column.kind.about.cure}"
        )


def _check_rows(column: ColumnSchema, seen: ColumnStatistics, has_few_values: bool) -> None:
    """Raise `SchemaError` where rows do not keep to what was declared."""
    where = f"column '{column.name}'"
    is_protected = column.kind.is_constant and column.value is None and (has_few_values or "kind" in column.inferred)
    if is_protected or seen.n_distinct == 0:
        return
    if column.kind.is_constant and (seen.n_distinct > 1 or (seen.n_distinct == 1 and seen.missing)):
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
    keeps_values = column.kind.is_modelled or column.kind.is_constant
    if pt.is_decimal(seen.type) and seen.extremes is not None and (keeps_values or seen.type.scale):
        found = seen.distribution().value.decimals
        digits = seen.type.scale if found is None else min(seen.type.scale, found + 1)
        if max(map(abs, seen.extremes)) * 10.0**digits >= 2.0**53:
            raise SchemaError(
                f"{where} holds decimals of more digits than the 15 that are exact; make them whole numbers of a "
                "smaller unit, which are exact to 18 (cents for euros), or text"
            )
    if column.kind.is_discrete:
        seen.categories()  # raises where there are too many distinct numbers
