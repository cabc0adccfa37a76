"""What an encoder depends on beside the statistics of the columns: two methods of one form have the same encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysynth.encoding.table_encoder import NumericForm, TableEncoder, build_encoder

if TYPE_CHECKING:
    from raysynth.fitting.opening import OpenedTable
    from raysynth.methods.base import Synthesizer


@dataclass(frozen=True)
class EncoderForm:
    """The form of the numbers ('bins', 'modes' ...), and `build_encoder`'s options in the order of their names."""

    numeric: NumericForm
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, model: Synthesizer) -> EncoderForm:
        """What a model asks for."""
        return cls(model.numeric_encoding, tuple(sorted(model._encoder_options().items())))

    @property
    def described(self) -> dict[str, Any]:
        """As values of JSON."""
        return {"numeric": self.numeric, **dict(self.options)}

    def build(self, opened: OpenedTable) -> TableEncoder:
        """The encoder of an opened table, from its statistics alone."""
        columns = opened.statistics.columns
        return build_encoder(opened.modelled_schema, columns, numeric=self.numeric, **dict(self.options))
