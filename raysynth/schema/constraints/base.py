"""What every constraint can do, how one is met by construction, and Arrow values as constraints read them.

One array a column, NaN as missing, masks with 'unknown' as satisfied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.arguments import is_finite, is_number
from raysynth.errors import ConstraintError
from raysynth.kinds.arrow_text import TEXT as TEXT
from raysynth.kinds.arrow_text import is_string, ticks
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema

Values: TypeAlias = pa.Array | pa.Scalar


def column_of(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    """One column as one array, NaN as missing; raises `ConstraintError` where the table lacks it."""
    at = table.schema.get_field_index(name)
    if at < 0:
        raise ConstraintError(
            f"the table has no column '{name}' that a constraint speaks of; it has: {table.schema.names}"
        )
    return without_nan(one_array(table.column(at)))


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The chunks of a column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # none at all
        return whole.chunk(0) if whole.num_chunks else pa.nulls(0, whole.type)
    return whole


def without_nan(array: pa.Array) -> pa.Array:
    """The array with missing values in place of NaN."""
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def satisfied(result: pa.Array | pa.Scalar, n: int) -> np.ndarray:
    """A three-valued result as booleans (n,): unknown counts as satisfied."""
    if isinstance(result, pa.Scalar):
        return np.full(n, result.as_py() is not False)
    return np.asarray(pc.fill_null(result, True).to_numpy(zero_copy_only=False))


def missing(array: pa.Array) -> np.ndarray:
    """Where the array has no value, shape (N,) bool."""
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def comparable(left: Values, right: Values) -> tuple[Values, Values]:
    """Both sides in one type: a whole number beside a float becomes one without a check of its range, a time beside a
    date its day."""
    types = (left.type, right.type)
    if {pa.types.is_date32(t) for t in types} == {True, False} and any(pa.types.is_timestamp(t) for t in types):
        return _day(left), _day(right)
    if left.type == right.type or not all(is_number_type(t) for t in types):
        return left, right
    if all(pa.types.is_integer(t) and t != pa.uint64() for t in types):
        return left, right
    return to_float(left), to_float(right)


def _day(values: Values) -> Values:
    return values if pa.types.is_date32(values.type) else pc.floor_temporal(values, unit="day").cast(pa.date32())


def to_float(values: Values) -> Values:
    """Numbers as float64, the nearest one where 53 bits are too few."""
    return values.cast(pa.float64(), safe=False)


def is_number_type(type_: pa.DataType) -> bool:
    """Whole numbers, floats or decimals."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def scalar_like(value: Any, type_: pa.DataType) -> pa.Scalar:
    """A constant to compare a column with: ISO 8601 text or integers of its unit for times. ValueError."""
    import pandas as pd

    if pa.types.is_temporal(type_) and is_number(value):
        whole = pa.scalar(int(value), pa.int32() if pa.types.is_date32(type_) else pa.int64())
        return whole.cast(type_)
    if pa.types.is_timestamp(type_):
        moment = pd.Timestamp(value)
        if type_.tz is not None:
            moment = moment.tz_localize(type_.tz) if moment.tzinfo is None else moment.tz_convert(type_.tz)
        return pa.scalar(moment.to_pydatetime(), type_)
    if pa.types.is_date32(type_):
        return pa.scalar(pd.Timestamp(value).date(), type_)
    if pa.types.is_duration(type_):
        return pa.scalar(pd.Timedelta(value).to_pytimedelta(), type_)
    if not is_finite(value):
        raise ValueError(f"{value!r} is no finite number")
    return pa.scalar(value)


def numbers_of(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, missing): int64 for whole numbers and times (integers of their unit), else float64; 0 where missing."""
    absent = missing(array)
    array = ticks(array)
    target = pa.int64() if pa.types.is_integer(array.type) else pa.float64()
    values = array.cast(target, safe=False).fill_null(0).to_numpy(zero_copy_only=False)
    return values, absent


def from_numbers(values: np.ndarray, absent: np.ndarray, type_: pa.DataType) -> pa.Array:
    """The inverse of `numbers_of`, rounded and clipped to what the type holds."""
    if not pa.types.is_integer(type_) and not pa.types.is_temporal(type_):
        return pa.array(values, mask=absent).cast(type_, safe=False)
    whole = np.rint(values) if values.dtype.kind == "f" else values
    plain = pa.int32() if pa.types.is_date32(type_) else pa.int64()
    if pa.types.is_integer(type_):
        limits = np.iinfo(type_.to_pandas_dtype())
        whole = np.clip(whole, max(limits.min, -(2**63)), min(limits.max, 2**63 - 1))
    return pa.array(_int64(whole), mask=absent).cast(plain).cast(type_)


def _int64(values: np.ndarray) -> np.ndarray:
    """To int64 without wrapping: the largest float64 below 2**63 is 2**63 - 1024."""
    if values.dtype.kind == "f":
        values = np.clip(values, -(2.0**63), np.nextafter(2.0**63, 0))
    return values.astype(np.int64)


def storage_type(dtype: pa.DataType) -> pa.DataType:
    """The type that a column of this schema type has in tables: text as dictionary codes."""
    return TEXT if is_string(dtype) else dtype


class Constraint(ABC):
    """A rule that every row keeps. Subclasses are frozen dataclasses of plain values.

    Missing values: a comparison with a missing value is unknown, and a row breaks a constraint only where it is known
    to be false (three-valued logic, as in SQL's CHECK). So rows with missing values count as satisfied unless the
    values that are there decide.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def involves(self) -> tuple[str, ...]:
        """The columns that it speaks of."""

    @abstractmethod
    def validate(self, schema: TableSchema) -> None:
        """Check that it makes sense for `schema`, that of the whole table.

        Raises:
            ConstraintError: names the column and the cure.
        """

    @abstractmethod
    def holds(self, table: pa.Table) -> np.ndarray:
        """For each of the N rows of `table` whether it is kept, shape (N,) bool."""

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """Columns to model in place of its own in `schema`, so that it holds whatever is made; none by default."""
        return ()

    def repair(self, array: pa.Array, column: ColumnSchema) -> pa.Array:
        """The values of `array`, those of `column`, moved to the nearest that keep it; as they are by default."""
        return array

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; attributes at their default are left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}  # type: ignore[arg-type]
        return {"kind": self.kind, **{k: _plain(v) for k, v in values.items()}}

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self.to_dict().items() if k != "kind")
        return f"{type(self).__name__}({inside})"


class Replacement(Protocol):
    """A change of columns that makes a constraint hold by construction; picklable, total on any rows."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        ...

    @property
    def changes(self) -> tuple[str, ...]:
        """Those of them that are gone, or mean something else, in what is modelled."""
        ...

    def forward_schema(self, schema: TableSchema) -> TableSchema:
        """Schema of what is modelled; raises `ConstraintError` where a new name is taken."""
        ...

    def forward(self, table: pa.Table) -> pa.Table:
        """Real rows to what is modelled."""
        ...

    def inverse(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Modelled rows to the user's columns (at the end of the table); needs not keep the order of columns."""
        ...


def known_columns(constraint: Constraint, schema: TableSchema) -> list[ColumnSchema]:
    """Schemas of its columns; raises `ConstraintError` for one that is unknown or regenerated without a model."""
    result = []
    for name in constraint.involves:
        if name not in schema:
            raise ConstraintError(f"{constraint}: the schema has no column '{name}'; it has: {', '.join(schema.names)}")
        column = schema[name]
        if column.kind in ("identifier", "personal"):
            raise ConstraintError(
                f"{constraint}: column '{name}' is {column.kind}: its values are made anew and cannot be constrained; "
                "remove the constraint or declare another kind"
            )
        result.append(column)
    return result


def free_name(name: str, schema: TableSchema, constraint: str) -> str:
    """The name of a column to add; raises `ConstraintError` where the schema has it already."""
    if name in schema:
        raise ConstraintError(f"{constraint} models a column named '{name}', and the table has one; rename that column")
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value
