"""One table, opened and encoded once for several fits without a privacy budget.

Statistics depend on the rows, the schema and the listed kinds; an encoder on the statistics and on its form (bins or
modes, and how many). So fits that ask for the same get the same objects, and learn exactly what they would have learned
alone. Under a budget nothing here applies: what a private fit knows of the rows it has released itself, with noise of
its own, and its ledger says so; to give it exact statistics would be a leak, to give it another fit's a debt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raysynth.fitting.encoder_form import EncoderForm

if TYPE_CHECKING:
    from raysynth.encoding.block import EncodedBlock
    from raysynth.encoding.table_encoder import TableEncoder
    from raysynth.fitting.opening import OpenedTable
    from raysynth.methods.base import Synthesizer
    from raysynth.schema.table import Kind, TableSchema


@dataclass(frozen=True)
class EncodedTable:
    """An encoder and the rows behind it; None where they take too much memory to be kept."""

    encoder: TableEncoder
    block: EncodedBlock | None


@dataclass(frozen=True)
class SharedTable:
    """A table with exact statistics, encoders and encoded rows, for fits without a budget.

    Args:
        opened: what such a fit learns from.
        schema: declared by the models.
        kinds: listed by the models.
    """

    opened: OpenedTable
    schema: TableSchema | None
    kinds: dict[Kind, Any]

    @classmethod
    def of(cls, models: Sequence[Synthesizer], data: Any) -> SharedTable | None:
        """Open the table for the first model that shares, and encode it in each form that such models ask for.

        Raises:
            DataError, SchemaError, ConstraintError: as `fit`.
        """
        from raysynth.fitting.opening import open_table

        able = [m for m in models if _shares(m)]
        if not able:
            return None
        first = able[0]
        shared = cls(open_table(first, data, None), first._declared_schema(), first._listed_kinds())
        forms = dict.fromkeys(EncoderForm.of(m) for m in able if shared.serves(m))
        return replace(shared, opened=replace(shared.opened, encoded={f: _encoded(shared.opened, f) for f in forms}))

    def serves(self, model: Synthesizer) -> bool:
        """Whether a model has no budget, learns a table, and declares the same about it."""
        return _shares(model) and (model._declared_schema(), model._listed_kinds()) == (self.schema, self.kinds)

    def fit(self, model: Synthesizer) -> Synthesizer:
        """As `model.fit(data)` with the same result, but nothing that is here is computed again."""
        from raysynth.fitting.opening import fit_opened

        return fit_opened(model, self.opened, None)


def _shares(model: Synthesizer) -> bool:
    from raysynth.fitting.opening import privacy_scope
    from raysynth.methods.sequences.synthesizer import SequenceSynthesizer

    return privacy_scope(model) is None and not isinstance(model, SequenceSynthesizer)


def _encoded(opened: OpenedTable, form: EncoderForm) -> EncodedTable:
    from raysynth.fitting.prepared import Prepared

    encoder = form.build(opened)
    prepared = Prepared(opened.table, opened.modelled_schema, opened.statistics, encoder, seed=0)
    return EncodedTable(encoder, prepared.encoded() if prepared.fits_in_memory else None)
