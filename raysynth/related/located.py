"""Keys that are places, not names: the hour and airport of the weather, the day of a calendar.

Where a key is several columns and the parents fill most of the grid that their values span, or where it is a date, it
tells where a row lies: a child's other columns depend on it (a departure on the hour), and such keys of one parent's
children are alike. So the child learns these columns like its others, and its parent is the row that lies there, or the
nearest one. A key whose values are names is found by matching on what rows are like (`grouping.py`).

Rows are counted without noise: there is no place for it under a privacy budget. Shape legend: N children, P parents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
import pyarrow as pa

from raysynth.data.keys import NOWHERE, distinct, key_values, parent_rows
from raysynth.data.table import as_table
from raysynth.related.forms import day_in
from raysynth.related.grouping import NO_PARENT, codes, numbers, plain
from raysynth.related.plan import TablePlan
from raysynth.schema.relations import Relation

FILLED = 0.5  # of the grid of a key's values, by rows of its table
OTHER_CATEGORY = 100.0  # how far another category is, in deviations of the numbers of a key


def located_keys(plans: Sequence[TablePlan], rows: Mapping[str, pa.Table]) -> frozenset[Relation]:
    """The keys whose parents are to be found by the values of their columns; `rows`: all tables, by name.

    The key that brings a table's rows is one of them where another can bring them, and no rule follows it.
    """
    by_name = {plan.name: plan for plan in plans}
    found: set[Relation] = set()
    for plan in plans:
        open_ = [] if plan.primary is None or plan.compared or plan.copies else [plan.primary]
        places = [r for r in (*plan.matched, *open_) if _is_place(r, plan, by_name[r.parent], rows)]
        others = [r for r in plan.matched if r not in places and not r.is_self_reference]
        found |= {r for r in places if r != plan.primary or others}
    return frozenset(found)


def _is_place(relation: Relation, plan: TablePlan, parent: TablePlan, rows: Mapping[str, pa.Table]) -> bool:
    """Whether a key is a place, and its columns may be learned: no other key nor rule of the table makes them."""
    made = {*plan.copies, *(t.parent_column for t in plan.totals), *(c for key in plan.keys for c in key)}
    if relation.is_self_reference or made & set(relation.child_key):
        return False
    return set(relation.parent_key) <= set(parent.learned) and _is_grid(
        rows[relation.parent].select(relation.parent_key)
    )


def _is_grid(keys: pa.Table) -> bool:
    """Whether rows fill most of the grid of the values of their columns, none of which are fractions."""
    if any(pa.types.is_floating(c.type) for c in keys.columns):
        return False
    size = np.prod([float(len(c.unique())) for c in keys.columns])
    return bool(keys.num_rows >= FILLED * size)


def parted_times(
    plan: TablePlan, plans: Sequence[TablePlan], rows: pa.Table, left_out: Set[str | None]
) -> frozenset[str]:
    """Times of such keys beside which the time of the day is learned, since an hour comes back every day.

    Args:
        plan: of a table that has them, as child or as parent. plans: of all tables. rows: of this one.
        left_out: columns that are learned in another form.
    """
    names = {c for r in plan.located for c in r.child_key}
    names |= {c for p in plans for r in p.located if r.parent == plan.name for c in r.parent_key}
    held = (n for n in names if n not in left_out)
    return frozenset(n for n in held if pa.types.is_timestamp(rows.field(n).type) and _has_times(rows.column(n)))


def _has_times(values: pa.ChunkedArray) -> bool:
    """Whether times lie on more than one day, not all at its beginning."""
    x, day = numbers(values), day_in(values.type)
    x = x[~np.isnan(x)]
    return bool((x % day).any() and len(np.unique(x // day)) > 1)


def parents_by_values(relation: Relation, rows: pa.Table, parents: pa.Table, rng: np.random.Generator) -> np.ndarray:
    """The parent of each row, (N,): the one with its key, else the nearest; `NO_PARENT` where a part is missing.

    Args:
        relation: whose columns both tables have.
        rows: of the child. parents: made ones. rng: for rows that must have a parent and lack a part of the key.
    """
    keys = key_values(as_table(rows.select(relation.child_key), min_rows=0), relation.child_key)
    theirs = key_values(as_table(parents.select(relation.parent_key), min_rows=0), relation.parent_key)
    found = parent_rows(keys, theirs)
    if (lost := np.flatnonzero(found == NOWHERE)).size and parents.num_rows:
        asked = keys.take(pa.array(lost))
        different = distinct(asked)
        found[lost] = _nearest(different, theirs)[parent_rows(asked, different)]
    found = np.maximum(found, NO_PARENT)
    if not relation.nullable and parents.num_rows and (lost := np.flatnonzero(found == NO_PARENT)).size:
        found[lost] = rng.integers(0, parents.num_rows, len(lost))
    return found


def _nearest(keys: pa.Table, parents: pa.Table) -> np.ndarray:
    """The nearest of the parents for each key without missing parts, (N,); parents with missing parts are none."""
    from scipy.spatial import cKDTree

    whole = np.flatnonzero(np.all([c.is_valid().to_numpy() for c in parents.columns], axis=0))
    parts_N, parts_P = [], []
    for own, theirs in zip(keys.columns, parents.take(pa.array(whole)).columns, strict=True):
        if pa.types.is_string(theirs.type) or pa.types.is_boolean(theirs.type):
            both, values = codes(pa.chunked_array([plain(own).cast(pa.string()), plain(theirs).cast(pa.string())]))
            x = (both[:, None] == np.arange(len(values))) * OTHER_CATEGORY
        else:
            x = np.append(numbers(own), numbers(theirs))[:, None]
            x = x / max(float(np.std(x[len(keys) :])), 1e-9)
        parts_N.append(x[: len(keys)])
        parts_P.append(x[len(keys) :])
    if not len(whole):
        return np.full(len(keys), NO_PARENT)
    return whole[cKDTree(np.hstack(parts_P)).query(np.hstack(parts_N))[1]]
