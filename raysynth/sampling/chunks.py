"""Rows in chunks of fixed size, each from its own random stream, so that any worker can make any chunk.

Row i belongs to chunk i // CHUNK_ROWS; the stream of a chunk is Philox keyed by (seed, chunk) (Salmon et al. 2011), so
the rows depend on (model, seed, n, conditions) alone, never on who made them or in which order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder, Within
from raysynth.errors import ConditionError, ConstraintError
from raysynth.kinds.date_text import DateFormat
from raysynth.kinds.description import Maker
from raysynth.sampling.completion import completed
from raysynth.sampling.conditions import ColumnCondition, Segment
from raysynth.sampling.persons import PersonColumns, rows_of_persons
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import one_array
from raysynth.schema.constraints.rules import ConstraintSet
from raysynth.schema.table import TableSchema
from raysynth.statistics.released import from_plain

CHUNK_ROWS = 65_536
MIN_EFFORT = 1_000_000  # rows that a rejection may look at, whatever comes of it
EFFORT_PER_ROW = 2_000  # further ones for each row that was accepted


@dataclass(frozen=True)
class SamplingModel:
    """All that a worker needs to make rows; picklable, holds releasable things only.

    Args:
        generator: makes encoded rows.
        encoder: decodes them.
        schema: the user's columns in order.
        rules: constraints, or None.
        regenerators: for identifier and personal columns.
        key: permutes identifiers; part of the model, so that keys differ between models.
        persons: what is drawn once for each made person; None: rows are made singly.
    """

    generator: Generator
    encoder: TableEncoder
    schema: TableSchema
    rules: ConstraintSet | None = None
    regenerators: Mapping[str, Maker] = field(default_factory=dict)
    key: int = 0
    persons: PersonColumns | None = None

    @property
    def condition_encoder(self) -> TableEncoder:
        """Encoder of the columns on which the generator can be given conditions: all but those that rules compute."""
        computed: frozenset[str] = frozenset() if self.rules is None else self.rules.computed
        return TableEncoder(tuple(c for c in self.encoder.columns if c.name not in computed))


@dataclass(frozen=True)
class Piece:
    """Part of one chunk: some rows of one segment."""

    conditions: tuple[ColumnCondition, ...]
    first_row: int
    n: int


def chunk_count(n_rows: int) -> int:
    """Number of chunks of a table of n rows."""
    return -(-n_rows // CHUNK_ROWS)


def chunk_stream(seed: int, chunk: int) -> np.random.Generator:
    """The random stream of one chunk."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, chunk], dtype=np.uint64)))


def make_chunk(model: SamplingModel, segments: tuple[Segment, ...], seed: int, chunk: int) -> pa.Table:
    """All rows of one chunk, the user's columns in order.

    Raises:
        ConditionError, ConstraintError: too few rows satisfy them; the message states the acceptance rate.
    """
    rng = chunk_stream(seed, chunk)
    distinct = DistinctRows(chunk, max(1, chunk_count(sum(segment.n for segment in segments))))
    pieces = _pieces(segments, chunk) or [Piece((), 0, 0)]
    done = completed(model, pieces, rng)

    def rows_of(place: int, piece: Piece) -> pa.Table:
        if place in done:
            return done[place]
        return (
            _of(model, piece, seed) if _person_by_person(model, piece) else _modelled_rows(model, piece, rng, distinct)
        )

    rows = [rows_of(i, p) for i, p in enumerate(pieces)]
    reserved = [p.n for p in pieces[:-1]] + [(chunk + 1) * CHUNK_ROWS - pieces[-1].first_row]
    whose = len(segments) == 1 and _person_by_person(model, pieces[0])
    tables = [
        assemble(r, model.schema, model.regenerators, model.key, p.first_row, own, by_person=whose)
        for r, p, own in zip(rows, pieces, reserved, strict=True)
    ]
    return pa.concat_tables(tables).unify_dictionaries()


def _person_by_person(model: SamplingModel, piece: Piece) -> bool:
    """Whether rows come with their persons: not under conditions, nor where all rows must differ."""
    if model.persons is None or piece.conditions or not piece.n:
        return False
    return model.rules is None or not model.rules.has_unique


def _of(model: SamplingModel, piece: Piece, seed: int) -> pa.Table:
    """The rows of a piece without conditions, person by person."""
    singly = replace(model, persons=None)

    def draw(n: int, rng: np.random.Generator) -> pa.Table:
        return _modelled_rows(singly, Piece((), 0, n), rng, DistinctRows(0, 1))

    return rows_of_persons(model, piece.first_row, piece.n, CHUNK_ROWS, draw, partial(chunk_stream, seed))


class DistinctRows:
    """Uniqueness over all chunks, which need not communicate: chunk i of C takes only rows whose hash is i modulo C.

    Inside a chunk the hashes seen so far are kept, so no two rows of the whole sample have the same one. The price is
    that about C rows are generated for each one taken.
    """

    def __init__(self, chunk: int, n_chunks: int) -> None:
        self.chunk, self.n_chunks = chunk, n_chunks
        self.seen: list[np.ndarray] = []

    def keep(self, hashes: list[np.ndarray], at_most: int) -> np.ndarray:
        """Indices of the rows to take, in order, at most so many; remembers them."""
        if not hashes:
            return np.arange(at_most)
        self.seen = self.seen or [np.empty(0, np.uint64) for _ in hashes]
        keep = np.ones(len(hashes[0]), bool)
        for values, seen in zip(hashes, self.seen, strict=True):
            first = np.zeros(len(values), bool)
            first[np.unique(values, return_index=True)[1]] = True
            mine = values % np.uint64(self.n_chunks) == self.chunk
            keep &= (values == 0) | (first & mine & ~np.isin(values, seen))
        rows = np.flatnonzero(keep)[:at_most]
        self.seen = [np.union1d(seen, values[rows]) for values, seen in zip(hashes, self.seen, strict=True)]
        return rows


def _pieces(segments: tuple[Segment, ...], chunk: int) -> list[Piece]:
    first, last = chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS
    pieces, start = [], 0
    for segment in segments:
        low, high = max(first, start), min(last, start + segment.n)
        if low < high:
            pieces.append(Piece(segment.conditions, low, high - low))
        start += segment.n
    return pieces


def _modelled_rows(model: SamplingModel, piece: Piece, rng: np.random.Generator, distinct: DistinctRows) -> pa.Table:
    """The rows of a piece that satisfy conditions and constraints; rejection only where it is needed."""
    n = piece.n
    if n == 0 or (not piece.conditions and model.rules is None):
        rows = model.encoder.decode(model.generator.generate(n, rng), rng)
        return rows if model.rules is None else model.rules.inverse(rows, rng)
    wanted = _Wanted.of(model, piece.conditions)
    parts: list[pa.Table] = []
    seen = accepted = in_vain = 0
    while accepted < n:
        rate = max(accepted, 0.5) / seen if seen else (1.0 if wanted.exact or not piece.conditions else 0.05)
        batch = int(np.clip((n - accepted) / rate * 1.1 + 16, 64, CHUNK_ROWS))
        rows = wanted.draw(model, batch, rng)
        seen += batch
        hashes = model.rules.hashes(rows) if model.rules is not None else []
        taken = distinct.keep(hashes, min(n - accepted, rows.num_rows))
        accepted += len(taken)
        in_vain = 0 if len(taken) else in_vain + batch
        if len(taken):
            parts.append(rows.take(pa.array(taken)))
        if accepted < n and (in_vain >= MIN_EFFORT or seen >= MIN_EFFORT + EFFORT_PER_ROW * accepted):
            _give_up(piece.conditions, accepted, seen)
    return pa.concat_tables(parts).unify_dictionaries()


@dataclass(frozen=True)
class _Wanted:
    """Conditions as the encoder of this model sees them.

    Args:
        conditions: as the user wants them.
        widened: where the generator cannot condition exactly, what decoded rows have to satisfy before single values
            are set to the points asked for.
        weights: for the generator.
        within: for the decoder.
        exact: whether the generator alone satisfies them.
    """

    conditions: tuple[ColumnCondition, ...]
    widened: tuple[ColumnCondition, ...]
    weights: dict[int, np.ndarray]
    within: dict[str, Within]
    exact: bool

    @classmethod
    def of(cls, model: SamplingModel, conditions: tuple[ColumnCondition, ...]) -> _Wanted:
        known_names = model.condition_encoder.names
        index = {c.name: i for i, c in enumerate(model.encoder.columns) if c.name in known_names}
        coded = [c for c in conditions if c.column in index]
        known = _exact_columns(model)
        exact = [c for c in coded if index[c.column] in known]
        widened = [c.windows(model.encoder.columns[index[c.column]]) for c in coded if c not in exact]
        within: dict[str, Within] = {}
        for c in exact:
            if c.values is not None:
                within[c.column] = frozenset(c.values)
            elif not c.points and not c.missing:
                within[c.column] = (c.low, c.high)
        weights = _weights(model, index, [*exact, *widened])
        return cls(conditions, tuple(widened), weights, within, len(exact) == len(conditions))

    def draw(self, model: SamplingModel, n: int, rng: np.random.Generator) -> pa.Table:
        """The rows among n generated ones that satisfy everything."""
        block = model.generator.generate(n, rng, self.weights or None)
        block = block.take(self._possible(block)) if self.weights else block
        rows = model.encoder.decode(block, rng, self.within)
        encoders = {c.name: c for c in model.condition_encoder.columns}
        rows = _keep(rows, [c.holds(rows.column(c.column)) for c in self.widened])
        for condition in self.conditions:
            if condition.points and condition.column in encoders:
                at = rows.column_names.index(condition.column)
                array = condition.snap(one_array(rows.column(at)), encoders[condition.column])
                rows = rows.set_column(at, condition.column, array)
        if model.rules is not None:
            rows = model.rules.inverse(rows, rng)
            rows = _keep(rows, [model.rules.holds(rows)])
            rows = _keep(rows, [model.rules.used(rows, rng)])
        return _keep(rows, [c.holds(rows.column(c.column)) for c in self.conditions if c.column in rows.column_names])

    def _possible(self, block: EncodedBlock) -> np.ndarray:
        possible = np.ones(len(block), bool)
        for index, weight in self.weights.items():
            possible &= (weight > 0)[block.codes_NC[:, index]]
        return possible


def _exact_columns(model: SamplingModel) -> frozenset[int]:
    """Columns on which the generator's conditions are exact, so that nothing has to be rejected for them."""
    if getattr(model.generator, "exact_conditions", False):
        return frozenset(range(len(model.encoder.columns)))
    columns: frozenset[int] = getattr(model.generator, "exact_columns", frozenset())
    return columns


def _weights(
    model: SamplingModel, index: Mapping[str, int], conditions: Sequence[ColumnCondition]
) -> dict[int, np.ndarray]:
    return {index[c.column]: c.weights(model.encoder.columns[index[c.column]]) for c in conditions}


def _keep(rows: pa.Table, masks: list[np.ndarray]) -> pa.Table:
    keep = np.logical_and.reduce(masks) if masks else None
    return rows if keep is None or keep.all() else rows.filter(pa.array(keep))


def _give_up(conditions: tuple[ColumnCondition, ...], accepted: int, seen: int) -> None:
    rate = f"{accepted} of {seen:,} generated rows ({accepted / seen:.2%})"
    if conditions:
        names = ", ".join(f"'{c.column}'" for c in conditions)
        raise ConditionError(
            f"only {rate} satisfy the conditions on {names}; ask for fewer rows, widen the conditions, or use a method "
            "with exact conditions (bayesian_network, autoregressive)"
        )
    raise ConstraintError(
        f"only {rate} satisfy the schema's constraints; relax them, or train longer, or declare a constraint that is "
        "met by construction (fixed combinations, inequality, one-hot group)"
    )


def assemble(
    rows: pa.Table,
    schema: TableSchema,
    regenerators: Mapping[str, Any],
    key: int,
    first_row: int,
    reserved: int = 0,
    *,
    by_person: bool = True,
) -> pa.Table:
    """The columns of a schema in order: modelled ones as they are, the others regenerated for their row numbers.

    `regenerators`: a `Regenerator` each; that of a key `in_order` is an encoder of keys. `reserved`: row numbers from
    the first one on whose keys no other rows take; 0: those of the rows. `by_person`: whether rows came with their
    persons, so that the keys of these have places.
    """
    arrays: dict[str, Any] = {}
    for column in schema.columns:
        if column.kind.is_modelled:
            arrays[column.name] = written(rows.column(column.name), column)
            continue
        if column.in_order and column.name in rows.column_names:
            own = reserved if by_person or column.name != schema.entity else 0
            places = rows.column(column.name).to_numpy()
            arrays[column.name] = regenerators[column.name].near(places, first_row, own, key)
            continue
        if column.kind.is_constant:
            array = pa.array(from_plain([column.value], column.arrow_type) * rows.num_rows, type=column.arrow_type)
        else:
            array = regenerators[column.name].values(first_row, rows.num_rows, key)
        if column.name in rows.column_names:  # whether a value is there was modelled
            present = rows.column(column.name).combine_chunks()
            array = array.take(pa.array(np.arange(rows.num_rows), mask=~present.to_numpy(zero_copy_only=False)))
        arrays[column.name] = array
    return pa.table(arrays)


def written(values: pa.Array | pa.ChunkedArray, column: ColumnSchema) -> pa.Array:
    """Values of a modelled column as the user's table has them: dates in their own form of text where they had one.

    Whole numbers that are modelled as doubles (found whole under a budget) are integers.
    """
    array = one_array(values)
    if pa.types.is_floating(array.type) and pa.types.is_integer(column.arrow_type):
        return array.cast(column.arrow_type)
    if column.date_format is None or not pa.types.is_temporal(array.type):
        return array
    text = DateFormat(column.date_format).write(array)
    return text.cast(column.arrow_type) if pa.types.is_integer(column.arrow_type) else text.dictionary_encode()


class Generator(Protocol):
    """Anything that makes encoded rows. It is pickled once for each worker and holds no private rows.

    `exact_conditions = True` on a generator promises exact conditions on all columns, `exact_columns`, a set of indices
    of the layout, on these only.

    Determinism: the same rng state, n and weights give the same block in any process. Chunks run with one torch thread.
    """

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows.

        Args:
            n: rows.
            rng: the only source of randomness (a torch generator is seeded from it).
            weights: for some column indices of the layout, an array (cardinality,) in [0, 1]: the probability that a
                row with this code satisfies the conditions. A generator that can condition exactly draws from
                p(row) * prod(weights[c][code_c]); one that cannot may ignore any of it (the sampling layer checks the
                decoded rows and rejects), or use it as a guide.
        """
        ...
