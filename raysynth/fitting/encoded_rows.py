"""New rows as a fitted model sees them: through its constraints and its encoder, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from raysynth.encoding.block import EncodedBlock

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
