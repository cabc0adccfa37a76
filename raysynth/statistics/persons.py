"""Statistics of persons, where a column says whose each row is: who shares a value, and what is the same in all rows.

A second pass over the table, when the first has told the columns' kinds and values. It counts in bounded memory, and
its result does not depend on how the rows are split. Rows that name nobody count as one person's. Never under a privacy
budget, where a unit's share of each count is bounded instead (`units.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.total_cast import is_missing
from raysynth.kinds.arrow_text import indices_of, plain_type, ticks
from raysynth.kinds.identifier.kind import MANY, names_anybody, numbers_persons
from raysynth.running.runner import summarise
from raysynth.schema.table import TableSchema
from raysynth.statistics.cell_counts import DomainCells, NumberCells, as_doubles
from raysynth.statistics.distinct import Sharers, SharersOfAll, Sharing, hash_integers, hash_strings
from raysynth.statistics.table_statistics import TableStatistics

PERSONS = 16_384  # looked at for what is the same in all their rows
VALUES_TOGETHER, ROWS_TOGETHER = 50, (2.0, 50.0)  # of columns that may stand for persons: values, rows of each
COLUMNS_TOGETHER = 12  # looked at
CHANCE_TOGETHER = 0.02  # of the values: two persons may share a date of birth
FEW_SHARED = 0.95  # different values of personal data for each row, at most: else a few persons share a name
LIKE_ERRORS = 0.02  # of the pairs of persons who differ in a column: persons in whose rows it varies by error
SAME_SCALE = 0.99  # correlation of ranks of what is one number in two units
ValueCells: TypeAlias = DomainCells | NumberCells


@dataclass(frozen=True)
class PersonStatistics:
    """What a pass learned of persons.

    Args:
        entity: the column that names them.
        sharers: of each modelled column whose values are not public: who shares its cells; of numbers and times persons
            of other columns that name some, too.
        constant: columns that are the same in all rows of each person (of 16,384 persons, where there are more), or
            vary so rarely that it looks like an error.
        varying: of the latter the share of persons in whose rows they vary.
        of_few: modelled columns of whose values all are those of fewer persons than must share what leaves.
    """

    entity: str
    sharers: Mapping[str, Sharing]
    constant: tuple[str, ...]
    of_few: tuple[str, ...] = ()
    varying: Mapping[str, float] = field(default_factory=dict)


def count_persons(
    table: Table, schema: TableSchema, statistics: TableStatistics, entity: str, others: Sequence[str] = ()
) -> PersonStatistics:
    """One pass over a table for its persons, and one for each further column of persons.

    Args:
        table: any.
        schema: kinds of its columns, and the number of persons who must share what leaves (`rare_threshold`).
        statistics: of the first pass.
        entity: the column that names the person of each row.
        others: columns that name another person (`other_persons`).
    """
    cells = value_cells(schema, statistics)
    seen = statistics.columns
    gappy = tuple(c.name for c in schema.modelled if 0 < seen[c.name].missing < statistics.n_rows)
    make = partial(PersonSummary, entity, cells, tuple(table.names), schema.rare_threshold, gappy)
    counted = summarise(table, make, label="counting persons").finish()
    numbers = {n: c for n, c in cells.items() if isinstance(c, NumberCells)}
    shared: dict[str, Sharing] = dict(counted.sharers)
    for other in others:
        own = {n: c for n, c in numbers.items() if n != other}
        also = partial(PersonSummary, other, own, (), schema.rare_threshold)
        found = summarise(table, also, columns=[*own, other], label=f"counting persons of '{other}'").sharers
        for name, known in found.items():
            before = shared[name]
            parts = before.parts if isinstance(before, SharersOfAll) else (before,)
            shared[name] = SharersOfAll((*parts, known))
    return replace(counted, sharers=shared)


def value_cells(schema: TableSchema, statistics: TableStatistics) -> dict[str, ValueCells]:
    """The cells whose persons are counted: values in `rare_threshold` rows or more, and cells of numbers."""
    result: dict[str, ValueCells] = {}
    for column in schema.modelled:
        seen = statistics.columns[column.name]
        if column.kind.is_numeric:
            low = seen.distribution().value.low
            if len(low):
                result[column.name] = NumberCells(low)
        elif column.categories is None and not pt.is_boolean(seen.type):
            counted = seen.categories().value
            values = counted.values[: int(np.count_nonzero(counted.counts >= schema.rare_threshold))]
            result[column.name] = DomainCells(values, plain_type(seen.type))
    return result


@dataclass
class PersonSummary:
    """The mergeable summary of one pass.

    Args:
        entity: the column of persons.
        cells: of the columns in question.
        names: all columns of the table, in order.
        most: persons kept of each cell, and of each of the columns in which values are missing.
        gappy: these columns.
    """

    entity: str
    cells: Mapping[str, ValueCells]
    names: tuple[str, ...]
    most: int
    gappy: tuple[str, ...] = ()
    sharers: dict[str, Sharers] = field(init=False)
    holders: dict[str, np.ndarray] = field(init=False)
    range: PersonRanges = field(init=False)

    def __post_init__(self) -> None:
        self.holders = {name: np.empty(0, np.uint64) for name in self.gappy}
        self.sharers = {name: Sharers(self.most) for name in self.cells}
        self.range = PersonRanges.nobody(len(self.names))

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block that has all columns."""
        person_N = value_hashes(batch.column(self.entity))
        for name, cells in self.cells.items():
            cell_N = cells.index(batch.column(name))
            known = cell_N < (len(cells.values) if isinstance(cells, DomainCells) else len(cells.starts))
            self.sharers[name] = self.sharers[name].with_rows(cell_N[known], person_N[known])
        for name, known in self.holders.items():
            if len(known) < self.most:
                self._hold(name, person_N[~is_missing(batch.column(name))])
        if self.names:
            self.range = self.range.with_rows(person_N, [batch.column(name) for name in self.names])

    def merge(self, other: PersonSummary) -> None:
        """Add the rows of another part of the table."""
        self.sharers = {name: own.merged(other.sharers[name]) for name, own in self.sharers.items()}
        for name, persons in other.holders.items():
            self._hold(name, persons)
        self.range = self.range.merged(other.range)

    def _hold(self, name: str, persons: np.ndarray) -> None:
        self.holders[name] = np.unique(np.concatenate([self.holders[name], persons]))[: self.most]

    def finish(self) -> PersonStatistics:
        """What all rows so far tell."""
        shares = self.range.varying()
        rarely = {n: float(v) for n, v in zip(self.names, shares, strict=True) if v < 1 and n != self.entity}
        of_few = tuple(n for n, persons in self.holders.items() if len(persons) < self.most)
        varying = {n: v for n, v in rarely.items() if v > 0}
        return PersonStatistics(self.entity, self.sharers, tuple(rarely), of_few, varying)


@dataclass(frozen=True)
class PersonRanges:
    """Smallest and largest hash of the values of each column, for the persons with the smallest hashes.

    Args:
        person: ascending, shape (P,) uint64.
        low, high: shape (P, columns) uint64.
    """

    person: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def nobody(cls, n_columns: int) -> PersonRanges:
        """The ranges of a table without rows, which others are merged into."""
        none = np.empty((0, n_columns), np.uint64)
        return cls(np.empty(0, np.uint64), none, none)

    def with_rows(self, person_N: np.ndarray, columns: list[pa.Array]) -> PersonRanges:
        """With the rows of a block; only those of persons who may be kept are looked at."""
        persons = np.unique(person_N)[:PERSONS]
        if len(self.person) >= PERSONS:
            persons = persons[persons <= self.person[-1]]
        if len(persons) == 0:
            return self
        rows = np.flatnonzero(person_N <= persons[-1])
        taken = [value_hashes(c.take(pa.array(rows)) if len(rows) < len(c) else c) for c in columns]
        hashes = np.stack(taken, axis=1)
        return self._with(person_N[rows], hashes, hashes)

    def varying(self) -> np.ndarray:
        """Share of persons in whose rows each column varies, (columns,): 1 where it is more than errors would make it.

        Such a share is below 2 % of that of pairs of different persons who differ: a date of birth that is mistyped
        once, but no event that few persons have (a death, a fraud), by which persons differ as rarely.
        """
        share = (self.low != self.high).mean(axis=0)
        for column in np.flatnonzero((share > 0) & (share < 1)):
            of_value = np.unique(self.low[:, column], return_counts=True)[1] / len(self.person)
            differ = 1.0 - float(of_value @ of_value)
            share[column] = share[column] if share[column] < LIKE_ERRORS * differ else 1.0
        return np.asarray(share)

    def merged(self, other: PersonRanges) -> PersonRanges:
        """With the rows of another part of the table."""
        return self._with(other.person, other.low, other.high)

    def _with(self, person: np.ndarray, low: np.ndarray, high: np.ndarray) -> PersonRanges:
        person = np.concatenate([self.person, person])
        order = np.argsort(person, kind="stable")
        person = person[order]
        if not len(person):
            return self
        starts = np.flatnonzero(np.concatenate([[True], person[1:] != person[:-1]]))
        low = np.minimum.reduceat(np.concatenate([self.low, low])[order], starts)[:PERSONS]
        high = np.maximum.reduceat(np.concatenate([self.high, high])[order], starts)[:PERSONS]
        return PersonRanges(person[starts][:PERSONS], low, high)


def found_entity(schema: TableSchema, statistics: TableStatistics) -> str | None:
    """The column that looks most like the one that says whose each row is; None where no value of such a one repeats.

    Keys that are named like those of persons come first, then keys of what a person may have several of (accounts,
    records), what one has alone (an e-mail address), what a few may share (a name), and other keys; of several the one
    with the most values. Where a key
    numbers persons and each row has another one, the rows are these persons: what repeats then (their managers, their
    doctors) is no reason to count others, but for another key that is named so.
    """
    of_rows = [c.name for c in schema.columns if c.kind.is_key and numbers_persons(c.name)]
    are_persons = any(statistics.columns[n].summary.all_unique and not statistics.columns[n].missing for n in of_rows)
    ranked = []
    for place, column in enumerate(schema.columns):
        seen = statistics.columns[column.name]
        rank = column.kind.about.whose(column)
        present = seen.n_rows - seen.missing
        if rank is None or (are_persons and rank > 1) or seen.summary.all_unique or seen.n_distinct < MANY:
            continue
        if column.kind.is_made and not column.kind.is_key and seen.n_distinct > FEW_SHARED * present:
            continue
        ranked.append((rank, -seen.n_distinct, place, column.name))
    return min(ranked)[-1] if ranked else None


def other_persons(schema: TableSchema, statistics: TableStatistics, entity: str) -> tuple[str, ...]:
    """Further keys, up to three, that are named like those of persons and repeat (a doctor's beside a patient's).

    Args:
        schema: not yet as models see it. statistics: of the same columns, exact. entity: the column of persons.
    """
    found = []
    for column in schema.columns:
        seen = statistics.columns.get(column.name)
        if seen is None or column.name == entity or not column.kind.is_key or not names_anybody(column.name):
            continue
        if seen.n_distinct >= MANY and not seen.summary.all_unique:
            found.append(column.name)
    return tuple(found[:3])


def repeating_together(table: Table, schema: TableSchema, statistics: TableStatistics) -> tuple[str, ...]:
    """Columns of many values that stand for each other: of one value of one of them all rows have one of the others.

    So repeat a key that nothing tells, a salary and a date of birth where persons have several rows - and a town with
    its coordinates, so that only the user can say what it means. A number in two units does not count. Looks at the
    first 16,384 rows.
    """
    few, many = ROWS_TOGETHER
    names = []
    for column in schema.modelled:
        seen = statistics.columns[column.name]
        rows = (seen.n_rows - seen.missing) / max(seen.n_distinct, 1)
        if not seen.missing and seen.n_distinct >= VALUES_TOGETHER and few <= rows <= many:
            names.append(column.name)
    block = next(table.blocks(names[:COLUMNS_TOGETHER]), None) if len(names) > 1 else None
    if block is None:
        return ()
    rank_N = {n: _ranks(c) for n, c in zip(block.schema.names, block.slice(0, PERSONS).columns, strict=True)}
    is_number = {n: schema[n].kind.is_numeric for n in rank_N}
    found: tuple[str, ...] = ()
    for first, of_first in rank_N.items():
        same = [first]
        for name, of_name in rank_N.items():
            n_pairs = len(np.unique(of_first * (int(of_name.max()) + 1) + of_name))
            stand_for = n_pairs <= (1 + CHANCE_TOGETHER) * (1 + min(int(of_first.max()), int(of_name.max())))
            is_scale = is_number[first] and is_number[name] and abs(np.corrcoef(of_first, of_name)[0, 1]) > SAME_SCALE
            same += [name] if stand_for and not is_scale and name != first else []
        found = tuple(same) if len(same) > max(len(found), 1) else found
    return tuple(n for n in rank_N if n in found)


def _ranks(array: pa.Array) -> np.ndarray:
    """A number for each different value, the same order where they are numbers or times. Shape (N,) int64."""
    if pt.is_dictionary(array.type) or pt.is_boolean(array.type):
        values = value_hashes(array)
    else:
        values = as_doubles(array)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def value_hashes(array: pa.Array) -> np.ndarray:
    """A hash of each value, the same for equal ones; 0 where missing. Shape (N,) uint64."""
    missing = is_missing(array)
    if pt.is_dictionary(array.type):
        table = np.append(hash_strings(array.dictionary.cast(pa.string()).fill_null("")), np.uint64(0))
        return np.where(missing, np.uint64(0), table[indices_of(array, len(array.dictionary))])
    if pt.is_null(array.type):
        return np.zeros(len(array), np.uint64)
    array = ticks(array)
    if pt.is_integer(array.type) and not pt.is_uint64(array.type):
        numbers = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        numbers = (as_doubles(array) + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    return np.where(missing, np.uint64(0), hash_integers(numbers))
