"""Sequences behind their encoders: what a sequence model learns from, and how its output becomes a table again.

The rows of a long table are divided in two: a table of steps (the columns that vary, and the time since the row before)
and a table of entities (the static columns, the time of the first row and the length), one row for each sequence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import Table
from raysynth.data.sequences import LENGTH, OrderedRows, Windows, codes_of, gaps
from raysynth.data.table import as_table
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.fitting.persons import sharing, with_repeated_keys
from raysynth.kinds.identifier.kind import MANY
from raysynth.running.runner import for_each_fragment
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.persons import value_hashes
from raysynth.statistics.table_statistics import TableStatistics, collect, require_finite
from raysynth.training.window_shards import wide_rows

Kinds = Mapping[Kind, Sequence[str] | None]
FEWEST_DRAWN = 500  # sequences; of fewer, long ones all rows are held
OWNER = "person of the row"  # in tables that count persons


def drawn_sequences(
    table: Table, key: str, time: str | None, most: int, statistics: TableStatistics
) -> tuple[Table, float]:
    """Whole sequences with about `most` rows, in memory, and their share of all; a smaller table as it is, and 1.

    Those are drawn whose key has a low hash. Fragments are read apart, over Ray Data where the table is large, so that
    no process holds the others. Rows without key or time are all there.
    """
    share = most / max(statistics.n_rows, 1)
    if share >= 1 or statistics.columns[key].n_distinct * share < FEWEST_DRAWN:
        return table, 1.0
    parts = for_each_fragment(table, partial(_drawn, key, time, share), columns=table.names, label="drawing sequences")
    rows = pa.concat_tables(parts).unify_dictionaries()
    held = as_table(rows, min_rows=0).fragments
    return replace(table, fragments=held, n_rows=len(rows), memory=rows, dataset=None), len(rows) / statistics.n_rows


def _drawn(key: str, time: str | None, share: float, index: int, blocks: Iterable[pa.RecordBatch]) -> pa.Table:
    """The rows of a fragment that belong to drawn sequences."""
    kept = []
    for block in blocks:
        hashes = value_hashes(block.column(key))  # 0 where missing
        taken = hashes < np.uint64(share * 2**63) * np.uint64(2)
        if time is not None:
            taken |= block.column(time).is_null().to_numpy(zero_copy_only=False)
        kept.append(pa.table(block.take(pa.array(np.flatnonzero(taken)))))
    return pa.concat_tables(kept)


@dataclass(frozen=True)
class WindowRows:
    """Sequences as wide encoded rows, put together when they are asked for (a `RowSource`).

    A wide row is: codes [length | context | step after step], values [context | step after step]; the steps beyond a
    sequence's end repeat its last one.

    Args:
        steps: encoded rows of all entities, in order.
        context: encoded context of each window.
        windows: which rows are whose.
        length: steps of a wide row.
    """

    steps: EncodedBlock
    context: EncodedBlock
    windows: Windows
    length: int

    def __len__(self) -> int:
        return len(self.windows)

    def take(self, rows: np.ndarray) -> EncodedBlock:
        """The wide rows of the windows at the given indices, in that order."""
        return wide_rows(self.steps, self.context, self.windows, self.length, rows)

    def column(self, column: int) -> np.ndarray:
        """The codes (R) of one column of the wide rows."""
        return self.take(np.arange(len(self))).codes_NC[:, column]


@dataclass(frozen=True)
class SequenceTables:
    """A long table divided into steps and entities, each with its schema and statistics.

    Args:
        ordered: the rows.
        windows: the sequences to learn.
        static: names of the static columns.
        schema: the user's columns in order.
        steps, step_schema, step_statistics: the table of steps.
        entities, entity_schema, entity_statistics: the table of sequences: static columns that are modelled, time of
            the first row, and length.
        persons: the column whose values protection counts; None: it counts rows.
        share: of the table's rows that sequences were drawn for.
    """

    ordered: OrderedRows
    windows: Windows
    static: tuple[str, ...]
    schema: TableSchema
    steps: pa.Table
    step_schema: TableSchema
    step_statistics: TableStatistics
    entities: pa.Table
    entity_schema: TableSchema
    entity_statistics: TableStatistics
    persons: str | None = None
    share: float = 1.0

    @property
    def rare_rows(self) -> int:
        """Rows that `rare_threshold` persons have on average; the threshold itself where protection counts rows."""
        if self.persons is None:
            return self.step_schema.rare_threshold
        each = self.ordered.rows.num_rows / max(1, int(codes_of(self.ordered.rows.column(self.persons)).max()) + 1)
        return int(np.ceil(self.step_schema.rare_threshold * each))

    def of_windows(self) -> pa.Table:
        """The table of sequences with the column of persons, where several sequences are one person's."""
        if self.persons is None or len(self.windows) == self.ordered.n_entities and self.persons == self.ordered.key:
            return self.entities
        owners = self.ordered.rows.column(self.persons).take(pa.array(self.windows.start))
        return self.entities.append_column(self.persons, owners)

    def step_encoder(self, binned: Collection[str] = ()) -> TableEncoder:
        """Codes and scaled values of each step; the numbers in `binned` as codes alone."""
        encoder = build_encoder(self.step_schema, self.step_statistics.columns, numeric="scaled", binned=binned)
        if not encoder.columns:
            raise _nothing_varies()
        return encoder

    def context_encoder(self) -> TableEncoder:
        """Codes and scaled values of each sequence's own columns, the length apart."""
        columns = tuple(c for c in self.entity_schema.columns if c.name != LENGTH)
        schema = replace(self.entity_schema, columns=columns)
        return build_encoder(schema, self.entity_statistics.columns, numeric="scaled")

    def window_rows(self, steps: TableEncoder, context: TableEncoder, length: int) -> WindowRows:
        """The encoded rows of all steps, the context of each window, and which rows each window takes."""
        encoded = steps.encode(as_table(self.steps, min_rows=0).to_arrow())
        own = context.encode(as_table(self.entities, min_rows=0).to_arrow())
        return WindowRows(encoded, own, self.windows, length)


def gap_name(time: str) -> str:
    """Name of the column of steps that holds the time since the row before."""
    return f"time since the last '{time}'"


def divide(
    ordered: OrderedRows,
    windows: Windows,
    static: tuple[str, ...],
    *,
    declared: TableSchema | None,
    kinds: Kinds,
    given: Table | None = None,
    entity: str | None = None,
) -> SequenceTables:
    """Divide ordered rows into a table of steps and a table of sequences, and infer what each column holds.

    Protection counts persons: the values of `entity`, or those of the key where there are enough of them (a few series
    are no persons: rows are counted then).

    Raises:
        SchemaError, DataError: as `infer_schema`. ParameterError: the schema has constraints.
    """
    if declared is not None and declared.constraints:
        raise ParameterError("constraints between columns are not kept in sequences; leave them out of the schema")
    reserved = [LENGTH] if ordered.time is None else [LENGTH, gap_name(ordered.time)]
    if taken := [n for n in reserved if n in ordered.rows.column_names]:
        raise SchemaError(f"column '{taken[0]}' has a name that raysynth uses itself; rename it")
    persons = _persons(ordered, entity)
    if entity is not None and entity != ordered.key:
        kinds = {**kinds, Kind.IDENTIFIER: [entity]}
    infer = _Inference(declared, kinds, given)
    steps = ordered.rows.select([n for n in ordered.rows.column_names if n not in (ordered.key, ordered.time, *static)])
    if not steps.column_names:
        raise _nothing_varies()
    if ordered.time is not None:
        steps = steps.append_column(gap_name(ordered.time), gaps(ordered))
    owners = None if persons is None else ordered.rows.column(persons)
    step_schema, step_statistics = infer(steps, {Kind.CONTINUOUS: reserved[1:]}, owners=owners)
    of_entity = ordered.rows.select(list(static)).take(pa.array(ordered.starts[:-1]))
    static_schema = infer(of_entity, {})[0] if static else TableSchema(columns=())
    entities, entity_schema, entity_statistics = _entities(ordered, windows, static_schema, infer, owners)
    own = {c.name: c for c in (*step_schema.columns, *static_schema.columns, *_key_and_time(ordered, infer))}
    columns = tuple(own[n] for n in ordered.rows.column_names)
    schema = replace(declared or TableSchema(columns=()), columns=columns, entity=persons)
    parts = steps, step_schema, step_statistics, entities, entity_schema, entity_statistics
    return SequenceTables(ordered, windows, static, schema, *parts, persons)


def _persons(ordered: OrderedRows, entity: str | None) -> str | None:
    """The column whose values protection counts; raises `SchemaError` where it is not there."""
    if entity is not None and entity not in ordered.rows.column_names:
        raise SchemaError(
            f"entity '{entity}' is no column of the table; it has: {', '.join(ordered.rows.column_names)}"
        )
    return ordered.key if entity is None and ordered.n_entities >= MANY else entity


def _nothing_varies() -> DataError:
    return DataError(
        "no column varies along the sequences in a way that can be modelled: all are static, constant, identifiers or "
        "personal data; check sequence_key and static_columns"
    )


@dataclass(frozen=True)
class _Inference:
    """What the user says of columns, for tables that have some of them."""

    declared: TableSchema | None
    kinds: Kinds
    given: Table | None

    def __call__(
        self,
        rows: pa.Table,
        more: Kinds,
        known: TableSchema | None = None,
        owners: pa.ChunkedArray | None = None,
    ) -> tuple[TableSchema, TableStatistics]:
        """Schema and statistics of a table.

        Args:
            rows: the table.
            more: kinds of columns that are not the user's.
            known: schema of some columns; None: what the user declared of them.
            owners: the person of each row, for statistics that count persons; None: they count rows.
        """
        names = rows.column_names
        table = as_table(rows, min_rows=0)
        if self.given is not None:
            dtypes = {n: t for n, t in self.given.pandas_dtypes.items() if n in names}
            table = replace(table, pandas_dtypes=dtypes, levels=self.given.levels, text_forms=self.given.text_forms)
        statistics = collect(table, label="statistics", check_values=False)  # one series has one key: a table of a row
        require_finite(statistics)
        base = known or self.declared
        if base is not None:
            base = replace(base, columns=tuple(c for c in base.columns if c.name in names), constraints=())
        own = {} if known else {k: [n for n in v or () if n in names] for k, v in self.kinds.items()}
        kinds = {k: [*own.get(k, []), *(more.get(k) or [])] for k in {*own, *more}}
        schema = infer_schema(table, statistics, base, kinds, check_rows=known is None)
        schema = with_repeated_keys(schema, statistics)
        if owners is None:
            return schema, statistics
        owned = rows.select([n for n in names if n != OWNER]).append_column(OWNER, owners)
        return schema, sharing(as_table(owned, min_rows=0), schema, statistics, OWNER)


def _entities(
    ordered: OrderedRows,
    windows: Windows,
    static: TableSchema,
    infer: _Inference,
    owners: pa.ChunkedArray | None,
) -> tuple[pa.Table, TableSchema, TableStatistics]:
    """One row for each sequence: modelled and constant static columns, time of the first row, length."""
    kept = [c for c in static.columns if c.kind.is_modelled or c.kind.is_constant]
    names = [c.name for c in kept] + ([] if ordered.time is None else [ordered.time])
    first = ordered.rows.select(names).take(pa.array(windows.start))
    entities = pa.table({n: first.column(n) for n in names} | {LENGTH: windows.length.astype(np.int64)})
    numbers = [] if len(np.unique(windows.length)) == 1 else [LENGTH]
    if ordered.time is not None and not pa.types.is_temporal(entities.schema.field(ordered.time).type):
        numbers.append(ordered.time)
    owners = None if owners is None else owners.take(pa.array(windows.start))
    known = replace(static, columns=tuple(kept))
    schema, statistics = infer(entities, {Kind.CONTINUOUS: numbers}, known, owners)
    return entities, schema, statistics


def _key_and_time(ordered: OrderedRows, infer: _Inference) -> list[ColumnSchema]:
    """The key is made anew in its pattern, whatever it was taken for; the time follows from start and gaps."""
    if ordered.key is None:
        return []
    keys = ordered.rows.select([ordered.key]).take(pa.array(ordered.starts[:-1]))
    alone = replace(infer, declared=None, kinds={})
    key = alone(keys, {Kind.IDENTIFIER: [ordered.key]})[0].columns[0]
    columns = [replace(key, reason="key of the sequences: made anew, never copied")]
    if ordered.time is not None:
        rows = ordered.rows.select([ordered.time])
        numeric = not pa.types.is_temporal(rows.schema.field(0).type)
        time = alone(rows, {Kind.CONTINUOUS: [ordered.time] if numeric else []})[0].columns[0]
        columns.append(replace(time, reason="time of the rows: a start, and gaps"))
    return columns


def vector_layout(encoder: TableEncoder) -> Any:
    """The vectors (`models.time_gan.VectorLayout`) of an encoder's rows: codes that never occur take no place."""
    from raysynth.methods.timegan.network import VectorLayout

    fixed, value_columns, value_codes, dead, places = [], [], [], [], 0
    for i, (column, place) in enumerate(zip(encoder.columns, encoder.layout, strict=True)):
        alive = np.flatnonzero(column.shares > 0)
        fixed.append(int(alive[0]) if len(alive) == 1 else -1)
        if fixed[-1] < 0:
            dead += [places + code for code in range(column.cardinality) if code not in alive]
            places += column.cardinality
        if place.value_index is not None:
            assert isinstance(column, ModeEncoder)
            smooth = np.flatnonzero(column.mixture.std > 0)
            value_columns.append(i)
            value_codes.append(int(smooth[0]) if len(smooth) else column.cardinality)
    return VectorLayout(encoder.cardinalities, tuple(value_columns), tuple(value_codes), tuple(fixed), tuple(dead))
