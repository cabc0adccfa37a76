"""Made rows as the user's tables: keys are made, foreign keys taken from parents, copies and totals computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from raysynth.errors import ModelFileError, SchemaError
from raysynth.related.grouping import numbers, plain, take_or_null
from raysynth.related.learning import DatabaseModel, TableModel
from raysynth.related.making import Made
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.values import one_array
from raysynth.schema.relations import CrossTableRule, Relation
from raysynth.schema.table import TableSchema


@dataclass
class Output:
    """The tables of one block of made rows, column by column: a column may follow from those of other tables.

    Args:
        model: of the database. made: rows of its tables.
        first: number of the first row of each table within the whole output.
        given: tables whose columns are taken as they are, instead of being made.
    """

    model: DatabaseModel
    made: Mapping[str, Made]
    first: Mapping[str, int]
    given: Mapping[str, pa.Table] = field(default_factory=dict)
    _known: dict[tuple[str, str], pa.Array] = field(default_factory=dict)

    def table(self, name: str) -> pa.Table:
        """One table, its columns in the user's order and types."""
        columns = self.model.columns(name).columns
        return pa.table({c.name: self._typed(self.column(name, c.name), c) for c in columns})

    def column(self, name: str, column: str) -> pa.Array:
        """One column of a table."""
        if name in self.model.references:
            return one_array(self.model.references[name][0].column(column))
        if name in self.given:
            return one_array(self.given[name].column(column))
        if (name, column) not in self._known:
            self._known[name, column] = one_array(self._made(self.model.tables[name], column))
        return self._known[name, column]

    def _typed(self, values: pa.Array, column: ColumnSchema) -> pa.Array:
        type_ = column.arrow_type
        is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
        if is_text:
            text = values if pa.types.is_dictionary(values.type) else values.cast(type_).dictionary_encode()
            return text.cast(pa.dictionary(pa.int32(), pa.string()))
        return plain(values).cast(type_)

    def _made(self, model: TableModel, column: str) -> pa.Array | pa.ChunkedArray:
        plan, made = model.plan, self.made[model.plan.name]
        if column in model.keys:
            return model.keys[column].values(self.first[plan.name], made.n, self.model.key)
        for relation, parent_N in made.parents.items():
            if column in relation.child_key:
                theirs = relation.parent_key[relation.child_key.index(column)]
                return take_or_null(self.column(relation.parent, theirs), parent_N)
        if column in plan.copies:
            assert plan.primary is not None
            copied = self.column(plan.primary.parent, plan.copies[column])
            return take_or_null(copied, made.parents[plan.primary])
        for rule in plan.totals:
            if column == rule.parent_column:
                return self._total(rule, model.schema[column], made.n)
        if model.line is not None and column == model.line[0]:
            return pa.array(made.place + model.line[1])
        if model.model is None:
            raise ModelFileError(f"the model file has nothing to make column '{column}' of '{plan.name}'; refit it")
        return model.model.finished(made.rows, model.schema[column], self.first[plan.name])

    def _total(self, rule: CrossTableRule, column: ColumnSchema, n: int) -> pa.Array:
        """Number of the children of each row, or the sum of one of their columns."""
        relation = next(r for r in self.made[rule.child].parents if r.parent == rule.parent and _is_meant(rule, r))
        parent_N = self.made[rule.child].parents[relation]
        there = np.flatnonzero(parent_N >= 0)
        if rule.kind == "count":
            return pa.array(np.bincount(parent_N[there], minlength=n)).cast(column.arrow_type)
        x = np.nan_to_num(numbers(self.column(rule.child, rule.child_column)))[there]
        total = np.bincount(parent_N[there], weights=x, minlength=n)
        decimals = self.model.tables[rule.child].schema[rule.child_column].decimals
        if pa.types.is_integer(column.arrow_type) or decimals is not None:
            total = np.round(total, decimals or 0)
        return pa.array(total).cast(column.arrow_type, safe=False)


def _is_meant(rule: CrossTableRule, relation: Relation) -> bool:
    return not rule.child_key or rule.child_key == relation.child_key


def fitting(rows: pa.Table, name: str, schema: TableSchema) -> pa.Table:
    """Given rows of a table with its columns and types; raises `SchemaError`."""
    arrays = {}
    for column in schema.columns:
        if column.name not in rows.column_names:
            raise SchemaError(f"table '{name}': the given rows lack column '{column.name}'")
        wanted = column.as_modelled()
        if column.date_format is not None:
            raise SchemaError(f"table '{name}': column '{column.name}' holds dates as text; give them as dates")
        try:
            arrays[column.name] = plain(rows.column(column.name)).cast(wanted.arrow_type)
        except pa.ArrowException as error:
            raise SchemaError(f"table '{name}': column '{column.name}' is no {column.dtype} ({error})") from error
    return pa.table(arrays)
