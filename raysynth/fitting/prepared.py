"""What a method gets to learn from: the table behind its encoder, as rows, counts or shards.

New rows as a fitted model sees them (through its constraints and its encoder, block by block) are encoded here, too:
all of them, or a random sample of stated size where there are more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import Table, each_once
from raysynth.data.sequences import codes_of
from raysynth.data.table import as_table
from raysynth.encoding.block import EncodedBlock, concat_blocks
from raysynth.encoding.numbers import protected_fields
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.files.storage import Folder, Place
from raysynth.fitting.method import EncodedTable
from raysynth.running.runner import for_each_fragment, summarise
from raysynth.schema.constraints import ConstraintSet
from raysynth.schema.constraints.derived import Derived
from raysynth.schema.constraints.rules import BrokenRows
from raysynth.schema.constraints.thinning import COMPUTED_CELLS, Factors, Thinning
from raysynth.schema.table import TableSchema
from raysynth.statistics.contingency import ContingencyCounts, CountingPlan
from raysynth.statistics.dated_table import declared_forms, declared_types, with_forms
from raysynth.statistics.persons import value_hashes
from raysynth.statistics.table_statistics import TableStatistics
from raysynth.training.kept_releases import KeptReleases
from raysynth.training.shards import encode_fragment

if TYPE_CHECKING:
    from raysynth.dp.accounting.scope import PrivacyScope
    from raysynth.fitting.private_run import PrivateRun
    from raysynth.statistics.noised import NoisedStatistics
    from raysynth.statistics.units import UnitIndex


IN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True)
class Prepared:
    """The table behind its encoder.

    Args:
        table: the modelled columns as a Table.
        schema: their schema.
        statistics: of pass one; under a privacy budget noised.
        encoder: built from them.
        seed: of initial weights.
        resume: folder of a run whose latest checkpoint training resumes from; None: from the beginning.
        private_run: the record of a fit under a budget that can be resumed; None without one or without storage.
        keep_shards: folder in which encoded shards stay for a second fit; None: they go when training is done.
        releases: what the encoder of kept shards was built from under a privacy budget.
        privacy: what a fit under a privacy budget may spend (see `dp/accounting/scope.py`); None without one.
        units: which rows a privacy unit has, where training draws units of several rows; None: it draws rows.
        entity: the column of the table that says whose each row is, without a budget; None: each row is a person's.
        constant: columns that are the same in all rows of each person, where persons have several.
        design_effect: how many rows then count as one; 1 where each person has one.
        shared: rows that were encoded beforehand, for several fits (`tuning/one_trial.py`); None: none were.
    """

    table: Table
    schema: TableSchema
    statistics: TableStatistics | NoisedStatistics
    encoder: TableEncoder
    seed: int
    privacy: PrivacyScope | None = None
    resume: Place | None = None
    private_run: PrivateRun | None = None
    keep_shards: Folder | None = None
    releases: KeptReleases | None = None
    units: UnitIndex | None = None
    shared: EncodedTable | None = None
    entity: str | None = None
    constant: tuple[str, ...] = ()
    design_effect: float = 1.0

    def persons(self) -> np.ndarray | None:
        """A number for the person of each row (N,), in the table's order; None: each row is one."""
        if self.privacy is not None or self.entity is None or self.entity not in self.table.names:
            return None
        persons_N = codes_of(self.table.select([self.entity]).to_arrow().column(0))
        return None if len(np.unique(persons_N)) == len(persons_N) else persons_N

    def written_schema(self, schema: TableSchema) -> TableSchema:
        """The schema that synthetic rows are written by, from the one that the table was opened with."""
        from raysynth.fitting.released_schema import with_whole_numbers

        return schema if self.privacy is None else with_whole_numbers(schema, self.encoder)

    @property
    def n_rows(self) -> int:
        """Rows of the table; under a privacy budget the noised number of them."""
        return self.statistics.n_rows if self.privacy is None else self.privacy.n_rows

    @property
    def repeated_columns(self) -> tuple[int, ...]:
        """The `constant` columns by their place in the encoder."""
        return tuple(c for c, name in enumerate(self.encoder.names) if name in self.constant)

    @property
    def n_units(self) -> int:
        """What training draws from: rows; under a privacy budget the noised number of units."""
        return self.n_rows if self.privacy is None else self.privacy.n_units

    @property
    def fits_in_memory(self) -> bool:
        """Whether all encoded rows take at most 1 GiB."""
        return self.n_rows * (2 * len(self.encoder.columns) + 4 * self.encoder.n_values) <= IN_MEMORY_BYTES

    def encoded(self) -> EncodedBlock:
        """All rows, encoded, in memory (see `fits_in_memory`)."""
        if self.shared is not None and self.shared.block is not None and self.shared.encoder is self.encoder:
            return self.shared.block
        columns = list(self.encoder.names)
        blocks = for_each_fragment(
            self.table, partial(encode_fragment, self.encoder), columns=columns, label="encoding", where="local"
        )
        return concat_blocks([self.encoder.encode_all([]), *blocks])

    def count(
        self, column_sets: Sequence[tuple[int, ...]], *, encoder: TableEncoder | None = None, label: str = "counting"
    ) -> dict[tuple[int, ...], np.ndarray]:
        """Contingency tables of sets of columns, over all rows, in one streaming pass.

        Args:
            column_sets: indices of the encoder's layout.
            encoder: gives the codes; default: the prepared one.
            label: for the progress bar.
        """
        encoder = encoder or self.encoder
        make = partial(EncodedCounts, encoder, CountingPlan.of(encoder.cardinalities, column_sets))
        counted = summarise(self.table, make, columns=list(encoder.names), label=label)
        return counted.counts.tables


class EncodedCounts:
    """Contingency counts of a table behind its encoder: a summary with update and merge."""

    def __init__(self, encoder: TableEncoder, plan: CountingPlan | Sequence[tuple[int, ...]]) -> None:
        self.encoder = encoder
        self.counts = ContingencyCounts(encoder.cardinalities, plan)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        self.counts.update_codes(self.encoder.encode(batch).codes_NC)

    def merge(self, other: EncodedCounts) -> None:
        """Add the counts of another part of the table."""
        self.counts.merge(other.counts)


def with_ranges(schema: TableSchema, statistics: TableStatistics) -> TableSchema:
    """The schema with the protected range of each number that a rule makes from others, so that it stays there."""
    made = {name for r in ConstraintSet(schema.constraints, schema).replacements for name in r.changes}
    columns = []
    for column in schema.columns:
        if column.name in made and column.kind.is_numeric and column.bounds is None:
            seen = statistics.columns[column.name]
            fields = protected_fields(column, seen.distribution().value, schema.rare_threshold)
            cells = fields["distribution"]
            if fields["line"] is None and cells.high[-1] > cells.low[0]:
                bounds = (float(cells.low[0]), float(cells.high[-1]))
                column = replace(column, bounds=bounds, inferred=(*column.inferred, "bounds"))
        columns.append(column)
    return replace(schema, columns=tuple(columns))


def wanted_shares(rules: ConstraintSet, schema: TableSchema, statistics: TableStatistics) -> tuple[Factors, ...]:
    """Of each number that an equality computes, the protected shares of its cells: those that made rows should have."""
    result: list[Factors] = []
    for name in [r.column.name for r in rules.replacements if isinstance(r, Derived)]:
        column = schema[name]
        if not column.kind.is_numeric:
            continue
        fields = protected_fields(column, statistics.columns[name].distribution().value, schema.rare_threshold)
        cells = fields["distribution"]
        if fields["line"] is None:
            few = len(cells.low) <= 2 * COMPUTED_CELLS and (cells.low == cells.high).all()  # values of their own
            ends = cells.low if few else np.unique(cells.quantile(np.arange(1, COMPUTED_CELLS) / COMPUTED_CELLS))
            below = np.array([0.0, *(cells.rank_below(float(e), inclusive=False) for e in ends), 1.0])
            shares = (*(np.diff(below) * (1 - cells.missing_share)).tolist(), float(cells.missing_share))
            result.append(Factors(name, tuple(ends.tolist()), (), shares))
    return tuple(result)


def check_constraints(rules: ConstraintSet, table: Table) -> None:
    """Check the real rows, in one streaming pass. Not for a private budget: the error depends on rows.

    Raises:
        ConstraintError: names the constraint, how many rows break it, and the cure.
    """
    involved = {name for c in rules.constraints for name in c.involves}
    columns = [n for n in table.names if n in involved]
    make = partial(BrokenRows, rules.constraints)
    summarise(table, make, columns=columns, label="checking constraints").raise_if_any()


def constraint_set(schema: TableSchema, thinning: Mapping[str, Any] | None = None) -> ConstraintSet | None:
    """The constraints of a written schema, on its columns as they are modelled; None without any.

    `thinning`: the weights of rejection, as a model file has them; None: without (models of earlier versions, too).
    """
    if not schema.constraints:
        return None
    modelled = schema.as_modelled()
    weights = None if thinning is None else Thinning.from_dict(thinning)
    rules = ConstraintSet(modelled.constraints, modelled, weights)
    rules.validate(modelled)
    return rules


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
