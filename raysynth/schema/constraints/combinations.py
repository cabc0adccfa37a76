"""Rules on combinations of values: fixed combinations, one-hot groups, uniqueness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from raysynth.errors import ConstraintError
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.constraints.base import Constraint, Replacement, known_columns
from raysynth.schema.constraints.joint import Joint, joint_codes, joint_hashes, joint_text
from raysynth.schema.constraints.values import column_of, missing, numbers_of
from raysynth.schema.table import TableSchema


@dataclass(frozen=True)
class FixedCombinations(Constraint):
    """The columns occur in known combinations only (city and country, product and category).

    Met by construction: the combinations are one categorical column for the model. Without `combinations` they are
    learned: those in fewer rows than the schema's `rare_threshold` never leave, and beyond `max_categories` of them the
    rest share one code.

    Args:
        columns: two or more columns of categories, or of numbers that have few values.
        combinations: the allowed ones (public), each a value for every column; None: those of the real table. Rows with
            a missing value are allowed in any case.
    """

    columns: tuple[str, ...]
    combinations: tuple[tuple[Any, ...], ...] | None = None
    kind: ClassVar[str] = "fixed_combinations"

    def __post_init__(self) -> None:
        _freeze_columns(self)
        if self.combinations is not None:
            object.__setattr__(self, "combinations", tuple(tuple(c) for c in self.combinations))

    @property
    def involves(self) -> tuple[str, ...]:
        """Columns whose values the rule restricts, as it names them."""
        return self.columns

    def validate(self, schema: TableSchema) -> None:
        """Two or more columns of `schema` that hold categories or numbers; each combination a value for every one."""
        _check_columns(self, self.columns)
        for column in known_columns(self, schema):
            if not column.kind.is_discrete and not column.kind.is_number:
                raise ConstraintError(
                    f"{self.kind} of {self.columns}: column '{column.name}' is {column.kind}; declare it categorical"
                )
            _check_plain(self, column)
        given = self.combinations
        if given is not None and (not given or any(len(c) != len(self.columns) for c in given)):
            raise ConstraintError(f"{self.kind} of {self.columns}: each combination has a value for every column")

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether its combination is allowed; all are where they were learned."""
        if self.combinations is None:
            return np.ones(table.num_rows, bool)
        allowed = {joint_text(c) for c in self.combinations}
        rows, found = joint_codes([column_of(table, c) for c in self.columns])
        return np.array([None in values or joint_text(values) in allowed for values in found], bool)[rows]

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """One joint column in place of those of `schema`."""
        columns = tuple(schema[c] for c in self.columns)
        declared = self.combinations if not any(c.nullable for c in columns) else None
        return (Joint(columns, declared),)


@dataclass(frozen=True)
class OneHotGroup(Constraint):
    """Exactly one of the columns is 1 (true), the others are 0 (false). Met by construction: one joint column.

    A row with missing values keeps it unless two columns are 1, or all that are there are 0 and none is missing.

    Args:
        columns: two or more columns of booleans or of the numbers 0 and 1.
    """

    columns: tuple[str, ...]
    kind: ClassVar[str] = "one_hot_group"

    def __post_init__(self) -> None:
        _freeze_columns(self)

    @property
    def involves(self) -> tuple[str, ...]:
        """Columns whose values the rule restricts, as it names them."""
        return self.columns

    def validate(self, schema: TableSchema) -> None:
        """Two or more columns of `schema` that hold booleans or numbers."""
        _check_columns(self, self.columns)
        for column in known_columns(self, schema):
            type_ = column.arrow_type
            if not (pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)):
                raise ConstraintError(
                    f"{self}: column '{column.name}' is {column.dtype}; a one-hot group has booleans or numbers 0 and 1"
                )

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether exactly one column is 1."""
        ones = np.zeros(table.num_rows, np.int64)
        others = np.zeros(table.num_rows, bool)
        unknown = np.zeros(table.num_rows, bool)
        for name in self.columns:
            values, absent = numbers_of(column_of(table, name))
            ones += (values == 1) & ~absent
            others |= (values != 0) & (values != 1) & ~absent
            unknown |= absent
        return ~others & ((ones == 1) | (unknown & (ones == 0)))

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """One joint column in place of those of `schema`."""
        columns = tuple(schema[c] for c in self.columns)
        if any(c.nullable for c in columns):
            return (Joint(columns, None),)
        kinds = [bool if pa.types.is_boolean(c.arrow_type) else int for c in columns]
        return (Joint(columns, tuple(tuple(k(i == j) for j, k in enumerate(kinds)) for i in range(len(columns)))),)


@dataclass(frozen=True)
class Unique(Constraint):
    """No two rows share the values of these columns; rows with a missing value among them are free (as in SQL).

    A single key is met by construction when its column is of kind 'identifier'. Everything else by rejection: `holds`
    marks the later of equal rows in one table, and `hashes` lets the sampling layer compare tables.

    Args:
        columns: one or more columns.
    """

    columns: tuple[str, ...]
    kind: ClassVar[str] = "unique"

    def __post_init__(self) -> None:
        _freeze_columns(self)

    @property
    def involves(self) -> tuple[str, ...]:
        """Columns whose values the rule restricts, as it names them."""
        return self.columns

    def validate(self, schema: TableSchema) -> None:
        """Columns of `schema`; a single discrete one should be an identifier."""
        _check_columns(self, self.columns, least=1)
        if self.by_construction(schema):
            return
        columns = known_columns(self, schema)
        if len(columns) == 1 and not columns[0].kind.is_numeric:
            raise ConstraintError(
                f"{self}: column '{columns[0].name}' is {columns[0].kind}, whose values repeat; declare its kind as "
                "'identifier' (its keys are then unique by construction) or remove the constraint"
            )

    def by_construction(self, schema: TableSchema) -> bool:
        """Whether one of the columns is, by `schema`, an identifier, which is unique by itself."""
        return any(c in schema and schema[c].kind.is_key for c in self.columns)

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether no earlier row has the same values (the same 64-bit hash)."""
        hashes, counted = self.hashes(table)
        first = np.zeros(table.num_rows, bool)
        first[np.unique(hashes, return_index=True)[1]] = True
        return first | ~counted

    def hashes(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the N rows of `table` (N,) uint64, the same in every process; which rows count (N,) bool."""
        arrays = [column_of(table, c) for c in self.columns]
        return joint_hashes(arrays), ~_any_missing(arrays, table.num_rows)


def _any_missing(arrays: list[pa.Array], n: int) -> np.ndarray:
    result = np.zeros(n, bool)
    for array in arrays:
        result |= missing(array)
    return result


def _freeze_columns(constraint: Any) -> None:
    columns = (constraint.columns,) if isinstance(constraint.columns, str) else tuple(constraint.columns)
    object.__setattr__(constraint, "columns", columns)


def _check_columns(constraint: Constraint, columns: tuple[str, ...], least: int = 2) -> None:
    if len(columns) < least or len(set(columns)) != len(columns):
        raise ConstraintError(f"{constraint}: name {least} or more different columns")


def _check_plain(constraint: Constraint, column: ColumnSchema) -> None:
    type_ = column.arrow_type
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    if not (text or pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)):
        raise ConstraintError(
            f"{constraint.kind}: column '{column.name}' is {column.dtype}; combinations are of text, numbers, booleans"
        )
