"""A database in memory: its tables as Arrow, for each key the row that it points to, and two halves of its entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.keys import NOWHERE, key_values, open_tables, parent_rows
from raysynth.errors import ParameterError
from raysynth.schema.relations import DatabaseSchema, Relation


@dataclass(frozen=True)
class Database:
    """Tables with canonical types, and the keys between them.

    Args:
        tables: by name.
        schema: tables, keys and rules.
        pointers: for each relation the position of each child row's parent (N,): -1 where the key is missing, -2 where
            no row has it.
    """

    tables: Mapping[str, pa.Table]
    schema: DatabaseSchema
    pointers: Mapping[Relation, np.ndarray]

    def own_columns(self, table: str) -> list[str]:
        """The columns of a table that are no part of a key."""
        keys = {*self.schema[table].primary_key}
        keys |= {c for r in self.schema.parents_of(table) for c in r.child_key}
        keys |= {c for r in self.schema.children_of(table) for c in r.parent_key}
        return [n for n in self.tables[table].column_names if n not in keys]

    def children_each(self, relation: Relation) -> np.ndarray:
        """Number of children of each row of the parent (P,)."""
        pointer = self.pointers[relation]
        return np.bincount(pointer[pointer >= 0], minlength=self.tables[relation.parent].num_rows)


def read_database(tables: Mapping[str, Any], schema: DatabaseSchema) -> Database:
    """A database in memory; keys may point nowhere.

    Raises:
        DataError: a table cannot be read. SchemaError: a table or column is not there.
    """
    opened = open_tables({name: data for name, data in tables.items() if name in schema.names})
    schema.validate({name: table.names for name, table in opened.items()})
    pointers = {
        r: parent_rows(key_values(opened[r.child], r.child_key), key_values(opened[r.parent], r.parent_key))
        for r in schema.relations
    }
    return Database({name: table.to_arrow() for name, table in opened.items()}, schema, pointers)


def entity_table(schema: DatabaseSchema, entity: str | None = None) -> str:
    """The table whose rows, each with all that descends from it, are the database's persons.

    Args:
        schema: of the database; the same answer for the whole of it and for a part.
        entity: its name; None: the root with the most tables below it, the first declared of several; no reference
            table.

    Raises:
        SchemaError: no such table. ParameterError: no table can be it.
    """
    if entity is not None:
        return schema[entity].name
    roots = [n for n in schema.roots() if not schema[n].reference]
    if not roots:
        raise ParameterError("every root of the database is a reference table; name the entity's table")
    return max(roots, key=lambda n: len(lineage(schema, n)))


def lineage(schema: DatabaseSchema, entity: str) -> dict[str, Relation]:
    """For each table that descends from another one the key that it does so by: the first declared."""
    found: dict[str, Relation] = {}
    for name in schema.topological():
        for relation in schema.parents_of(name):
            if relation.parent in (entity, *found) and name not in (entity, relation.parent, *found):
                found[name] = relation
    return found


def split_database(
    tables: Mapping[str, Any], schema: DatabaseSchema, fraction: float = 0.5, seed: int = 0, entity: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two parts of a database that share no entity: a training half, say, and one that no model sees.

    Each row of the entity's table goes to one side, with all rows that descend from it (by the first declared key where
    several lead there); rows that belong to none are drawn for themselves. Tables that do not descend from it are whole
    on both sides. Keys that would then point to the other side are missing.

    Args:
        tables: by name anything that `fit` takes.
        schema: tables and keys.
        fraction: of the entities, on the first side; in (0, 1).
        seed: of the draw.
        entity: name of the entity's table; None: the root with the most tables below it.

    Returns:
        Two dicts by table: DataFrames where DataFrames were given, else Arrow tables.

    Raises:
        ParameterError: the fraction is out of range. DataError, SchemaError: as `read_database`.
    """
    if not 0 < fraction < 1:
        raise ParameterError(f"fraction must be between 0 and 1; found {fraction!r}")
    database = read_database(tables, schema)
    rng = np.random.default_rng(seed)
    name = entity_table(schema, entity)
    above = lineage(schema, name)
    n = database.tables[name].num_rows
    first: dict[str, np.ndarray] = {name: rng.permutation(n) < max(1, min(n - 1, round(fraction * n)))}
    for table in schema.topological():
        if table in above:
            pointer = database.pointers[above[table]]
            own = rng.random(len(pointer)) < fraction
            first[table] = np.where(pointer >= 0, first[above[table].parent][pointer], own)
    return tuple(_part(tables, database, first, is_first) for is_first in (True, False))  # type: ignore[return-value]


def _part(
    tables: Mapping[str, Any], database: Database, first: Mapping[str, np.ndarray], is_first: bool
) -> dict[str, Any]:
    """One side, each table in the form in which it was given."""
    part: dict[str, Any] = {}
    for name in database.schema.names:
        kept = first[name] == is_first if name in first else np.ones(database.tables[name].num_rows, bool)
        lost: dict[str, np.ndarray] = {}
        for relation in database.schema.parents_of(name):
            if relation.parent in first:
                pointer = database.pointers[relation]
                away = (pointer >= 0) & (first[relation.parent][pointer] != is_first) | (pointer == NOWHERE)
                lost |= {c: lost.get(c, False) | away for c in relation.child_key}
        part[name] = _rows(tables[name], database.tables[name], kept, lost)
    return part


def _rows(given: Any, table: pa.Table, kept: np.ndarray, lost: Mapping[str, np.ndarray]) -> Any:
    """Some rows of a table with some cells missing: a DataFrame of the same types, or an Arrow table."""
    if hasattr(given, "iloc"):
        frame = given[kept].reset_index(drop=True)
        return frame.assign(**{c: frame[c].mask(away[kept]) for c, away in lost.items() if away[kept].any()})
    for column, away in lost.items():
        empty = pc.if_else(pa.array(away), pa.scalar(None, table[column].type), table[column])
        table = table.set_column(table.column_names.index(column), column, empty)
    return table.filter(pa.array(kept))
