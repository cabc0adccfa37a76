"""From made sequences to the user's rows: decoded steps, times added up, keys made anew, static columns repeated.

And what a fit of sequences learned, with the sequences as wholes: their static columns and lengths, drawn first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from raysynth.arguments import check_whole
from raysynth.data.sequences import LENGTH, times_from
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.fitting.persons import regenerators
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.sequences.data import gap_name
from raysynth.sampling.chunks import assemble, chunk_stream, written
from raysynth.schema.table import TableSchema

CHUNK_SEQUENCES = 4096  # each chunk of this many has a random stream of its own
STEP_STREAM = 1 << 40  # apart from the streams that the entities' own columns are drawn from


class SequenceMaker(Protocol):
    """Makes the encoded steps of sequences; picklable."""

    def generate(
        self, length_N: np.ndarray, context: EncodedBlock, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N, T, C) and values (N, T, V) for sequences of these lengths and context."""
        ...

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays for a model file."""
        ...


@dataclass(frozen=True)
class SequenceForm:
    """What made sequences are turned into.

    Args:
        schema: the user's columns in order. step_schema: those of a step.
        encoder: of the steps. context: of the entities' own columns.
        static: names of the static columns.
        key, time: names of the key and the time column; None where there is none.
        identifier_key: permutes keys.
    """

    schema: TableSchema
    step_schema: TableSchema
    encoder: TableEncoder
    context: TableEncoder
    static: tuple[str, ...]
    key: str | None
    time: str | None
    identifier_key: int

    def rows(self, maker: SequenceMaker, entities: pa.Table, seed: int) -> pa.Table:
        """All rows of some sequences, the user's columns in order; chunk by chunk, each from its own random stream.

        Args:
            maker: makes the steps.
            entities: for each sequence its own modelled columns, start time and length.
            seed: of the streams.
        """
        numbers = range(max(1, chunks_of(entities.num_rows)))
        return pa.concat_tables(self.chunk(maker, entities, seed, i) for i in numbers).unify_dictionaries()

    def chunk(self, maker: SequenceMaker, entities: pa.Table, seed: int, chunk: int) -> pa.Table:
        """The rows of the sequences of one chunk; `maker`, `entities` and `seed` are those of all."""
        first, rng = chunk * CHUNK_SEQUENCES, chunk_stream(seed, STEP_STREAM + chunk)
        first_row = int(entities.column(LENGTH).to_numpy()[:first].sum())
        columns = dict(self._columns(maker, entities.slice(first, CHUNK_SEQUENCES), first, first_row, rng))
        return pa.table({n: columns[n] for n in self.schema.names})

    def _columns(
        self, maker: SequenceMaker, entities: pa.Table, first: int, first_row: int, rng: np.random.Generator
    ) -> Iterator[tuple[str, Any]]:
        """The columns of one chunk: of its steps, of its entities, keys and times."""
        lengths, made = entities.column(LENGTH).to_numpy(), regenerators(self.schema)
        codes_NTC, values_NTV = maker.generate(lengths, self.context.encode(entities), rng)
        there_NT = np.arange(codes_NTC.shape[1]) < lengths[:, None]
        decoded = self.encoder.decode(EncodedBlock(codes_NTC[there_NT], values_NTV[there_NT]), rng)
        steps = assemble(decoded, self.step_schema, made, self.identifier_key, first_row)
        yield from ((n, steps.column(n)) for n in steps.column_names)
        repeat = pa.array(np.repeat(np.arange(len(lengths)), lengths))
        constant = [n for n in self.static if self.schema[n].kind.is_constant and n in entities.column_names]
        yield from ((n, entities.column(n).take(repeat)) for n in constant)  # the model of entities has put them in
        own = TableSchema(columns=tuple(self.schema[n] for n in self.static if n not in constant))
        static = assemble(entities, own, made, self.identifier_key, first)
        yield from ((n, static.column(n).take(repeat)) for n in static.column_names)
        if self.key is not None:
            yield self.key, made[self.key].values(first, len(lengths), self.identifier_key).take(repeat)
        if self.time is not None:
            gap = steps.column(gap_name(self.time)).fill_null(0).to_numpy()
            times = times_from(entities.column(self.time).combine_chunks(), gap, lengths)
            yield self.time, written(times, self.schema[self.time])


def chunks_of(n_sequences: int) -> int:
    """Number of chunks of so many sequences."""
    return -(-n_sequences // CHUNK_SEQUENCES)


class Coders(NamedTuple):
    """Encoders of steps and of the static columns, and the most steps of a sequence."""

    step: TableEncoder
    context: TableEncoder
    length: int


Keep = Callable[[SequenceMaker, list[dict[str, float]]], Fitted]


@dataclass(frozen=True)
class Learned:
    """What makes the steps, the losses of its epochs, and what is known of the sequences as wholes.

    Args:
        sampler: of steps. history: of its training.
        context_encoder: of the static columns. entity_schema: of these and of the length.
        entities: the model that draws them; None where all sequences are the same.
        static_columns: their names. sequence_length: the most steps of a sequence.
    """

    sampler: SequenceMaker
    history: list[dict[str, float]]
    context_encoder: TableEncoder
    entity_schema: TableSchema
    entities: Synthesizer | None
    static_columns: tuple[str, ...]
    sequence_length: int


def drawn_entities(
    entities: Synthesizer | None, schema: TableSchema, n: int | None, conditions: Any, seed: int
) -> pa.Table:
    """Modelled columns of so many sequences, and their lengths; of none to model, as the schema has them."""
    if entities is not None:
        return entities.sample_arrow(n, conditions, seed)
    check_whole("n_sequences", n, 0)
    from raysynth.sampling.chunks import assemble

    return assemble(pa.table({"row": np.zeros(n or 0, np.int8)}), schema, {}, 0, 0)
