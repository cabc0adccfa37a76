"""Keys that do not repeat among made rows, though models of rows know nothing of them.

Of several families of a parent one is kept that repeats few keys; rows that still repeat one give way to rows of the
others, numbers and times are moved to the next free ones, rows whose parents were matched exchange them,
and what is left over goes. Columns that tell the children of a parent apart though nobody declared them a key
(`nested.py`) are kept apart so, too, but for them no value is moved and no row goes. Shape legend: N rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.data.keys import numbered
from raysynth.related.forms import of_type
from raysynth.related.grouping import codes, kinds_of, numbers, unit_in
from raysynth.related.learning import TableModel
from raysynth.related.plan import wanted_of
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.relations import Relation

FEWER = 0.9  # of the rows asked for: fewer are said
TRIES = 60  # rounds of new rows in place of those that repeat a key
REDEALT = 30  # rounds of new parents in place of those that repeat a key
MOST_PLACES = 2**62  # of numbers that are moved, over all groups


@dataclass(frozen=True)
class FamilyKeys:
    """The keys of a child table in which learned columns tell rows apart: of one parent, or all.

    Args:
        keys: these columns of each key, and whether they tell the rows of one parent alone, whose key holds its own.
        movable: of them numbers and times that nothing else depends on, as the table has them.
        found: sets of columns that tell the rows of one parent apart without being declared.
    """

    keys: Mapping[tuple[str, ...], bool]
    movable: Mapping[str, ColumnSchema]
    found: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, model: TableModel) -> FamilyKeys:
        """Those of a table."""
        plan, keys = model.plan, {}
        if plan.primary is None or model.model is None or not (plan.keys or model.apart):
            return cls({}, {})
        made = {c.name for c in model.forms.columns}  # a column that numbers a parent's rows is none of them
        for key in plan.keys:
            own = tuple(c for c in key if c not in {*plan.primary.child_key, *plan.copies})
            if own and made >= set(own) and (own == key or set(plan.primary.child_key) <= set(key)):
                keys[own] = own != key
        fixed = {*plan.compared, *(c for x in model.schema.constraints for c in x.involves)}
        columns = (c for c in model.forms.columns if c.kind.is_numeric and c.name not in fixed)
        return cls(keys, {c.name: c for c in columns}, model.apart)

    @property
    def _sets(self) -> tuple[tuple[str, ...], ...]:
        return (*self.keys, *self.found)

    def repeated(self, rows: pa.Table, parent_N: np.ndarray, *, declared: bool = False) -> np.ndarray:
        """Whether each row repeats a key of an earlier one, (N,) bool; without a parent none of a parent's rows.

        `declared`: these keys alone count, and not what was found beside them.
        """
        result = np.zeros(len(parent_N), bool)
        for own in self.keys if declared else self._sets:
            of_one = self.keys.get(own, True)
            held = (parent_N >= 0) | (not of_one)
            later = repeats([parent_N * of_one, *(codes(rows.column(c))[0] for c in own)])
            result[later[held[later]]] = True
        return result

    def instead(self, rows: pa.Table, parent_N: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Which rows to keep, where those kept that repeat a key give way to others of their parent that repeat none.

        Of the columns of a key that hold a number one may differ, the others stay as they are: else what is rare would
        come where what is frequent is taken (a second stint for a season that is there already).

        Args:
            rows: of several families of each parent. parent_N: of each. kept: numbers of rows that are kept so far.
        """
        if not self._sets:
            return kept
        others = np.setdiff1d(np.arange(len(parent_N)), kept)
        order = np.append(kept, others)
        shown, parent_N = rows.take(pa.array(order)), parent_N[order]
        repeated = self.repeated(shown, parent_N)
        lost, free = np.flatnonzero(repeated[: len(kept)]), len(kept) + np.flatnonzero(~repeated[len(kept) :])
        moving = [next((c for c in own if c in self.movable), None) for own in self._sets]
        stay = {c for own, one in zip(self._sets, moving, strict=True) for c in own if one is not None and c != one}
        alike = numbered([parent_N, *(codes(shown.column(c))[0] for c in sorted(stay))])
        lost, free = (x[np.argsort(alike[x], kind="stable")] for x in (lost, free))
        of_lost, of_free = alike[lost], alike[free]
        place = np.searchsorted(of_free, of_lost) + np.arange(len(lost)) - np.searchsorted(of_lost, of_lost)
        found = place < np.searchsorted(of_free, of_lost, side="right")
        result = kept.copy()
        result[lost[found]] = order[free[place[found]]]
        return result

    def without_repeats(self, rows: pa.Table, parent_N: np.ndarray) -> tuple[pa.Table, np.ndarray]:
        """The rows with repeated numbers moved, and the numbers of those that then repeat no key, ascending."""
        for own, of_one in self.keys.items():
            for name in [c for c in own if c in self.movable][:1]:
                group = [parent_N * of_one, *(codes(rows.column(c))[0] for c in own if c != name)]
                moved = _moved(numbers(rows.column(name)), numbered(group), (parent_N >= 0) | (not of_one))
                place = rows.column_names.index(name)
                rows = rows.set_column(place, name, of_type(moved, self.movable[name]))
        return rows, np.flatnonzero(~self.repeated(rows, parent_N, declared=True))


def _moved(x_N: np.ndarray, group_N: np.ndarray, held_N: np.ndarray) -> np.ndarray:
    """Numbers of which those of one group differ, moved as little upwards as it takes, at the upper end downwards.

    None goes beyond the least or the largest; where there are fewer numbers than rows, some stay equal.
    """
    at = np.flatnonzero(held_N & ~np.isnan(x_N))
    unit = unit_in(x_N)
    if not len(at) or not unit:
        return x_N
    low = x_N[at].min()
    place, group = np.round((x_N[at] - low) / unit).astype(np.int64), np.unique(group_N[at], return_inverse=True)[1]
    order = np.lexsort((place, group))
    place, group, last = place[order], group[order].astype(np.int64), int(place.max())
    within = np.arange(len(at)) - np.searchsorted(group, group)
    apart = last + int(within.max()) + 1
    if int(group[-1] + 1) > MOST_PLACES // apart:
        return x_N
    up = np.maximum.accumulate(place - within + group * apart) - group * apart + within
    down = (np.minimum(up, last) - within + group * apart)[::-1]
    final = np.minimum.accumulate(down)[::-1] - group * apart + within
    result = x_N.copy()
    result[at[order]] = np.where(final == place, x_N[at[order]], low + np.clip(final, 0, last) * unit)
    return result


def repeats(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The rows whose numbers, -1 or more in each column (N,), are those of an earlier row."""
    first = np.zeros(len(columns[0]), bool)
    first[np.unique(numbered(columns), return_index=True)[1]] = True
    return np.flatnonzero(~first)


def told_over_all(model: TableModel) -> bool:
    """Whether a key tells all rows apart by columns that are learned or matched, whichever parents they have.

    Rows of such a table know of each other only where they are made together.
    """
    plan = model.plan
    of_parent = set() if plan.primary is None else set(plan.primary.child_key)
    drawn = (set(key) for key in plan.keys if not set(key) & set(plan.made))
    return any(not of_parent or not of_parent <= key for key in drawn)


def distinct_roots(model: TableModel, rows: pa.Table, n: int, draw: Callable[[int], pa.Table]) -> pa.Table:
    """The rows with new ones in place of those that repeat a key of learned columns, as far as there are such.

    Args:
        model: of a root table. rows: made ones. n: how many are wanted. draw: so many more.
    """
    keys = [k for k in model.plan.keys if all(c in rows.column_names for c in k)]
    for key in keys:
        kept = rows.take(pa.array(_first_of_each(rows, key)))
        for _ in range(TRIES):
            if kept.num_rows >= n:
                break
            kept = pa.concat_tables([kept, draw(max(n - kept.num_rows, n // 4))]).unify_dictionaries().combine_chunks()
            kept = kept.take(pa.array(_first_of_each(kept, key)[:n]))
        say_fewer(model, kept.num_rows, n, key)
        rows = kept
    return rows


def say_fewer(model: TableModel, kept: int, n: int, key: Sequence[str]) -> None:
    """Warn where clearly fewer rows of a table are made than asked for, since its key has no more values."""
    if kept < FEWER * n:
        warnings.warn(
            f"table '{model.plan.name}': {kept:,} of {n:,} rows made, since its key ({', '.join(key)}) "
            "has no more values that are learned; rows below follow. Ask for a smaller scale, or give its rows",
            stacklevel=2,
        )


def _first_of_each(rows: pa.Table, key: tuple[str, ...]) -> np.ndarray:
    """The rows that are the first with their key, ascending; rows that lack a part of it are left out."""
    columns = [codes(rows.column(c))[0] for c in key]
    first = np.setdiff1d(np.arange(rows.num_rows), repeats(columns))
    return first[np.all([c[first] >= 0 for c in columns], axis=0)]


def exchange_parents(
    model: TableModel, rows: pa.Table, parents: Mapping[Relation, np.ndarray], rng: np.random.Generator
) -> None:
    """Exchange matched parents between rows that want the same kind until no key repeats, as far as that goes.

    Rows that still repeat one have lost it in the end: their table has fewer combinations than rows.

    Args:
        rows: made ones. parents: of each key the number of each row's parent; it is changed.
    """
    for key in model.plan.keys:
        held = [r for r in parents if set(r.child_key) <= set(key)]
        free = [r for r in held if r in model.plan.matched]
        own = set(key) - {c for r in held for c in r.child_key}
        if not free or not own <= set(rows.column_names):
            continue
        relation = free[-1]
        others = [parents[r] for r in held if r is not relation] + [codes(rows.column(c))[0] for c in own]
        wanted, found = kinds_of(rows, wanted_of(relation), 0), parents[relation]
        for _ in range(REDEALT):
            repeated = repeats([*others, found])
            if not len(repeated):
                break
            for row, other in zip(repeated, _partners(repeated, wanted, rng), strict=True):
                found[row], found[other] = found[other], found[row]


def _partners(rows: np.ndarray, wanted_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of some rows a random row that wants the same kind of parent."""
    order = np.argsort(wanted_N, kind="stable")
    kinds = wanted_N[order]
    start, stop = (np.searchsorted(kinds, wanted_N[rows], side) for side in ("left", "right"))
    partners: np.ndarray = order[start + (rng.random(len(rows)) * (stop - start)).astype(np.int64)]
    return partners
