"""All constraints of a schema: checked on the real table, met by construction, verified on each sampled row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa

from raysynth.errors import ConstraintError
from raysynth.schema.constraints.base import Constraint, Replacement, column_of, numbers_of, one_array
from raysynth.schema.constraints.combinations import Unique
from raysynth.schema.constraints.derived import Derived
from raysynth.schema.constraints.numbers import implied
from raysynth.schema.constraints.thinning import Factors, Thinning
from raysynth.schema.table import TableSchema

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


@dataclass(frozen=True)
class ConstraintSet:
    """The constraints of a table.

    What is modelled is `forward` of the real rows, with the schema `forward_schema`; sampled rows come back through
    `inverse`. Where two constraints want to replace the same column, the first that can is met by construction and the
    other by rejection: rows that `holds` refuses are not used.

    Args:
        constraints: in order.
        schema: of the user's table, complete. Needed for all but `validate`.
        thinning: with what probability a row that `holds` is used, where rejection alone would move shares and means.
        shares: of columns that are computed from others, the real shares of their cells, protected: what `thinning` is
            found by. A model file does not hold them.
        extra: rules that the model knows nothing of, given when rows are drawn: they are met by rejection, or by the
            nearest value or computed column where the rule has one.
    """

    constraints: tuple[Constraint, ...]
    schema: TableSchema | None = None
    thinning: Thinning | None = None
    extra: tuple[Constraint, ...] = ()
    shares: tuple[Factors, ...] = ()

    def bound(self, schema: TableSchema) -> ConstraintSet:
        """The same constraints on `schema`."""
        return replace(self, schema=schema)

    def validate(self, schema: TableSchema | None = None) -> None:
        """Check each constraint against `schema` (None: its own); raises `ConstraintError`, with column and cure."""
        for constraint in (*self.constraints, *self.extra):
            constraint.validate(schema if schema is not None else self._schema)

    @cached_property
    def replacements(self) -> tuple[Replacement, ...]:
        """What is met by construction through other columns, in the order in which `forward` applies it."""
        wanted = [r for c in self.constraints for r in c.replacements(self._schema)]
        plan: list[Replacement] = []
        while wanted:
            # first one whose changes no other one needs: of a <= b <= c the gap to c comes before the gap to b
            free = [r for r in wanted if not any(set(r.changes) & set(o.needs) for o in wanted if o is not r)]
            chosen = (free or wanted)[0]
            plan.append(chosen)
            wanted = [r for r in wanted if r is not chosen and not set(r.needs) & set(chosen.changes)]
        return tuple(plan)

    @property
    def computed(self) -> frozenset[str]:
        """Columns that are computed from others; of one that a model knows by their names it knows what is left."""
        return frozenset(r.column.name for r in self.replacements if isinstance(r, Derived))

    @property
    def described(self) -> list[str]:
        """A line for each column that is computed from others."""
        return [str(r) for r in self.replacements if isinstance(r, Derived)]

    def forward_schema(self, schema: TableSchema | None = None) -> TableSchema:
        """What is modelled of a table of `schema` (None: its own), without constraints.

        Raises:
            ConstraintError: the name of a new column is taken.
        """
        rules = self if schema is None or schema == self.schema else self.bound(schema)
        result = replace(rules._schema, constraints=())
        for replacement in rules.replacements:
            result = replacement.forward_schema(result)
        return result

    def forward(self, rows: Rows) -> Rows:
        """Real `rows` (Table or RecordBatch) to what is modelled; total on any rows.

        The columns come in the order of `forward_schema`; those that it does not know follow as they are.
        """
        if isinstance(rows, pa.RecordBatch):
            table = self._forward_table(pa.Table.from_batches([rows]))
            return pa.RecordBatch.from_arrays([one_array(c) for c in table.columns], names=table.column_names)
        return self._forward_table(rows)

    def _forward_table(self, table: pa.Table) -> pa.Table:
        for replacement in self.replacements:
            table = replacement.forward(table)
        names = [n for n in self._forward_names if n in table.column_names]
        return table.select([*names, *(n for n in table.column_names if n not in names)])

    def inverse(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Modelled rows, `table`, to the user's columns, repaired where a constraint has a nearest value that keeps it.

        `rng` draws where a modelled row leaves a value open.
        """
        changed = {name for r in self.replacements for name in r.changes}
        table = self._repaired(table, [n for n in table.column_names if n not in changed])
        for replacement in reversed(self.replacements):
            table = replacement.inverse(table, rng)
        table = self._repaired(table, [n for n in table.column_names if n in changed])
        for made in (r for c in self.extra for r in c.replacements(self._schema) if isinstance(r, Derived)):
            table = made.imposed(table)
        return table.select([n for n in self._schema.names if n in table.column_names])

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each of the N rows of `table` whether all constraints hold and computed columns are within their bounds.

        Shape (N,) bool; constants are added, keys taken as unique.
        """
        table = self._with_constants(table)
        result = np.ones(table.num_rows, bool)
        for constraint in self._checked:
            result &= constraint.holds(table)
        for made in self.replacements:
            if isinstance(made, Derived) and made.column.bounds is not None:
                values, absent = numbers_of(column_of(table, made.column.name))
                result &= absent | ((values >= made.column.bounds[0]) & (values <= made.column.bounds[1]))
        return result

    def used(self, table: pa.Table, rng: np.random.Generator) -> np.ndarray:
        """For each of the N rows of `table`, all of which hold, whether it is used, shape (N,) bool, drawn by `rng`.

        All are used where rejection moves nothing.
        """
        if self.thinning is None:
            return np.ones(table.num_rows, bool)
        return rng.random(table.num_rows) < self.thinning.probabilities(self._with_constants(table))

    def without_weights(self, names: Sequence[str]) -> ConstraintSet:
        """The same where columns `names` are given: rows are used by the weights of the others alone."""
        return self if self.thinning is None else replace(self, thinning=self.thinning.without(names))

    @property
    def rejecting(self) -> tuple[Constraint, ...]:
        """Its own rules that change no column of what is modelled, repair none, and speak of single rows."""
        changed = {frozenset(r.needs) for r in self.replacements}
        return tuple(
            c
            for c in (*self.constraints, *implied(self.constraints), *self.extra)
            if frozenset(c.involves) not in changed
            and type(c).repair is Constraint.repair
            and not isinstance(c, Unique)
        )

    def hashes(self, table: pa.Table) -> list[np.ndarray]:
        """For each `Unique` that rejection meets, a hash of each row of `table` (N,) uint64; 0 for rows that are free.

        Rows of different chunks with the same hash (other than 0) break the constraint.
        """
        result = []
        for constraint in self._checked:
            if isinstance(constraint, Unique):
                values, counted = constraint.hashes(self._with_constants(table))
                result.append(np.where(counted, np.maximum(values, np.uint64(1)), np.uint64(0)))
        return result

    @property
    def has_unique(self) -> bool:
        """Whether rejection has to meet a `Unique`."""
        return any(isinstance(c, Unique) for c in self._checked)

    @property
    def _schema(self) -> TableSchema:
        if self.schema is None:
            raise ValueError("this ConstraintSet has no schema; make it with ConstraintSet(schema.constraints, schema)")
        return self.schema

    @cached_property
    def _forward_names(self) -> tuple[str, ...]:
        return self.forward_schema().names

    @cached_property
    def _checked(self) -> tuple[Constraint, ...]:
        if self.schema is None:
            return self.constraints
        schema = self.schema
        own = (c for c in self.constraints if not (isinstance(c, Unique) and c.by_construction(schema)))
        return (*own, *implied((*self.constraints, *self.extra)), *self.extra)

    def _repaired(self, table: pa.Table, names: Sequence[str]) -> pa.Table:
        for constraint in (*self.constraints, *self.extra):
            for name in constraint.involves:
                if name in names and name in self._schema and type(constraint).repair is not Constraint.repair:
                    at = table.column_names.index(name)
                    repaired = constraint.repair(column_of(table, name), self._schema[name])
                    table = table.set_column(at, name, repaired)
        return table

    def _with_constants(self, table: pa.Table) -> pa.Table:
        if self.schema is None:
            return table
        involved = {n for c in self._checked for n in c.involves}
        for column in self.schema.columns:
            name = column.name
            if name in involved and column.kind.is_constant and name not in table.column_names:
                value = pa.scalar(column.value, column.arrow_type)
                table = table.append_column(name, pa.array([value.as_py()] * table.num_rows, column.arrow_type))
        return table


class BrokenRows:
    """How many rows break each constraint: a summary with update and merge.

    Uniqueness keeps a 64-bit hash of each row (8 bytes a row); at 20 million rows the chance of two different rows with
    one hash is 1 in 100,000.
    """

    def __init__(self, constraints: tuple[Constraint, ...]) -> None:
        self.constraints = constraints
        self.n_rows = 0
        self.broken = [0] * len(constraints)
        self.seen: dict[int, list[np.ndarray]] = {i: [] for i, c in enumerate(constraints) if isinstance(c, Unique)}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        table = pa.Table.from_batches([batch])
        self.n_rows += table.num_rows
        for i, constraint in enumerate(self.constraints):
            if isinstance(constraint, Unique):
                values, counted = constraint.hashes(table)
                self.seen[i].append(values[counted])
            else:
                self.broken[i] += int((~constraint.holds(table)).sum())

    def merge(self, other: BrokenRows) -> None:
        """Add the rows of another part of the table."""
        self.n_rows += other.n_rows
        self.broken = [a + b for a, b in zip(self.broken, other.broken, strict=True)]
        for i, parts in other.seen.items():
            self.seen[i].extend(parts)

    def counts(self) -> list[int]:
        """Rows that break each constraint; of rows with equal values all but one."""
        result = list(self.broken)
        for i, parts in self.seen.items():
            values = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
            result[i] = len(values) - len(np.unique(values))
        return result

    def raise_if_any(self) -> None:
        """Raise `ConstraintError` where a row breaks a constraint."""
        faults = [
            f"{constraint} is broken by {count:,} of {self.n_rows:,} rows"
            for constraint, count in zip(self.constraints, self.counts(), strict=True)
            if count
        ]
        if faults:
            raise ConstraintError(
                f"the real table does not keep its constraints: {'; '.join(faults)}. "
                "Correct or drop these rows, or remove or relax the constraint"
            )
