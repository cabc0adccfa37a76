"""Columns in the form in which they are learned: as differences from a parent's value, as steps along a sequence, times
as a day and a time of it.

A rule 'child.day >= parent.day' holds in every row because the difference, which is never negative among the learned
rows, is what is learned; an order column ascends because its steps are. Shape legend: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raysynth.related.grouping import NO_PARENT, Family, numbers, unit_of
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import CrossTableRule


@dataclass(frozen=True)
class Forms:
    """How some columns of a table are learned.

    Args:
        columns: the learned columns as the table has them.
        compared: rule of each column that is learned as a difference.
        order: column that is learned by its first value and its steps; None: none.
        parted: times beside which the time of the day is learned; of themselves the day counts.
    """

    columns: tuple[ColumnSchema, ...]
    compared: Mapping[str, CrossTableRule]
    order: str | None
    parted: frozenset[str] = frozenset()

    @property
    def _differences(self) -> frozenset[str]:
        """Columns learned as differences: an order column below its bound is learned as it is, and cut off."""
        return frozenset(c for c, r in self.compared.items() if c != self.order or r.kind in (">", ">="))

    @property
    def schema(self) -> tuple[ColumnSchema, ...]:
        """The learned columns."""
        result = []
        for column in self.columns:
            if column.name in self._differences:
                column = difference_of(column)
            if column.name == self.order:
                first = replace(column, bounds=None, inferred=(), reason="")
                result += [replace(first, name=first_of(column.name)), _step(column)]
            elif column.name in self.parted:
                result += [replace(difference_of(column), name=_time_of(column.name), nullable=column.nullable), column]
            else:
                result.append(column)
        return tuple(result)

    def forward(self, rows: pa.Table, parents: pa.Table | None, family: Family) -> dict[str, pa.Array]:
        """The learned form of all columns, (N,) each.

        Args:
            rows: the table. parents: of the primary relation; None for a root.
            family: of the rows.
        """
        result: dict[str, pa.Array] = {}
        for column in self.columns:
            values = rows.column(column.name)
            if column.name in self.compared:
                assert parents is not None
                rule = self.compared[column.name]
                x = numbers(values) - _beside(rule, column, parents, family.parent)
            if column.name in self._differences:
                values = of_type(np.abs(x), difference_of(column))
            if column.name == self.order:
                first, step = _along(numbers(values), family)
                held = difference_of(column) if column.name in self._differences else column
                result[first_of(column.name)] = of_type(first, held)
                result[step_of(column.name)] = of_type(step, _step(column))
                continue
            if column.name in self.parted:
                time = numbers(values) % day_in(values.type)
                result[_time_of(column.name)] = of_type(time, difference_of(column))
            result[column.name] = values
        return result

    def absolute(self, drawn: pa.Table, before: np.ndarray | None) -> np.ndarray:
        """Value of the order column, (N,), of rows whose sequence stood at `before` (None: they are the first)."""
        assert self.order is not None
        if before is None:
            return numbers(drawn.column(first_of(self.order)))
        return before + np.nan_to_num(numbers(drawn.column(step_of(self.order))))

    def order_column(self, value_N: np.ndarray, parents: pa.Table, parent_N: np.ndarray) -> tuple[str, pa.Array]:
        """Name and values of the order column as the table has it, from those of `absolute`."""
        assert self.order is not None
        column = next(c for c in self.columns if c.name == self.order)
        if (rule := self.compared.get(self.order)) is not None:
            beside = _beside(rule, column, parents, parent_N)
            below = beside - (1.0 if rule.kind == "<" else 0.0)
            value_N = value_N + beside if self.order in self._differences else np.minimum(value_N, below)
        return self.order, of_type(value_N, column)

    def inverse(
        self, drawn: pa.Table, parents: pa.Table | None, parent_N: np.ndarray, given: Set[str] = frozenset()
    ) -> pa.Table:
        """Columns as the table has them, from drawn ones; others, `given` times and an order that is there stay."""
        result = {n: drawn.column(n) for n in drawn.column_names}
        for column in self.columns:
            if column.name == self.order:
                result.pop(first_of(column.name))
                result.pop(step_of(column.name))
            elif column.name in self.parted:
                time, type_ = numbers(result.pop(_time_of(column.name))), drawn.column(column.name).type
                if column.name not in given:
                    x, day = numbers(drawn.column(column.name)), day_in(type_)
                    result[column.name] = of_type(x - x % day + np.clip(time, 0, day - 1), column)
            elif column.name in self.compared and parents is not None:
                rule = self.compared[column.name]
                sign = 1.0 if rule.kind in (">", ">=") else -1.0
                x = sign * numbers(drawn.column(column.name)) + _beside(rule, column, parents, parent_N)
                result[column.name] = of_type(x, column)
        return pa.table(result)


def first_of(name: str) -> str:
    """Name of the column with the first value of a sequence."""
    return f"first {name}"


def step_of(name: str) -> str:
    """Name of the column with the steps of a sequence."""
    return f"step of {name}"


def _time_of(name: str) -> str:
    return f"time of {name}"


def day_in(type_: pa.DataType) -> float:
    """Steps of `numbers` in a day, for a type of times."""
    return 86_400e6 / unit_of(type_)


def difference_of(column: ColumnSchema) -> ColumnSchema:
    """What differences of a column's values are: whole numbers where the values lie on a grid of whole steps."""
    whole = not column.kind.is_number or column.decimals == 0
    dtype = "int64" if whole else "double"
    return ColumnSchema(column.name, Kind.CONTINUOUS, dtype, decimals=0 if whole else column.decimals)


def _step(column: ColumnSchema) -> ColumnSchema:
    return replace(difference_of(column), name=step_of(column.name))


def _beside(rule: CrossTableRule, column: ColumnSchema, parents: pa.Table, parent_N: np.ndarray) -> np.ndarray:
    """The parent's value beside each row, (N,); where it has none, that of the median parent.

    In the unit of the child's column, and on its grid, on that side from which whole steps keep the rule.
    """
    theirs = parents.column(rule.parent_column)
    x = numbers(theirs) * (unit_of(theirs.type) / unit_of(column.arrow_type))
    if not column.kind.is_number or column.decimals is not None:
        step = 10.0 ** -(column.decimals or 0) if column.kind.is_number else 1.0
        x = (np.ceil if rule.kind in (">=", "<") else np.floor)(np.round(x / step, 6)) * step
    there = x[~np.isnan(x)]
    middle = float(np.sort(there)[len(there) // 2]) if len(there) else 0.0
    beside = np.append(x, np.nan)[np.where(parent_N == NO_PARENT, len(x), parent_N)]
    return np.where(np.isnan(beside), middle, beside)


def _along(x_N: np.ndarray, family: Family) -> tuple[np.ndarray, np.ndarray]:
    """For each row the first value of its sequence, and the step from the row before it (0 in the first row), (N,)."""
    order = np.lexsort((family.place, family.parent))
    place = family.place[order]
    first, step = np.empty(len(x_N)), np.empty(len(x_N))
    first[order] = x_N[order][np.arange(len(order)) - place]
    step[order] = np.where(place > 0, np.diff(x_N[order], prepend=np.nan), 0.0)
    return first, step


def of_type(x: np.ndarray, column: ColumnSchema) -> pa.Array:
    """Numbers as a column's Arrow type, null where NaN."""
    mask, type_ = np.isnan(x), column.arrow_type
    if pa.types.is_floating(type_):
        decimals = column.decimals
        return pa.array(x if decimals is None else np.round(x, decimals), mask=mask).cast(type_)
    if pa.types.is_decimal(type_):
        return pa.array(np.round(x, type_.scale), mask=mask).cast(type_, safe=False)
    if pa.types.is_temporal(type_) and getattr(type_, "unit", None) == "ns":
        x = np.round(x / 1000) * 1000  # doubles hold the nanoseconds of today to some hundreds
    whole = pa.array(np.nan_to_num(np.round(x)).astype(np.int64), mask=mask)
    if pa.types.is_date32(type_):
        return whole.cast(pa.int32()).cast(type_)
    return whole.cast(type_)
