"""A schema released with noise: domains, ranges, decimals and missing values of a table, at a cost that stands with it.

Kinds follow from public facts (`public_schema.py`). Each column's statistics are released as for a fit (`noised.py`);
what they show becomes its declaration. All events are in the schema's ledger, in the order in which they were charged,
and every fit with the schema pays for them (`PrivacyScope.replay`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.dp.accounting.ledger import Event, Ledger
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.errors import ModelFileError, SchemaError
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema
from raysynth.statistics.noised import NoisedColumn, release_statistics

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
