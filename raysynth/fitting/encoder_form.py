"""What an encoder depends on beside the statistics of the columns: two methods of one form have the same encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from raysynth.encoding.table_encoder import NumericForm, TableEncoder, build_encoder

if TYPE_CHECKING:
    from raysynth.encoding.block import EncodedBlock
    from raysynth.encoding.table_encoder import ReleasedColumn
    from raysynth.schema.table import TableSchema


class HasEncoderForm(Protocol):
    """What a method says of its encoder."""

    numeric_encoding: ClassVar[NumericForm]

    def _encoder_options(self) -> dict[str, Any]:
        """Arguments for `build_encoder` beside the form of the numbers."""
        ...


@dataclass(frozen=True)
class EncoderForm:
    """The form of the numbers ('bins', 'modes' ...), and `build_encoder`'s options in the order of their names."""

    numeric: NumericForm
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, model: HasEncoderForm) -> EncoderForm:
        """What a model asks for."""
        return cls(model.numeric_encoding, tuple(sorted(model._encoder_options().items())))

    @property
    def described(self) -> dict[str, Any]:
        """As values of JSON."""
        return {"numeric": self.numeric, **dict(self.options)}

    def build(self, schema: TableSchema, columns: Mapping[str, ReleasedColumn]) -> TableEncoder:
        """The encoder of a table's modelled columns, from their statistics (by column) alone."""
        return build_encoder(schema, columns, numeric=self.numeric, **dict(self.options))


@dataclass(frozen=True)
class EncodedTable:
    """An encoder and the rows behind it; None where they take too much memory to be kept."""

    encoder: TableEncoder
    block: EncodedBlock | None
