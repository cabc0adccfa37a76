"""Keys between the children of one parent that nobody declared: a player's positions within a season at bat.

Where two tables hang from the same parent and share columns that, with the key, tell the rows of the one apart, and all
rows of the other have such a row, these are parts of it. Made for the parent alone both would disagree on the years and
the teams. So the second table is made for the rows of the first, and its columns that are equal there are copied. Such
keys serve the making of rows alone: the schema that users see has the declared ones.

Columns, too, may tell the children of one parent apart without being declared a key: the year and stint of a player's
season, the day of a shop's sales. They are taken for that where rows that were drawn without regard to each other would
have been equal many times, and no two are.

Rows are compared without noise: there is no place for it under a privacy budget. Shape legend: N rows, F families.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.data.fragments import Table
from raysynth.data.keys import complete, count_rows, distinct, key_values, numbered, parent_rows
from raysynth.related.grouping import Family, codes
from raysynth.related.plan import TablePlan
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation

MOST_SHARED = 3  # columns of such a key beside that of the parent
BY_CHANCE = 20.0  # equal pairs of rows that chance would have made, where none is there
FIRST_ROWS = 4096  # compared before all


def with_nested(
    schema: DatabaseSchema, plans: Sequence[TablePlan], tables: Mapping[str, Table], fixed: Set[str]
) -> tuple[DatabaseSchema, tuple[Relation, ...]]:
    """The schema with the keys that are found between children of one parent and rules for what they copy; the keys.

    Args:
        schema: as declared. plans: its tables. tables: all rows, by name.
        fixed: names of tables whose rows stay with their parent.
    """
    found: dict[str, Relation] = {}
    rules: list[CrossTableRule] = []
    for plan in plans:
        free = plan.order is None and plan.name not in fixed and all(r.child != plan.name for r in plan.rules)
        if not free:
            continue
        for other in sorted(plans, key=lambda p: -count_rows(tables[p.name])):
            if _may_hold(schema, plan, other) and not _is_below(other.name, plan.name, found):
                relation = _key_between(plan, other, tables)
                if relation is not None:
                    found[plan.name] = relation
                    rules += _copies(relation, plan, other, tables)
                    break
    nested = tuple(found.values())
    return replace(schema, relations=(*schema.relations, *nested), rules=(*schema.rules, *rules)), nested


def _may_hold(schema: DatabaseSchema, plan: TablePlan, other: TablePlan) -> bool:
    """Whether both are different children of one parent without a key between them."""
    own, theirs = plan.primary, other.primary
    if own is None or theirs is None or plan.name == other.name:
        return False
    between = [r for r in schema.relations if {r.parent, r.child} == {plan.name, other.name}]
    return not between and (own.parent, own.parent_key) == (theirs.parent, theirs.parent_key)


def _is_below(name: str, ancestor: str, found: Mapping[str, Relation]) -> bool:
    """Whether a table is made for rows of another by the keys found so far."""
    while name in found:
        name = found[name].parent
        if name == ancestor:
            return True
    return False


def _shared(plan: TablePlan, other: TablePlan, tables: Mapping[str, Table]) -> Iterator[str]:
    """Columns of the same name and kind of values that both tables are to learn."""
    for column in plan.learned:
        if column in other.learned:
            types = [key_values(tables[p.name], (column,)).schema for p in (plan, other)]
            if types[0].equals(types[1]):
                yield column


def _key_between(plan: TablePlan, other: TablePlan, tables: Mapping[str, Table]) -> Relation | None:
    """The shortest key by which each row of a table has exactly one row of another; None: there is none."""
    assert plan.primary is not None and other.primary is not None
    own, theirs = plan.primary.child_key, other.primary.child_key
    shared = [c for c in _shared(plan, other, tables) if not _is_fraction(tables[plan.name], c)]
    for size in range(1, min(MOST_SHARED, len(shared)) + 1):
        for columns in combinations(shared, size):
            child_key, parent_key = (*own, *columns), (*theirs, *columns)
            parents = key_values(tables[other.name], parent_key)
            if complete(parents).num_rows < parents.num_rows or distinct(parents).num_rows < parents.num_rows:
                continue
            if (parent_rows(key_values(tables[plan.name], child_key), parents) >= 0).all():
                return Relation(other.name, plan.name, parent_key, child_key)
    return None


def _is_fraction(table: Table, column: str) -> bool:
    return bool(pa.types.is_floating(key_values(table, (column,)).schema.field("k0").type))


def _copies(
    relation: Relation, plan: TablePlan, other: TablePlan, tables: Mapping[str, Table]
) -> Iterator[CrossTableRule]:
    """Rules for the columns that have in every row the value of the row that it is a part of."""
    child, parent = tables[relation.child], tables[relation.parent]
    row = pa.array(parent_rows(key_values(child, relation.child_key), key_values(parent, relation.parent_key)))
    for column in _shared(plan, other, tables):
        if column in relation.child_key:
            continue
        own, theirs = (key_values(t, (column,))["k0"] for t in (child, parent))
        theirs = theirs.take(row)
        equal = pc.fill_null(pc.equal(own, theirs), False).to_numpy()
        missing = np.logical_and(own.is_null().to_numpy(), theirs.is_null().to_numpy())
        if (equal | missing).all() and len(own.unique()) > 1:
            yield CrossTableRule("==", relation.child, column, relation.parent, column)


def apart_within(rows: pa.Table, family: Family, known: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """The columns, alone or two together, in which no two children of one parent are equal, and not by chance.

    Args:
        rows: of learned columns. family: of the rows. known: keys; what holds such columns already is none.
    """
    held = np.flatnonzero(family.parent >= 0)
    held = held[np.argsort(family.parent[held], kind="stable")]
    of_N, pairs_F = family.parent[held], _pairs(family.number)
    told = [k for k in known if any(c in rows.column_names for c in k)]
    coded: dict[str, np.ndarray] = {}
    equal: dict[str, np.ndarray] = {}
    found: list[tuple[str, ...]] = []
    for name in rows.column_names:
        column = rows.column(name)
        if pa.types.is_floating(column.type) or column.null_count or any(name in k for k in told):
            continue
        coded[name] = codes(column)[0][held]
        equal[name] = _equal_pairs([of_N, coded[name]], of_N, len(pairs_F))
        shares = np.bincount(coded[name]) / max(len(held), 1)
        if not equal[name].any():
            found += [(name,)] * bool(pairs_F.sum() * float(shares @ shares) >= BY_CHANCE)
            del coded[name]
    several = np.flatnonzero(pairs_F)
    for one, two in combinations(coded, 2):
        by_chance = (equal[one][several] * equal[two][several] / pairs_F[several]).sum()
        if by_chance >= BY_CHANCE and not any(
            _equal_pairs([c[:n] for c in (of_N, coded[one], coded[two])], of_N[:n], len(pairs_F)).any()
            for n in (FIRST_ROWS, len(of_N))
        ):
            found.append((one, two))
    return tuple(found)


def _pairs(number: np.ndarray) -> np.ndarray:
    result: np.ndarray = number * (number - 1) / 2
    return result


def _equal_pairs(columns: Sequence[np.ndarray], of_N: np.ndarray, n_families: int) -> np.ndarray:
    """Pairs of rows of each family that are equal in some columns, the first of which is the family's number, (F,)."""
    _, first, count = np.unique(numbered(columns), return_index=True, return_counts=True)
    result: np.ndarray = np.bincount(of_N[first], weights=_pairs(count), minlength=n_families)
    return result
