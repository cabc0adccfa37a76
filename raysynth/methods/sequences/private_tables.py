"""Sequences under a privacy budget, before any door: what is public of them, and each entity's rows, bounded.

Unit: one sequence: all rows of one entity of a long table, or one sequence of an array. Of an entity with more rows
than `sequence_length` one window of so many stays, drawn at random and in secret for that entity alone; rows without a
key or a time are left out, each by itself. So two tables that differ by one entity differ by at most `sequence_length`
rows of it in the table of steps, and by one row in the table of entities, given all other entities' draws; a guarantee
that holds given these holds for their mixture.

Nothing here is read from the rows but the rows themselves: which columns are static, how long sequences are at most,
types and kinds are declared or public (`statistics/public_schema.py`), and no error depends on a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.sequences import LENGTH, OrderedRows, Windows, check_order, numbers_of, order_rows, rows_of_array
from raysynth.data.table import as_table
from raysynth.data.total_cast import is_missing
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.kinds.arrow_text import held, plain
from raysynth.methods.sequences.data import gap_name
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.public_schema import as_declared, public_schema

Kinds = Mapping[Kind, Sequence[str] | None]


@dataclass(frozen=True)
class BoundedSequences:
    """A table of steps and a table of entities, with schemas of public facts; private.

    Args:
        windows: which steps are whose; one window of each entity.
        length: most steps of one; declared.
        static: names of the static columns.
        schema: the user's columns in order.
        steps, step_schema: rows of all entities, one after the other.
        entities, entity_schema: one row for each: static columns that are modelled, time of the first row, length.
    """

    windows: Windows
    length: int
    static: tuple[str, ...]
    schema: TableSchema
    steps: Table
    step_schema: TableSchema
    entities: Table
    entity_schema: TableSchema


def sequences_of_array(
    data: Any, *, length: int | None, features: int | None, declared: TableSchema | None = None
) -> BoundedSequences:
    """An array's sequences; its steps and features are public, as column names are. Numbers that are none are missing.

    Args:
        data: (sequences, steps, features).
        length, features: as declared; None: as the array has them.
        declared: bounds and decimals of 'feature 1', 'feature 2' and so on.

    Raises:
        DataError: another shape than declared, or no numbers. SchemaError: a declared column that an array has not.
    """
    values = np.asarray(data)
    if values.ndim != 3 or 0 in values.shape[1:] or values.dtype.kind not in "fiub":
        raise DataError(
            "an array of sequences has the shape (sequences, steps, features) and holds numbers; found "
            f"{values.ndim} dimensions of {values.dtype}"
        )
    for name, wanted, found in (("sequence_length", length, values.shape[1]), ("features", features, values.shape[2])):
        if wanted is not None and wanted != found:
            raise DataError(f"{name} is {wanted}, but the array has {found}; set {name}={found}")
    ordered = rows_of_array(values.astype(np.float64))
    numbers = {Kind.CONTINUOUS: ordered.rows.column_names}
    public = public_schema(as_table(ordered.rows, min_rows=0), declared, numbers)
    schema = replace(public, columns=tuple(replace(c, dtype="double", nullable=False) for c in public.columns))
    steps = int(values.shape[1])
    lengths = np.full(len(values), steps)
    constant = ColumnSchema(LENGTH, Kind.CONSTANT, "int64", value=steps, nullable=False, reason="an array's steps")
    entities = as_table(pa.table({LENGTH: lengths.astype(np.int64)}), min_rows=0)
    return BoundedSequences(
        Windows(ordered.starts[:-1], lengths),
        steps,
        (),
        schema,
        as_table(ordered.rows, min_rows=0),
        schema,
        entities,
        TableSchema((constant,), rare_threshold=1),
    )


@dataclass(frozen=True)
class LongTable:
    """What the user says of a long table.

    Args:
        key, time, static, length: names of key and time column, of the static columns, and most rows of a sequence.
        declared: schema of some columns. kinds: columns by kind. public_types: whether the table's types are public.
    """

    key: str | None
    time: str | None
    static: tuple[str, ...]
    length: int
    declared: TableSchema | None
    kinds: Kinds
    public_types: bool

    def sequences(self, data: Any, noise: NoiseSource) -> BoundedSequences:
        """The bounded sequences of a table.

        Args:
            data: any table that `fit` takes.
            noise: draws the windows of long entities.

        Raises:
            ParameterError, SchemaError, DataError: about names, types and parameters, never about a row.
        """
        if self.declared is not None and self.declared.constraints:
            raise ParameterError("constraints between columns are not kept in sequences; leave them out of the schema")
        table = as_table(data, min_rows=0, private=True)
        check_order(table, self.key, self.time)
        self._check_names(table)
        schema = self._public(table)
        ordered = _bounded(self._ordered(table, schema), self.length, noise)
        return self._divided(ordered, schema)

    def _check_names(self, table: Table) -> None:
        reserved = [LENGTH] if self.time is None else [LENGTH, gap_name(self.time)]
        if taken := [n for n in reserved if n in table.names]:
            raise SchemaError(f"column '{taken[0]}' has a name that raysynth uses itself; rename it")
        own = [n for n in table.names if n not in (self.key, self.time)]
        if unknown := [n for n in self.static if n not in own]:
            raise SchemaError(
                f"static_columns: '{unknown[0]}' is no column of the table beside key and time; it has: "
                f"{', '.join(own)}"
            )
        if not set(own) - set(self.static):
            raise DataError("no column is left to vary along the sequences; check sequence_key and static_columns")

    def _public(self, table: Table) -> TableSchema:
        """The schema of all columns: the key is made anew, the time is a number that no row is without."""
        kinds = {kind: list(names or ()) for kind, names in self.kinds.items()}
        if self.time is not None:
            kinds = {kind: [n for n in names if n != self.time] for kind, names in kinds.items()}
            kinds[Kind.CONTINUOUS] = [*kinds.get(Kind.CONTINUOUS, []), self.time]
        schema = public_schema(table, self.declared, kinds, public_types=self.public_types)
        assert self.key is not None
        columns = {c.name: c for c in schema.columns}
        columns[self.key] = self._key(table, columns[self.key])
        if self.time is not None:
            reason = "time of the rows: a start, and gaps"
            columns[self.time] = replace(columns[self.time], nullable=False, reason=reason)
        return replace(schema, columns=tuple(columns.values()))

    def _key(self, table: Table, found: ColumnSchema) -> ColumnSchema:
        """A key in its declared pattern, or in the plainest one."""
        if found.kind.is_key:
            return replace(found, nullable=False)
        of_type = {"text": "string", "number": "int64"}.get(held(table.schema.field(found.name).type))
        if of_type is None:
            raise SchemaError(f"sequence_key '{found.name}' holds neither text nor numbers; turn it into text")
        return ColumnSchema(
            found.name, Kind.IDENTIFIER, of_type, nullable=False, reason="key of the sequences: made anew, never copied"
        )

    def _ordered(self, table: Table, schema: TableSchema) -> OrderedRows:
        """All rows that have a key and a time, by entity and time, with the schema's types beside the key."""
        rows = table.to_arrow()
        typed = replace(schema, columns=tuple(c for c in schema.columns if c.name != self.key))
        others = as_declared(as_table(rows.drop_columns([self.key]), min_rows=0), typed).to_arrow()
        columns = {n: rows.column(n) if n == self.key else others.column(n) for n in rows.column_names}
        needed = [columns[n] for n in (self.key, self.time) if n is not None]
        missing = [is_missing(column.combine_chunks()) for column in needed]
        whole = pa.table(columns).filter(pa.array(~np.any(missing, axis=0)))
        return order_rows(as_table(whole, min_rows=0), self.key, self.time)

    def _divided(self, ordered: OrderedRows, schema: TableSchema) -> BoundedSequences:
        windows = Windows(ordered.starts[:-1], ordered.lengths)
        names = [n for n in ordered.rows.column_names if n not in (self.key, self.time, *self.static)]
        steps = _listing_own(ordered.rows.select(names))
        step_columns = [schema[n] for n in names]
        first = _listing_own(ordered.rows.take(pa.array(windows.start)))
        kept = [schema[n] for n in self.static if schema[n].kind.is_modelled or schema[n].kind.is_constant]
        if self.time is not None:
            steps = steps.append_column(gap_name(self.time), _own_gaps(ordered))
            step_columns.append(_gap_schema(self.time, steps.schema.field(gap_name(self.time)).type))
            kept.append(schema[self.time])
        entities = pa.table({c.name: first.column(c.name) for c in kept} | {LENGTH: windows.length.astype(np.int64)})
        bounds = (1.0, float(self.length))
        length = ColumnSchema(
            LENGTH, Kind.CONTINUOUS, "int64", bounds=bounds, decimals=0, nullable=False, reason="at most as declared"
        )
        return BoundedSequences(
            windows,
            self.length,
            self.static,
            schema,
            as_table(steps, min_rows=0),
            TableSchema(tuple(step_columns), rare_threshold=1, max_categories=schema.max_categories),
            as_table(entities, min_rows=0),
            TableSchema((*kept, length), rare_threshold=1, max_categories=schema.max_categories),
        )


def _bounded(ordered: OrderedRows, length: int, noise: NoiseSource) -> OrderedRows:
    """Of each entity one window of at most `length` rows; its place is drawn for that entity alone."""
    spare = np.maximum(ordered.lengths - length, 0)
    first = ordered.starts[:-1] + np.minimum((noise.uniform(len(spare)) * (spare + 1)).astype(np.int64), spare)
    kept = np.minimum(ordered.lengths, length)
    starts = np.append(0, np.cumsum(kept))
    rows = np.repeat(first - starts[:-1], kept) + np.arange(starts[-1])
    return replace(ordered, rows=ordered.rows.take(pa.array(rows)), starts=starts)


def _own_gaps(ordered: OrderedRows) -> pa.Array:
    """For each row the time since the row before; the first row of an entity has that of its second, or 0."""
    assert ordered.time is not None
    times = numbers_of(ordered.rows.column(ordered.time))
    gap = np.zeros_like(times)
    gap[1:] = times[1:] - times[:-1]
    first, has_second = ordered.starts[:-1], ordered.lengths > 1
    gap[first] = 0
    gap[first[has_second]] = gap[first[has_second] + 1]
    return pa.array(gap)


def _gap_schema(time: str, type_: pa.DataType) -> ColumnSchema:
    whole = pt.is_integer(type_)
    reason = "time between rows"
    return ColumnSchema(
        gap_name(time),
        Kind.CONTINUOUS,
        "int64" if whole else "double",
        decimals=0 if whole else None,
        nullable=False,
        reason=reason,
    )


def _listing_own(rows: pa.Table) -> pa.Table:
    """Dictionaries of the values that occur in these rows alone: they must not tell of rows that were left out."""
    return pa.table({name: plain(rows.column(name)) for name in rows.column_names})
