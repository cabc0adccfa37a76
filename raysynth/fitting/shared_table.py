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

from raysynth.fitting.method import EncodedTable, EncoderForm
from raysynth.fitting.opening import M, fit_opened, open_table, privacy_scope

if TYPE_CHECKING:
    from raysynth.fitting.method import Method, OpenedTable
    from raysynth.schema.columns import Kind
    from raysynth.schema.table import TableSchema


@dataclass(frozen=True)
class SharedTable:
    """A table with exact statistics, encoders and encoded rows, for fits without a budget.

    Args:
        opened: what such a fit learns from.
        schema: declared by the models.
        kinds: listed by the models.
        entity: named by the models.
    """

    opened: OpenedTable
    schema: TableSchema | None
    kinds: dict[Kind, Any]
    entity: str | None = None

    @classmethod
    def of(cls, models: Sequence[Method], data: Any) -> SharedTable | None:
        """Open the table for the first model that shares, and encode it in each form that such models ask for.

        Raises:
            DataError, SchemaError, ConstraintError: as `fit`.
        """
        able = [m for m in models if _shares(m)]
        if not able:
            return None
        first = able[0]
        shared = cls(open_table(first, data, None), first._declared_schema(), first._listed_kinds(), first.entity)
        forms = dict.fromkeys(EncoderForm.of(m) for m in able if shared.serves(m))
        return replace(shared, opened=replace(shared.opened, encoded={f: _encoded(shared.opened, f) for f in forms}))

    def serves(self, model: Method) -> bool:
        """Whether a model has no budget, learns a table, and declares the same about it."""
        said = model._declared_schema(), model._listed_kinds(), model.entity
        return _shares(model) and said == (self.schema, self.kinds, self.entity)

    def fit(self, model: M) -> M:
        """As `model.fit(data)` with the same result, but nothing that is here is computed again."""
        return fit_opened(model, self.opened, None)


def _shares(model: Method) -> bool:

    return privacy_scope(model) is None and not model.learns_sequences


def _encoded(opened: OpenedTable, form: EncoderForm) -> EncodedTable:
    from raysynth.fitting.prepared import Prepared

    encoder = form.build(opened.modelled_schema, opened.statistics.columns)
    prepared = Prepared(opened.table, opened.modelled_schema, opened.statistics, encoder, seed=0)
    return EncodedTable(encoder, prepared.encoded() if prepared.fits_in_memory else None)
