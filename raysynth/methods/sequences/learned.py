"""What a fit of sequences learned, and the sequences as wholes: their static columns and lengths, drawn first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError
from raysynth.methods.base import Synthesizer
from raysynth.methods.fitted import Fitted
from raysynth.methods.sequences.rows import SequenceMaker
from raysynth.schema.table import TableSchema


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
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise ParameterError(f"n_sequences must be a whole number of at least 0; found {n!r}")
    from raysynth.sampling.chunks import assemble

    return assemble(pa.table({"row": np.zeros(int(n), np.int8)}), schema, {}, 0, 0)
