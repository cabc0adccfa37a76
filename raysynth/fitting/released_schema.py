"""A schema released with noise: domains, ranges, decimals and missing values, within a budget that each fit pays.

Kinds follow from public facts (`public_schema.py`). Each column's statistics are released as for a fit (`noised.py`);
what they show becomes its declaration. All events are in the schema's ledger, in the order in which they were charged,
and every fit with the schema pays for them (`PrivacyScope.replay`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow.types as pt

from raysynth.arguments import check_whole
from raysynth.data.arrow_types import EXACT_DOUBLE
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import ROW, Event, Ledger, unit_in_words
from raysynth.dp.accounting.odometer import Odometer
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.encoding.numbers import NumericEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ModelFileError, ParameterError, SchemaError
from raysynth.schema.columns import WHOLE_BY_FIT, ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.families import found_columns
from raysynth.statistics.noised import NoisedColumn, release_statistics
from raysynth.statistics.public_schema import NUMBERS, as_declared, public_schema
from raysynth.statistics.units import bounded


def released_schema(
    data: Any,
    kinds: Mapping[Kind, Iterable[str] | None],
    epsilon: float,
    delta: float | None,
    privacy_unit: str | None,
    most: int,
    odometer: str | os.PathLike[str] | None = None,
) -> TableSchema:
    """The schema of a table, released within a budget of its own (see `fitting/released_schema.py`).

    Raises:
        ParameterError: epsilon or delta is out of range. SchemaError, DataError: about names and types alone.
    """
    check_whole("max_rows_per_unit", most)
    unit, k = (ROW, 1) if privacy_unit is None else (unit_in_words(privacy_unit, most), most)
    scope = PrivacyScope(PrivacyBudget.fixed(epsilon, delta), unit=unit, rows_per_unit=k)
    if odometer is not None:
        Odometer(odometer).reserve("a schema", scope.budget.epsilon, scope.budget.delta, unit=unit)
    table = as_table(data, min_rows=0, private=True)
    if privacy_unit is not None:
        table = bounded(table, privacy_unit, most, scope.noise)
    found = found_columns(table, None, kinds, scope, privacy_unit)
    schema = public_schema(table, None, kinds, found=found, unit=privacy_unit)
    return release_schema(as_declared(table, schema), schema, scope)


def pay_for_schema(declared: TableSchema | None, scope: PrivacyScope) -> int | None:
    """Write what a schema's releases cost into a fit's empty ledger; gives the number of rows released with them.

    Raises:
        ParameterError: they cost more than the budget, or were made for another privacy unit.
    """
    if declared is None or declared.releases is None:
        return None
    events, n_rows = schema_events(declared)
    if other := {event.unit for event in events} - {scope.unit}:
        raise ParameterError(
            f"the schema was released for one {other.pop()} more or less, and this fit protects one {scope.unit}; "
            "release one for the same unit by infer_schema(data, epsilon=..., privacy_unit=...), or declare it"
        )
    scope.replay(events, n_rows, what="the schema's releases", otherwise="declare the schema")
    return n_rows


def with_whole_numbers(schema: TableSchema, encoder: TableEncoder) -> TableSchema:
    """The schema that synthetic rows are written by: whole numbers are integers where a fit's releases showed them.

    It follows from the released encoder and the public schema alone. Models go on to see float64.
    """
    known = {c.name: c.distribution for c in encoder.columns if isinstance(c, NumericEncoder)}
    columns = []
    for column in schema.columns:
        found = known.get(column.name)
        is_whole = found is not None and found.decimals == 0 and max(-found.low[0], found.high[-1]) < EXACT_DOUBLE
        if column.kind.is_number and column.reason == NUMBERS and is_whole:
            released = tuple(dict.fromkeys((*column.released, "dtype", "decimals")))
            column = replace(column, dtype="int64", decimals=0, released=released, reason=WHOLE_BY_FIT)
        columns.append(column)
    return replace(schema, columns=tuple(columns))


STATISTICS_SHARE = 0.93  # of rho; `FAMILY_SHARE` may be taken, and the rest is slack for composition


def release_schema(table: Table, public: TableSchema, scope: PrivacyScope) -> TableSchema:
    """The public schema of a table with what its rows tell of undeclared columns, noised and charged.

    Args:
        table: with the schema's types.
        public: from `public_schema`.
        scope: with nothing in its ledger but what columns spell; all of its budget is spent.
    """
    statistics = release_statistics(table, public, scope, share=STATISTICS_SHARE)
    columns = [_filled(c, statistics.columns.get(c.name)) for c in public.columns]
    releases = {"n_rows": scope.n_rows, "unit": scope.unit, "ledger": scope.ledger.to_dict()}
    return replace(public, columns=tuple(columns), releases=releases).validate()


def schema_events(schema: TableSchema) -> tuple[tuple[Event, ...], int]:
    """What the releases of a schema cost, and the noised number of rows among them; raises `SchemaError`."""
    assert schema.releases is not None
    try:
        return Ledger.from_dict(schema.releases["ledger"]).events, int(schema.releases["n_rows"])
    except (KeyError, TypeError, ValueError, ModelFileError) as error:
        raise SchemaError(f"the releases of the schema cannot be read ({error}); release it again") from None


def _filled(column: ColumnSchema, released: NoisedColumn | None) -> ColumnSchema:
    """A column with what was released of it."""
    if released is None:
        return column
    changes: dict[str, Any] = {}
    if column.nullable and released.missing <= 0:
        changes["nullable"] = False
    digits = None if released.numbers is None else released.numbers.value.decimals
    if digits is not None and column.kind.is_number and column.decimals is None:
        changes["decimals"] = digits
        if digits == 0 and pt.is_float64(column.arrow_type):
            changes["dtype"] = "int64"
    if released.numbers is not None and column.bounds is None:
        cells = released.numbers.value
        changes["bounds"] = (float(cells.low[0]), float(cells.high[-1]))
    if released.counts is not None and column.categories is None and column.kind.is_listed:
        counts = released.counts.value
        if counts.values and counts.complete:
            changes["categories"] = counts.values
    if not changes:
        return column
    return replace(
        column,
        **changes,
        released=tuple(dict.fromkeys((*column.released, *changes))),
        reason=f"{column.reason}; released with noise",
    )
