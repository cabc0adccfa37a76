"""The tables of a database in memory: keys resolved to row numbers, columns with their kinds.

Everything here reads rows without noise: it has no place under a privacy budget.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.data.database import Database
from raysynth.data.fragments import Table
from raysynth.data.keys import check_database, complete, count_rows, key_values, parent_rows
from raysynth.data.table import as_table
from raysynth.errors import DataError, SchemaError
from raysynth.fitting.opening import open_exactly
from raysynth.kinds.arrow_text import dtype_text
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.related.grouping import NO_PARENT, codes, numbers
from raysynth.related.kinds import frequent_levels, share_of_parents, squeezed
from raysynth.related.located import located_keys
from raysynth.related.nested import with_nested
from raysynth.related.plan import TablePlan, bringing, plan_of
from raysynth.related.rules import check_rules, is_kept_by, kept_rules
from raysynth.running.plain_lines import is_quiet
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints import Constraint
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import DatabaseSchema, Relation
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import declared_forms, with_forms
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import collect

MOST_LOST = 0.1  # share of a table's rows


@dataclass(frozen=True)
class OpenTable:
    """One table.

    Args:
        plan: how it is made; None for a reference table.
        rows: with dates that are written as text read.
        schema: all columns as the user has them; of learned ones what is declared or was inferred.
        keys: the maker of each column that is made anew.
    """

    plan: TablePlan | None
    rows: pa.Table
    schema: TableSchema
    keys: Mapping[str, IdentifierEncoder]

    @property
    def modelled(self) -> tuple[ColumnSchema, ...]:
        """Learned columns with values, as models see them."""
        assert self.plan is not None
        return tuple(c.as_modelled() for c in self.schema.columns if c.name in self.plan.learned and c.kind.is_modelled)

    @property
    def constrained(self) -> frozenset[str]:
        """Columns that constraints speak of."""
        return frozenset(c for x in self.schema.constraints for c in x.involves)


@dataclass(frozen=True)
class OpenDatabase:
    """All tables and the keys between them as row numbers.

    Args:
        schema: of the keys.
        plans: of the tables that are made, parents first.
        tables: by name.
        parents: for each key that is filled, the number of each child row's parent.
        nested: the keys of the schema that nobody declared (`nested.py`).
    """

    schema: DatabaseSchema
    plans: tuple[TablePlan, ...]
    tables: Mapping[str, OpenTable]
    parents: Mapping[Relation, np.ndarray]
    nested: tuple[Relation, ...] = ()

    def plan(self, name: str) -> TablePlan:
        """How a table is made."""
        return next(p for p in self.plans if p.name == name)

    def persons(self, name: str) -> np.ndarray:
        """Whose each row of a table is: the number of the row at the root that it hangs from, (N,).

        Rows without a parent are persons of their own, behind those of the root.
        """
        plan = self.plan(name)
        n = self.tables[name].rows.num_rows
        if plan.primary is None:
            return np.arange(n)
        above, parent_N = self.persons(plan.primary.parent), self.parents[plan.primary]
        alone = int(above.max(initial=0)) + 1 + np.arange(n)
        return np.where(parent_N >= 0, above[np.maximum(parent_N, 0)] if len(above) else alone, alone)


def open_tables(
    tables: Mapping[str, Any],
    schema: DatabaseSchema,
    schemas: Mapping[str, TableSchema | str | os.PathLike[str]],
    dangling: str,
    rules: str | None = None,
) -> OpenDatabase:
    """Read the tables, check their keys, infer the kinds of their columns.

    `rules`: as `open_exactly`; 'auto' keeps rules across tables, too, and prints a line for each.

    Raises:
        DataError, SchemaError: as `check_database` and `plan_of`; they name table, column and cure.
    """
    opened, schema = check_database(tables, schema, dangling)
    opened, schema = _without_single_rows(opened, schema)
    declared = {n: _declared(schemas.get(n)) for n in schema.names}
    database = _opened(opened, schema, declared, rules)
    if rules == "auto":
        known = {n: t.rows for n, t in database.tables.items()}
        constraints = {n: t.schema.constraints for n, t in database.tables.items()}
        pointers = {r: p for r, p in database.parents.items() if r in schema.relations}
        wanted = {n: () if own is None else own.constraints for n, own in declared.items()}
        if found := kept_rules(Database(known, schema, pointers), database.plans, constraints, wanted):
            if not is_quiet():
                print(*(f"rule kept: {rule}" for rule in found), sep="\n")
            database = _opened(opened, replace(schema, rules=(*schema.rules, *found)), declared, rules)
    for plan in database.plans:
        _warn_of_large_families(database, plan)
    return database


def _opened(
    opened: Mapping[str, Table], schema: DatabaseSchema, declared: Mapping[str, TableSchema | None], rules: str | None
) -> OpenDatabase:
    """The database with the rules across tables that its schema has."""
    rows = {name: table.to_arrow() for name, table in opened.items()}
    parents = _parents(opened, schema)
    types, counts = {n: t.schema for n, t in rows.items()}, {n: t.num_rows for n, t in rows.items()}
    plans = plan_of(schema, types, counts, _alike(schema, rows, parents))
    ruled = {n for n, own in declared.items() if own is not None and own.constraints}
    whole, nested = with_nested(schema, plans, opened, ruled)
    if nested:
        parents = _parents(opened, whole)
        plans = plan_of(whole, types, counts, _alike(whole, rows, parents))
    located = located_keys(plans, rows)
    while True:
        plans = plan_of(whole, types, counts, _alike(whole, rows, parents), located) if located else plans
        by_name = {p.name: p for p in plans}
        known = {n: _open_table(opened[n], rows[n], by_name.get(n), declared[n], rules) for n in schema.names}
        if all(_has_values(r, known) for r in located):
            break
        located = frozenset(r for r in located if _has_values(r, known))
    check_rules(schema, opened, {n: t.rows for n, t in known.items()}, parents)
    return OpenDatabase(whole, plans, known, parents, nested)


def _without_single_rows(
    opened: Mapping[str, Table], schema: DatabaseSchema
) -> tuple[dict[str, Table], DatabaseSchema]:
    """The database with tables of one row, or none, as tables without rows that are kept as they are.

    Raises:
        DataError: rows of another table point to the only row, or no table has two rows.
    """
    small = {n: t for n, t in opened.items() if not schema[n].reference and count_rows(t) < 2}
    if len(small) == len(opened):
        raise DataError("no table has the 2 rows that are needed to learn from")
    for name in small:
        for relation in schema.children_of(name):
            keys = key_values(opened[relation.child], relation.child_key)
            if relation.child not in small and complete(keys).num_rows:
                raise DataError(
                    f"table '{name}' has 1 row, of which nothing can be learned, and relation {relation} points to it; "
                    "if it is public, make it a reference table, which is kept as it is (in the JSON of the "
                    f'relations: {{"name": "{name}", "reference": true}}), else leave it and the relation out there'
                )
    tables = {n: as_table(t.to_arrow().slice(0, 0), min_rows=0) if n in small else t for n, t in opened.items()}
    kept = tuple(replace(t, reference=t.reference or t.name in small) for t in schema.tables)
    return tables, replace(schema, tables=kept, rules=schema.without(small).rules)


def _has_values(relation: Relation, tables: Mapping[str, OpenTable]) -> bool:
    """Whether the columns of a key are learned with their values on both sides: no personal data, no names."""
    sides = ((relation.child, relation.child_key), (relation.parent, relation.parent_key))
    return all(set(key) <= {c.name for c in tables[name].modelled} for name, key in sides)


def _parents(opened: Mapping[str, Table], schema: DatabaseSchema) -> dict[Relation, np.ndarray]:
    """For each key of tables that are made the number of each child row's parent."""
    result = {}
    for r in (r for r in schema.relations if not schema[r.child].reference):
        found = parent_rows(key_values(opened[r.child], r.child_key), key_values(opened[r.parent], r.parent_key))
        result[r] = np.maximum(found, NO_PARENT)  # what points nowhere is missing, if that was allowed
    return result


def _warn_of_large_families(database: OpenDatabase, plan: TablePlan) -> None:
    """Warn where few parents have so many rows that their numbers, which are theirs alone, cannot be learned."""
    if (relation := plan.primary) is None:
        return
    parent = database.tables[relation.parent]
    parent_N, rare = database.parents[relation], parent.schema.rare_threshold
    number = np.bincount(parent_N[parent_N >= 0], minlength=parent.rows.num_rows)
    reached = np.partition(number, -rare)[-rare] if len(number) >= rare else number.max(initial=0)
    lost = int(np.maximum(number - reached, 0).sum())
    if lost > MOST_LOST * number.sum():
        warnings.warn(
            f"relation {relation}: one row of '{relation.parent}' has {number.max():,} of the {number.sum():,} rows of "
            f"'{relation.child}', while {rare} have {reached:,} or more. A larger one would tell whose it is, so made "
            f"families end there, and '{relation.child}' gets about {lost:,} rows fewer; share such a parent's rows "
            "out among several, or leave them out",
            stacklevel=2,
        )


def open_reference(data: Any, declared: TableSchema | None) -> tuple[pa.Table, TableSchema]:
    """Rows and columns of a reference table, which is public; raises as `Synthesizer.fit`."""
    table = as_table(data)
    opened = _open_table(table, table.to_arrow(), None, declared)
    return opened.rows.combine_chunks(), opened.schema


def _alike(
    schema: DatabaseSchema, rows: Mapping[str, pa.Table], parents: Mapping[Relation, np.ndarray]
) -> dict[Relation, float]:
    """Of each key of tables that several could bring: the mean share of a column's variance that is between parents.

    A user's ratings lie within an evening, a film's within years: ratings are made for users, and films matched.
    """
    aside, result = set(schema.set_aside()), {}
    for name in schema.names:
        keys = [] if schema[name].reference else bringing(schema, name, aside)
        own = set(rows[name].column_names) - {c for r in schema.parents_of(name) for c in r.child_key}
        for relation in keys if len(keys) > 1 else []:
            parent_N = parents[relation]
            there = np.flatnonzero(parent_N >= 0)
            number = np.bincount(parent_N[there], minlength=rows[relation.parent].num_rows)
            shares = [0.0]
            for column in own - set(schema[name].primary_key):
                features = _as_features(rows[name].column(column))
                shares.append(max(share_of_parents(parent_N[there], x[there], number)[1] for x in features))
            result[relation] = float(np.sum(shares)) / max(len(shares) - 1, 1)
    return result


def _as_features(values: pa.ChunkedArray) -> list[np.ndarray]:
    """A column as numbers: its own, or whether it is each of the most frequent values."""
    if pa.types.is_temporal(values.type) or pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        return [squeezed(numbers(values))]
    code, _ = codes(values)
    return [(code == level).astype(float) for level in frequent_levels(code)]


def _declared(schema: TableSchema | str | os.PathLike[str] | None) -> TableSchema | None:
    if schema is None or isinstance(schema, TableSchema):
        return schema
    return TableSchema.load(schema)


def _open_table(
    table: Any, rows: pa.Table, plan: TablePlan | None, declared: TableSchema | None, rules: str | None = None
) -> OpenTable:
    columns: dict[str, ColumnSchema] = {
        n: ColumnSchema(n, Kind.IDENTIFIER, dtype_text(table.schema.field(n).type), table.pandas_dtypes.get(n))
        for n in table.names
    }
    rare = TableSchema(()).rare_threshold if declared is None else declared.rare_threshold
    learned, constraints = () if plan is None else plan.learned, ()
    if plan is not None and learned:
        part = table.select(learned)
        wanted = None
        if declared is not None:
            kept = tuple(c for c in declared.columns if c.name in learned)
            wanted = TableSchema(kept, declared.constraints, declared.rare_threshold, declared.max_categories)
        found = open_exactly(part, wanted, {}, None, rules=rules)
        # a child's key follows its parent's place, and no model of a table sees the places of both
        columns |= {c.name: replace(c, in_order=False) if c.kind.is_key else c for c in found.schema.columns}
        constraints = tuple(c for c in found.schema.constraints if _is_kept(c, table.schema, plan, wanted))
        read = with_forms(part, declared_forms(found.schema)).to_arrow()  # dates as dates, before any rule
        rows = pa.table({n: one_array((read if n in read.column_names else rows).column(n)) for n in rows.column_names})
    schema = TableSchema(tuple(columns[n] for n in table.names), constraints, rare)
    keys = {} if plan is None else {c: _key_maker(table, c) for c in plan.made}
    return OpenTable(plan, rows, schema, keys)


def _is_kept(constraint: Constraint, types: pa.Schema, plan: TablePlan, declared: TableSchema | None) -> bool:
    """Whether a constraint can be kept beside the rules across tables; a declared one must be, or is refused."""
    if plan.order not in constraint.involves and is_kept_by(constraint, types, plan.compared):
        return True
    if declared is not None and constraint in declared.constraints:
        other = [str(r) for c, r in plan.compared.items() if c in constraint.involves] or [f"the order '{plan.order}'"]
        raise SchemaError(
            f"table '{plan.name}': {constraint} and {other[0]} speak of the same column, and made rows cannot keep "
            "both; leave one of them out, or let all columns of the constraint be later than one value of the parent"
        )
    return False


def _key_maker(table: Any, column: str) -> IdentifierEncoder:
    part = table.select([column])
    statistics = collect(part, label="keys")
    schema = infer_schema(part, statistics, None, {Kind.IDENTIFIER: [column]})
    return IdentifierEncoder.from_schema(schema[column])
