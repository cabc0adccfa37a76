"""What all trials of a sweep share, from one look at the rows: their division, schema, target, statistics, encoders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, RaysynthError
from raysynth.files.storage import Folder
from raysynth.tuning.one_trial import Task, synthesizer
from raysynth.tuning.trials import Setting
from raysynth.tuning.winners import Budget

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.methods.base import Synthesizer
    from raysynth.schema.table import TableSchema

_FEWEST_ROWS = 40


@dataclass(frozen=True)
class Division:
    """Rows to learn from, and rows that no trial sees, each with the numbers of its rows in their table."""

    train: pa.Table
    holdout: pa.Table
    train_numbers: np.ndarray
    holdout_numbers: np.ndarray

    def read_privately(self, data: Any, holdout: Any, types: Mapping[str, pa.DataType]) -> tuple[pa.Table, pa.Table]:
        """The same rows through the private door: nothing of how they are read depends on any of them.

        Args:
            data, holdout: what was divided; no holdout: None, both parts are of one table.
            types: the declared ones.

        Raises `DataError` where both doors do not find the same rows.
        """
        parts = ((data, self.train_numbers), (data if holdout is None else holdout, self.holdout_numbers))
        train, held = (_read_privately(source, numbers, types) for source, numbers in parts)
        return train, held


def split(
    data: Any,
    holdout: Any,
    share: float,
    max_rows: int,
    seed: int,
    entity: str | None = None,
    *,
    private: Mapping[str, pa.DataType] | None = None,
) -> Division:
    """Rows to learn from, and rows that no trial sees; at most `max_rows` together (and of a given holdout).

    With an `entity` all rows of a person go to the same side; without one, those of the column that looks like it.

    `private`: the declared types, where the rows are to be read through the private door; None: through the other.
    """
    from raysynth.comparison.rows import divided, numbered_rows
    from raysynth.data.sequences import codes_of
    from raysynth.fitting.persons import entity_of

    rng, table = np.random.default_rng(seed), _opened(data, private)
    rows, numbers = numbered_rows(table, list(table.names), max_rows, rng)
    if rows.num_rows < _FEWEST_ROWS:
        raise DataError(f"a sweep needs at least {_FEWEST_ROWS} rows; {table.source} has {rows.num_rows}")
    if holdout is not None:
        held_rows, held_numbers = numbered_rows(_opened(holdout, private), list(table.names), max_rows, rng)
        return Division(rows, held_rows, numbers, held_numbers)
    entity = entity_of(rows, entity)
    owners = None if entity is None else codes_of(rows.column(entity))
    held, kept = map(np.sort, divided(rows.num_rows, max(10, round(share * rows.num_rows)), owners, rng))
    return Division(rows.take(kept), rows.take(held), numbers[kept], numbers[held])


def warn_of_text(data: Any, schema: TableSchema | None) -> None:
    """Warn where trials with a budget read undeclared columns of a CSV file as text; of names and types alone."""
    from raysynth.data.sources.csv_file import CsvFile
    from raysynth.statistics.dated_table import declared_types
    from raysynth.statistics.families import read_as_text

    if isinstance(data, (str, os.PathLike, CsvFile)):
        table = as_table(data, min_rows=0, declared=declared_types(schema), private=True)
        if (said := read_as_text(table, schema, {}, "a sweep within a budget")) is not None:
            warnings.warn(said, stacklevel=4)


def _opened(data: Any, private: Mapping[str, pa.DataType] | None) -> Table:
    """A table as it is, or through the private door: columns of a CSV file are of the declared types, or text."""
    from raysynth.statistics.public_schema import cast_to

    return as_table(data) if private is None else cast_to(as_table(data, declared=private, private=True), private)


def _read_privately(data: Any, numbers: np.ndarray, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows of these numbers (sorted), through the private door."""
    exact, table = as_table(data), _opened(data, types)
    names, parts, seen = list(exact.names), [], 0
    for block in table.blocks(names):
        mine = numbers[(numbers >= seen) & (numbers < seen + block.num_rows)] - seen
        parts.append(block.take(pa.array(mine)))
        seen += block.num_rows
    n_rows = sum(block.num_rows for block in exact.blocks(names[:1]))
    if seen != n_rows:
        raise DataError(
            f"{exact.source} has {n_rows:,} rows, but {seen:,} where each line is a row, as fits under a budget read "
            "it (values hold line breaks): sweep finite epsilons and inf apart, or give a Parquet file"
        )
    return pa.Table.from_batches(parts, schema=pa.schema([table.schema.field(n) for n in names]))


def prepared_task(
    train: pa.Table,
    holdout: pa.Table,
    *,
    targets: tuple[str, ...] | None,
    objective: str,
    budget: Budget,
    folder: Folder,
    entity: str | None = None,
) -> Task:
    """The task of all trials: its schema is inferred, and its target chosen where none is named.

    Raises `ParameterError` for a target that cannot serve.
    """
    from raysynth.comparison.pairing import pair_tables
    from raysynth.evaluation.efficacy import checked_task, choose_target
    from raysynth.evaluation.evaluate import read_rows

    tables = pair_tables(train, holdout, schema=budget.schema, entity=entity)
    rows = read_rows(tables, 0)["real"]
    if targets is None:
        chosen = choose_target(rows)
        targets = () if chosen is None else (chosen,)
    for target in targets:
        checked_task(target, rows, None)
    if objective == "ml_efficacy" and not targets:
        raise ParameterError("objective='ml_efficacy' needs a target, and no column can serve as one")
    seen = replace(tables.schema, entity=tables.entity)
    return Task(train, holdout, seen, budget.schema, targets, objective, budget.delta, folder, dict(budget.fixed))


def with_shared_table(task: Task, settings: Iterable[Setting]) -> Task:
    """The task with the statistics, encoders and encoded rows of all settings without a budget, computed once, here.

    A finite epsilon takes no part: such a trial's releases are its own, each with fresh noise and in its own ledger,
    and exact statistics must not reach it. Where the rows cannot be opened nothing is shared, and trials say why.
    """
    from raysynth.tuning.one_trial import SharedTable

    models = [m for s in dict.fromkeys(settings) if (m := _checked(task, s)) is not None]
    try:
        return replace(task, shared=SharedTable.of(models, task.train))
    except RaysynthError:
        return task


def _checked(task: Task, setting: Setting) -> Synthesizer | None:
    """An unfitted model of the setting; None where its parameters are wrong, which its trial will report."""
    from raysynth.fitting.opening import privacy_scope

    try:
        model = synthesizer(setting, None, task.delta, schema=task.schema_of(setting), **task.fixed)
        model._check_parameters()
        return model if privacy_scope(model) is None else None
    except RaysynthError:
        return None
