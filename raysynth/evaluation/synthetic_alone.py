"""What a shareable report shows of the columns: from the synthetic table and the model's schema alone."""

from __future__ import annotations

from dataclasses import dataclass

from raysynth.comparison.coding import Marginal
from raysynth.comparison.pairing import Tables
from raysynth.schema.columns import Kind


@dataclass(frozen=True)
class SyntheticColumn:
    """One column of the synthetic table.

    Args:
        name: of the column.
        kind: by the model's schema, else by the synthetic table itself.
        synthetic: its distribution; None for identifiers and personal data.
        missing_synthetic: share of rows without a value.
    """

    name: str
    kind: Kind
    synthetic: Marginal | None
    missing_synthetic: float


def synthetic_columns(tables: Tables) -> tuple[SyntheticColumn, ...]:
    """The columns of the synthetic table, as they are without a look at the real one."""
    alone = tables.synthetic_alone
    if alone is None:
        return ()
    marginals, n_rows = alone.marginals(), alone.synthetic_statistics.n_rows
    columns = []
    for name, kind in alone.kinds.items():
        own = marginals[name][1] if name in marginals else None
        columns.append(SyntheticColumn(name, kind, own, 0.0 if own is None else own.missing / n_rows))
    return tuple(columns)
