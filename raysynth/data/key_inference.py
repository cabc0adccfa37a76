"""Keys between tables that nobody declared: found by uniqueness, inclusion and names, each with its reason.

A foreign key is believed where (a) the columns that it names are unique in their table, (b) nearly all of its values
are found there and (c) the names say so ('patient_id' and 'patients.id'), or, for text alone, at least ten different
values are found without exception that matters: whole numbers lie within one another by chance (Rostin et al. 2009,
"A machine learning approach to foreign key discovery"; Jiang and Naumann 2020).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.fragments import Table
from raysynth.data.keys import complete, distinct, key_values, open_tables, rows_without
from raysynth.errors import SchemaError
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation, TableKeys

LEAST_FOUND = 0.8  # share of rows whose key is found, where the names agree
LEAST_FOUND_TEXT = 0.95  # where only the values do
LEAST_VALUES = 10  # different values of such a key
MOST_COLUMNS = 4  # of a composite key
_KEY_WORDS = frozenset(("id", "key", "code", "no", "nr", "num", "number", "uid", "uuid", "guid", "pk"))
_GENERIC = _KEY_WORDS | {"index", "name", "title", "label", "date", "day", "month", "year"}
_ROLES = frozenset(
    ("parent", "manager", "boss", "supervisor", "superior", "leader", "head", "mentor", "reports", "sponsor", "reply")
    + ("predecessor", "previous", "successor", "replaces", "referrer", "referred", "mother", "father", "sire", "dam")
)


@dataclass(frozen=True)
class _Key:
    """A unique key of a table.

    Args:
        table, columns: where.
        values: distinct and complete.
        is_second: another column is named as the table's key: then only one of the same name points to this one.
        words: of each column's name.
    """

    table: str
    columns: tuple[str, ...]
    values: pa.Table
    is_second: bool = False


def as_database_schema(
    relations: DatabaseSchema | str | os.PathLike[str] | Sequence[Relation | CrossTableRule | str] | None,
    tables: Mapping[str, Any],
    *,
    verbose: bool = True,
) -> DatabaseSchema:
    """The schema that a user means by `relations=`.

    Args:
        relations: a schema; its JSON file; a list of relations and rules, or their text ('visits.patient_id ->
            patients.id', 'visits.day >= patients.born'); None: inferred.
        tables: by name anything that `fit` takes; read only where relations are inferred.
        verbose: print each inferred relation with its reason.

    Raises:
        SchemaError: what is given is none of these, or names what is not there.
    """
    if relations is None:
        return infer_relations(tables, verbose=verbose)
    if isinstance(relations, DatabaseSchema):
        return relations
    is_text = isinstance(relations, str) and re.search("->|[<>=]=|[<>]| = ", relations) is not None
    if isinstance(relations, (str, os.PathLike)) and not is_text:
        return DatabaseSchema.load(relations)
    given = [relations] if isinstance(relations, str) else relations
    if not isinstance(given, Sequence) or not all(isinstance(r, (str, Relation, CrossTableRule)) for r in given):
        raise SchemaError(
            "relations must be a DatabaseSchema, the path of its JSON, or a list of texts 'child.column -> "
            f"parent.column'; found {relations!r}"
        )
    parsed = [
        r if not isinstance(r, str) else Relation.parse(r) if "->" in r else CrossTableRule.parse(r) for r in given
    ]
    keys = tuple(r for r in parsed if isinstance(r, Relation))
    primary = {r.parent: r.parent_key for r in reversed(keys)}
    names = [*tables, *(t for r in keys for t in (r.parent, r.child) if t not in tables)]
    declared = tuple(TableKeys(n, primary.get(n, ())) for n in dict.fromkeys(names))
    return DatabaseSchema(declared, keys, tuple(r for r in parsed if isinstance(r, CrossTableRule)))


def infer_relations(tables: Mapping[str, Any], *, verbose: bool = True) -> DatabaseSchema:
    """Find the keys of a database from names and values; each is printed with the reason for it.

    It reads rows without noise; under a privacy budget declare the relations instead.

    Args:
        tables: by name anything that `fit` takes.
        verbose: print.

    Raises:
        DataError: a table cannot be read.
    """
    opened = open_tables(tables)
    found, reasons = _relations_of(opened)
    keys = {r.parent: r.parent_key for r in found}
    declared = tuple(TableKeys(n, keys.get(n) or _named_key(n, t)) for n, t in opened.items())
    if verbose:
        print("relations by uniqueness, inclusion and names (declare them by relations= where this is wrong):")
        for relation, reason in zip(found, reasons, strict=True):
            print(f"  {relation}: {reason}")
        if not found:
            print("  none: the tables are taken for unrelated")
    return DatabaseSchema(declared, tuple(found))


def _relations_of(opened: Mapping[str, Table]) -> tuple[list[Relation], list[str]]:
    """Each child's keys, the single ones first; a composite one only where no single one leads to its parent."""
    parents = {name: _keys_of(name, table) for name, table in opened.items()}
    relations: list[Relation] = []
    reasons: list[str] = []
    for child, table in opened.items():
        for column in table.names:
            best = max(_candidates(child, table, column, parents), default=None, key=lambda c: c[0])
            if best is not None and not _is_mirrored(best[1], relations):
                relations.append(best[1])
                reasons.append(best[2])
    for child, parent in ((c, p) for c in opened for p in opened if c != p):
        if not any({r.child, r.parent} == {child, parent} for r in relations):
            for relation, reason in _composite(child, parent, opened):
                relations.append(relation)
                reasons.append(reason)
    return relations, reasons


def _is_mirrored(relation: Relation, relations: Sequence[Relation]) -> bool:
    """Whether the same columns lead the other way already: two tables with one row each for the same thing."""
    mirrored = (relation.child, relation.child_key, relation.parent, relation.parent_key)
    return any((r.parent, r.parent_key, r.child, r.child_key) == mirrored for r in relations)


def _unique_columns(name: str, table: Table) -> Iterator[_Key]:
    """Columns without gaps and repeats that can be keys: whole numbers and text."""
    for column in table.names:
        if not _can_be_key(table.schema.field(column).type):
            continue
        values = key_values(table, (column,))
        if _is_key_type(values) and values["k0"].null_count == 0 and distinct(values).num_rows == values.num_rows > 1:
            yield _Key(name, (column,), values)


def _can_be_key(type_: pa.DataType) -> bool:
    return bool(pt.is_integer(type_) or pt.is_dictionary(type_) or pt.is_floating(type_) or pt.is_decimal(type_))


def _is_key_type(values: pa.Table) -> bool:
    """Whole numbers (written as floats, too, where some are missing) or text."""
    return all(pt.is_integer(f.type) or pt.is_string(f.type) for f in values.schema)


def _candidates(
    child: str, table: Table, column: str, parents: Mapping[str, Sequence[_Key]]
) -> Iterator[tuple[tuple[float, ...], Relation, str]]:
    """(rank, relation, reason) of every key that a column may be meant to name."""
    if not _can_be_key(table.schema.field(column).type):
        return
    values = complete(key_values(table, (column,)))
    if values.num_rows == 0 or not _is_key_type(values):
        return
    different = distinct(values)
    for keys in parents.values():
        for key in keys:
            if (key.table, key.columns) == (child, (column,)) or not key.values.schema.equals(different.schema):
                continue
            likeness, why = _likeness(child, column, key)
            is_text = pt.is_string(values.schema.field("k0").type)
            if likeness == 0 and not (is_text and different.num_rows >= LEAST_VALUES and key.table != child):
                continue
            if key.is_second and likeness < 2 or len(rows_without(different, key.values)) == different.num_rows:
                continue
            found = 1 - len(rows_without(values, key.values)) / values.num_rows
            if found < (LEAST_FOUND if likeness else LEAST_FOUND_TEXT):
                continue
            if different.num_rows == values.num_rows and likeness < 2 and not _is_smaller(different, key):
                continue  # one row for each row: only a name says which of both is the parent
            nullable = values.num_rows < _rows(table, column)
            relation = Relation(key.table, child, key.columns, (column,), nullable)
            rank = (likeness, found, _table_likeness(key.table, key.columns[0]), -key.values.num_rows)
            yield rank, relation, _reason(why, different.num_rows, found, key)


def _rows(table: Table, column: str) -> int:
    return table.n_rows if table.n_rows is not None else key_values(table, (column,)).num_rows


def _is_smaller(different: pa.Table, key: _Key) -> bool:
    return different.num_rows < key.values.num_rows


def _reason(why: str, n_different: int, found: float, key: _Key) -> str:
    nowhere = "" if found == 1 else f" in {found:.1%} of its rows, and points nowhere in the others"
    columns = ", ".join(key.columns)
    return (
        f"{why}; its {n_different:,} different values are found in '{key.table}', where ({columns}) is unique{nowhere}"
    )


def _likeness(child: str, column: str, key: _Key) -> tuple[int, str]:
    """How much the names speak for a key: 3 same table and key named, 2 same name, 1 a role; 0 nothing; and why."""
    name, target, table = _words(column), _words(key.columns[0]), _singular(_words(key.table))
    is_generic = all(w in _GENERIC for w in target)
    if child == key.table:
        in_role = bool(_ROLES & set(name)) or (not is_generic and len(name) > len(target) and _ends(name, target))
        return (1, "a role in its name") if in_role else (0, "")
    bare = _singular(name)
    if is_generic and (name == table + target or bare == table):
        return 3, "its name is that of the table"
    if not is_generic and name == target:
        named, is_text = _starts_with_table(target, table), pt.is_string(key.values.schema.field("k0").type)
        if not (named or is_text or target[-1] in _KEY_WORDS):
            return 0, "whole numbers of the same name, but not that of a key"
        return (3, "its name is that of the key and its table") if named else (2, "its name is that of the key")
    if is_generic and name[-1] in _GENERIC and _singular(name[:-1]) == table and len(name) > 1:
        return 3, "its name is that of the table"
    tail = table + target if is_generic else target
    if _ends(name, tail) or _ends(bare, table) or (not is_generic and _ends(_singular(name[:-1]), table)):
        return 1, "its name ends in that of the table or key"
    return 0, "no likeness of names"


def _table_likeness(table: str, column: str) -> float:
    """Whether a key is its table's own ('patients.patient_id'), which another table's copy of it is not."""
    return float(_starts_with_table(_words(column), _singular(_words(table))))


def _starts_with_table(words: list[str], table: list[str]) -> bool:
    return bool(table) and (_singular(words[: len(table)]) == table or "".join(words).startswith("".join(table)))


def _ends(words: list[str], tail: list[str]) -> bool:
    return bool(tail) and len(words) >= len(tail) and words[-len(tail) :] == tail


def _words(name: str) -> list[str]:
    """'customerID', 'Customer_Id' and 'customer id' as ['customer', 'id']."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return re.findall(r"[^\W_]+", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", parts).lower())


def _singular(words: Sequence[str]) -> list[str]:
    """Words with the last one in the singular: 'order lines' as 'order line', 'countries' as 'country'."""
    if not words:
        return []
    last = words[-1]
    if last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("sses", "xes", "ches", "shes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us")):
        last = last[:-1]
    elif last == "people":
        last = "person"
    return [*words[:-1], last]


def _composite(child: str, parent: str, opened: Mapping[str, Table]) -> Iterator[tuple[Relation, str]]:
    """The smallest set of columns of the same names and types that is unique in the parent, where the child's rows name
    them and repeat them."""
    types = {t: {f.name: f.type for f in opened[t].schema} for t in (child, parent)}
    shared = [
        c for c in opened[parent].names if types[child].get(c) == types[parent][c] and _may_join(types[parent][c])
    ]
    if len(shared) < 2 or all(w in _GENERIC for c in shared for w in _words(c)):
        return
    for size in range(2, min(MOST_COLUMNS, len(shared)) + 1):
        for columns in combinations(shared, size):
            values = key_values(opened[parent], columns)
            if complete(values).num_rows < values.num_rows or distinct(values).num_rows < values.num_rows:
                continue
            keys = complete(own := key_values(opened[child], columns))
            different = distinct(keys)
            if keys.num_rows == 0 or different.num_rows == own.num_rows and own.num_rows >= values.num_rows:
                continue
            found = 1 - len(rows_without(keys, values)) / keys.num_rows
            if found >= LEAST_FOUND:
                relation = Relation(parent, child, columns, columns, keys.num_rows < own.num_rows)
                key = _Key(parent, columns, values)
                yield relation, _reason("its names are those of the key", different.num_rows, found, key)
                return


def _may_join(type_: pa.DataType) -> bool:
    return bool(pt.is_integer(type_) or pt.is_dictionary(type_) or pt.is_timestamp(type_) or pt.is_date(type_))


def _keys_of(name: str, table: Table) -> list[_Key]:
    """A table's unique columns, those beside its named key marked as second."""
    keys, named = list(_unique_columns(name, table)), _named_key(name, table)
    return [replace(k, is_second=named not in ((), k.columns)) for k in keys]


def _named_key(name: str, table: Table) -> tuple[str, ...]:
    """The unique column that is named as the table's key; () where none is."""
    own = _singular(_words(name))
    for key in _unique_columns(name, table):
        words = _words(key.columns[0])
        is_named = words[-1:] and words[-1] in _KEY_WORDS
        if is_named and (len(words) == 1 or _starts_with_table(words, own)):
            return key.columns
    return ()
