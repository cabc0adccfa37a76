"""column == expression by construction: the column is computed from the others, which the model learns."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.base import column_of, free_name, missing, without_nan
from raysynth.schema.constraints.evaluation import evaluate
from raysynth.schema.table import TableSchema

_STATES = ("follows", "differs")  # present just where it can be computed, or the other way round


def solved(equality: ast.expr, schema: TableSchema) -> tuple[str, ast.expr] | None:
    """(column, expression) such that the column's value follows from the expression; None where none does.

    A column that stands alone on one side comes first; else one that occurs once, in a sum or difference, is solved
    for. Only numbers and times that the model would learn are computed.
    """
    if not (isinstance(equality, ast.Compare) and len(equality.ops) == 1 and isinstance(equality.ops[0], ast.Eq)):
        return None
    left, right = equality.left, equality.comparators[0]
    for side, other in ((left, right), (right, left)):
        if isinstance(side, ast.Name) and side.id not in _names(other) and _is_computed(side.id, other, schema):
            return side.id, other
    occurrences = _names(left) + _names(right)
    for side, other in ((left, right), (right, left)):
        for name in _names(side):
            found = _isolated(name, side, other) if occurrences[name] == 1 else None
            if found is not None and _is_computed(name, found, schema) and _is_exact(name, found, schema):
                return name, found
    return None


@dataclass(frozen=True)
class Derived:
    """A column that is computed from others wherever these have values.

    Missing values: where an expression with missing parts gives no value, the column keeps its own, which is modelled
    under its name; a second column says where it is missing though it could be computed, or present though it could
    not. So every pattern of missing values is modelled, and none is more frequent in the sample because the rule says
    nothing about it.

    Args:
        column: schema of the computed column.
        operands: schemas of the columns in the expression.
        text: the rule, for messages.
        expression: what the column equals, a tree that `expression.parse` has checked.
    """

    column: ColumnSchema
    operands: tuple[ColumnSchema, ...]
    text: str
    expression: ast.expr = field(compare=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column.name, *(c.name for c in self.operands))

    @property
    def changes(self) -> tuple[str, ...]:
        """The computed column."""
        return (self.column.name,)

    def __str__(self) -> str:
        own = ", ".join(f"'{c.name}'" for c in self.operands)
        return f"'{self.column.name}' is computed from {own} ({self.text})"

    @property
    def state_name(self) -> str:
        """Name of the column that says whether the computed column has a value just where it follows from others."""
        return f"{self.column.name} follows"

    def forward_schema(self, schema: TableSchema) -> TableSchema:
        """Without the column where it always follows; else with its own values where it does not, and the states."""
        columns: list[ColumnSchema] = []
        for column in schema.columns:
            if column.name != self.column.name:
                columns.append(column)
                continue
            if not self._always_follows:
                columns.append(replace(column, nullable=True))
            if self._has_states:
                label = f"the constraint '{self.text}'"
                columns.append(
                    ColumnSchema(
                        name=free_name(self.state_name, schema, label),
                        kind=Kind.CATEGORICAL,
                        dtype="string",
                        nullable=False,
                        categories=_STATES,
                        reason=f"from {label}",
                    )
                )
        return replace(schema, columns=tuple(columns))

    def forward(self, table: pa.Table) -> pa.Table:
        """Rows with the column's value only where it does not follow from the others."""
        own = column_of(table, self.column.name)
        follows = ~missing(self._values(table))
        result = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name != self.column.name:
                result[name] = column
                continue
            if not self._always_follows:
                result[name] = _without(own, follows)
            if self._has_states:
                codes = pa.array((missing(own) == follows).astype(np.int32))
                result[self.state_name] = pa.DictionaryArray.from_arrays(codes, pa.array(_STATES))
        return pa.table(result)

    def inverse(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Rows with the column: computed, its own where nothing can be computed, or missing."""
        values = self._values(table)
        follows = ~missing(values)
        differs = np.zeros(len(values), bool)
        if self._has_states:
            state = column_of(table, self.state_name)
            differs = pc.equal(state.cast(pa.string()), _STATES[1]).fill_null(False).to_numpy(zero_copy_only=False)
        if not self._always_follows:
            own = column_of(table, self.column.name).cast(values.type)
            values = pc.if_else(pa.array(follows), values, own)
        values = _without(values, follows == differs)
        names = {self.column.name, self.state_name}
        rest = table.select([n for n in table.column_names if n not in names])
        return rest.append_column(self.column.name, values)

    def imposed(self, table: pa.Table) -> pa.Table:
        """Rows in which the column's values are the computed ones, where both are there."""
        own = column_of(table, self.column.name)
        values = self._values(table)
        follows = pc.and_(own.is_valid(), values.is_valid())
        at = table.column_names.index(self.column.name)
        return table.set_column(at, self.column.name, pc.if_else(follows, values, own.cast(values.type)))

    @property
    def _always_follows(self) -> bool:
        divides = any(isinstance(n, (ast.Div, ast.FloorDiv, ast.Mod)) for n in ast.walk(self.expression))
        return not divides and not any(c.nullable for c in self.operands)

    @property
    def _has_states(self) -> bool:
        return self.column.nullable or not self._always_follows

    def _values(self, table: pa.Table) -> pa.Array:
        """The expression's values in the column's type; missing where they cannot be computed or held."""
        found = evaluate(self.expression, {c.name: column_of(table, c.name) for c in self.operands})
        if isinstance(found, pa.Scalar):
            found = pa.array([found.as_py()] * table.num_rows, found.type)
        if pa.types.is_dictionary(found.type):
            return without_nan(found)
        found = found.cast(self._type, safe=False)
        if pa.types.is_floating(found.type) and self.column.decimals is not None:  # 0.1 + 0.2 is written 0.3
            exact = without_nan(found).to_numpy(zero_copy_only=False)
            rounded = np.round(exact, self.column.decimals)
            found = pa.array(np.where(np.abs(exact - rounded) <= 1e-9 * np.abs(rounded), rounded, exact), self._type)
        return without_nan(found)

    @property
    def _type(self) -> pa.DataType:
        return self.column.arrow_type


def _names(node: ast.expr) -> Counter[str]:
    return Counter(n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def _is_computed(name: str, expression: ast.expr, schema: TableSchema) -> bool:
    """Whether column and operands are all learned by a model, so that they are at hand where rows are made."""
    operands = _names(expression)
    return bool(operands) and all(n in schema and schema[n].kind.is_modelled for n in (name, *operands))


def _isolated(name: str, side: ast.expr, value: ast.expr) -> ast.expr | None:
    """What the named column is where `side` equals `value`; None unless sums and differences alone lead to it."""
    if isinstance(side, ast.Name):
        return value
    if not (isinstance(side, ast.BinOp) and isinstance(side.op, (ast.Add, ast.Sub))):
        return None
    if name in _names(side.left):
        undo: ast.operator = ast.Sub() if isinstance(side.op, ast.Add) else ast.Add()
        return _isolated(name, side.left, ast.BinOp(value, undo, side.right))
    if isinstance(side.op, ast.Add):
        return _isolated(name, side.right, ast.BinOp(value, ast.Sub(), side.left))
    return _isolated(name, side.right, ast.BinOp(side.left, ast.Sub(), value))


def _is_exact(name: str, expression: ast.expr, schema: TableSchema) -> bool:
    """Whether sums of these columns can be undone: those of floats are rounded."""
    return not any(pa.types.is_floating(schema[n].arrow_type) for n in (name, *_names(expression)))


def _without(values: pa.Array, rows: np.ndarray) -> pa.Array:
    """The values with missing ones in some rows."""
    return pc.if_else(pa.array(rows), pa.scalar(None, values.type), values) if rows.any() else values
