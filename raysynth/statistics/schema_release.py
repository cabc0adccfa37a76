"""A schema released with noise: domains, ranges, decimals and missing values of a table, at a cost that stands with it.

Kinds follow from public facts (`public_schema.py`). Each column's statistics are released as for a fit (`noised.py`);
what they show becomes its declaration. The digits of a number are found from one more histogram of disjoint cells, how
many digits each value needs, of which one row changes one cell by 1. All events are in the schema's ledger, in the
order in which they were charged, and every fit with the schema pays for them (`PrivacyScope.replay`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.total_cast import is_missing
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.ledger import Event, Ledger
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import gaussian_vector
from raysynth.errors import ModelFileError, SchemaError
from raysynth.running.runner import summarise
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.cell_counts import CellCounts, as_doubles
from raysynth.statistics.decimals import needed_digits
from raysynth.statistics.noised import SEEN, NoisedColumn, release_statistics

DIGITS_SHARE = 0.2  # of rho, for the digits of all numbers together
STATISTICS_SHARE = 0.75  # the rest is slack for composition
MOST_DIGITS = 6  # numbers that need more have as many as their type
FEW = 0.01  # of the rows: so many may need more digits than are found


@dataclass(frozen=True)
class DigitCells:
    """How many digits after the point a number needs: 0 .. `MOST_DIGITS`, more, missing."""

    n_cells = MOST_DIGITS + 3

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        missing = is_missing(array)
        digits = needed_digits(np.where(missing, 0.0, as_doubles(array)), MOST_DIGITS)
        return np.where(missing, MOST_DIGITS + 2, digits)


def release_schema(table: Table, public: TableSchema, scope: PrivacyScope) -> TableSchema:
    """The public schema of a table with what its rows tell of undeclared columns, noised and charged.

    Args:
        table: with the schema's types.
        public: from `public_schema`.
        scope: with an empty ledger; all of its budget is spent.
    """
    numbers = [c for c in public.columns if c.kind is Kind.CONTINUOUS and c.decimals is None]
    statistics = release_statistics(table, public, scope, share=STATISTICS_SHARE)
    digits = _digits(table, numbers, scope, statistics.n_rows)
    columns = [_filled(c, statistics.columns.get(c.name), digits.get(c.name)) for c in public.columns]
    releases = {"n_rows": scope.n_rows, "unit": scope.unit, "ledger": scope.ledger.to_dict()}
    return replace(public, columns=tuple(columns), releases=releases).validate()


def schema_events(schema: TableSchema) -> tuple[tuple[Event, ...], int]:
    """What the releases of a schema cost, and the noised number of rows among them; raises `SchemaError`."""
    assert schema.releases is not None
    try:
        return Ledger.from_dict(schema.releases["ledger"]).events, int(schema.releases["n_rows"])
    except (KeyError, TypeError, ValueError, ModelFileError) as error:
        raise SchemaError(f"the releases of the schema cannot be read ({error}); release it again") from None


def _digits(table: Table, numbers: list[ColumnSchema], scope: PrivacyScope, n_rows: int) -> dict[str, int]:
    """The digits that nearly all values of each number need, as far as the noise shows."""
    if not numbers:
        return {}
    multiplier = scope.share_multiplier(DIGITS_SHARE / len(numbers))
    k = scope.rows_per_unit
    scope.charge(*(events.gaussian(f"digits of '{c.name}'", multiplier, sensitivity=k) for c in numbers))
    cells: dict[str, Any] = {c.name: DigitCells() for c in numbers}
    counted = summarise(table, partial(CellCounts, cells), columns=list(cells), label="digits of numbers")
    found = {}
    for name in cells:
        noised = gaussian_vector(counted.fixed[name], multiplier, scope.noise, sensitivity=k)[:-1]
        more = noised[::-1].cumsum()[::-1][1:]  # rows that need more than 0, 1, 2 ... digits
        noise = SEEN * multiplier * k * np.sqrt(np.arange(len(more), 0, -1))
        enough = np.flatnonzero(more <= np.maximum(noise, FEW * n_rows))
        if len(enough) and noise[0] < n_rows / 4:
            found[name] = int(enough[0])
    return found


def _filled(column: ColumnSchema, released: NoisedColumn | None, digits: int | None) -> ColumnSchema:
    """A column with what was released of it."""
    if released is None:
        return column
    changes: dict[str, Any] = {}
    if column.nullable and released.missing <= 0:
        changes["nullable"] = False
    if digits is not None:
        changes["decimals"] = digits
        if digits == 0 and pt.is_float64(column.arrow_type):
            changes["dtype"] = "int64"
    if released.numbers is not None and column.bounds is None:
        cells = released.numbers.value
        changes["bounds"] = (float(cells.low[0]), float(cells.high[-1]))
    if released.counts is not None and column.categories is None and column.kind is Kind.CATEGORICAL:
        counts = released.counts.value
        if counts.values and counts.complete:
            changes["categories"] = counts.values
    if not changes:
        return column
    return replace(column, **changes, released=tuple(changes), reason=f"{column.reason}; released with noise")
