"""Keys of several tables: their values, read column by column, and whether every key points somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.errors import DataError, ParameterError, SchemaError
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

DANGLING = ("error", "missing")
MISSING, NOWHERE = -1, -2  # in place of a position: the key is missing; no row has it


def open_tables(tables: Mapping[str, Any]) -> dict[str, Table]:
    """Every table of a database behind the one interface of all sources.

    Args:
        tables: by name anything that `fit` takes.

    Raises:
        DataError: names the table that cannot be read.
    """
    if not isinstance(tables, Mapping) or not tables or not all(isinstance(n, str) and n for n in tables):
        raise DataError(
            "several tables are given as a dict of name to table, for example {'patients': patients, 'visits': visits}"
        )
    opened = {}
    for name, data in tables.items():
        try:
            opened[name] = as_table(data, min_rows=0)
        except DataError as error:
            raise DataError(f"table '{name}': {error}") from None
    return opened


def check_database(
    tables: Mapping[str, Any], schema: DatabaseSchema, dangling: str = "error"
) -> tuple[dict[str, Table], DatabaseSchema]:
    """The tables behind their interface, and the schema, when all keys are found to hold.

    Whether a key may be missing is read from the rows, too: the schema that comes back says so. Without a privacy
    budget only, since every message counts rows.

    Args:
        tables: by name anything that `fit` takes.
        schema: tables, keys and rules.
        dangling: what a foreign key is that points nowhere: an 'error', or 'missing' (its cells become empty).

    Raises:
        SchemaError: a table or column is not there, or both sides of a key differ in type.
        DataError: a table cannot be read, a primary key repeats or is missing, a foreign key points nowhere.
        ParameterError: `dangling` is neither.
    """
    if dangling not in DANGLING:
        raise ParameterError(f"dangling must be 'error' or 'missing'; found {dangling!r}")
    opened = open_tables(tables)
    schema.validate({name: table.names for name, table in opened.items()})
    schema.topological()
    for relation in schema.relations:
        _check_types(relation, opened)
    for keys in schema.tables:
        referenced = {r.parent_key for r in schema.children_of(keys.name)}
        for key in sorted(referenced | ({keys.primary_key} - {()})):
            check_unique(keys, key, opened[keys.name])
    relations = []
    for relation in schema.relations:
        opened[relation.child], found = _pointing(relation, opened, dangling)
        relations.append(found)
    return opened, replace(schema, relations=tuple(relations))


def check_unique(keys: TableKeys, key: tuple[str, ...], table: Table) -> None:
    """Raise `DataError` where a key that others point to repeats, or is missing.

    Args:
        keys: of the table. key: its columns. table: all rows.
    """
    values = key_values(table, key)
    filled = complete(values)
    columns = ", ".join(key)
    noun = "primary key" if key == keys.primary_key else "key"
    if filled.num_rows < values.num_rows:
        raise DataError(
            f"table '{keys.name}': {noun} ({columns}) is missing in {values.num_rows - filled.num_rows:,} of "
            f"{values.num_rows:,} rows; fill it, or drop these rows"
        )
    if repeated := filled.num_rows - distinct(filled).num_rows:
        raise DataError(
            f"table '{keys.name}': {noun} ({columns}) is not unique: {repeated:,} of {filled.num_rows:,} rows repeat "
            "the key of an earlier one; drop the repeated rows, or name further columns that tell them apart"
        )


def count_rows(table: Table) -> int:
    """Rows of a table, read where its source does not tell."""
    return table.n_rows if table.n_rows is not None else table.to_arrow(table.names[:1]).num_rows


def key_values(table: Table, key: Sequence[str]) -> pa.Table:
    """The columns of a key in memory, as types that compare: text, int64 (whole floats, too), others as they are."""
    columns = table.to_arrow(list(key)).columns
    return pa.table({f"k{i}": _comparable(c) for i, c in enumerate(columns)})


def complete(keys: pa.Table) -> pa.Table:
    """The keys none of whose cells is missing."""
    return keys.drop_null()


def distinct(keys: pa.Table) -> pa.Table:
    """The keys without repetition, in the order in which they come first."""
    return keys.group_by(keys.column_names, use_threads=False).aggregate([])


def parent_rows(keys: pa.Table, parents: pa.Table) -> np.ndarray:
    """For each key the position of the row of `parents` that has it (N,): `MISSING` where a cell is, else `NOWHERE`.

    Args:
        keys, parents: of `key_values`; of equal rows of `parents` the first counts.
    """
    if not keys.schema.equals(parents.schema):  # synthetic tables may write keys otherwise
        keys, parents = (t.cast(pa.schema([(n, pa.string()) for n in t.column_names])) for t in (keys, parents))
    if keys.num_columns == 1:
        found = pc.index_in(keys["k0"], value_set=parents["k0"])
    else:
        both = [pa.chunked_array([*parents[n].chunks, *keys[n].chunks], parents[n].type) for n in keys.column_names]
        steps = (c.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy() for c in both)
        codes = numbered(list(steps))
        found = pc.index_in(pa.array(codes[parents.num_rows :]), value_set=pa.array(codes[: parents.num_rows]))
    position = found.fill_null(NOWHERE).to_numpy().astype(np.int64)
    for column in keys.columns:
        if column.null_count:
            position[column.is_null().to_numpy()] = MISSING
    return position


def numbered(columns: Sequence[np.ndarray]) -> np.ndarray:
    """A number from 0 on for each row, the same where all columns of whole numbers from -1 on, (N,) each, are equal."""
    number = np.zeros(len(columns[0]), np.int64)
    for code_N in columns:  # one by one: equal numbers are equal rows so far
        number = np.unique(number * (int(code_N.max(initial=0)) + 2) + code_N + 1, return_inverse=True)[1]
    return number


def rows_without(keys: pa.Table, parents: pa.Table) -> np.ndarray:
    """Positions of complete keys that are not among `parents`."""
    return np.flatnonzero(parent_rows(keys, parents) == NOWHERE)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of keys as text, as int64 where its values are whole, or as it is."""
    type_ = column.type
    if pt.is_dictionary(type_):
        return column.cast(type_.value_type)
    if pt.is_integer(type_) and not pt.is_uint64(type_):
        return column.cast(pa.int64())
    if pt.is_floating(type_) or pt.is_decimal(type_) or pt.is_uint64(type_):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:  # broken numbers, or above 2^63: they compare as what they are
            return column
    return column.cast(pa.timestamp("us", type_.tz)) if pt.is_timestamp(type_) else column


def _check_types(relation: Relation, opened: Mapping[str, Table]) -> None:
    """Raise `SchemaError` where a column of a key cannot equal the one it names."""
    sides = zip(relation.child_key, relation.parent_key, strict=True)
    for child_column, parent_column in sides:
        child, parent = (
            key_values(opened[t], (c,)).schema.field("k0").type
            for t, c in ((relation.child, child_column), (relation.parent, parent_column))
        )
        if not child.equals(parent) and not pt.is_null(child):
            raise SchemaError(
                f"relation {relation}: '{relation.child}.{child_column}' holds {child}, but "
                f"'{relation.parent}.{parent_column}' holds {parent}; cast one of them, so that equal keys are equal "
                "values"
            )


def _pointing(relation: Relation, opened: Mapping[str, Table], dangling: str) -> tuple[Table, Relation]:
    """The child's table with keys that point somewhere or are missing, and the relation with what was found."""
    child = opened[relation.child]
    values, parents = key_values(child, relation.child_key), key_values(opened[relation.parent], relation.parent_key)
    is_partial = complete(values).num_rows < values.num_rows
    nowhere = len(rows_without(values, parents))
    if nowhere and dangling == "error":
        key, target = ", ".join(relation.child_key), ", ".join(relation.parent_key)
        raise DataError(
            f"table '{relation.child}': the key ({key}) points nowhere in {nowhere:,} of {values.num_rows:,} rows: "
            f"table '{relation.parent}' has no row with such a ({target}). Add the missing rows to "
            f"'{relation.parent}', drop these of '{relation.child}', or take such keys as missing by dangling='missing'"
        )
    if nowhere:
        child = child.mapped(_WithoutDangling(relation.child_key, distinct(parents)))
    return child, replace(relation, nullable=relation.nullable or is_partial or nowhere > 0)


@dataclass(frozen=True)
class _WithoutDangling:
    """Rows whose key points nowhere with the key's cells empty; a pure function of a block."""

    key: tuple[str, ...]
    parents: pa.Table

    def __call__(self, block: pa.Table) -> pa.Table:
        keys = pa.table({f"k{i}": _comparable(block[c]) for i, c in enumerate(self.key)})
        keys = pa.table({n: keys[n].cast(self.parents.schema.field(n).type) for n in keys.column_names})
        if not len(nowhere := rows_without(keys, self.parents)):
            return block
        mask = np.zeros(block.num_rows, bool)
        mask[nowhere] = True
        for column in self.key:
            position = block.schema.get_field_index(column)
            empty = pc.if_else(pa.array(mask), pa.scalar(None, block[column].type), block[column])
            block = block.set_column(position, block.schema.field(position), empty)
        return block
