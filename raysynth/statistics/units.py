"""Privacy units: of each person at most so many rows stay in a table, chosen at random and in secret.

Let two tables differ by all rows of one unit. Which rows of a unit stay is decided by its own rows and by numbers drawn
for these alone, so, given the numbers drawn for all others, the bounded tables differ by at most `most` rows, all of
them of that unit. Whatever changes by s when one row comes or goes then changes by at most `most` * s (the triangle
inequality). A guarantee that holds given the numbers holds for their mixture, which is what leaves.

One row of each (`most` = 1). Then every unit is one row of the bounded table, and removing a unit removes that row: a
Poisson sample of the rows is one of the units, a noised number of rows counts units, a unit's row lies on one worker.
So whatever is private by row is private by unit, with the same noise: statistics, networks, and DP-SGD on any workers.

Several rows of each, where training draws units (`UnitIndex`): in each step every unit takes part with chance q, by one
of its rows, drawn anew. Which one it is depends on its own rows and on numbers drawn for it alone. With these fixed,
for all steps, one unit more adds one clipped gradient with chance q to a step, and changes nothing else: the Poisson
sample that the accountant assumes, of units, and no factor for their rows. So q and n count units there; what is
counted over rows keeps its factor.

How many rows of each count may be chosen by the rows themselves (`chosen_most`): by a release of its own, before all
others, which may then depend on what it chose (adaptive composition).

Several draws. A fit that goes on, or one that takes encoded rows that an earlier fit kept, has releases of tables that
were bounded by different draws, and a unit may have given another row to each. Let all numbers of all draws be fixed:
they are independent of the data of others and of all that was released, so each release is still one of two tables
that differ by at most `most` rows, with the noise that its event in the ledger states, and the events compose as ever,
adaptively. That holds for every value of the numbers, so for their mixture. (The ledger never counts on a unit giving
the same row twice; it does count on no release seeing more than `most` rows of it.)

Shape legend: R rows, U units, D units that were drawn, B cells of numbers of rows, M choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Fragment, Table
from raysynth.data.total_cast import is_missing
from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import noised_counts
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import ParameterError
from raysynth.kinds.arrow_text import plain, plain_type
from raysynth.schema.constraints.base import one_array


def bounded(table: Table, column: str, most: int, noise: NoiseSource) -> Table:
    """The table with at most `most` rows of each unit; one pass over the column, which is held in memory.

    Args:
        table: of any size; no Ray Dataset.
        column: its value names the unit; a row without one is a unit of its own.
        most: rows that stay of each unit.
        noise: draws which ones.

    Raises:
        ParameterError: the table is a Ray Dataset. SchemaError: it has no such column.
    """
    _check_places(table)
    parts = _owners(table, column)
    if not parts:
        return table
    kept_R = chosen_rows(_whole(parts, table, column), most, noise)
    ends = np.cumsum([sum(len(a) for a in part) for part in parts])
    fragments = tuple(
        _Chosen(fragment, own) for fragment, own in zip(table.fragments, np.split(kept_R, ends[:-1]), strict=True)
    )
    return replace(table, fragments=fragments, n_rows=int(kept_R.sum()))


def chosen_rows(units: pa.ChunkedArray, most: int, noise: NoiseSource) -> np.ndarray:
    """Which rows stay (R), bool: of each unit those `most` that drew the lowest numbers; missing units all stay."""
    unit_R, alone_R = _codes(units)
    order = np.lexsort((noise.uniform(len(unit_R)), unit_R))
    first = np.flatnonzero(np.diff(unit_R[order], prepend=-2))
    sizes = np.diff(np.append(first, len(order)))
    rank_R = np.empty(len(order), np.int64)
    rank_R[order] = np.arange(len(order)) - np.repeat(first, sizes)
    kept: np.ndarray = (rank_R < most) | alone_R
    return kept


MOST_SHARE = 0.02  # of rho, for choosing how many rows of each unit count
CHOICES = 2 ** np.arange(10)
COLUMNS, VALUES = 10, 30  # a typical share of the budget, and a typical share of the rows: of one value of one column
SEEN = 2.0  # standard deviations: fewer units than this in a cell are taken for noise


def chosen_most(table: Table, column: str, scope: PrivacyScope) -> int:
    """How many rows of each unit are to count, by a noised count of the units by their number of rows.

    Cells are public: 1, 2, 3 to 4, ... 257 to 512, and more. All rows of a unit more or less are one unit more or less
    in one of them, so the counts' L2 sensitivity is 1, however many rows it has; a row that names nobody is a unit of
    one. Discrete Gaussian noise, charged before a row is read; the choice is post-processing (`least_lost`), and all
    later noise is for as many rows as it says. Afterwards the scope has it as `rows_per_unit`.

    Args:
        table: whole. column: its value names the unit. scope: pays.

    Raises:
        ParameterError: the budget is too small, or the table is a Ray Dataset.
    """
    _check_places(table)
    multiplier = scope.share_multiplier(MOST_SHARE)
    scope.charge(events.discrete_gaussian("persons by their number of rows", multiplier))
    sizes = np.diff(UnitIndex.of(table, column).start_U)
    exact = np.bincount(np.searchsorted(CHOICES, sizes), minlength=len(CHOICES) + 1)
    noised_B = noised_counts(exact, multiplier, scope.noise)
    sigma = scope.share_multiplier(scope.preprocessing_share / COLUMNS)
    scope.rows_per_unit = least_lost(np.where(noised_B > SEEN * multiplier, noised_B, 0.0), sigma)
    return scope.rows_per_unit


def least_lost(units_B: np.ndarray, sigma: float) -> int:
    """The choice at which rows that are left out, and noise, take least of a typical count, both as shares of it.

    Args:
        units_B: units with a number of rows in each cell.
        sigma: standard deviation of a count's noise where one row of each unit counts.
    """
    rows_B = np.append((np.append(1, CHOICES[:-1] + 1) + CHOICES) / 2, 1.5 * CHOICES[-1])
    kept_M = np.minimum(rows_B, CHOICES[:, None]) @ units_B
    noise_M = CHOICES * sigma * VALUES / np.maximum(kept_M, 1.0)
    return int(CHOICES[np.argmin(1 - kept_M / max(float(rows_B @ units_B), 1.0) + noise_M)])


@dataclass(frozen=True)
class UnitIndex:
    """Which rows of a bounded table are of which unit: 8 bytes a row and a unit, in this process alone.

    Args:
        row_R: places of rows in the table, unit after unit.
        start_U: where the rows of each unit begin in `row_R`; one more at the end, R.
    """

    row_R: np.ndarray
    start_U: np.ndarray

    @classmethod
    def of(cls, table: Table, column: str) -> UnitIndex:
        """Of a table's rows in their order; one pass over the column. A row that names nobody is a unit."""
        unit_R, alone_R = _codes(_whole(_owners(table, column), table, column))
        unit_R[alone_R] = unit_R.max(initial=0) + 1 + np.arange(alone_R.sum())
        return cls.of_numbers(unit_R)

    @classmethod
    def of_numbers(cls, unit_R: np.ndarray) -> UnitIndex:
        """From a number for the unit of each row."""
        order = np.argsort(unit_R, kind="stable")
        first = np.flatnonzero(np.diff(unit_R[order], prepend=-2))
        return cls(order, np.append(first, len(order)))

    def __len__(self) -> int:
        return len(self.start_U) - 1

    @property
    def number_R(self) -> np.ndarray:
        """For each row in its place the number of its unit, 0 to U - 1."""
        found = np.empty(len(self.row_R), np.int64)
        found[self.row_R] = np.repeat(np.arange(len(self)), np.diff(self.start_U))
        return found

    def one_row_each(self, unit_D: np.ndarray, noise: NoiseSource) -> np.ndarray:
        """For each unit that was drawn one of its rows (D), each with the same chance."""
        start_D, end_D = self.start_U[unit_D], self.start_U[unit_D + 1]
        own_D = np.floor(noise.uniform(len(unit_D)) * (end_D - start_D)).astype(np.int64)
        rows_D: np.ndarray = self.row_R[start_D + np.minimum(own_D, end_D - start_D - 1)]
        return rows_D


def _check_places(table: Table) -> None:
    if table.dataset is not None:
        raise ParameterError(
            "privacy_unit needs a table whose rows keep their places, which those of a Ray Dataset do not; write it to "
            "Parquet and give its path"
        )


def _owners(table: Table, column: str) -> list[list[pa.Array]]:
    """The column of units, fragment by fragment."""
    return [[plain(block.column(0)) for block in fragment.blocks()] for fragment in table.select([column]).fragments]


def _whole(parts: list[list[pa.Array]], table: Table, column: str) -> pa.ChunkedArray:
    """The parts of a column as one; it may have none."""
    return pa.chunked_array([a for part in parts for a in part], type=plain_type(table.schema.field(column).type))


def _codes(units: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each unit (R), and which rows name nobody (R)."""
    units_R = one_array(units)
    codes_R = units_R.dictionary_encode().indices.fill_null(-1)
    return codes_R.to_numpy(zero_copy_only=False).astype(np.int64), is_missing(units_R)


def _listing_own(array: pa.Array) -> pa.Array:
    """A dictionary of the values that occur alone: it must not tell of rows that were left out."""
    return array.dictionary_decode().dictionary_encode().cast(array.type) if pt.is_dictionary(array.type) else array


@dataclass(frozen=True)
class _Chosen:
    """A fragment with some of its rows.

    Args:
        fragment: the whole.
        kept_R: which rows stay.
    """

    fragment: Fragment
    kept_R: np.ndarray

    @property
    def n_rows(self) -> int | None:
        return int(self.kept_R.sum())

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        start = 0
        for block in self.fragment.blocks(columns):
            chosen = block.filter(pa.array(self.kept_R[start : start + len(block)]))
            start += len(block)
            yield pa.RecordBatch.from_arrays([_listing_own(c) for c in chosen.columns], schema=chosen.schema)

    def bound(self, memory: pa.Table | None) -> Fragment:
        return replace(self, fragment=self.fragment.bound(memory))
