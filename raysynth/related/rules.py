"""Whether declared orders and rules across tables hold in the real rows, so that made rows may be made by them; and
which rules could be declared.

A rule is met by construction: copies are copied, totals computed, differences learned. Where real rows break it, made
tables would differ from them in silence; so it is refused, by name and with the number of such rows. Rows are counted
exactly, which has no place under a privacy budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.arrow_types import is_text
from raysynth.data.database import Database
from raysynth.data.fragments import Table
from raysynth.data.keys import key_values
from raysynth.data.table import as_table
from raysynth.errors import DataError, SchemaError
from raysynth.related.grouping import numbers, unit_of
from raysynth.related.plan import COMPARED, TablePlan
from raysynth.schema.constraints import Constraint, Inequality
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation

ROUNDED = 1e-6  # relative: what a sum may differ by the order in which it was made
ORDER = ("==", "count", "sum", *COMPARED)  # in which rules are kept
MOSTLY = 0.95  # share of the rows of which a rule that could be declared holds
CHANCE = 0.9  # so much fewer rows break it, at least, than beside the parents of others
FEWEST = 50  # rows with a parent


def check_rules(
    schema: DatabaseSchema,
    tables: Mapping[str, Table],
    rows: Mapping[str, pa.Table],
    parents: Mapping[Relation, np.ndarray],
) -> None:
    """Raise for a rule or an order that the tables do not keep.

    Args:
        schema: of the database.
        tables: by name, as they were given. rows: the same with dates that are written as text read.
        parents: for each key the number of each child row's parent, `NO_PARENT` for none.

    Raises:
        SchemaError: a column that is compared, added up or ordered by is no number or time; names it.
        DataError: a rule does not hold; says in how many rows.
    """
    for keys in schema.tables:
        if keys.order is not None:
            _check_measured(f"order of '{keys.name}'", keys.name, keys.order, rows)
    for rule in schema.rules:
        broken = _broken(rule, rows, parents[schema.relation_of(rule)], tables)
        if broken.any():
            table = rule.parent if rule.kind in ("sum", "count") else rule.child
            raise DataError(
                f"rule '{rule}' does not hold in {int(broken.sum()):,} of {len(broken):,} rows of '{table}'; mend "
                "these rows, or leave the rule out"
            )


def _check_measured(what: str, table: str, column: str, rows: Mapping[str, pa.Table]) -> None:
    type_ = rows[table].schema.field(column).type
    if not (pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_) or pt.is_temporal(type_)):
        raise SchemaError(
            f"{what}: column '{column}' of '{table}' must hold numbers or times, and holds "
            f"{'text' if is_text(type_) else type_}; cast it, or leave this out"
        )


def _numbers(rule: CrossTableRule, table: str, column: str, rows: Mapping[str, pa.Table]) -> np.ndarray:
    """A column as numbers, NaN where missing, (N,)."""
    _check_measured(f"rule '{rule}'", table, column, rows)
    return numbers(rows[table].column(column))


def _broken_comparison(rule: CrossTableRule, rows: Mapping[str, pa.Table], parent_N: np.ndarray) -> np.ndarray:
    """Children on the wrong side of their parent's value, (N,) bool; missing values break nothing."""
    own = _numbers(rule, rule.child, rule.child_column, rows)
    theirs = np.append(_numbers(rule, rule.parent, rule.parent_column, rows), np.nan)[parent_N]
    types = [rows[t].schema.field(c).type for t, c in _sides(rule)]
    if pt.is_temporal(types[0]) != pt.is_temporal(types[1]):
        raise SchemaError(
            f"rule '{rule}' compares {types[0]} with {types[1]}; cast one of them, so that both are times"
        )
    difference = (own * unit_of(types[0]) - theirs * unit_of(types[1])) * (1.0 if rule.kind in (">", ">=") else -1.0)
    broken: np.ndarray = difference < 0 if "=" in rule.kind else difference <= 0
    return broken


def _sides(rule: CrossTableRule) -> tuple[tuple[str, str], tuple[str, str]]:
    """Table and column of the child and of the parent."""
    return (rule.child, rule.child_column), (rule.parent, rule.parent_column)


def _broken_copy(rule: CrossTableRule, tables: Mapping[str, Table], parent_N: np.ndarray) -> np.ndarray:
    """Children with another value than their parent, (N,) bool; rows without a parent break nothing."""
    own = key_values(tables[rule.child], (rule.child_column,))["k0"]
    theirs = key_values(tables[rule.parent], (rule.parent_column,))["k0"]
    if not own.type.equals(theirs.type):
        raise SchemaError(
            f"rule '{rule}': column '{rule.child_column}' of '{rule.child}' holds {own.type}, but "
            f"'{rule.parent_column}' of '{rule.parent}' holds {theirs.type}; cast one of them"
        )
    beside = theirs.take(pa.array(parent_N, mask=parent_N < 0))
    equal = pc.fill_null(pc.equal(own, beside), False).to_numpy()
    missing = own.is_null().to_numpy() & beside.is_null().to_numpy()
    broken: np.ndarray = (parent_N >= 0) & ~equal & ~missing
    return broken


def _broken_total(rule: CrossTableRule, rows: Mapping[str, pa.Table], parent_N: np.ndarray) -> np.ndarray:
    """Parents whose value is not the number or the sum of their children, (P,) bool; missing values break nothing."""
    said = _numbers(rule, rule.parent, rule.parent_column, rows)
    there = np.flatnonzero(parent_N >= 0)
    x = np.ones(len(parent_N))
    if rule.kind == "sum":
        x = np.nan_to_num(_numbers(rule, rule.child, rule.child_column, rows))
    total = np.bincount(parent_N[there], weights=x[there], minlength=len(said))
    size = np.bincount(parent_N[there], weights=np.abs(x[there]), minlength=len(said))
    broken: np.ndarray = np.abs(said - total) > ROUNDED * np.maximum(size, 1.0)
    return broken


def proposed_rules(database: Database) -> list[tuple[CrossTableRule, float]]:
    """Rules across tables that nearly all rows keep, and the share of rows that do; for tables that are no reference.

    Times of a child after (or before) one of its parent, values copied from it, numbers that are the sum or the number
    of the children: where families with the parents of others would break the rule at least ten times as often.
    """
    found: list[tuple[CrossTableRule, float]] = []
    for relation in database.schema.relations:
        sides = relation.child, relation.parent
        if any(database.schema[t].reference for t in sides):
            continue
        pointer = np.maximum(database.pointers[relation], -1)
        if (pointer >= 0).sum() < FEWEST:
            continue
        rows = {t: database.tables[t] for t in sides}
        other = np.random.default_rng(0).permutation(rows[relation.parent].num_rows)
        dealt = np.append(other, -1)[pointer]  # each family has the parent of another one
        for rule in _possible(relation, database):
            broken, by_chance = (_broken(rule, rows, p).mean() for p in (pointer, dealt))
            is_said = replace(rule, kind="==") in {r for r, _ in found}  # by a copy
            if broken <= 1 - MOSTLY and broken < (1 - CHANCE) * by_chance and not is_said:
                found.append((rule, float(1 - broken)))
    return found


def kept_rules(
    database: Database,
    plans: Sequence[TablePlan],
    constraints: Mapping[str, Sequence[Constraint]],
    declared: Mapping[str, Sequence[Constraint]],
) -> tuple[CrossTableRule, ...]:
    """Of `proposed_rules` those that all rows and, by construction, made rows keep, beside the schema's.

    A rule is left out that does not follow the key by which the child's rows are made, or whose column is computed,
    copied or compared already: of several times that a child is later than, the latest is taken.

    Args:
        database: its dates read. plans: of its tables.
        constraints: within tables, by name. declared: those that the user wants; the others are given up for a copy or
            a total, which leaves nothing to learn of its column.
    """
    primary, kept = {p.name: p.primary for p in plans}, list(database.schema.rules)
    relation_of = database.schema.relation_of
    found = [r for r, share in proposed_rules(database) if share == 1 and primary[r.child] == relation_of(r)]
    for rule in sorted(found, key=lambda r: (ORDER.index(r.kind), _distance(r, database))):
        table, made = _follows(rule)[0], {_follows(r) for r in kept if r.kind not in COMPARED}
        tied = declared[table] if rule.kind not in COMPARED else constraints[table]
        tied = [x for x in tied if not any((table, c) in made for c in x.involves)]
        together = _together(rule, found, tied, database.tables[rule.child].schema)
        if together and not any(_disturbs(r, other) for r in together for other in kept):
            kept += together
    return tuple(kept[len(database.schema.rules) :])


def is_kept_by(constraint: Constraint, table: pa.Schema, compared: Mapping[str, CrossTableRule]) -> bool:
    """Whether a constraint within a table says of differences from a parent what it says of the columns.

    It does where all of its columns are learned as differences from the same value, in the same unit.
    """
    rules = {replace(compared[c], child_column="") if c in compared else None for c in constraint.involves}
    if rules == {None}:
        return True
    upwards = all(r is not None and r.kind in (">", ">=") for r in rules)
    types = {str(table.field(c).type) for c in constraint.involves}
    return upwards and len(rules) == len(types) == 1 and isinstance(constraint, Inequality)


def _follows(rule: CrossTableRule) -> tuple[str, str]:
    """Table and column of the side that is made from the other one."""
    child, parent = _sides(rule)
    return parent if rule.kind in ("sum", "count") else child


def _together(
    rule: CrossTableRule, found: Sequence[CrossTableRule], constraints: Sequence[Constraint], types: pa.Schema
) -> list[CrossTableRule]:
    """A rule and those like it of the columns that constraints tie to its own; [] where a constraint would be lost."""
    tied = {_follows(rule)[1]}
    while more := {c for x in constraints if tied & {*x.involves} for c in x.involves} - tied:
        tied |= more
    if rule.kind not in COMPARED:
        return [] if any(tied & {*x.involves} for x in constraints) else [rule]
    rules = {c: replace(rule, child_column=c) for c in sorted(tied)}
    kept = all(is_kept_by(x, types, rules) for x in constraints if tied & {*x.involves})
    return [*rules.values()] if kept and all(r in found for r in rules.values()) else []


def _disturbs(rule: CrossTableRule, other: CrossTableRule) -> bool:
    """Whether two rules make the same column, or one of them what the other is made from; copies of copies do not."""
    if _follows(rule) == _follows(other):
        return True
    is_chain = rule.kind == other.kind == "==" or rule.kind in COMPARED and other.kind in COMPARED
    return not is_chain and (_follows(rule) in _sides(other) or _follows(other) in _sides(rule))


def _distance(rule: CrossTableRule, database: Database) -> float:
    """Of a comparison the mean difference between its sides; 0 for other rules."""
    if rule.kind not in COMPARED:
        return 0.0
    pointer = database.pointers[database.schema.relation_of(rule)]
    own, theirs = (numbers(c) * unit_of(c.type) for c in (database.tables[t].column(n) for t, n in _sides(rule)))
    return float(np.nanmean(np.abs(own - np.append(theirs, np.nan)[np.maximum(pointer, -1)])))


def _possible(relation: Relation, database: Database) -> Iterator[CrossTableRule]:
    """All rules between own columns of a child and its parent whose types would fit."""
    child, parent = relation.child, relation.parent
    by = relation.child_key if len([r for r in database.schema.parents_of(child) if r.parent == parent]) > 1 else ()
    types = {t: database.tables[t].schema for t in (child, parent)}
    for own, theirs in product(database.own_columns(child), database.own_columns(parent)):
        mine, other = types[child].field(own).type, types[parent].field(theirs).type
        if own == theirs and mine.equals(other):
            yield CrossTableRule("==", child, own, parent, theirs, by)
        if pt.is_temporal(mine) and pt.is_temporal(other):
            yield from (CrossTableRule(kind, child, own, parent, theirs, by) for kind in (">=", "<="))
        elif _is_number(mine) and _is_number(other):
            yield CrossTableRule("sum", child, own, parent, theirs, by)
    for theirs in database.own_columns(parent):
        if pt.is_integer(types[parent].field(theirs).type):
            yield CrossTableRule("count", child, "", parent, theirs, by)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_))


def _broken(
    rule: CrossTableRule, rows: Mapping[str, pa.Table], parent_N: np.ndarray, given: Mapping[str, Table] | None = None
) -> np.ndarray:
    """The rows that break a rule, (N,) bool: children, of totals parents; `given`: the tables as they were given."""
    if rule.kind in COMPARED:
        return _broken_comparison(rule, rows, parent_N)
    if rule.kind == "==":
        return _broken_copy(rule, given or {n: as_table(t, min_rows=0) for n, t in rows.items()}, parent_N)
    return _broken_total(rule, rows, parent_N)
