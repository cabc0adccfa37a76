"""Several tables within a privacy budget: each as one row for each seen row, joined with its ancestors' columns.

`bounding.py` says which rows are seen, and proves that one unit (a root row with all that descends from it) changes the
seen rows of a table by the product of the caps along its chain at most. Such a table is learned by a method that counts
(`bayesian_network`), whose every release is scaled by that number of rows: number of rows, columns by themselves,
numbers of children (values 0 .. cap), tables of a column with its parents, the ancestors' columns among them. What
these are like together is not measured again: rows drawn from the models of the tables above stand for it.

One ledger. Table i of T has the budget of a Gaussian release with i / T of the rho of the whole, of which those before
it have taken theirs: its events are charged to the ledger that theirs stand in, and together they stay within. Keys are
made anew. A key into a reference table, which is public, is a column of its row numbers while these are few, else any
row is as likely. No row is checked, and a table that no declared key leads from to the root is refused by name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import PrivacyBudget, gaussian_delta, gaussian_noise_multiplier
from raysynth.dp.accounting.ledger import Ledger
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.fitting.opening import fit_opened, open_table
from raysynth.kinds.arrow_text import held
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.methods.base import Synthesizer
from raysynth.related.bounding import Seen, Unit, key_texts, private_plans, rows_per_unit, seen_rows
from raysynth.related.forms import Forms
from raysynth.related.grouping import plain, take_or_null
from raysynth.related.learning import DatabaseModel, TableModel
from raysynth.related.making import Made, Roots, context_of, make_children, make_roots
from raysynth.related.opened import open_reference
from raysynth.related.plan import TablePlan, number_of, place_of
from raysynth.related.rows import RowModel
from raysynth.related.siblings import Siblings
from raysynth.running.progress import progress
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import DatabaseSchema, Relation
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import declared_types
from raysynth.statistics.noised import NoisedColumn, NoisedStatistics
from raysynth.statistics.public_schema import as_declared, public_schema

MOST_PLACES = 100  # rows of a reference table that are told apart
MOST_GIVEN = 10  # columns of ancestors that a row sees; the nearest come first
ROUNDS_EACH = 1  # tables of each column with others
STATISTICS_SHARE = 0.4  # of rho, for columns by themselves

Schemas = Mapping[str, TableSchema | str | os.PathLike[str]]


@dataclass(frozen=True)
class _Joined:
    """Seen rows with their ancestors' columns, (N,), and what is public of these.

    Args:
        rows: the table. columns: of it, those of ancestors first.
        given: names of the ancestors' columns.
        released: of each column, as its own table released it.
    """

    rows: pa.Table
    columns: tuple[ColumnSchema, ...]
    given: tuple[str, ...] = ()
    released: Mapping[str, NoisedColumn] = field(default_factory=dict)

    def with_column(self, column: ColumnSchema, values: pa.Array) -> _Joined:
        """One more; a dictionary lists the values of these rows alone, since others must not show."""
        if pt.is_dictionary(values.type):
            values = plain(values).dictionary_encode()
        return replace(self, rows=self.rows.append_column(column.name, values), columns=(*self.columns, column))


@dataclass(frozen=True)
class _Opened:
    """All tables, what is public of them, and their seen rows; nothing of it leaves but through a fit.

    Args:
        plans: of the tables that are learned. rows, columns: of these.
        seen: of these. references: rows and columns of the others.
    """

    plans: tuple[TablePlan, ...]
    rows: Mapping[str, pa.Table]
    columns: Mapping[str, TableSchema]
    seen: Mapping[str, Seen]
    references: Mapping[str, tuple[pa.Table, TableSchema]]

    def joined(self, plan: TablePlan, above: _Joined | None, unit: Unit) -> _Joined:
        """The seen rows of a table with the columns of `above`, its own, its numbers of children and its references."""
        seen, n = self.seen[plan.name], len(self.seen[plan.name].rows)
        result = _Joined(pa.table({"": pa.nulls(n)}), ())
        if above is not None and plan.primary is not None:
            parent = next(p for p in self.plans if p.name == plan.primary.parent)
            siblings = {number_of(r) for r in parent.brings if r != plan.primary}
            own = [c for c in above.columns if c.name not in (*above.given, *siblings) and c.kind.is_modelled]
            named = [(f"{parent.name}: {c.name}", c) for c in own]
            named += [(c.name, c) for c in above.columns if c.name in above.given]
            for label, column in named[:MOST_GIVEN]:
                values = one_array(take_or_null(above.rows.column(column.name), seen.parent))
                result = result.with_column(replace(column, name=label), values)
            released = {label: above.released[column.name] for label, column in named[:MOST_GIVEN]}
            result = replace(result, given=tuple(released), released=released)
        rows, line = self.rows[plan.name].take(pa.array(seen.rows)), _line(plan, self.columns[plan.name])
        for column in self.columns[plan.name].columns:
            if column.name in plan.learned and column.name != line:
                result = result.with_column(column, one_array(rows.column(column.name)))
        for relation, number in seen.numbers.items():
            counted = _counted(number_of(relation), unit.caps[relation.child] + 1, nullable=False)
            result = result.with_column(counted, pa.array(number.astype(np.int64)))
        for relation in plan.references:
            above_rows = self.references[relation.parent][0]
            if above_rows.num_rows <= MOST_PLACES:
                theirs = key_texts(above_rows, relation.parent_key)
                place = pc.index_in(key_texts(rows, relation.child_key), value_set=theirs).cast(pa.int64())
                counted = _counted(place_of(relation), above_rows.num_rows, nullable=relation.nullable)
                result = result.with_column(counted, one_array(place))
        return result


def learn_privately(
    tables: Mapping[str, Any],
    schema: DatabaseSchema,
    schemas: Schemas,
    unit: Unit,
    make: Callable[..., Synthesizer],
    seed: int,
    verbose: bool = False,
) -> DatabaseModel:
    """Fit a model of each table within one budget.

    Args:
        tables: by name anything that `fit` takes.
        schema: declared, of the keys.
        schemas: of the columns of some tables, declared.
        unit: what is protected.
        make: name and parameters of a table's method -> an unfitted synthesizer that counts.
        seed: of made keys.
        verbose: print a line for each table, of public and released values.

    Raises:
        ParameterError, SchemaError: as `private_plans`, or a declared column does not fit its table's type.
    """
    opened = _open(tables, schema, schemas, unit)
    most = rows_per_unit(opened.plans, unit.caps)
    rng = np.random.default_rng(seed)
    models: dict[str, TableModel] = {}
    joined: dict[str, _Joined] = {}
    made: dict[str, Made] = {}
    spent = Ledger()
    with progress("fitting tables", len(opened.plans), public=True) as advance:
        for number, plan in enumerate(opened.plans):
            above = None if plan.primary is None else joined[plan.primary.parent]
            own, known = opened.joined(plan, above, unit), None
            if plan.primary is not None and own.given:
                known = _drawn_context(own.given, plan.primary, made[plan.primary.parent])
            scope = _scope(unit, spent, (number + 1) / len(opened.plans), most[plan.name], 1 / (number + 1))
            synthesizer, joined[plan.name] = _fitted(plan, own, opened.columns[plan.name], scope, make, known)
            model = models[plan.name] = _table_model(plan, own.given, opened.columns[plan.name], synthesizer)
            if plan.primary is None:
                made[plan.name] = make_roots(model, Roots(model.n_rows), rng)
            else:
                made[plan.name] = make_children(model, made[plan.primary.parent], 0, rng)
            spent = scope.ledger
            if verbose:
                print(f"table '{plan.name}': {most[plan.name]} seen rows of a unit at most; {scope.spent} so far")
            advance(1)
    return DatabaseModel(schema, models, opened.references, seed ^ 0x5DEECE66D)


def _drawn_context(given: tuple[str, ...], relation: Relation, parents: Made) -> pa.Table:
    """What rows see of their ancestors, as made parents with their made numbers of children have it."""
    number = np.maximum(plain(parents.rows.column(number_of(relation))).fill_null(0).to_numpy().astype(np.int64), 0)
    parent_N = np.repeat(np.arange(parents.n), number if number.any() else 1)
    return context_of(given, parents, relation.parent, parent_N).drop_columns([""])


def _open(tables: Mapping[str, Any], schema: DatabaseSchema, schemas: Schemas, unit: Unit) -> _Opened:
    """Types and plans from what is public, then the rows that are seen."""
    declared = {n: s if isinstance(s, TableSchema) else TableSchema.load(s) for n, s in schemas.items()}
    opened = {
        n: as_table(t, min_rows=0, declared=declared_types(declared.get(n)), private=True) for n, t in tables.items()
    }
    schema.validate({n: t.names for n, t in opened.items()})
    references = {n: open_reference(tables[n], declared.get(n)) for n in schema.names if schema[n].reference}
    made = [n for n in schema.names if n not in references]
    columns = {n: _public(opened[n], schema, n, declared.get(n), unit.public_types) for n in made}
    types = {n: pa.schema([(c.name, c.arrow_type) for c in s.columns]) for n, s in columns.items()}
    plans = private_plans(schema, {**types, **{n: rows.schema for n, (rows, _) in references.items()}}, unit)
    rows = {n: as_declared(opened[n], columns[n]).to_arrow() for n in made}
    return _Opened(plans, rows, columns, seen_rows(plans, rows, unit.caps), references)


def _public(
    table: Table, schema: DatabaseSchema, name: str, declared: TableSchema | None, public_types: bool
) -> TableSchema:
    """What is public of a table's columns; numbers of keys are whole."""
    found = public_schema(table, declared, {}, public_types=public_types)
    keys = {c for r in schema.parents_of(name) for c in r.child_key}
    keys |= {c for r in schema.children_of(name) for c in r.parent_key}
    columns = []
    for column in found.columns:
        if column.name in keys:
            pattern = column.pattern if column.kind.is_key else None
            dtype = "int64" if pt.is_floating(column.arrow_type) else column.dtype
            column = ColumnSchema(column.name, Kind.IDENTIFIER, dtype, pattern=pattern)
        columns.append(column)
    return replace(found, columns=tuple(columns))


def _line(plan: TablePlan, known: TableSchema) -> str | None:
    """A column of whole numbers that with the key to the parent makes the primary key: it numbers the parent's rows."""
    own = (
        [{*k} - {*plan.primary.child_key} for k in plan.keys if {*plan.primary.child_key} < {*k}]
        if plan.primary
        else []
    )
    if len(own) != 1 or len(own[0]) != 1 or own[0] & plan.foreign:
        return None
    name = next(iter(own[0]))
    return name if held(known[name].arrow_type) == "number" else None


def _counted(name: str, n: int, *, nullable: bool) -> ColumnSchema:
    """A column of the numbers 0 .. n - 1."""
    return ColumnSchema(name, Kind.CATEGORICAL, "int64", nullable=nullable, categories=tuple(range(n)))


def _scope(unit: Unit, spent: Ledger, share: float, rows: int, own: float) -> PrivacyScope:
    """What one table may spend.

    Args:
        spent: by the tables before it.
        share: of the budget's rho, of these and this one together; `own`: which part of that is this one's.
        rows: that one unit changes at most.
    """
    budget = PrivacyBudget(epsilon_of(unit.budget, share), unit.budget.delta)
    return PrivacyScope(
        budget,
        unit=unit.words,
        rows_per_unit=rows,
        preprocessing_share=STATISTICS_SHARE * own,
        ledger=Ledger(tuple(spent)),
        noise=unit.noise,
    )


def epsilon_of(budget: PrivacyBudget, share: float) -> float:
    """Epsilon, at the budget's delta, of a Gaussian release that has a share of the rho of the whole."""
    if share >= 1:
        return budget.epsilon
    sigma = gaussian_noise_multiplier(budget.epsilon, budget.delta) / math.sqrt(share)
    low, high = 0.0, budget.epsilon
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, sigma) > budget.delta else (low, middle)
    return high


def _fitted(
    plan: TablePlan,
    joined: _Joined,
    known: TableSchema,
    scope: PrivacyScope,
    make: Callable[..., Synthesizer],
    context: pa.Table | None,
) -> tuple[Synthesizer | None, _Joined]:
    """The model of one table's rows, None where nothing is drawn, and the rows with what was released of their columns.

    Args:
        joined: the seen rows. known: what is public of the table's own columns.
        scope: pays. make: an unfitted synthesizer. context: drawn rows of the ancestors' columns; None: there are none.
    """
    own = [c for c in joined.columns if c.name not in joined.given]
    if not own:
        return None, joined
    drawn, counts = [c.name for c in own if c.kind.is_modelled], {number_of(r) for r in plan.brings}
    settings = {
        "forbidden_edges": [(x, y) for x in counts for y in drawn if y not in counts] or None,  # for given roots
        "private_rounds": ROUNDS_EACH * max(1, len(drawn)),
        "epsilon": scope.budget.epsilon,
        "delta": scope.budget.delta,
    }
    synthesizer: Any = make(plan.name, {**settings, "schema": replace(known, columns=tuple(own))})
    synthesizer._noise = scope.noise
    opened = open_table(synthesizer, joined.rows.select([c.name for c in own]), scope)
    found: dict[str, Any] = dict(opened.statistics.columns)
    if context is not None:
        above = {
            c.name: replace(joined.released[c.name], name=c.name) for c in joined.columns if c.name in joined.given
        }
        synthesizer.set_params(schema=replace(known, columns=joined.columns))
        synthesizer._known = context
        statistics = NoisedStatistics(scope.n_rows, {**above, **found})
        opened = open_table(synthesizer, joined.rows.drop_columns([""]), scope, released=statistics)
        found |= above
    fit_opened(synthesizer, opened, scope)
    columns = tuple(_as_released(c, found.get(c.name)) for c in joined.columns)
    return synthesizer, replace(joined, columns=columns, released=found)


def _table_model(
    plan: TablePlan, given: tuple[str, ...], known: TableSchema, synthesizer: Synthesizer | None
) -> TableModel:
    """The model of a table, from that of its rows given these columns."""
    released = TableSchema(()) if synthesizer is None else synthesizer.schema_
    line = _line(plan, known)
    columns = tuple(released[c.name] if c.name in released.names else c for c in known.columns)
    return TableModel(
        plan=plan,
        schema=replace(known, columns=columns),
        keys={c: IdentifierEncoder.from_schema(known[c]) for c in plan.made},
        forms=Forms(
            tuple(c.as_modelled() for c in columns if c.name in released.names and c.kind.is_modelled), {}, None
        ),
        siblings=Siblings((), False),
        summaries=None,
        context=given,
        model=None if synthesizer is None else RowModel(synthesizer, given),
        n_rows=0 if synthesizer is None else synthesizer.n_rows_,
        n_alone=0,
        line=None if line is None else (line, 1),
    )


def _as_released(column: ColumnSchema, released: NoisedColumn | None) -> ColumnSchema:
    """A column as tables further down declare it: with the range or the values that its own table has released."""
    if released is None:
        return column
    changes: dict[str, Any] = {"reason": ""}
    if released.numbers is not None:
        cells = released.numbers.value
        decimals = cells.decimals if column.decimals is None else column.decimals
        changes |= {"bounds": (float(cells.low[0]), float(cells.high[-1])), "decimals": decimals}
    elif released.counts is not None and column.kind.is_listed and released.counts.value.values:
        changes["categories"] = tuple(released.counts.value.values)
    return replace(column, **changes)
