"""From an open database to a model of each table: leaves first for what children are like, then a fit a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.methods.base import Synthesizer
from raysynth.related.forms import Forms
from raysynth.related.grouping import (
    NO_PARENT,
    Family,
    code_column,
    is_shared,
    levels,
    number_column,
    numbers,
    numbers_or_null,
    plain,
    take_or_null,
)
from raysynth.related.kinds import Sample, children_codes
from raysynth.related.located import parted_times
from raysynth.related.nested import apart_within
from raysynth.related.opened import OpenDatabase, OpenTable
from raysynth.related.plan import TablePlan, code_of, level_of, number_of, place_of, wanted_of
from raysynth.related.rows import RowModel
from raysynth.related.siblings import Siblings
from raysynth.related.summaries import Summaries, choose_summaries, with_most, with_spots
from raysynth.running.progress import progress
from raysynth.running.stages import stage
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import DatabaseSchema, Relation
from raysynth.schema.table import TableSchema

MOST_ROWS = 200_000  # of one table that its model is fitted to: whole families, chosen at random
FEWEST_NUMBERED = 10  # parents of several rows, in all of which a column has to number them
MOST_GIVEN = 120  # columns of ancestors that a row sees; the nearest come first


@dataclass(frozen=True)
class TableModel:
    """What is learned of one table.

    Args:
        plan: how it is made.
        schema: its columns as the user has them.
        keys: makers of the columns that are made anew.
        forms: how its columns are learned.
        siblings: what its rows see of each other.
        summaries: of its columns, in the rows of its primary parent; None: none.
        context: the columns of ancestors that a row sees, by the name under which the parent's row has them.
        model: of its rows; None where nothing is to be drawn.
        n_rows: real rows; `n_alone`: of these without a primary parent.
        line: column that numbers the rows of a parent, and its first value; None: none.
        apart: sets of learned columns that tell the rows of a parent apart, though no key says so.
    """

    plan: TablePlan
    schema: TableSchema
    keys: dict[str, IdentifierEncoder]
    forms: Forms
    siblings: Siblings
    summaries: Summaries | None
    context: tuple[str, ...]
    model: RowModel | None
    n_rows: int
    n_alone: int
    line: tuple[str, int] | None
    apart: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class DatabaseModel:
    """What is learned of a database.

    Args:
        schema: tables and keys.
        tables: the models of those that are made, parents first.
        references: the others, as they are, and their columns.
        key: permutes made keys.
        nested: the keys of the schema that nobody declared.
    """

    schema: DatabaseSchema
    tables: Mapping[str, TableModel]
    references: Mapping[str, tuple[pa.Table, TableSchema]]
    key: int
    nested: tuple[Relation, ...] = ()

    @property
    def declared(self) -> DatabaseSchema:
        """Tables, keys and rules as the user knows them; tables without rows are no reference tables."""
        schema = self.schema.without(relations=self.nested)
        full = {n for n, (rows, _) in self.references.items() if rows.num_rows}
        return replace(schema, tables=tuple(replace(t, reference=t.name in full) for t in schema.tables))

    def columns(self, name: str) -> TableSchema:
        """The columns of one table; raises `SchemaError` for an unknown one."""
        _ = self.schema[name]
        return self.references[name][1] if name in self.references else self.tables[name].schema

    @property
    def privacy_spent(self) -> PrivacySpent | None:
        """What all tables have spent together: each fit's ledger goes on from those before it."""
        fits = (t.model.synthesizer.privacy_spent_ for t in self.tables.values() if t.model is not None)
        spent: list[PrivacySpent] = [s for s in fits if s is not None]
        return max(spent, key=lambda s: len(s.ledger), default=None)

    @property
    def roots(self) -> dict[str, int]:
        """Real rows of the tables without a primary parent."""
        return {n: t.n_rows for n, t in self.tables.items() if t.plan.primary is None}


@dataclass
class _Extended:
    """A table with its summaries and what its rows see of ancestors, as it is learned.

    `above`: its summaries in its primary parent's rows; `line`: see `TableModel`; `private`: columns that none but the
    table itself and the children that they are about see.
    """

    own: dict[str, pa.Array]
    schema: dict[str, ColumnSchema]
    context: dict[str, pa.Array]
    context_schema: dict[str, ColumnSchema]
    line: tuple[str, int] | None
    above: Summaries | None = None
    private: frozenset[str] = frozenset()

    def add(self, column: ColumnSchema, values: pa.Array) -> None:
        """One more column of the table."""
        self.own[column.name], self.schema[column.name] = values, column


def learn(database: OpenDatabase, make: Callable[[str], Synthesizer], seed: int, verbose: bool) -> DatabaseModel:
    """Fit a model of each table, parents first.

    Args:
        database: open.
        make: an unfitted synthesizer for a table, by name.
        seed: of random orders, clusters and samples.
        verbose: print a line for each table.
    """
    with stage("summaries of children"):
        extended = _extended(database, seed)
    models: dict[str, TableModel] = {}
    with progress("fitting tables", len(database.plans)) as advance:
        for number, plan in enumerate(database.plans):
            with stage(f"table {plan.name}", database.tables[plan.name].rows.num_rows):
                models[plan.name] = _learn_table(database, plan, extended, partial(make, plan.name), seed + number)
            if verbose:
                print(_described(models[plan.name], database.nested))
            advance(1)
    kept = {n: t for n, t in database.tables.items() if n not in models}
    references = {n: (t.rows.combine_chunks(), t.schema) for n, t in kept.items()}
    if verbose and (empty := [n for n, (rows, _) in references.items() if not rows.num_rows]):
        print(f"made without rows, since of one row or none nothing can be learned: {', '.join(empty)}")
    return DatabaseModel(database.schema, models, references, seed ^ 0x5DEECE66D, database.nested)


def _extended(database: OpenDatabase, seed: int) -> dict[str, _Extended]:
    """Own columns and summaries of children of every table: the codes of leaves first."""
    result: dict[str, _Extended] = {}
    for plan in reversed(database.plans):
        table = database.tables[plan.name]
        own = {c.name: one_array(table.rows.column(c.name)) for c in table.modelled}
        schema = {c.name: c for c in table.modelled}
        extended = result[plan.name] = _Extended(own, schema, {}, {}, _line(table, plan, database))
        for relation in plan.references:
            place, rare = database.parents[relation], table.schema.rare_threshold
            if is_shared(place, database.persons(plan.name), rare):  # else no row of it may be told: any will do
                extended.add(code_column(place_of(relation)), numbers_or_null(place))
    own_columns = {name: dict(table.schema) for name, table in result.items()}
    for at, plan in enumerate(reversed(database.plans)):
        persons, n = database.persons(plan.name), database.tables[plan.name].rows.num_rows
        rare = database.tables[plan.name].schema.rare_threshold
        for relation in plan.brings:
            child, parent_N = result[relation.child], database.parents[relation]
            number = np.bincount(parent_N[parent_N >= 0], minlength=n)
            is_primary = relation == database.plan(relation.child).primary
            parents = None if is_primary else _sample(result[plan.name], own_columns[plan.name], n)
            children = _sample(child, child.schema, len(parent_N))
            code = children_codes(children, parent_N, persons, rare, seed + 101 * at, parents)
            result[plan.name].add(number_column(number_of(relation)), pa.array(number))
            if code.max(initial=0) > 0:  # else there is one kind
                result[plan.name].add(code_column(code_of(relation)), numbers_or_null(code))
            if is_primary:
                _add_summaries(result[plan.name], child, database, relation)
    for plan in database.plans:
        for relation in plan.matched:
            parent_N = database.parents[relation]
            kinds = result[relation.parent].own.get(code_of(relation))
            kind = np.zeros(database.tables[relation.parent].rows.num_rows, np.int64)
            kind = kind if kinds is None else kinds.fill_null(0).to_numpy()
            wanted = np.where(parent_N == NO_PARENT, NO_PARENT, kind[np.maximum(parent_N, 0)])
            rare = database.tables[plan.name].schema.rare_threshold
            if (kinds is not None or relation.nullable) and is_shared(wanted, database.persons(plan.name), rare):
                result[plan.name].add(code_column(wanted_of(relation)), numbers_or_null(wanted))
        for relation in (r for r in plan.matched if r.is_self_reference):
            if (level := levels(database.parents[relation])) is not None:
                result[plan.name].add(number_column(level_of(relation)), pa.array(level))
    return result


def _sample(table: _Extended, columns: Mapping[str, ColumnSchema], n: int) -> Sample:
    return Sample(pa.table({"": pa.nulls(n), **{c: table.own[c] for c in columns}}), tuple(columns.values()))


def _add_summaries(table: _Extended, child: _Extended, database: OpenDatabase, relation: Relation) -> None:
    """What the children's columns are like, beside the number and the code of the children."""
    plan, parent_N = database.plan(relation.child), database.parents[relation]
    n = database.tables[relation.parent].rows.num_rows
    left_out = {*child.private, *plan.compared, *(c for c in (plan.order,) if c), *(code_of(r) for r in plan.brings)}
    left_out |= database.tables[relation.child].constrained | ({child.line[0]} if child.line else set())
    children = _sample(child, child.schema, len(parent_N))
    chosen = choose_summaries(relation, children, parent_N, n, frozenset(left_out))
    if chosen is None:
        return
    chosen = chosen if plan.order is None else replace(chosen, relative={}, order=None)  # its steps are learned
    summaries = chosen.of(children.rows, parent_N, n)
    rare = database.tables[relation.parent].schema.rare_threshold
    chosen = with_spots(chosen, children.rows, database.persons(relation.child), rare)
    child.above = with_most(chosen, summaries, database.persons(relation.parent), rare)
    for column in child.above.schema:
        table.add(column, summaries[column.name])
        table.private |= {column.name}


def _learn_table(
    database: OpenDatabase,
    plan: TablePlan,
    extended: dict[str, _Extended],
    make: Callable[[], Synthesizer],
    seed: int,
) -> TableModel:
    table, own, rng = database.tables[plan.name], extended[plan.name], np.random.default_rng(seed)
    family, parents = _family(database, plan, own, rng)
    if plan.primary is not None:
        _inherit(own, extended[plan.primary.parent], plan.primary.parent, family.parent)
    names = [c for c in plan.learned if own.line is None or c != own.line[0]]
    columns = tuple(c for c in table.modelled if c.name in names)
    order = plan.order if plan.order in {c.name for c in columns} else None  # else it is the number of the row
    relative = own.above.relative if own.above else {}
    parted = parted_times(plan, database.plans, table.rows, {order, *plan.compared, *relative, *table.constrained})
    forms = Forms(columns, {c: r for c, r in plan.compared.items() if c in own.own}, order, parted)
    values = {**own.own, **forms.forward(table.rows, parents, family)}
    drawn = {c.name: c for c in forms.schema} | {k: c for k, c in own.schema.items() if k not in plan.columns}
    if own.above is not None and plan.primary is not None:
        values |= own.above.forward(values, extended[plan.primary.parent].own, family.parent)
        drawn = own.above.learned(drawn)
    siblings = _siblings(plan, extended, drawn, database.nested)
    shown = pa.table({"": pa.nulls(len(family.parent)), **{c.name: values[c.name] for c in siblings.columns}})
    siblings = siblings.with_repeated(shown, family)
    given, given_schema = _given(own, siblings, shown, family)
    values |= siblings.forward(shown, family)
    drawn = siblings.learned(drawn)
    regenerated = [c for c in table.schema.columns if c.name in names and not c.kind.is_modelled]
    values |= {c.name: one_array(table.rows.column(c.name)) for c in regenerated}
    schema = TableSchema(
        (*given_schema, *drawn.values(), *regenerated), table.schema.constraints, table.schema.rare_threshold
    )
    model = None
    if len(schema.columns) > len(given):
        persons = None if plan.primary is None else database.persons(plan.name)
        rows = {c: given[c] if c in given else values[c] for c in schema.names}
        if len(family.parent) > MOST_ROWS:
            kept = _families(family, rng)
            rows = {k: v.take(pa.array(kept)) for k, v in rows.items()}
            persons = None if persons is None else persons[kept]
        model = RowModel.learn(make, rows, schema, tuple(given), persons)
    n = len(family.parent)
    alone = 0 if plan.primary is None else int((family.parent == NO_PARENT).sum())
    apart = () if order is not None else apart_within(table.rows.select([c.name for c in columns]), family, plan.keys)
    learned = tuple(own.context), model, n, alone, own.line, apart
    return TableModel(plan, table.schema, dict(table.keys), forms, siblings, own.above, *learned)


def _family(
    database: OpenDatabase, plan: TablePlan, own: _Extended, rng: np.random.Generator
) -> tuple[Family, pa.Table | None]:
    """The rows and their primary parents, in a random order, in the declared or in a found one; the parents' table."""
    rows = database.tables[plan.name].rows
    if plan.primary is None:
        nothing = np.full(rows.num_rows, NO_PARENT)
        return Family(nothing, np.zeros(rows.num_rows, np.int64), np.zeros(0, np.int64)), None
    parents = database.tables[plan.primary.parent].rows
    order = rng.random(rows.num_rows)
    if plan.order is not None:
        order = np.argsort(pc.array_sort_indices(plain(rows.column(plan.order))).to_numpy())
    elif own.above is not None and own.above.order is not None:
        order = np.argsort(np.lexsort((rng.random(rows.num_rows), numbers(own.own[own.above.order]))))
    return Family.of(database.parents[plan.primary], parents.num_rows, order), parents


def _inherit(own: _Extended, parent: _Extended, name: str, parent_N: np.ndarray) -> None:
    """What each row sees of its ancestors: its parent's columns first, with what they say of it and its siblings."""
    sources = [(f"{name}: {c}", parent.own[c], x) for c, x in parent.schema.items() if c not in parent.private]
    if own.above is not None:
        seen = own.above.seen(parent.own)
        sources += [(f"{name}: {c.name}", seen[c.name], c) for c in own.above.seen_schema]
        own.private |= {f"{name}: {c.name}" for c in own.above.seen_schema}
    sources += [(c, parent.context[c], x) for c, x in parent.context_schema.items() if c not in parent.private]
    alone = bool((parent_N == NO_PARENT).any())
    for label, values, column in sources[:MOST_GIVEN]:
        own.context[label] = one_array(take_or_null(values, parent_N))
        own.context_schema[label] = replace(column, name=label, nullable=column.nullable or alone)


def _siblings(
    plan: TablePlan,
    extended: Mapping[str, _Extended],
    drawn: dict[str, ColumnSchema],
    nested: Sequence[Relation],
) -> Siblings:
    """Which columns siblings show each other: all but what their own children are like.

    Of rows that are parts of theirs (`nested`) they show which categories are typical: a player keeps its position.
    Where a family's numbers are summarised in the parent's row, and siblings stand in no order, these are not shown.
    """
    if plan.primary is None:
        return Siblings((), False)
    own, parts = extended[plan.name], [extended[r.child].above for r in plan.brings if r in nested]
    hidden = {*(code_of(r) for r in plan.brings if r not in nested), *own.private}
    hidden -= {c.name for above in parts if above is not None for c in above.of_categories}
    found = own.above is not None and own.above.order is not None
    if own.above is not None and not found and plan.order is None:
        hidden |= {c.name for c in own.above.numbers}
    shown = tuple(c for c in drawn.values() if c.name not in hidden)
    if plan.order is not None and plan.order in own.schema:
        shown = (*shown, own.schema[plan.order])
    return Siblings(shown, found or plan.order is not None)


def _given(
    own: _Extended, siblings: Siblings, rows: pa.Table, family: Family
) -> tuple[dict[str, pa.Array], tuple[ColumnSchema, ...]]:
    """What rows are completed from: what they see of ancestors and siblings, and its schema."""
    if not len(family.number):
        return {}, ()
    seen = siblings.of_all(rows, family)
    given = {**own.context, **{c: one_array(seen.column(c)) for c in seen.column_names}}
    return given, (*own.context_schema.values(), *siblings.schema)


def _line(table: OpenTable, plan: TablePlan, database: OpenDatabase) -> tuple[str, int] | None:
    """The column that numbers the rows of each parent without gaps, and its first value; None: none."""
    if plan.primary is None:
        return None
    parent_N, n_parents = database.parents[plan.primary], database.tables[plan.primary.parent].rows.num_rows
    if int((np.bincount(parent_N[parent_N >= 0], minlength=n_parents) > 1).sum()) < FEWEST_NUMBERED:
        return None
    for column in plan.learned:
        values = plain(table.rows.column(column))
        if not pa.types.is_integer(values.type) or values.null_count:
            continue
        x = values.to_numpy()
        start = int(x.min())
        if start in (0, 1) and np.array_equal(x, Family.of(parent_N, n_parents, x).place + start):
            return column, start
    return None


def _families(family: Family, rng: np.random.Generator) -> np.ndarray:
    """About `MOST_ROWS` rows: all of some parents, taken at random, ascending."""
    if not len(family.number):
        return np.sort(rng.choice(len(family.parent), MOST_ROWS, replace=False))
    share = MOST_ROWS / len(family.parent)
    kept = np.append(rng.random(len(family.number)) < share, False)
    alone = (family.parent == NO_PARENT) & (rng.random(len(family.parent)) < share)
    return np.flatnonzero(kept[family.parent] | alone)


def _described(model: TableModel, nested: Sequence[Relation]) -> str:
    """A line on how a table is made; `nested`: keys that nobody declared."""
    plan = model.plan
    how = "a root" if plan.primary is None else f"with its parent in '{plan.primary.parent}'"
    if plan.primary is not None and plan.primary in nested:
        key = ", ".join(plan.primary.child_key)
        how = f"as parts of rows of '{plan.primary.parent}', since each has one of the same ({key})"
    if plan.order is not None:
        how += f", in the order of '{plan.order}'"
    each: dict[str, Sequence[object]] = {"matched": plan.matched, "found by the values of the key": plan.located}
    each |= {
        "into reference tables": plan.references,
        "apart within their parent by": ["+".join(s) for s in model.apart],
    }
    how += "".join(f"; {what}: {', '.join(map(str, those))}" for what, those in each.items() if those)
    if model.schema.constraints:
        how += f"; rules: {'; '.join(map(str, model.schema.constraints))}"
    return f"table '{plan.name}': {model.n_rows:,} rows, made {how}"
