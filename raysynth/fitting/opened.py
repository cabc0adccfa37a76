"""A table behind its door: what was read of it, exactly or with noise, and what encoders are built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.fitting.encoder_form import EncodedTable, EncoderForm
    from raysynth.schema.constraints import ConstraintSet
    from raysynth.schema.table import TableSchema
    from raysynth.statistics.noised import NoisedStatistics
    from raysynth.statistics.table_statistics import TableStatistics
    from raysynth.statistics.units import UnitIndex
    from raysynth.training.kept_releases import Keeping


@dataclass(frozen=True)
class OpenedTable:
    """What either door gives.

    Args:
        table: the rows, after the constraints' change of columns.
        schema: what the user sees.
        modelled_schema: after the constraints' change of columns.
        rules: the constraints, None without any.
        statistics: exact, or noised.
        encoded: encoders that were built, and rows encoded, beforehand for several fits (see `shared_table.py`); never
            under a budget.
        keeping: under a budget, where encoded rows are to be kept.
        units: which rows a privacy unit has, where training draws units of several rows.
        said: of persons with several rows, line by line; never under a budget.
        constant: modelled columns that are the same in all rows of each person; likewise.
    """

    table: Table
    schema: TableSchema
    modelled_schema: TableSchema
    rules: ConstraintSet | None
    statistics: TableStatistics | NoisedStatistics
    encoded: Mapping[EncoderForm, EncodedTable] = field(default_factory=dict)
    keeping: Keeping | None = None
    units: UnitIndex | None = None
    said: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
