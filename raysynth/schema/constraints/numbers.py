"""Rules on numbers and times: inequality, range, positive, fixed increments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.arguments import is_finite
from raysynth.errors import ConstraintError
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import (
    Constraint,
    Replacement,
    column_of,
    comparable,
    from_numbers,
    is_number_type,
    known_columns,
    numbers_of,
    satisfied,
    scalar_like,
    without_nan,
)
from raysynth.schema.constraints.gap import Gap
from raysynth.schema.table import TableSchema


@dataclass(frozen=True)
class Inequality(Constraint):
    """Column `low` <= column `high` (< if strict), for numbers or times.

    Met by construction (see `schema/constraints/gap.py`), but for a time beside a date: their days are compared, and it
    is met by rejection. What follows from two of them (a <= b and b <= c: a <= c) holds in sampled rows without b, too.

    Args:
        low, high: column names.
        strict: low < high.
    """

    low: str
    high: str
    strict: bool = False
    kind: ClassVar[str] = "inequality"

    @property
    def involves(self) -> tuple[str, ...]:
        """The columns that the rule is about."""
        return (self.low, self.high)

    def validate(self, schema: TableSchema) -> None:
        """Both columns must be numbers by `schema`, or times of one kind."""
        if self.low == self.high:
            raise ConstraintError(f"{self}: a column cannot be compared with itself; name two columns")
        columns = known_columns(self, schema)
        _check_comparable(self, columns)

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether low <= high; a missing value satisfies it."""
        compare = pc.less if self.strict else pc.less_equal
        low, high = comparable(column_of(table, self.low), column_of(table, self.high))
        return satisfied(compare(low, high), table.num_rows)

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """The gap in place of `high`, where `schema` has numbers or times that allow one."""
        low, high = schema[self.low], schema[self.high]
        if not (low.kind.is_numeric and high.kind.is_numeric and Gap.possible(low, high)):
            return ()
        return (Gap(low, high, self.strict),)


def implied(constraints: Sequence[Constraint]) -> tuple[Inequality, ...]:
    """The inequalities that follow from others through a column between, which a row may lack; strict where one is."""
    known = {(c.low, c.high): c.strict for c in constraints if isinstance(c, Inequality)}
    declared = set(known)
    while True:
        further = {
            (a, d): first or second
            for (a, b), first in known.items()
            for (c, d), second in known.items()
            if b == c and a != d and (a, d) not in known
        }
        if not further:
            return tuple(Inequality(a, d, strict) for (a, d), strict in known.items() if (a, d) not in declared)
        known |= further


@dataclass(frozen=True)
class Range(Constraint):
    """low <= column <= high, inclusive. Met by construction: constant ends by clipping, columns as in `Inequality`.

    Args:
        column: column name.
        low, high: a number, a time or duration (Python or pandas values, or ISO 8601 text such as '2024-01-31' or
            'P30D'), or the name of a column; None: open.
    """

    column: str
    low: Any = None
    high: Any = None
    kind: ClassVar[str] = "range"

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            value = getattr(self, end)
            if isinstance(value, timedelta):
                object.__setattr__(self, end, f"P{value.days}DT{value.seconds + value.microseconds / 1e6:.6f}S")
            elif isinstance(value, date):
                object.__setattr__(self, end, value.isoformat())

    @property
    def involves(self) -> tuple[str, ...]:
        """The column, and those ends that may be columns (text that is no time)."""
        return (self.column, *(e for e in (self.low, self.high) if isinstance(e, str) and not _is_time(e)))

    def validate(self, schema: TableSchema) -> None:
        """The column must be a number or time by `schema`, and the ends constants of its kind or such columns."""
        columns = known_columns(self, schema)
        _check_comparable(self, columns)
        if self.low is None and self.high is None:
            raise ConstraintError(f"{self}: give low, high or both")
        ends = [self._constant(e, columns[0]) for e in (self.low, self.high)]
        if ends[0] is not None and ends[1] is not None and ends[0].as_py() > ends[1].as_py():
            raise ConstraintError(f"{self}: low is above high; exchange them")

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether the value lies between the ends; a missing value or end satisfies it."""
        values = column_of(table, self.column)
        result = np.ones(table.num_rows, bool)
        for end, compare in ((self.low, pc.greater_equal), (self.high, pc.less_equal)):
            if end is not None:
                other = column_of(table, end) if end in self.involves[1:] else scalar_like(end, values.type)
                result &= satisfied(compare(*comparable(values, other)), table.num_rows)
        return result

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """Gaps to the ends that are columns of `schema`."""
        gaps: list[Replacement] = []
        for low, high in ((self.column, self.high), (self.low, self.column)):
            if isinstance(low, str) and isinstance(high, str) and low in schema and high in schema:
                gaps.extend(Inequality(low, high).replacements(schema))
        return tuple(gaps)

    def repair(self, array: pa.Array, column: ColumnSchema) -> pa.Array:
        """The values of `array` clipped to the ends that are constants, where `column` is the one that is bounded."""
        if column.name != self.column:
            return array
        for end, beyond, to_whole in ((self.low, pc.less, math.ceil), (self.high, pc.greater, math.floor)):
            if end is not None and end not in self.involves[1:]:
                value = scalar_like(end, array.type)
                if pa.types.is_integer(array.type):
                    value = pa.scalar(to_whole(value.as_py()))
                value = value.cast(array.type)
                array = pc.if_else(beyond(array, value), value, array)
        return array

    def _constant(self, end: Any, column: ColumnSchema) -> pa.Scalar | None:
        if end is None or end in self.involves[1:]:
            return None
        try:
            return scalar_like(end, column.arrow_type)
        except (ValueError, TypeError) as error:
            raise ConstraintError(
                f"{self}: {end!r} is neither a column nor a value of column '{column.name}' ({column.dtype}): {error}"
            ) from None


@dataclass(frozen=True)
class _OfNumber(Constraint):
    """A rule of one column that holds numbers."""

    column: str

    @property
    def involves(self) -> tuple[str, ...]:
        """The columns that the rule is about."""
        return (self.column,)

    def _number(self, schema: TableSchema, fits: Callable[[ColumnSchema], bool] = lambda column: True) -> ColumnSchema:
        """The column, which must be a number by `schema`, and fit."""
        (column,) = known_columns(self, schema)
        if not (_is_number(column) and fits(column)):
            raise ConstraintError(
                f"{self}: column '{self.column}' is {column.kind} ({column.dtype}); it must be a number"
            )
        return column


@dataclass(frozen=True)
class Positive(_OfNumber):
    """column >= 0 (> 0 if strict), for numbers and timedeltas. Met by construction: clipped.

    Args:
        column: column name.
        strict: > 0; clipped to the least positive value that the column's decimals allow.
    """

    strict: bool = False
    kind: ClassVar[str] = "positive"

    def validate(self, schema: TableSchema) -> None:
        """The column must be a number or timedelta by `schema`."""
        self._number(schema, lambda column: not (column.kind.is_discrete or column.kind.is_dated))

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether the value is positive; a missing one satisfies it."""
        values, absent = numbers_of(column_of(table, self.column))
        return absent | ((values > 0) if self.strict else (values >= 0))

    def repair(self, array: pa.Array, column: ColumnSchema) -> pa.Array:
        """The values of `array` clipped from below; the least positive one follows from the decimals of `column`."""
        values, absent = numbers_of(without_nan(array))
        least = 0.0
        if self.strict:
            whole = values.dtype.kind == "i"
            least = 1.0 if whole else 0.0 if column.decimals is None else 10.0**-column.decimals
        return from_numbers(np.maximum(values, values.dtype.type(least)), absent, array.type)


@dataclass(frozen=True)
class FixedIncrements(_OfNumber):
    """column = offset + k * step for a whole number k. Met by construction: rounded to the nearest such value.

    Args:
        column: column name; times count in their unit.
        step: distance between neighbouring values, > 0.
        offset: one of the values.
    """

    step: float
    offset: float = 0
    kind: ClassVar[str] = "fixed_increments"

    def validate(self, schema: TableSchema) -> None:
        """The column must be a number by `schema`, and the step whole for whole numbers."""
        column = self._number(schema)
        for value in (self.step, self.offset):
            if not is_finite(value):
                raise ConstraintError(f"{self}: step and offset must be finite numbers; found {value!r}")
        if self.step <= 0:
            raise ConstraintError(f"{self}: step must be above 0")
        decimal = pa.types.is_floating(column.arrow_type) or pa.types.is_decimal(column.arrow_type)
        if not decimal and (self.step != int(self.step) or self.offset != int(self.offset)):
            raise ConstraintError(f"{self}: '{self.column}' holds whole numbers; step and offset must be whole")

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether its value is on the grid, up to a billionth of a step or of a float."""
        values, absent = numbers_of(column_of(table, self.column))
        if values.dtype.kind == "i":
            return absent | ((values - int(self.offset)) % int(self.step) == 0)
        tolerance = np.maximum(1e-9 * self.step, 4e-15 * np.abs(values))
        return absent | (np.abs(values - self._nearest(values, None)) <= tolerance)

    def repair(self, array: pa.Array, column: ColumnSchema) -> pa.Array:
        """The values of `array` rounded to the grid, within the declared bounds of `column`."""
        values, absent = numbers_of(without_nan(array))
        nearest = self._nearest(values, column.bounds)
        if values.dtype.kind == "f" and column.decimals is not None:
            rounded = np.round(nearest, column.decimals)
            nearest = np.where(np.abs(rounded - nearest) <= 1e-9 * self.step, rounded, nearest)
        return from_numbers(nearest, absent, array.type)

    def _nearest(self, values: np.ndarray, bounds: tuple[float, float] | None) -> np.ndarray:
        if values.dtype.kind == "i":
            step, offset = int(self.step), int(self.offset)
            k = (values - offset + step // 2) // step
        else:
            step, offset = self.step, self.offset  # type: ignore[assignment]
            k = np.rint((values - offset) / step)
        if bounds is not None:
            lowest, highest = math.ceil((bounds[0] - offset) / step), math.floor((bounds[1] - offset) / step)
            k = np.clip(k, lowest, highest) if lowest <= highest else k
        return np.asarray(offset + k * step)


def _is_number(column: ColumnSchema) -> bool:
    return is_number_type(column.arrow_type) or column.kind.is_numeric


def _is_time(text: str) -> bool:
    """Whether text is an ISO 8601 date, date and time or duration (a column of such a name cannot be an end)."""
    if re.fullmatch(r"-?P(?=.)(\d+D)?(T(\d+H)?(\d+M)?([\d.]+S)?)?", text):
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_comparable(constraint: Constraint, columns: list[ColumnSchema]) -> None:
    families = []
    for column in columns:
        type_ = column.arrow_type
        if pa.types.is_timestamp(type_) or pa.types.is_date32(type_):
            zone = pa.types.is_timestamp(type_) and type_.tz
            families.append("times with a zone" if zone else "times or dates without a zone")
        elif pa.types.is_duration(type_):
            families.append("timedeltas")
        elif _is_number(column):
            families.append("numbers")
        else:
            raise ConstraintError(
                f"{constraint}: column '{column.name}' is {column.dtype}; only numbers and times can be compared, "
                "convert it or use an Expression"
            )
    if len(set(families)) > 1:
        found = ", ".join(f"'{c.name}' holds {f}" for c, f in zip(columns, families, strict=True))
        raise ConstraintError(f"{constraint}: columns cannot be compared: {found}; convert them to one type")
