"""Rows of one table grouped by those of another: which parent each has, its place among its siblings, summaries.

Everything is an array operation: no loop over rows or parents. Shape legend: N rows, P parents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.numbers import to_float
from raysynth.errors import DataError, SchemaError
from raysynth.schema.columns import ColumnSchema
from raysynth.schema.relations import Relation
from raysynth.schema.table import TableSchema

NO_PARENT = -1


def one_array(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The values as one array."""
    if isinstance(values, pa.ChunkedArray) and pa.types.is_dictionary(values.type):
        values = values.unify_dictionaries()
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.nulls(0, whole.type)
    return whole


def plain(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array, without dictionary."""
    whole = one_array(values)
    return whole.cast(whole.type.value_type) if pa.types.is_dictionary(whole.type) else whole


def parent_rows(child: pa.Table, parent: pa.Table, relation: Relation, dangling: str = "error") -> np.ndarray:
    """For each child row the number of its parent's row, `NO_PARENT` where the key is missing, (N,) int64.

    Args:
        child, parent: the tables. relation: between them.
        dangling: what becomes of keys that point nowhere: 'error' or 'missing'.

    Raises:
        SchemaError: the key's columns differ in type.
        DataError: two parents have the same key, or a key points nowhere, or is missing where it may not be.
    """
    parent_N, child_N, missing = _key_codes(child, parent, relation)
    if len(np.unique(parent_N)) < len(parent_N):
        spelled = ", ".join(f"'{c}'" for c in relation.parent_key)
        repeated = len(parent_N) - len(np.unique(parent_N))
        raise DataError(
            f"table '{relation.parent}': {repeated:,} rows repeat (or lack) the value of {spelled}, which relation "
            f"{relation} takes for a key; remove them, or declare another key"
        )
    order = np.argsort(parent_N)
    place = np.searchsorted(parent_N[order], child_N)
    place = np.minimum(place, len(order) - 1) if len(order) else place
    found = np.full(len(child_N), NO_PARENT, np.int64)
    hit = np.zeros(len(child_N), bool) if not len(order) else (parent_N[order][place] == child_N) & ~missing
    found[hit] = order[place[hit]]
    lost = int((~hit & ~missing).sum())
    if lost and dangling == "error":
        raise DataError(
            f"table '{relation.child}': in {lost:,} of {len(hit):,} rows {relation} points to no row of "
            f"'{relation.parent}'; mend the keys, or set dangling='missing', which takes such keys for missing"
        )
    if (found == NO_PARENT).any() and not relation.nullable and dangling == "error":
        raise DataError(
            f"table '{relation.child}': in {int(missing.sum()):,} rows the key of {relation} is missing, but it is not "
            "declared nullable; add ', nullable' to the relation, or remove these rows"
        )
    return found


def _key_codes(child: pa.Table, parent: pa.Table, relation: Relation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers that are equal where keys are: of the parents, of the children; and which children lack a part."""
    parent_N, child_N = np.zeros(parent.num_rows, np.int64), np.zeros(child.num_rows, np.int64)
    missing = np.zeros(child.num_rows, bool)
    for own, theirs in zip(relation.child_key, relation.parent_key, strict=True):
        ours, values = plain(child.column(own)), plain(parent.column(theirs))
        if ours.type != values.type:
            try:
                ours = pc.cast(ours, values.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SchemaError(
                    f"relation {relation}: column '{own}' of '{relation.child}' is {ours.type}, but '{theirs}' of "
                    f"'{relation.parent}' is {values.type}; give both one type"
                ) from error
        distinct = pc.unique(values)
        size = len(distinct) + 2
        parent_N = parent_N * size + _places(values, distinct)
        child_N = child_N * size + _places(ours, distinct)
        missing |= np.asarray(ours.is_null().to_numpy(zero_copy_only=False))
        both, inverse = np.unique(np.concatenate([parent_N, child_N]), return_inverse=True)  # stay small for more parts
        parent_N, child_N = inverse[: len(parent_N)], inverse[len(parent_N) :]
    return parent_N, child_N, missing


def _places(values: pa.Array, distinct: pa.Array) -> np.ndarray:
    """The place of each value among the distinct ones, their number where it is none of them."""
    found: np.ndarray = pc.fill_null(pc.index_in(values, value_set=distinct), len(distinct)).to_numpy().astype(np.int64)
    return found


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


def codes(values: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, pa.Array]:
    """A discrete column as numbers of its distinct values (-1: missing), (N,), and these values."""
    whole = one_array(values)
    coded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    indices: np.ndarray = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return indices, coded.dictionary


def modelled(schema: TableSchema, names: Sequence[str]) -> tuple[ColumnSchema, ...]:
    """Those of some columns whose values a model learns, as it sees them."""
    return tuple(c.as_modelled() for c in schema.columns if c.name in names and c.kind.is_modelled)


def group_means(group_N: np.ndarray, x_N: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (NaN where a group has no value) and number of values of each group; missing ones do not count."""
    there = np.flatnonzero(~np.isnan(x_N))
    number = np.bincount(group_N[there], minlength=n_groups)
    total = np.bincount(group_N[there], weights=x_N[there], minlength=n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / number, number


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
