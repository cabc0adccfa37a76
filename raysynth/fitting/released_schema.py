"""A schema that was released with noise: made within a budget of its own, and paid for by every fit with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from raysynth.data.table import as_table
from raysynth.dp.accounting.budget import PrivacyBudget
from raysynth.dp.accounting.ledger import ROW, unit_in_words
from raysynth.dp.accounting.odometer import Odometer
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.encoding.numbers import NumericEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError
from raysynth.schema.columns import WHOLE_BY_FIT, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.families import found_columns
from raysynth.statistics.public_schema import NUMBERS, as_declared, public_schema
from raysynth.statistics.released import EXACT_DOUBLE
from raysynth.statistics.schema_release import release_schema, schema_events
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
    """The schema of a table, released within a budget of its own (see `statistics/schema_release.py`).

    Raises:
        ParameterError: epsilon or delta is out of range. SchemaError, DataError: about names and types alone.
    """
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
