"""Deterministic relations between columns that hold in all rows: sums, equal columns, orderings, dependencies.

Candidates come from a sample of rows: what holds there although independent columns would break it often. Then all rows
are looked at, and exceptions are counted. A relation without an exception is proposed as a constraint. All of it is
computed from real rows without noise, so it is as private as the table; under a privacy budget nothing is looked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.errors import ConstraintError
from raysynth.kinds.arrow_text import coded, indices_of, is_string
from raysynth.running.runner import summarise
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints import Constraint, ConstraintSet, Expression, FixedCombinations, Inequality
from raysynth.schema.constraints.base import column_of, numbers_of
from raysynth.schema.constraints.combinations import joint_codes
from raysynth.schema.constraints.rules import BrokenRows
from raysynth.schema.table import TableSchema
from raysynth.statistics.numeric_relations import EVIDENCE, EXCEPTIONS, FEWEST, of_calendar, of_numbers, quoted
from raysynth.statistics.persons import value_hashes

_ROWS = 4_000  # of the sample
_PARTS = 8  # places of the table that it comes from
_MOST_NUMBERS, _MOST_DISCRETE = 60, 60  # columns between which relations are looked for
_RARE = 0.05  # share of rows with rare values from which on a column decides nothing
_MOST_VALUES = 1_000  # of a column that decides another one
_MOST_CASES = 20  # values of a column for each of which an implication is looked for
_MOST_IMPLICATIONS = 12
_MORE_VALUES = 1.5  # times as many values as a column has: made of two others, it would lose its steps
_FEW_NUMBERS = 30  # distinct values up to which a column of numbers decides another one


@dataclass(frozen=True)
class Relation:
    """A rule that a table keeps.

    Args:
        constraint: ready for a schema's `constraints`.
        words: the rule in words.
        rows: in which all of its columns have values.
        exceptions: rows that break it; only one without any can be a constraint of a fit.
        is_costly: an ordering whose upper column, as the lower one and a gap, would have many more values than it has.
    """

    constraint: Constraint
    words: str
    rows: int
    exceptions: int = 0
    is_costly: bool = False

    @property
    def by_construction(self) -> bool:
        """Whether synthetic rows can keep it without rejection; no others are switched on by `rules='auto'`."""
        return not (isinstance(self.constraint, Expression) and " or " in self.constraint.text)

    @property
    def is_combination(self) -> bool:
        """Whether some columns follow from one, the first of those that the constraint involves."""
        return isinstance(self.constraint, FixedCombinations)

    @property
    def entry(self) -> str:
        """The entry of a schema's `constraints` as JSON."""
        return json.dumps(self.constraint.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        if self.exceptions:
            return f"{self.words}, but for {self.exceptions:,} of {self.rows:,} rows"
        return f"{self.words}, in all {self.rows:,} rows: {self.entry}"


def relations(table: Table, schema: TableSchema) -> tuple[Relation, ...]:
    """The relations of a table: those that hold in all rows first, then those with few exceptions.

    Args:
        table: any, its dates read (see `dated_table.py`).
        schema: of its columns as models see them. Where it names persons (`entity`), a relation is one that holds for
            `rare_threshold` of them at least: a constant that it speaks of, or a value, is no single person's.
    """
    rows = sampled_rows(table)
    entity = schema.entity if schema.entity in table.names else None
    person_N = None if entity is None else value_hashes(column_of(rows, entity))
    shared = _Shared(person_N, schema.rare_threshold)
    declared = {n for c in schema.constraints for n in c.involves}
    numbers = [c for c in schema.columns if c.kind.is_numeric and c.name not in declared][:_MOST_NUMBERS]
    discrete = [c for c in schema.columns if c.kind.is_discrete and c.name not in declared][:_MOST_DISCRETE]
    dates = [c for c in numbers if c.kind.is_dated and pt.is_temporal(rows.column(c.name).type)]
    whole = [c for c in (*numbers, *discrete) if pt.is_integer(c.arrow_type) or (c.kind.is_number and not c.decimals)]
    found = [Relation(c, words, 0) for c, words in of_calendar(rows, dates, whole)]
    parts = {f.constraint.involves[0] for f in found}
    numbers = [c for c in numbers if c.name not in parts]
    discrete = [c for c in discrete if c.name not in parts]
    found += [Relation(c, words, 0) for c, words in of_numbers(rows, numbers)]
    taken = {n for f in found if isinstance(f.constraint, Expression) for n in f.constraint.involves}
    free = [c for c in numbers if c.kind.is_number and c.name not in taken]
    share = rows.num_rows / max(table.n_rows or 0, rows.num_rows)
    groups = list(_of_categories(rows, [*discrete, *free], schema.rare_threshold * share, shared))
    inside = [set(g.constraint.involves) for g in groups]
    found = [f for f in found if not any(set(f.constraint.involves) <= group for group in inside)] + groups
    found = [f for f in found if shared.by_enough(_present(rows, f.constraint.involves))]
    found += islice(_implications(rows, discrete, numbers, shared), _MOST_IMPLICATIONS)
    found = [f for f in found if _is_possible(f.constraint, schema)]
    if not found:
        return ()
    columns = [n for n in table.names if any(n in f.constraint.involves for f in found)]
    make = partial(_Counts, tuple(f.constraint for f in found))
    counts = summarise(table, make, columns=columns, label="looking for rules")
    exact = [
        replace(f, rows=n, exceptions=e) for f, n, e in zip(found, counts.present, counts.exceptions(), strict=True)
    ]
    exact = [replace(r, is_costly=_is_costly(rows, r.constraint)) for r in exact if r.exceptions <= EXCEPTIONS * r.rows]
    return tuple(sorted(exact, key=lambda r: (r.exceptions > 0, not r.by_construction)))


@dataclass(frozen=True)
class _Shared:
    """Whose the sampled rows are: a hash of each row's person (N,), None where each is one; and how many must share."""

    person_N: np.ndarray | None
    fewest: int

    def by_enough(self, rows_N: np.ndarray) -> bool:
        """Whether the rows of a mask are those of enough persons."""
        return self.person_N is None or len(np.unique(self.person_N[rows_N])) >= self.fewest

    def persons_of(self, codes_N: np.ndarray) -> np.ndarray:
        """How many persons have each code, -1 left out, shape (codes,)."""
        known = codes_N >= 0
        if self.person_N is None:
            return np.bincount(codes_N[known])
        pairs = np.unique(np.stack([codes_N[known].astype(np.uint64), self.person_N[known]]), axis=1)
        return np.bincount(pairs[0].astype(np.int64), minlength=codes_N.max(initial=-1) + 1)


def _present(rows: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Which rows (N,) have a value of each column."""
    return ~np.logical_or.reduce([column_of(rows, n).is_null().to_numpy(zero_copy_only=False) for n in names])


def said(found: Sequence[Relation], most: int = 8) -> list[str]:
    """The relations in words, the first ones; and how to keep them."""
    lines = [f"rule found: {relation}" for relation in found[:most]]
    if len(found) > most:
        lines.append(f"and {len(found) - most} more rules (all of them by `raysynth look`)")
    if any(not r.exceptions and r.by_construction for r in found):
        lines.append("keep them by rules='auto' (--rules auto), or copy an entry into `constraints` of a schema")
    return lines


def chosen(found: Iterable[Relation], schema: TableSchema) -> tuple[Constraint, ...]:
    """The relations that `rules='auto'` switches on: without an exception, and kept by construction all together.

    An ordering that continues another one is switched on, too, where it needs rejection: a link of a chain with gaps.
    Not combinations of numbers alone: as categories they lose their order, which costs more than the rule is worth.
    Nor orderings that cost a column its steps, nor those of columns of an equality: a gap in place of a number that
    others are computed from bends them all.
    """
    taken: list[Constraint] = []
    equal: set[str] = set()
    replaced = 0  # columns, by what is taken
    for relation in found:
        if relation.exceptions or not relation.by_construction or _are_numbers(relation.constraint, schema):
            continue
        if relation.is_costly:
            continue
        rule = relation.constraint
        if isinstance(rule, Inequality) and equal & set(rule.involves):
            continue
        more = len(ConstraintSet((*taken, rule), schema).replacements)
        if more == replaced + 1 or _is_link(rule, taken):
            replaced = more
            taken.append(rule)
            equal |= set(rule.involves) if isinstance(rule, Expression) else set()
    return tuple(taken)


def _is_link(rule: Constraint, taken: Sequence[Constraint]) -> bool:
    """Whether an ordering continues another one (a <= b <= c), which rejection then keeps where b can be missing."""
    ends = {(c.low, c.high) for c in taken if isinstance(c, Inequality)}
    return isinstance(rule, Inequality) and any(rule.low == high or rule.high == low for low, high in ends)


def _are_numbers(constraint: Constraint, schema: TableSchema) -> bool:
    combined = isinstance(constraint, FixedCombinations)
    return combined and all(schema[n].kind.is_number for n in constraint.involves)


def _is_costly(rows: pa.Table, constraint: Constraint) -> bool:
    """Whether an ordering (of a mileage and a fare in steps of 50 cents) would cost the upper column its own steps."""
    if not isinstance(constraint, Inequality):
        return False
    low, high = (numbers_of(column_of(rows, n)) for n in constraint.involves)
    known = ~(low[1] | high[1])
    gap = np.round(high[0][known].astype(float) - low[0][known].astype(float), 9)
    return len(np.unique(gap)) > _MORE_VALUES * len(np.unique(high[0][known]))


def _is_possible(constraint: Constraint, schema: TableSchema) -> bool:
    try:
        constraint.validate(schema)
        ConstraintSet((constraint,), schema).forward_schema()
    except ConstraintError:
        return False
    return True


def sampled_rows(table: Table) -> pa.Table:
    """Some rows from several places of a table."""
    fragments = table.fragments
    if not fragments:
        batches = list(islice(table.blocks(), _PARTS))
    else:
        at = np.unique(np.linspace(0, len(fragments) - 1, _PARTS).astype(int))
        batches = [b for i in at for b in islice(fragments[i].blocks(), 1)]
    each = -(-_ROWS // max(1, len(batches)))
    parts = []
    for batch in batches:
        keep = np.unique(np.linspace(0, batch.num_rows - 1, min(each, batch.num_rows)).astype(np.int64))
        parts.append(batch.take(pa.array(keep)))
    return pa.Table.from_batches(parts, schema=table.schema)


# ---- categories ------------------------------------------------------------------------------------------------------


def _of_categories(rows: pa.Table, columns: Sequence[ColumnSchema], rare: float, shared: _Shared) -> Iterator[Relation]:
    """Columns whose value follows from another one's, those of one deciding column together.

    A column with many values that fewer rows, or persons, than `rare` have decides nothing: these values do not leave.
    Nor does a column follow whose missing cells split the values of the others into as many rare ones.
    """
    numbered, most, numbers = {}, {}, {c.name for c in columns if c.kind.is_number}
    texts = {c.name for c in columns if is_string(c.arrow_type)}
    for column in columns:
        codes = _codes(column_of(rows, column.name))
        counts = np.bincount(codes[codes >= 0])
        few = (shared.persons_of(codes) < rare)[counts > 0]
        counts = counts[counts > 0]
        if 1 < len(counts) <= _MOST_VALUES and counts[few].sum() <= _RARE * counts.sum():
            numbered[column.name], most[column.name] = codes, len(counts)
    used: set[str] = set()
    for name in sorted(numbered, key=most.__getitem__, reverse=True):
        if name in used or (name in numbers and most[name] > _FEW_NUMBERS):
            continue
        follow, joint, some_rare = [], numbered[name], False
        for other in (n for n in numbered if n != name and n not in used and _decides(numbered[name], numbered[n])):
            both = _joined(joint, numbered[other])
            n_rare = np.bincount(both)[shared.persons_of(both) < rare].sum()
            if n_rare <= _RARE * len(both):
                follow.append(other)
                joint, some_rare = both, bool(n_rare)
        if follow:
            used |= {name, *follow}
            shown = ", ".join(f"'{n}'" for n in follow)
            yield Relation(
                FixedCombinations(
                    (name, *follow), beside=some_rare and name in texts and not numbers.isdisjoint(follow)
                ),
                f"{shown} follow{'s' * (len(follow) == 1)} from '{name}'",
                0,
            )


def _codes(array: pa.Array) -> np.ndarray:
    """A number for each value (N,), -1 where missing."""
    return indices_of(coded(array))


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A number for each pair of values (N,), missing ones counted as one."""
    return np.unique((a + 1) * (b.max(initial=-1) + 2) + b + 1, return_inverse=True)[1]


def _decides(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether b follows from a in a sample, though independent columns would differ in enough rows."""
    known = (a >= 0) & (b >= 0)
    a, b = a[known], b[known]
    if len(a) < FEWEST:
        return False
    pairs, counts = np.unique(a * (b.max() + 1) + b, return_counts=True)
    own = pairs // (b.max() + 1)
    most = np.zeros(int(a.max()) + 1, np.int64)
    np.maximum.at(most, own, counts)
    repeats = len(a) - np.count_nonzero(most)  # rows whose value of a came before
    spread = 1 - np.square(np.bincount(b) / len(b)).sum()  # how often two rows differ in b
    return bool(len(a) - most.sum() <= EXCEPTIONS * len(a) and repeats * spread >= EVIDENCE)


def _implications(
    rows: pa.Table, discrete: Sequence[ColumnSchema], numbers: Sequence[ColumnSchema], shared: _Shared
) -> Iterator[Relation]:
    """What a value of one column, which enough persons have, says of another: that it is missing, or one value."""
    codes = {c.name: _codes(column_of(rows, c.name)) for c in (*discrete, *numbers)}
    for cause in discrete:
        own = codes[cause.name]
        values = list(np.unique(own[own >= 0]))
        if not 2 <= len(values) <= _MOST_CASES or not (
            pt.is_string(cause.arrow_type) or pt.is_boolean(cause.arrow_type)
        ):
            continue
        known = coded(column_of(rows, cause.name)).dictionary.to_pylist()
        for effect in (*discrete, *numbers):
            other = codes[effect.name]
            if effect is cause or _decides(own, other):
                continue
            for value in (v for v in values if shared.by_enough(own == v)):
                if (found := _implied(own == value, other, effect, rows, shared)) is not None:
                    rule, words = found
                    case = f"{quoted(cause.name)} != {known[value]!r}"
                    yield Relation(
                        Expression(f"{case} or {rule}"), f"{words} where '{cause.name}' is {known[value]!r}", 0
                    )


def _implied(
    case: np.ndarray, other: np.ndarray, effect: ColumnSchema, rows: pa.Table, shared: _Shared
) -> tuple[str, str] | None:
    """(rule, words) for a column in the rows of a case; None where these say nothing that others do not."""
    inside, outside = other[case], other[~case]
    if len(inside) < EVIDENCE or len(outside) < EVIDENCE:
        return None
    name = quoted(effect.name)
    if np.all(inside < 0):
        return (f"isnull({name})", f"'{effect.name}' is missing") if np.mean(outside >= 0) > 0.5 else None
    present = inside[inside >= 0]
    first = present[0]
    is_plain = not pt.is_temporal(effect.arrow_type) and not pt.is_decimal(effect.arrow_type)
    if not is_plain or len(present) < EVIDENCE or np.any(present != first) or not shared.by_enough(case & (other >= 0)):
        return None
    if np.sum(outside[outside >= 0] != first) < EVIDENCE or np.mean(outside == first) > 0.5:
        return None
    at = int(np.flatnonzero(case & (other == first))[0])
    value = column_of(rows, effect.name)[at].as_py()
    return f"{name} == {value!r}", f"'{effect.name}' is {value!r}"


# ---- all rows --------------------------------------------------------------------------------------------------------


@dataclass
class _Counts:
    """For each relation the rows in which it has values and those that break it: a summary with update and merge."""

    constraints: tuple[Constraint, ...]
    broken: BrokenRows = field(init=False)
    present: list[int] = field(init=False)
    pairs: dict[int, Counter[tuple[object, ...]]] = field(init=False)

    def __post_init__(self) -> None:
        self.broken = BrokenRows(self.constraints)
        self.present = [0] * len(self.constraints)
        fixed = [i for i, c in enumerate(self.constraints) if isinstance(c, FixedCombinations)]
        self.pairs = {i: Counter() for i in fixed}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block."""
        self.broken.update(batch)
        table = pa.Table.from_batches([batch])
        for i, constraint in enumerate(self.constraints):
            arrays = [column_of(table, n) for n in constraint.involves]
            is_case = isinstance(constraint, Expression) and " or " in constraint.text
            missing = [a.is_null().to_numpy(zero_copy_only=False) for a in (arrays[:1] if is_case else arrays)]
            self.present[i] += int((~np.logical_or.reduce(missing)).sum())
            if i in self.pairs:
                rows, values = joint_codes(arrays)
                for combination, n in zip(values, np.bincount(rows, minlength=len(values)).tolist(), strict=True):
                    if combination[0] is not None:
                        self.pairs[i][combination] += n

    def merge(self, other: _Counts) -> None:
        """Add the rows of another part of the table."""
        self.broken.merge(other.broken)
        self.present = [a + b for a, b in zip(self.present, other.present, strict=True)]
        for i, counts in other.pairs.items():
            self.pairs[i].update(counts)

    def exceptions(self) -> list[int]:
        """Rows that break each relation; of dependencies those that have not the most frequent values of their case."""
        result = self.broken.counts()
        for i, counts in self.pairs.items():
            most: dict[object, int] = {}
            for combination, n in counts.items():
                if None not in combination[1:]:
                    most[combination[0]] = max(n, most.get(combination[0], 0))
            whole = sum(n for combination, n in counts.items() if None not in combination[1:])
            result[i] = whole - sum(most.values())
        return result
