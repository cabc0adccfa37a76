"""What a table holds, before any fit: kinds with reasons, and what a user had better know or decide of each column.

Everything here is computed from real rows without noise: it is as private as the table itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table
from raysynth.kinds.evidence import named_like_key, words_of
from raysynth.running.runner import summarise
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import as_written, dated
from raysynth.statistics.distinct import hash_integers
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.numeric import NumericSummary
from raysynth.statistics.persons import found_entity, value_hashes
from raysynth.statistics.relations import Relation, chosen, relations
from raysynth.statistics.table_statistics import ColumnStatistics, collect

MOST_HASHED = 20_000_000  # rows whose hashes are kept to find repeated ones (160 MB)
_MUCH_RARE = 0.05  # share of rows from which rare values are worth a line
_SENTINEL_ROWS = 0.002  # share of rows at a value far from all others
_FEWEST_VALUES = 20
_SEVERAL_NUMBERS = re.compile(
    r"[-+]?[0-9]+(?:[.,][0-9]+)?(?: ?(?:[-/x×:;,|–~+]|to|by|and|of) ?[-+]?[0-9]+(?:[.,][0-9]+)?){1,5}"
    r"(?: ?[^\W\d_]{1,6}\.?)?"  # a unit
)
_LEADING_ZERO = re.compile(r"(?<![0-9.,])0[0-9]")
_MOST_SEVERAL, _EXAMPLES = 0.95, 200  # share of so many distinct texts
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?")
_TARGET = re.compile(r"\b(?:target|label|class|outcome|response|y|churn|default|survived|diagnosis|income)\b")
_MOST_CLASSES = 20


@dataclass(frozen=True)
class ColumnFindings:
    """One column.

    Args:
        column: as inference takes it.
        missing: share of rows without a value.
        n_distinct: distinct values.
        rare: share of rows whose value is too rare to leave.
        advice: what to know or decide, one sentence each.
        is_refused: a fit refuses the column as it is.
    """

    column: ColumnSchema
    missing: float
    n_distinct: int
    rare: float
    advice: tuple[str, ...]
    is_refused: bool = False

    def record(self) -> dict[str, Any]:
        """What `look --json` says of it."""
        return {
            "name": self.column.name,
            "kind": str(self.column.kind),
            "reason": self.column.reason,
            "missing": round(self.missing, 4),
            "distinct": self.n_distinct,
            "rare": round(self.rare, 4),
            "advice": list(self.advice),
        }


@dataclass(frozen=True)
class Findings:
    """A whole table.

    Args:
        source: what was looked at.
        n_rows: rows.
        schema: as inferred; to be edited and passed to a fit.
        columns: in order.
        target: a column that models would predict; None: there is none.
        duplicates: rows that repeat an earlier one; None: too many rows to tell.
        rules: relations between columns that all rows keep, or all but few.
        notes: what reading the table decided.
    """

    source: str
    n_rows: int
    schema: TableSchema
    columns: tuple[ColumnFindings, ...]
    target: str | None
    duplicates: int | None
    rules: tuple[Relation, ...]
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What `look --json` says of it."""
        return {
            "source": self.source,
            "rows": self.n_rows,
            "columns": [c.record() for c in self.columns],
            "target": self.target,
            "duplicates": self.duplicates,
            "rules": [
                {"words": r.words, "rows": r.rows, "exceptions": r.exceptions, "entry": r.constraint.to_dict()}
                for r in self.rules
            ],
            "notes": list(self.notes),
        }

    def with_rules(self) -> TableSchema:
        """The schema with the rules that can be kept by construction as its constraints."""
        return replace(self.schema, constraints=chosen(self.rules, self.schema.as_modelled()))

    def facts(self) -> list[str]:
        """What is said of the table as a whole, one sentence each."""
        facts = list(self.notes)
        if self.duplicates:
            facts.append(f"{self.duplicates:,} rows repeat an earlier row ({self.duplicates / self.n_rows:.1%})")
        if self.target is not None:
            facts.append(f"'{self.target}' looks like what models would predict (--target {self.target} in evaluate)")
        facts += [f"rule: {rule}" for rule in self.rules]
        unused = [c.column.name for c in self.columns if not c.column.kind.is_modelled]
        if unused:
            facts.append(f"not modelled, but made anew or constant: {', '.join(unused)}")
        return facts

    def text(self) -> str:
        """For a person: a line a column, advice below it."""
        width = max(len(c.column.name) for c in self.columns)
        lines = [f"{self.source}: {self.n_rows:,} rows x {len(self.columns)} columns (private: of real rows)", ""]
        for c in self.columns:
            gap = f", {c.missing:.1%} missing" if c.missing else ""
            lines.append(f"{c.column.name:<{width}}  {c.column.kind:<12} {c.column.reason}{gap}")
            lines += [f"{'':<{width}}  -> {advice}" for advice in c.advice]
        return "\n".join([*lines, "", *self.facts()])


def find(table: Table) -> Findings:
    """Look at a table in a few passes; raises `DataError` where it cannot be used at all."""
    statistics = collect(table, label="looking", check_values=False)
    duplicates = _duplicates(table) if statistics.n_rows <= MOST_HASHED else None
    typed, statistics = dated(table, statistics)
    modelled = infer_schema(typed, statistics, check_rows=False)
    schema = as_written(modelled, typed)
    columns = []
    for column, inner in zip(schema.columns, modelled.columns, strict=True):
        seen = statistics.columns[column.name]
        rare = _rare_share(inner, seen, schema.rare_threshold)
        advice = tuple(_advice(column, seen, rare))
        missing = seen.missing / max(seen.n_rows, 1)
        columns.append(ColumnFindings(column, missing, seen.n_distinct, rare, advice, seen.n_inf > 0))
    found = relations(typed, replace(modelled, entity=found_entity(modelled, statistics)))
    return Findings(
        table.source, statistics.n_rows, schema, tuple(columns), _target(columns), duplicates, found, table.notes
    )


def _rare_share(column: ColumnSchema, seen: ColumnStatistics, rare: int) -> float:
    """Share of the rows with a value whose value stands in too few rows to leave."""
    if not column.kind.is_discrete or seen.n_distinct == 0:
        return 0.0
    counts = seen.categories().value
    kept = float(counts.counts[counts.counts >= rare].sum())
    present = seen.n_rows - seen.missing
    return 1 - kept / present if present else 0.0


def rare_words(share: float) -> str:
    """What to say of a column of which this share of the rows has values too rare to leave."""
    return f"{round(100 * share)} % will be '(rare)': identifier, personal, or leave it out?"


def _advice(column: ColumnSchema, seen: ColumnStatistics, rare: float) -> list[str]:
    advice = []
    if rare >= _MUCH_RARE and is_text(seen.type):
        advice.append(rare_words(rare))
        if (mixed := numbers_in_text(seen)) is not None:
            advice.append(mixed)
    elif column.kind.is_key and is_text(seen.type) and (several := _several_numbers(seen)) is not None:
        advice.append(several)
    elif rare >= _MUCH_RARE:
        advice.append(f"{rare:.0%} of the rows hold rare numbers, which will be others: or make it continuous")
    advice += [
        f"{value} stands far from all other values and is frequent: a sign for missing?"
        for value in _sentinels(column, seen)
    ]
    if not column.kind.is_key and named_like_key(seen.name) and seen.n_distinct >= _FEWEST_VALUES:
        per_value = (seen.n_rows - seen.missing) / seen.n_distinct
        if per_value >= 1.2 and (is_text(seen.type) or pt.is_integer(seen.type)):
            advice.append(
                f"{per_value:.1f} rows for each of {seen.n_distinct:,} values: if these are persons, learn sequences "
                f"(sequence_key) or protect persons (privacy_unit='{seen.name}')"
            )
    if seen.n_inf:
        advice.append(f"{seen.n_inf:,} infinite values: replace them, a fit refuses them")
    return advice


def numbers_in_text(seen: ColumnStatistics) -> str | None:
    """What keeps a column of numbers text: a few words, or several numbers in a cell; else None (telephone numbers)."""
    if (several := _several_numbers(seen)) is not None:
        return several
    counts = seen.categories().value
    is_number = np.array([_NUMBER.fullmatch(str(v)) is not None for v in counts.values], bool)
    share = float(counts.counts[is_number].sum() / max(counts.counts.sum(), 1))
    if not 0.5 <= share < 1:
        return None
    least = TableSchema().rare_threshold
    others = [(n, str(v)) for n, v, number in zip(counts.counts, counts.values, is_number, strict=True) if not number]
    frequent = [v for n, v in sorted(others, key=lambda o: (-o[0], o[1])) if n >= least][:4]
    shown = ", ".join(map(repr, frequent)) or "some texts in few rows each"
    n_others = int(sum(n for n, _ in others))
    most = f"{share:.0%} of the rows" if share < 0.99 else f"all but {n_others:,} row{'s' * (n_others > 1)}"
    return (
        f"{most} are numbers; for the others ({shown}) all are text: read those as missing (--csv "
        f"'missing={'|'.join(frequent) or 'TEXT'}'), or put them into a column of their own"
    )


def _several_numbers(seen: ColumnStatistics) -> str | None:
    texts = [text.strip() for text in seen.examples(_EXAMPLES)]
    held = [text for text in texts if _SEVERAL_NUMBERS.fullmatch(text) and not _LEADING_ZERO.search(text)]
    if len(held) < _MOST_SEVERAL * len(texts) or len({len(text) for text in held}) < 2:  # all of one length: codes
        return None
    return f"each text holds several numbers ('{held[0]}'): in columns of their own they would be modelled"


def _sentinels(column: ColumnSchema, seen: ColumnStatistics) -> list[str]:
    """Frequent smallest or largest values that lie further off than all others are apart: up to two at each end."""
    if not column.kind.is_numeric or not isinstance(seen.summary, NumericSummary):
        return []
    cells = seen.summary.cells
    low, high, n = cells.low_values.astype(float), cells.high_values.astype(float), len(cells)
    frequent = cells.counts >= max(5.0, _SENTINEL_ROWS * seen.n_rows)
    for first, last in sorted(product(range(3), repeat=2), key=sum, reverse=True):  # left out at each end
        end = n - 1 - last
        if first + last == 0 or end - first < _FEWEST_VALUES - 2:
            continue
        spread = high[end] - low[first]
        is_far = first == 0 or low[first] - high[first - 1] > spread
        is_far &= last == 0 or low[end + 1] - high[end] > spread
        if is_far and frequent[:first].all() and frequent[end + 1 :].all():
            return [_shown(v, seen.type) for v in (*cells.low_values[:first], *cells.high_values[end + 1 :])]
    return []


def _shown(value: np.generic, type_: pa.DataType) -> str:
    """A number or time of a column's cells in words."""
    if pt.is_temporal(type_):
        plain = pa.array([value]).cast(pa.int32() if pt.is_date32(type_) else pa.int64())
        return str(plain.cast(type_)[0])
    number = value.item()
    return str(int(number)) if float(number).is_integer() else str(number)


def _target(columns: list[ColumnFindings]) -> str | None:
    """The column that is named like a target, else the last of few classes."""
    usable = [c for c in columns if c.column.kind.is_discrete and 2 <= c.n_distinct <= _MOST_CLASSES]
    named = [c for c in usable if _TARGET.search(words_of(c.column.name))]
    chosen = named or usable[-1:]
    return chosen[-1].column.name if chosen else None


@dataclass
class _RowHashes:
    """Hashes of all rows of a table."""

    parts: list[np.ndarray] = field(default_factory=list)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        total = np.zeros(batch.num_rows, np.uint64)
        for i, column in enumerate(batch.columns):
            total = hash_integers((total ^ value_hashes(column)).view(np.int64) + i)
        self.parts.append(total)

    def merge(self, other: _RowHashes) -> None:
        """Add the rows of another part."""
        self.parts += other.parts


def _duplicates(table: Table) -> int:
    """Rows that repeat an earlier one (up to chance: 64-bit hashes)."""
    found = summarise(table, _RowHashes, label="looking for repeated rows")
    hashes = np.concatenate(found.parts) if found.parts else np.empty(0, np.uint64)
    return len(hashes) - len(np.unique(hashes))
