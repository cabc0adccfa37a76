"""Rows of made persons: what is the same in all rows of a person is drawn once for each, the rest given it.

Whose each row is follows from its number (`encoding/repeated.py`), so persons may begin in one chunk and end in the
next. Such a person's own columns come from a stream that belongs to the chunk in which it begins, so that both chunks
make them alike. Rows under conditions are made singly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.repeated import RepeatedEncoder, RowsEach
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.schema.constraints.base import one_array
from raysynth.schema.table import TableSchema

TRIES = 60  # of a row that breaks a rule, given its person; then it is a repeat of the row that the person came with


@dataclass(frozen=True)
class PersonColumns:
    """What is one for each made person.

    Args:
        entity: the column of persons.
        rows_each: whose each row is.
        columns: places in the encoder of what is drawn once for a person.
    """

    entity: str
    rows_each: RowsEach
    columns: tuple[int, ...]


def person_columns(
    schema: TableSchema, encoder: TableEncoder, regenerators: Mapping[str, Any], generator: Any
) -> PersonColumns | None:
    """What is drawn once for each made person; None where nothing is, or the generator cannot complete such rows.

    Args:
        schema: the user's, in which a modelled column may be `within` the entity.
        encoder: of the modelled columns.
        regenerators: of the columns that are made anew.
        generator: of encoded rows.
    """
    made = None if schema.entity is None else regenerators.get(schema.entity)
    if not isinstance(made, RepeatedEncoder) or encoder.n_values:
        return None
    within = {c.name for c in schema.columns if c.within == schema.entity or (c.in_order and c.name == schema.entity)}
    columns = tuple(i for i, c in enumerate(encoder.columns) if c.kind.is_modelled and c.name in within)
    return PersonColumns(made.entity, made.rows_each, columns) if columns and completes(generator, columns) else None


def completes(generator: Any, known: Sequence[int]) -> bool:
    """Whether a generator draws all other columns given these: where it has `generate_given`, unless it denies it."""
    says = getattr(generator, "completes", None)
    return hasattr(generator, "generate_given") and (says is None or bool(says(known)))


def rows_scores(generator: Any, codes_PC: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """For each person (P,) a number, the larger the more rows it has; None of a generator that has none."""
    scores: np.ndarray | None = generator.rows_scores(codes_PC, rng) if hasattr(generator, "rows_scores") else None
    return scores


def rows_of_persons(
    model: Any,
    first_row: int,
    n: int,
    chunk_rows: int,
    draw: Callable[[int, np.random.Generator], pa.Table],
    stream: Callable[[int], np.random.Generator],
) -> pa.Table:
    """Rows first_row .. first_row + n - 1 of one chunk, in the user's columns that are modelled.

    Args:
        model: the `SamplingModel`, with `persons`.
        first_row: a multiple of `chunk_rows`. n: at least 1.
        draw: rows made singly, with all rules kept: (number, stream) -> rows.
        stream: the random stream of a chunk.
    """
    known, each = model.persons, model.persons.rows_each
    rng, chunk = stream(first_row // chunk_rows), first_row // chunk_rows
    person_N = each.persons(first_row, n, model.key, known.entity)
    persons, of_N = np.unique(person_N, return_inverse=True)
    first = each.first_row(int(persons[0]), model.key, known.entity)
    after = each.first_row(int(persons[-1]) + 1, model.key, known.entity)
    shared = [first < first_row, *[False] * (len(persons) - 1)]
    shared[-1] = shared[-1] or after > (chunk + 1) * chunk_rows
    parts = []
    if shared[0]:
        parts.append(draw(1, _of_both(stream(first // chunk_rows))))
    if own := shared.count(False):
        parts.append(draw(own, rng))
    if shared[-1] and len(persons) > 1:
        parts.append(draw(1, _of_both(stream(chunk))))
    came_P = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    return _completed(model, came_P, of_N, np.flatnonzero(~np.array(shared)), rng)


def _of_both(rng: np.random.Generator) -> np.random.Generator:
    """A stream beside a chunk's own one, 2^128 draws away: of the person who begins there and ends later."""
    bits: Any = rng.bit_generator
    return np.random.Generator(bits.jumped())


def _completed(model: Any, came_P: pa.Table, of_N: np.ndarray, own: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Rows of persons (N,), each with what its person came with and the rest drawn anew until all rules hold.

    Persons of this chunk alone (`own`, their places) change places, so that those who should have many rows do.
    """
    rules, encoder = model.rules, model.encoder
    own_P = came_P if rules is None else rules.forward(came_P)
    codes_PC = np.zeros((came_P.num_rows, len(encoder.columns)), np.uint16)
    for i in model.persons.columns:
        codes_PC[:, i] = encoder.columns[i].encode(one_array(own_P.column(encoder.columns[i].name)))[0]
    scores_P = rows_scores(model.generator, codes_PC, rng)
    if scores_P is not None:
        place_P, rows_P = np.arange(len(codes_PC)), np.bincount(of_N)[own]
        place_P[own[np.lexsort((rng.random(len(own)), rows_P))]] = own[np.argsort(scores_P[own])]
        came_P, own_P, codes_PC = came_P.take(place_P), own_P.take(place_P), codes_PC[place_P]
    rows = _tried(model, codes_PC, own_P, of_N, rng)
    if rules is None:
        return rows
    rows, _, broken = until_kept(rows, lambda at: _tried(model, codes_PC, own_P, of_N[at], rng), rules, rng)
    return replaced(rows, broken, came_P.take(pa.array(of_N[broken])).select(rows.column_names))


def until_kept(
    rows: pa.Table, again: Callable[[np.ndarray], pa.Table], rules: Any, rng: np.random.Generator
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Rows with those that break a rule, or are not used, drawn anew up to `TRIES` times.

    Args:
        rows: N of them, drawn once.
        again: other rows in the place of some: places -> rows.
        rules: a `ConstraintSet`. rng: says which rows that hold are used.

    Returns:
        (rows, whether each keeps all rules (N,) bool, places of those that after all tries do not or are not used); a
        row that keeps the rules gives way only to one that does.
    """
    held = np.asarray(rules.holds(rows)).copy()
    left = np.flatnonzero(~(held & rules.used(rows, rng)))
    for _ in range(TRIES):
        if not len(left):
            break
        made = again(left)
        holds = np.asarray(rules.holds(made))
        better = holds | ~held[left]
        rows = replaced(rows, left[better], made.filter(pa.array(better)))
        held[left] |= holds
        left = left[~(holds & rules.used(made, rng))]
    return rows, held, left


def _tried(model: Any, codes_PC: np.ndarray, own_P: pa.Table, of_N: np.ndarray, rng: np.random.Generator) -> pa.Table:
    encoder, columns = model.encoder, model.persons.columns
    codes_NC = model.generator.generate_given(codes_PC[of_N], columns, rng)
    rows = encoder.decode(EncodedBlock(codes_NC, np.empty((len(of_N), 0), np.float32)), rng)
    for name in (encoder.columns[i].name for i in columns):
        rows = rows.set_column(rows.column_names.index(name), name, own_P.column(name).take(pa.array(of_N)))
    return rows if model.rules is None else model.rules.inverse(rows, rng)


def replaced(rows: pa.Table, at: np.ndarray, others: pa.Table) -> pa.Table:
    """Rows of which those at the places `at` (M,) are exchanged for `others` (M rows)."""
    place = np.arange(rows.num_rows)
    place[at] = rows.num_rows + np.arange(len(at))
    both: pa.Table = pa.concat_tables([rows, others]).unify_dictionaries()
    return both.take(pa.array(place))
