"""Rows of one table grouped by those of another: which parent each has, its place among its siblings, summaries.

Everything is an array operation: no loop over rows or parents. Shape legend: N rows, P parents, S places of
children.

Which made parent a row gets, where it is not the one that brought it, is a join on codes (`match_parents`). A row wants
a kind of parent; a parent has a kind, and a number of children that it is to have. The parents are dealt out like
cards: as many of each as it is to have children, to rows that want its kind; what is left over on both sides after that
is dealt regardless of the kind. So the distribution of the number of children is kept, and the kind as far as the
numbers allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.encoding.numbers import to_float
from raysynth.kinds import arrow_text
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.base import one_array

NO_PARENT = -1
MOST_LEVELS = 1000  # of a hierarchy; a longer way up is taken for a circle


def plain(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array, without dictionary."""
    return arrow_text.plain(one_array(values))


@dataclass(frozen=True)
class Family:
    """Rows and their parents.

    Args:
        parent: number of each row's parent, `NO_PARENT` for none, (N,).
        place: of each row among its siblings, from 0; of rows without a parent 0, (N,).
        number: of children of each parent, (P,).
    """

    parent: np.ndarray
    place: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, parent_N: np.ndarray, n_parents: int, order_N: np.ndarray) -> Family:
        """Siblings in ascending order of `order_N` (random numbers: in random order)."""
        number = np.bincount(parent_N[parent_N >= 0], minlength=n_parents)
        rows = np.lexsort((order_N, parent_N))
        place = np.zeros(len(parent_N), np.int64)
        start = np.cumsum(number) - number
        without = int((parent_N < 0).sum())
        held = rows[without:]
        place[held] = np.arange(len(held)) - start[parent_N[held]]
        return cls(parent_N, place, number)

    @classmethod
    def made(cls, number_P: np.ndarray) -> Family:
        """New rows for the numbers of children of some parents, in their order."""
        parent_N = np.repeat(np.arange(len(number_P)), number_P)
        start = np.cumsum(number_P) - number_P
        return cls(parent_N, np.arange(len(parent_N)) - start[parent_N], number_P)


def numbers(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A numeric column as float64, NaN where missing, (N,)."""
    x, missing = to_float(plain(values))
    return x if missing is None else np.where(missing, np.nan, x)


def unit_of(type_: pa.DataType) -> float:
    """Microseconds of one step of `numbers` for a type of times; 1 for other types."""
    if pa.types.is_date32(type_):
        return 86_400e6
    return {"s": 1e6, "ms": 1e3, "ns": 1e-3}.get(getattr(type_, "unit", ""), 1.0)


def unit_in(x_N: np.ndarray) -> int:
    """The largest whole number of which all values are multiples; 0: none."""
    x = x_N[~np.isnan(x_N)]
    if not len(x) or (np.abs(x) > 2**62).any() or (x != np.round(x)).any():
        return 0
    return int(np.gcd.reduce(x.astype(np.int64)))


def on_grid(x: np.ndarray, unit: int) -> np.ndarray:
    """Numbers as the nearest multiples of a unit."""
    return np.round(x / unit) * unit if unit else x


def codes(values: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """A discrete column as numbers of its distinct values (-1: missing), (N,), and these values."""
    coded = arrow_text.coded(one_array(values))
    return arrow_text.indices_of(coded), coded.dictionary


def values_of(distinct: pa.Array, taken: np.ndarray) -> pa.Array:
    """Values by their number, null for -1; text stays dictionary codes."""
    indices = pa.array(np.maximum(taken, 0).astype(np.int32), mask=taken < 0)
    if arrow_text.is_string(distinct.type):
        return pa.DictionaryArray.from_arrays(indices, distinct)
    return distinct.take(indices)


def persons_each(code_N: np.ndarray, persons_N: np.ndarray, n_codes: int = 1) -> np.ndarray:
    """How many persons have rows of each code, (`n_codes` or more,); rows of `NO_PARENT` have none."""
    there = code_N != NO_PARENT
    stride = int(persons_N.max(initial=0)) + 1
    return np.bincount(np.unique(code_N[there] * stride + persons_N[there]) // stride, minlength=n_codes)


def is_shared(code_N: np.ndarray, persons_N: np.ndarray, rare: int) -> bool:
    """Whether at least `rare` persons share one of the codes, so that a model may know it."""
    return bool(persons_each(code_N, persons_N).max(initial=0) >= rare)


def numbers_or_null(x: np.ndarray) -> pa.Array:
    """Numbers of rows or codes, (N,), null in place of `NO_PARENT`."""
    return pa.array(x, mask=x == NO_PARENT)


def kinds_of(rows: pa.Table, column: str, otherwise: int) -> np.ndarray:
    """A column of codes, `NO_PARENT` where missing, (N,); where there is no such column, all of one kind."""
    if column not in rows.column_names:
        return np.full(rows.num_rows, otherwise)
    kinds: np.ndarray = plain(rows.column(column)).fill_null(NO_PARENT).to_numpy().astype(np.int64)
    return kinds


def number_column(name: str) -> ColumnSchema:
    """A whole number that models see as a number, however few its values are."""
    return ColumnSchema(name, Kind.CONTINUOUS, "int64", decimals=0)


def code_column(name: str) -> ColumnSchema:
    """A small number that names a category."""
    return ColumnSchema(name, Kind.CATEGORICAL, "int64")


def group_means(group_N: np.ndarray, x_N: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (NaN where a group has no value) and number of values of each group; missing ones do not count."""
    there = np.flatnonzero(~np.isnan(x_N))
    number = np.bincount(group_N[there], minlength=n_groups)
    total = np.bincount(group_N[there], weights=x_N[there], minlength=n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / number, number


def group_moments(group_N: np.ndarray, x_N: np.ndarray, n_groups: int) -> tuple[np.ndarray, ...]:
    """Least, largest, mean and standard deviation of each group's values, (P,); NaN without values."""
    there = ~np.isnan(x_N)
    rows = pa.table({"group": group_N[there], "x": x_N[there]})
    found = rows.group_by("group").aggregate([("x", how) for how in ("min", "max", "mean", "stddev")])
    result = []
    for how in ("min", "max", "mean", "stddev"):
        values = np.full(n_groups, np.nan)
        values[found["group"].to_numpy()] = found[f"x_{how}"].to_numpy()
        result.append(values)
    return tuple(result)


def varies(x_N: np.ndarray, parent_N: np.ndarray, number_P: np.ndarray) -> bool:
    """Whether the values differ in most of the families of several children."""
    least, largest, _, _ = group_moments(parent_N, x_N, len(number_P))
    return bool((largest > least)[number_P > 1].mean() > 0.5)


def nearest_of(x: np.ndarray, sorted_: np.ndarray) -> np.ndarray:
    """To each number the nearest of some sorted ones, (len(x),); itself where there is none, or it is missing."""
    if not len(sorted_):
        return x
    above = np.clip(np.searchsorted(sorted_, x), 1, max(len(sorted_) - 1, 1))
    low, high = sorted_[above - 1], sorted_[np.minimum(above, len(sorted_) - 1)]
    return np.where(np.isnan(x), x, np.where(x - low <= high - x, low, high))


def reaching(
    x_N: np.ndarray, parent_N: np.ndarray, least_P: np.ndarray, width_P: np.ndarray, together: bool
) -> np.ndarray:
    """The values with the least of each family at its least, the largest, where there are two, at its largest.

    `together`: rows that share such an end move with it, since they repeat each other.
    """
    there = np.flatnonzero(~np.isnan(x_N))
    if not len(there):
        return x_N
    order = there[np.lexsort((x_N[there], parent_N[there]))]
    of, x = parent_N[order], x_N[order]
    first = np.append(True, of[1:] != of[:-1])
    last = np.append(first[1:], True)
    family = np.cumsum(first) - 1
    low, high = x[first][family], x[last][family]
    moved = together & (low < high)
    to_high, to_low = (end | (moved & (x == value)) for end, value in ((last, high), (first, low)))
    x_N[order[to_high]] = (least_P + width_P)[of[to_high]]
    x_N[order[to_low]] = least_P[of[to_low]]
    return x_N


def group_modes(group_N: np.ndarray, code_N: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent code of each group (-1: none, of several the first met) and its share of the rows."""
    size = int(code_N.max(initial=0)) + 2
    pair, first, count = np.unique(group_N * size + code_N + 1, return_index=True, return_counts=True)
    group = pair // size
    order = np.lexsort((-first, count, group))
    last = np.flatnonzero(np.append(group[order][1:] != group[order][:-1], True)) if len(order) else np.empty(0, int)
    best = order[last]
    mode, share = np.full(n_groups, -1, np.int64), np.full(n_groups, np.nan)
    mode[group[best]] = pair[best] % size - 1
    share[group[best]] = count[best] / np.bincount(group_N, minlength=n_groups)[group[best]]
    return mode, share


def take_or_null(values: pa.ChunkedArray | pa.Array, rows: np.ndarray) -> pa.Array | pa.ChunkedArray:
    """Values of the given rows; null for `NO_PARENT`."""
    if not len(values):
        return pa.nulls(len(rows), values.type)
    return values.take(pa.array(np.maximum(rows, 0), mask=rows < 0))


def levels(parent_N: np.ndarray) -> np.ndarray | None:
    """How many rows stand above each in a hierarchy of one table, (N,); None where some stand above themselves."""
    level, above = np.zeros(len(parent_N), np.int64), parent_N.copy()
    for _ in range(MOST_LEVELS):
        climbing = above != NO_PARENT
        if not climbing.any():
            return level
        level += climbing
        above[climbing] = parent_N[above[climbing]]
    return None


def deal(
    wanted_N: np.ndarray, kind_P: np.ndarray, number_P: np.ndarray, rng: np.random.Generator, level: int | None = None
) -> np.ndarray:
    """The parent of each row, (N,) int64; `NO_PARENT` where none is wanted or there.

    Args:
        wanted_N: kind of parent that each row wants, `NO_PARENT` for none.
        kind_P: of each parent. number_P: how many children it is to have.
        rng: of the dealing.
        level: kinds are numbered within levels of so many; a parent of another level is never dealt. None: all kinds
            are one level.
    """
    result = np.full(len(wanted_N), NO_PARENT, np.int64)
    rows = rng.permutation(np.flatnonzero(wanted_N != NO_PARENT))
    places = rng.permutation(np.repeat(np.arange(len(kind_P)), number_P))
    rows, places = _dealt(result, rows, wanted_N, places, kind_P)
    level_N, level_P = (np.zeros(len(x), np.int64) if level is None else x // level for x in (wanted_N, kind_P))
    rows, places = _dealt(result, rows, level_N, places, level_P)
    if len(rows) and len(kind_P):  # more rows than places: parents by their numbers
        for of_N, of_P in ((wanted_N, kind_P), (level_N, level_P)):
            rows = _drawn(result, rows, of_N, of_P, number_P, rng)
    return result


def _dealt(
    result: np.ndarray, rows: np.ndarray, wanted_N: np.ndarray, places: np.ndarray, kind_P: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Deal places to rows that want their kind, in order; the rows and places that are left."""
    by_row, by_place = np.argsort(wanted_N[rows], kind="stable"), np.argsort(kind_P[places], kind="stable")
    rows, places = rows[by_row], places[by_place]
    wanted, offered = wanted_N[rows], kind_P[places]
    rank = np.arange(len(rows)) - np.searchsorted(wanted, wanted)
    start, stop = np.searchsorted(offered, wanted), np.searchsorted(offered, wanted, side="right")
    hit = start + rank < stop
    taken = (start + rank)[hit]
    result[rows[hit]] = places[taken]
    left = np.ones(len(places), bool)
    left[taken] = False
    return rows[~hit], places[left]


def _drawn(
    result: np.ndarray,
    rows: np.ndarray,
    wanted_N: np.ndarray,
    kind_P: np.ndarray,
    number_P: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw a parent of the wanted kind for each row, by the parents' numbers; the rows for which there is none."""
    order = np.argsort(kind_P, kind="stable")
    kinds = kind_P[order]
    mass = np.concatenate([[0.0], np.cumsum(number_P[order] + 1e-3)])
    start, stop = (np.searchsorted(kinds, wanted_N[rows], side) for side in ("left", "right"))
    hit = stop > start
    at = mass[start[hit]] + rng.random(int(hit.sum())) * (mass[stop[hit]] - mass[start[hit]])
    place = np.clip(np.searchsorted(mass, at, side="right") - 1, start[hit], stop[hit] - 1)
    result[rows[hit]] = order[place]
    return rows[~hit]
