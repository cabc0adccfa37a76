"""What every constraint can do, and how one is met by construction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from raysynth.errors import ConstraintError
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.table import TableSchema


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
