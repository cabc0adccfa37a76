"""Statistics of a whole table in one streaming pass: a summary of every column.

Columns of true and false, and those without any value, have their summaries here; others in `numeric.py`, `text.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table, require_rows
from raysynth.errors import DataError, SchemaError
from raysynth.running.runner import summarise
from raysynth.statistics.distinct import Sharing
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.released import CategoryCounts, Exact, NumericDistribution
from raysynth.statistics.text import TextSummary


@dataclass
class BooleanSummary:
    """Counts of true, false and missing. Sensitivity (add/remove one row): one count by 1 (L1 = L2 = 1)."""

    true: int = 0
    false: int = 0
    missing: int = 0

    def update(self, array: pa.BooleanArray) -> None:
        """Add the rows of an array."""
        true = array.true_count
        self.true += true
        self.false += len(array) - array.null_count - true
        self.missing += array.null_count

    def merge(self, other: BooleanSummary) -> None:
        """Add the rows of another summary."""
        self.true += other.true
        self.false += other.false
        self.missing += other.missing

    @property
    def n_distinct(self) -> int:
        """0, 1 or 2."""
        return (self.true > 0) + (self.false > 0)

    @property
    def all_unique(self) -> bool:
        """True when no value occurs twice."""
        return self.true <= 1 and self.false <= 1

    def categories(self) -> CategoryCounts:
        """Counts of True and False, the more frequent first."""
        pairs = sorted(((n, v) for n, v in ((self.false, False), (self.true, True)) if n), key=lambda p: (-p[0], p[1]))
        return CategoryCounts(
            values=tuple(v for _, v in pairs),
            counts=np.array([n for n, _ in pairs], dtype=np.int64),
            missing=float(self.missing),
            n_distinct=self.n_distinct,
        )


@dataclass
class NullSummary:
    """A column of type null: it has missing rows only."""

    missing: int = 0
    n_distinct: int = 0
    all_unique: bool = True

    def update(self, array: pa.Array) -> None:
        """Add the rows of an array."""
        self.missing += len(array)

    def merge(self, other: NullSummary) -> None:
        """Add the rows of another summary."""
        self.missing += other.missing

    def categories(self) -> CategoryCounts:
        """Counts of no value: all rows are missing ones."""
        return CategoryCounts((), np.empty(0, dtype=np.int64), float(self.missing), 0)


ColumnSummary: TypeAlias = NumericSummary | TextSummary | BooleanSummary | NullSummary


@dataclass(frozen=True)
class ColumnStatistics:
    """What one pass learned of one column.

    Args:
        name: column name.
        type: canonical Arrow type.
        n_rows: rows of the table.
        summary: the summary of its kind of type.
        sharers: where persons are counted, who shares its cells (`persons.value_cells`); None: each row is a person.
    """

    name: str
    type: pa.DataType
    n_rows: int
    summary: ColumnSummary
    sharers: Sharing | None = None

    @property
    def missing(self) -> int:
        """Rows that are null or NaN."""
        return self.summary.missing

    @property
    def n_distinct(self) -> int:
        """Distinct values (numbers above 65,536 and texts above 262,144 of them: an estimate within 2 %)."""
        return self.summary.n_distinct

    @property
    def all_unique(self) -> bool:
        """True when no value occurs twice."""
        return self.summary.all_unique

    @property
    def is_unique(self) -> bool:
        """True when there are values, none missing, and none occurs twice."""
        return self.missing == 0 and self.n_distinct > 0 and self.summary.all_unique

    @property
    def n_inf(self) -> int:
        """Rows that are +inf or -inf."""
        return self.summary.n_inf if isinstance(self.summary, NumericSummary) else 0

    @property
    def extremes(self) -> tuple[int | float, int | float] | None:
        """Smallest and largest finite number (times: integers of their unit); None for other types or no value."""
        return self.summary.extremes if isinstance(self.summary, NumericSummary) else None

    def examples(self, n: int) -> list[str]:
        """Up to n distinct texts, or numbers as text, an even sample; empty for true and false."""
        return [] if isinstance(self.summary, (BooleanSummary, NullSummary)) else self.summary.examples(n)

    def rows_per_value(self) -> np.ndarray:
        """Rows of each distinct value, of an even sample where there are many of them; shape (values,)."""
        if isinstance(self.summary, NumericSummary):
            exact = self.summary.cells.level == 0
            return self.summary.cells.counts if exact else self.summary.sample.counts
        if isinstance(self.summary, TextSummary):
            return (self.summary.sampled if self.summary.overflowed else self.summary.counted).counts
        return self.summary.categories().counts

    def categories(self) -> Exact[CategoryCounts]:
        """Counts of every value; raises `SchemaError` for numbers with more than 65,536 distinct values."""
        if isinstance(self.summary, NumericSummary):
            counts = self.summary.categories(self.name)
        else:
            counts = self.summary.categories()
        if self.sharers is None:
            return Exact(counts)
        persons = np.minimum(counts.counts, self.sharers.most)
        asked = int(np.count_nonzero(counts.counts >= self.sharers.most))  # the values of `value_cells`
        persons[:asked] = self.sharers.counts(asked)
        return Exact(replace(counts, persons=persons))

    def distribution(self) -> Exact[NumericDistribution]:
        """Distribution of a numeric or time column; raises `SchemaError` for others."""
        if not isinstance(self.summary, NumericSummary):
            raise SchemaError(f"column '{self.name}' ({self.type}) holds no numbers; declare it categorical")
        return Exact(replace(self.summary.distribution(), sharers=self.sharers))


@dataclass(frozen=True)
class TableStatistics:
    """What one pass learned of a table; small, and it pickles.

    Args:
        n_rows: rows.
        columns: statistics by column name, in the table's order.
    """

    n_rows: int
    columns: dict[str, ColumnStatistics]

    def with_sharers(self, sharers: Mapping[str, Sharing]) -> TableStatistics:
        """The same, with who shares the cells of some columns."""
        columns = {n: replace(c, sharers=sharers.get(n, c.sharers)) for n, c in self.columns.items()}
        return replace(self, columns=columns)


@dataclass
class TableSummary:
    """The mergeable summary of a table with a given schema: `update` with blocks, `merge`, `finish`."""

    schema: pa.Schema
    n_rows: int = 0
    columns: list[ColumnSummary] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = [_summary_for(f.type) for f in self.schema]

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block that has all columns in order."""
        self.n_rows += batch.num_rows
        for summary, array in zip(self.columns, batch.columns, strict=True):
            summary.update(array)

    def merge(self, other: TableSummary) -> None:
        """Add the rows of another summary of the same table."""
        self.n_rows += other.n_rows
        for mine, theirs in zip(self.columns, other.columns, strict=True):
            mine.merge(theirs)  # type: ignore[arg-type]

    def finish(self) -> TableStatistics:
        """The statistics of all rows so far."""
        columns = {
            f.name: ColumnStatistics(f.name, f.type, self.n_rows, s)
            for f, s in zip(self.schema, self.columns, strict=True)
        }
        return TableStatistics(self.n_rows, columns)


def collect(
    table: Table, *, label: str = "Reading the table", where: str = "auto", check_values: bool = True
) -> TableStatistics:
    """All statistics that a fit needs, in one pass over the table.

    Args:
        table: any table.
        label: what the progress bar says.
        where: 'auto', 'local' or 'ray', see `execution.summarise`.
        check_values: raise for infinite numbers and for fewer than 2 rows. False under a privacy budget, where no error
            may depend on a row: infinite numbers then count as missing.

    Raises:
        DataError: fewer than 2 rows, infinite numbers, or a part of the table that cannot be read.
    """
    summary = summarise(table, partial(TableSummary, table.schema), label=label, where=where)
    statistics = summary.finish()
    if check_values:
        require_rows(statistics.n_rows, table.source)
        require_finite(statistics)
    return statistics


def require_finite(statistics: TableStatistics, place: str = "") -> None:
    """Raise `DataError` for a column that holds infinite numbers; `place` (' of ...') says of which table."""
    for column in statistics.columns.values():
        if column.n_inf:
            raise DataError(
                f"column '{column.name}'{place} holds {column.n_inf:,} infinite values; replace them by a number or by "
                f"NaN (missing), for example `df['{column.name}'].replace([np.inf, -np.inf], np.nan)`"
            )


def _summary_for(type_: pa.DataType) -> ColumnSummary:
    if is_text(type_):
        return TextSummary()
    if pt.is_boolean(type_):
        return BooleanSummary()
    if pt.is_null(type_):
        return NullSummary()
    return NumericSummary(type_)
