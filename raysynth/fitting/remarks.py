"""What a fit says of its columns beside their kinds: computed ones, and those whose values are too rare to keep."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from raysynth.data.arrow_types import is_text
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.running.stages import stage
from raysynth.statistics.findings import numbers_in_text, rare_words
from raysynth.statistics.table_statistics import ColumnStatistics, TableStatistics

if TYPE_CHECKING:
    from raysynth.data.fragments import Table
    from raysynth.schema.constraints import Constraint, ConstraintSet
    from raysynth.schema.table import TableSchema
    from raysynth.statistics.noised import NoisedStatistics

MANY_VALUES, ROWS_A_VALUE = 20, 400  # of a column that decides others: more values, fewer rows of each on average
MOST_SEARCHED = 200_000  # rows of a table up to which rules are looked for without being asked
_MOST_SAID = 8  # columns with a line of their own
RARE_SAID = 0.2  # share of rows without a value of their own from which on a fit says so


def remarks(
    encoder: TableEncoder, rules: ConstraintSet | None, statistics: TableStatistics | NoisedStatistics
) -> list[str]:
    """Lines to print; where statistics are noised those alone that no row has a part in."""
    own = _rare(encoder, statistics) if isinstance(statistics, TableStatistics) else []
    return [*([] if rules is None else rules.described), *own]


def found_rules(
    table: Table, schema: TableSchema, statistics: TableStatistics, rules: str | None, *, told: bool
) -> tuple[tuple[Constraint, ...], tuple[str, ...]]:
    """(rules of a table for its schema, lines on all that were found); without a budget alone.

    Args:
        table: its dates read.
        schema: of its columns as models see them.
        statistics: of the table.
        rules: 'auto': those are given that can be kept by construction; None: what follows from a column of many
            values, which no method learns value by value; 'none': none.
        told: say what is found, in tables of few rows.
    """
    deciding = {c.name for c in schema.columns if c.kind.is_discrete and _has_many(statistics.columns.get(c.name))}
    told = told and statistics.n_rows <= MOST_SEARCHED
    if rules != "auto" and not told and (rules == "none" or not deciding):
        return (), ()
    from raysynth.statistics.relations import chosen, relations, said

    with stage("rules", statistics.n_rows) if rules == "auto" else nullcontext():
        found = relations(table, schema)
        of_many = [r for r in found if r.is_combination and r.constraint.involves[0] in deciding]
        wanted = found if rules == "auto" else of_many
        kept = chosen(wanted, schema) if rules != "none" else ()
    lines = [f"rule kept: {r.words}" for r in found if r.constraint in kept]
    rest = [r for r in found if r.constraint not in kept] if told or rules == "auto" else []
    return kept, (*lines, *said(rest))


def _has_many(seen: ColumnStatistics | None) -> bool:
    """Whether a column has many values, of which each has few rows."""
    return seen is not None and seen.n_distinct > MANY_VALUES and seen.n_rows < ROWS_A_VALUE * seen.n_distinct


def undeclared(schema: TableSchema) -> list[str]:
    """Of a fit under a budget, what it would gain by declarations; from the public schema alone."""
    ranges = [c.name for c in schema.columns if c.kind.is_numeric and c.bounds is None]
    lists = [c.name for c in schema.columns if c.kind.is_listed and c.categories is None]
    spelled = [c.name for c in schema.columns if "kind" in c.released]
    if not ranges and not lists:
        return []
    parts = ((spelled, "the kind"), (ranges, "a range (bounds)"), (lists, "a list of values (categories)"))
    missing = "; ".join(f"{what} of {', '.join(map(repr, names))}" for names, what in parts if names)
    return [
        f"NOT DECLARED: {missing}. They are found with noise, which costs a part of the budget, and what is rare may "
        "be lost. Whoever knows them without the rows declares them in a schema, decimals=0 and nullable=False too "
        "where they hold: the synthetic table is nearer to the real one at the same epsilon"
    ]


def _rare(encoder: TableEncoder, statistics: TableStatistics) -> list[str]:
    """A line a column whose values are too rare, the first ones; why, where most of them are numbers."""
    found = [c for c in encoder.columns if isinstance(c, CategoricalEncoder) and c.rare_share >= RARE_SAID]
    lines = []
    for column in found[:_MOST_SAID]:
        seen = statistics.columns.get(column.name)
        mixed = None if seen is None or not is_text(seen.type) else numbers_in_text(seen)
        lines.append(f"{column.name}: {rare_words(column.rare_share)}" + ("" if mixed is None else f" {mixed}"))
    if more := [c.name for c in found[_MOST_SAID:]]:
        lines.append(f"and so will {len(more)} more columns ({', '.join(more[:_MOST_SAID])}; all by `raysynth look`)")
    return lines
