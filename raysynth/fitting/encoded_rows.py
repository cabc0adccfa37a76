"""New rows as a fitted model sees them: through its constraints and its encoder, block by block.

And the rows that a method learns from: all of them, or a random sample of stated size where there are more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import each_once
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.fitting.prepared import Prepared
from raysynth.statistics.persons import value_hashes

if TYPE_CHECKING:
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.schema.constraints import ConstraintSet
    from raysynth.schema.table import TableSchema


class Encoding(Protocol):
    """A fitted model, as far as new rows are encoded by it."""

    schema_: TableSchema
    rules_: ConstraintSet | None
    encoder_: TableEncoder


def encoded_blocks(model: Encoding, data: Any, *, min_rows: int) -> Iterator[EncodedBlock]:
    """The modelled columns of a table as codes and values.

    Args:
        model: fitted.
        data: rows with all modelled columns, in any form that `fit` takes.
        min_rows: fewest rows accepted.

    Raises:
        DataError: too few rows, or a column is missing or of another type.
    """
    from raysynth.data.table import as_table
    from raysynth.statistics.dated_table import declared_forms, declared_types, with_forms

    table = as_table(data, min_rows=min_rows, declared=declared_types(model.schema_))
    table = with_forms(table, declared_forms(model.schema_))
    if model.rules_ is not None:
        table = table.mapped(model.rules_.forward)
    names = list(model.encoder_.names)
    for block in table.blocks(names):
        yield model.encoder_.encode(block)


def learned_codes(prepared: Prepared, most_rows: int) -> np.ndarray:
    """Codes (C, N) of the prepared table, N at most about `most_rows`: each row is taken by a draw of its own.

    Memory does not grow with the table beyond so many rows.
    """
    return learned_rows(replace(prepared, entity=None), most_rows)[0]


def learned_rows(prepared: Prepared, most_rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The same, and a number for the person of each row, (N,); None: each row is one person's only one."""
    from raysynth.running.runner import for_each_fragment

    share = min(1.0, most_rows / max(prepared.n_rows, 1))
    if share == 1.0:
        return np.ascontiguousarray(prepared.encoded().codes_NC.T), prepared.persons()
    entity = prepared.entity if prepared.privacy is None and prepared.entity in prepared.table.names else None
    columns = each_once(*prepared.encoder.names, entity)
    take = partial(_taken, prepared.encoder, share, prepared.seed, entity)
    parts = for_each_fragment(prepared.table, take, columns=columns, label="encoding a sample")
    codes_CN = np.concatenate([codes for codes, _ in parts], axis=1)
    return codes_CN, None if entity is None else np.concatenate([persons for _, persons in parts])


def _taken(
    encoder: TableEncoder, share: float, seed: int, entity: str | None, index: int, blocks: Iterable[pa.RecordBatch]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (C, rows) and persons of about this share of a fragment's rows; the draw depends on its index alone."""
    rng = np.random.default_rng([seed, index])
    parts, persons = [np.empty((len(encoder.columns), 0), np.uint16)], [np.empty(0, np.uint64)]
    for block in blocks:
        rows = pa.array(np.flatnonzero(rng.random(block.num_rows) < share))
        taken = block.take(rows)
        parts.append(np.ascontiguousarray(encoder.encode(taken).codes_NC.T))
        if entity is not None:
            persons.append(value_hashes(taken.column(entity)))
    return np.concatenate(parts, axis=1), np.concatenate(persons)
