"""Rows of several tables as one: children beside their ancestors, and parents beside aggregates of their children."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.arrow_types import is_text
from raysynth.data.database import Database
from raysynth.schema.relations import Relation

MOST_HOPS = 3
OWNER = "number of the ancestor's row"
SHARES = 5  # of the most frequent categories of a child's column


@dataclass(frozen=True)
class Chain:
    """Keys that lead from a table to an ancestor, the first one from the child."""

    relations: tuple[Relation, ...]

    @property
    def child(self) -> str:
        """Where it starts."""
        return self.relations[0].child

    @property
    def ancestor(self) -> str:
        """Where it ends."""
        return self.relations[-1].parent

    def __str__(self) -> str:
        steps = [self.child, *(r.parent for r in self.relations)]
        keys = ", ".join("+".join(r.child_key) for r in self.relations)
        return f"{' -> '.join(steps)} (by {keys})"


def chains(database: Database, most_hops: int = MOST_HOPS) -> Iterator[Chain]:
    """Every way of at most so many keys from a table up to an ancestor; no table twice."""
    todo = [Chain((r,)) for r in database.schema.relations if not r.is_self_reference]
    while todo:
        chain = todo.pop(0)
        yield chain
        passed = {chain.child, *(r.parent for r in chain.relations)}
        if len(chain.relations) < most_hops:
            above = database.schema.parents_of(chain.ancestor)
            todo += [Chain((*chain.relations, r)) for r in above if r.parent not in passed]


def joined(database: Database, chain: Chain, n_rows: int, rng: np.random.Generator) -> pa.Table | None:
    """Own columns of up to n rows beside those of their ancestor, named 'child.x' and 'ancestor.y', and `OWNER`, which
    says whose rows belong together.

    Rows without such an ancestor are left out; None where there is none, or a side has no column of its own.
    """
    pointer = np.arange(database.tables[chain.child].num_rows)
    for relation in chain.relations:
        pointer = np.where(pointer >= 0, database.pointers[relation][pointer], pointer)
    rows = np.flatnonzero(pointer >= 0)
    rows = rows if len(rows) <= n_rows else np.sort(rng.choice(rows, n_rows, replace=False))
    sides = {chain.child: rows, chain.ancestor: pointer[rows]}
    columns = {
        f"{table}.{name}": database.tables[table][name].take(pa.array(at))
        for table, at in sides.items()
        for name in database.own_columns(table)
    }
    columns[OWNER] = pa.array(pointer[rows]).cast(pa.string())
    both = len(rows) > 1 and all(database.own_columns(t) for t in sides)
    return pa.table(columns) if both else None


@dataclass(frozen=True)
class Aggregates:
    """Which aggregates describe the children of a table: chosen on real rows, the same for all databases.

    Args:
        table: the parent.
        categories: by relation and column of categories the most frequent values, whose shares are aggregates.
        numbers: by relation the columns of numbers.
    """

    table: str
    categories: dict[tuple[Relation, str], tuple[str, ...]]
    numbers: dict[Relation, tuple[str, ...]]

    def of(self, database: Database) -> tuple[pa.Table, list[str]]:
        """The table's own columns beside the aggregates, a row for each parent, and the aggregates' names.

        Of each child table: the number of rows; of its numbers mean, deviation, least and largest; of its categories
        the shares of the most frequent values and the number of different ones. Null without children.
        """
        parent = database.tables[self.table]
        columns = {n: parent[n] for n in database.own_columns(self.table)}
        found: dict[str, pa.ChunkedArray | pa.Array] = {}
        for relation, numbers in self.numbers.items():
            prefix = f"{relation.child} by {'+'.join(relation.child_key)}"
            found[f"{prefix}: rows"] = pa.array(database.children_each(relation))
            rows, wanted = self._child_columns(database, relation, numbers)
            grouped = rows.group_by("parent").aggregate(wanted)
            at = pc.index_in(pa.array(np.arange(parent.num_rows)), value_set=grouped["parent"])
            found |= {f"{prefix}: {n}": grouped[n].take(at) for n in grouped.column_names if n != "parent"}
        return pa.table(columns | {n: v for n, v in found.items() if n not in columns}), list(found)

    def _child_columns(
        self, database: Database, relation: Relation, numbers: Sequence[str]
    ) -> tuple[pa.Table, list[tuple[str, str]]]:
        """The children's columns that are aggregated, with their parent's position, and how each is."""
        child, pointer = database.tables[relation.child], database.pointers[relation]
        columns: dict[str, pa.ChunkedArray | pa.Array] = {"parent": pa.array(pointer)}
        wanted: list[tuple[str, str]] = []
        for name in numbers:
            columns[name] = _as_number(child[name])
            wanted += [(name, how) for how in ("mean", "stddev", "min", "max")]
        for (of, name), values in self.categories.items():
            if of == relation:
                text = child[name].cast(pa.string())
                columns[name] = text
                wanted.append((name, "count_distinct"))
                for value in values:
                    columns[f"{name} is {value}"] = pc.equal(text, value).cast(pa.float64())
                    wanted.append((f"{name} is {value}", "mean"))
        return pa.table(columns).filter(pa.array(pointer >= 0)), wanted


def choose_aggregates(database: Database, table: str) -> Aggregates | None:
    """The aggregates of a table's children by the real database; None for a table without children."""
    categories: dict[tuple[Relation, str], tuple[str, ...]] = {}
    numbers: dict[Relation, tuple[str, ...]] = {}
    for relation in database.schema.children_of(table):
        if relation.is_self_reference:
            continue
        child = database.tables[relation.child]
        own = database.own_columns(relation.child)
        discrete = [n for n in own if is_text(child.schema.field(n).type) or pt.is_boolean(child.schema.field(n).type)]
        numbers[relation] = tuple(n for n in own if n not in discrete and not pt.is_null(child.schema.field(n).type))
        for name in discrete:
            counts = pc.value_counts(child[name].cast(pa.string()).drop_null()).to_pylist()
            frequent = sorted(counts, key=lambda c: (-c["counts"], c["values"]))[:SHARES]
            categories[relation, name] = tuple(c["values"] for c in frequent)
    return Aggregates(table, categories, numbers) if numbers else None


def _as_number(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers and times as float64, which Arrow's aggregates take; times in their unit."""
    if pt.is_temporal(column.type):
        column = column.cast(pa.int32() if pt.is_date32(column.type) else pa.int64())
    return column.cast(pa.float64(), safe=False)
