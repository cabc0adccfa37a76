"""Rows of a table in memory as plain arrays, and as the inputs of models: for the figures that need rows.

Shape legend: N rows, V columns of numbers, C columns of categories.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.comparison.coding import CategoryCoder, Marginal, number_matrix, vocabulary_coder
from raysynth.data.fragments import Table
from raysynth.statistics.released import CategoryCounts

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[-+]?\d+)?")  # not the '00123' of a postal code


@dataclass(frozen=True)
class RowSpace:
    """How rows of all tables of one evaluation become arrays.

    Args:
        numbers: names of the columns of numbers (V,).
        coders: coder of each column of categories (C,), the same for all tables.
    """

    numbers: tuple[str, ...]
    coders: tuple[CategoryCoder, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All columns: numbers first."""
        return (*self.numbers, *(c.name for c in self.coders))

    def encode(self, table: pa.Table, owners_N: np.ndarray | None = None) -> Rows:
        """The rows of an Arrow table; `owners_N`: a number for the person of each, where persons have several rows."""
        blocks = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        return Rows(
            self,
            np.concatenate([number_matrix(b, self.numbers) for b in blocks]),
            np.concatenate([self._codes(b) for b in blocks]),
            owners_N,
        )

    def _codes(self, block: pa.RecordBatch) -> np.ndarray:
        if not self.coders:
            return np.zeros((block.num_rows, 0), dtype=np.int32)
        return np.column_stack([c.codes(block.column(c.name)) for c in self.coders]).astype(np.int32)


@dataclass(frozen=True)
class Rows:
    """Rows as numbers (N, V) float64, NaN where missing, and codes (N, C) int32, of one `RowSpace`.

    Where persons have several rows, `owners_N` says whose each row is (N,): they are then divided by persons.
    """

    space: RowSpace
    numbers_NV: np.ndarray
    codes_NC: np.ndarray
    owners_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes_NC)

    def take(self, rows: np.ndarray) -> Rows:
        """Some rows, by index or mask."""
        owners = None if self.owners_N is None else self.owners_N[rows]
        return Rows(self.space, self.numbers_NV[rows], self.codes_NC[rows], owners)

    def with_numbers(self, name: str) -> Rows | None:
        """The rows with a column of categories that are all numbers as one of numbers; None where one is no number."""
        position = [c.name for c in self.space.coders].index(name)
        texts = self.space.coders[position].texts
        if not all(_NUMBER.fullmatch(t) for t in texts):
            return None
        value = np.array([*map(float, texts), np.nan, np.nan])  # of missing, and of any other value
        rest = tuple(c for c in self.space.coders if c.name != name)
        numbers = np.column_stack([self.numbers_NV, value[self.codes_NC[:, position]]])
        codes = np.delete(self.codes_NC, position, axis=1)
        return Rows(RowSpace((*self.space.numbers, name), rest), numbers, codes, self.owners_N)

    def sample(self, n: int, rng: np.random.Generator) -> Rows:
        """n rows drawn without replacement, in their order; all where there are no more."""
        return self if len(self) <= n else self.take(np.sort(rng.choice(len(self), n, replace=False)))

    def split(self, n: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Two random parts: n rows, and the rest; about n where whole persons are divided."""
        first, rest = divided(len(self), n, self.owners_N, rng)
        return self.take(np.sort(first)), self.take(np.sort(rest))

    def independent(self, rng: np.random.Generator) -> Rows:
        """One row of each person, drawn at random, in their order; all rows where each is a person."""
        return self if self.owners_N is None else self.take(np.sort(one_of_each(self.owners_N, rng)))


def chance_equals(rows: Rows, real: Rows) -> np.ndarray:
    """How many real rows would equal each (Q,), did no column depend on another."""
    result = np.full(len(rows), float(len(real)))
    for own_Q, known_N in zip(
        [*rows.numbers_NV.T, *rows.codes_NC.T], [*real.numbers_NV.T, *real.codes_NC.T], strict=True
    ):
        values, counts = np.unique(known_N, return_counts=True)  # missing is one value
        at = np.minimum(np.searchsorted(values, own_Q), len(values) - 1)
        same = (values[at] == own_Q) | (np.isnan(values[at]) & np.isnan(own_Q))
        result *= np.where(same, counts[at], 1) / len(real)
    return result


def divided(
    n_rows: int, n_first: int, owners_N: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of two random parts, in random order: n_first rows, and the rest; whole persons where they are known.

    Args:
        n_rows: N.
        n_first: rows of the first part; with persons about so many, and a person at least on each side.
        owners_N: a number for the person of each row; None: each row is one.
        rng: of the draw.
    """
    order = rng.permutation(n_rows)
    if owners_N is None:
        return order[:n_first], order[n_first:]
    _, person_N, rows_P = np.unique(owners_N, return_inverse=True, return_counts=True)
    persons = rng.permutation(len(rows_P))
    before = np.cumsum(rows_P[persons]) - rows_P[persons] / 2
    is_first_P = np.zeros(len(rows_P), bool)
    is_first_P[persons] = before < n_first
    if len(persons) > 1 and 0 < n_first < n_rows:
        is_first_P[persons[0]], is_first_P[persons[-1]] = True, False
    is_first_N = is_first_P[person_N[order]]
    return order[is_first_N], order[~is_first_N]


def one_of_each(owners_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Number of one row of each person (P,), drawn at random, persons in random order."""
    order = rng.permutation(len(owners_N))
    _, first = np.unique(owners_N[order], return_index=True)
    return rng.permutation(order[first])


def row_space(marginals: Mapping[str, tuple[Marginal, Marginal]], tables: Mapping[str, pa.Table]) -> RowSpace:
    """The space of the compared columns.

    Args:
        marginals: by column, which says whether it holds numbers or categories.
        tables: the rows that are going to be encoded, by label: 'real', 'synthetic' and perhaps 'holdout'.
    """
    numbers, coders = [], []
    for name, sides in marginals.items():
        if all(isinstance(side, CategoryCounts) for side in sides):
            others = [table.column(name) for label, table in tables.items() if label != "synthetic"]
            coders.append(vocabulary_coder(name, tables["synthetic"].column(name), others))
        else:
            numbers.append(name)
    return RowSpace(tuple(numbers), tuple(coders))


def sample_rows(table: Table, columns: Sequence[str], n: int, rng: np.random.Generator) -> pa.Table:
    """Up to n rows of a table of any size, drawn without replacement in one pass, in their order."""
    return numbered_rows(table, columns, n, rng)[0]


def numbered_rows(
    table: Table, columns: Sequence[str], n: int, rng: np.random.Generator
) -> tuple[pa.Table, np.ndarray]:
    """As `sample_rows`, and the number of each row in its table (N,), from 0."""
    schema = pa.schema([table.schema.field(c) for c in columns])
    if table.n_rows is not None and table.n_rows <= n:
        found = pa.Table.from_batches(list(table.blocks(columns)), schema=schema)
        return found, np.arange(found.num_rows)
    keys, parts, numbers, seen = np.zeros(0), [], np.zeros(0, dtype=np.int64), 0
    for block in table.blocks(columns):
        parts.append(block)
        keys = np.concatenate([keys, rng.random(block.num_rows)])
        numbers = np.concatenate([numbers, np.arange(seen, seen + block.num_rows)])
        seen += block.num_rows
        if len(keys) > 4 * n:
            kept = _smallest(keys, n)
            keys, numbers = keys[kept], numbers[kept]
            parts = pa.Table.from_batches(parts, schema=schema).take(kept).to_batches()
    kept = _smallest(keys, n)
    return pa.Table.from_batches(parts, schema=schema).take(kept), numbers[kept]


def _smallest(keys: np.ndarray, n: int) -> np.ndarray:
    return np.sort(np.argsort(keys, kind="stable")[:n])


_TREE_CATEGORIES = 254  # scikit-learn's trees take at most 255 categories
_ONE_HOT = 30  # categories with a column of their own; the rest shares one


def tree_features(rows: Rows, leave_out: str | None = None) -> np.ndarray:
    """Numbers (NaN where missing) and category codes as float64 (N, D); codes beyond 254 share one."""
    codes = np.minimum(rows.codes_NC, _TREE_CATEGORIES).astype(float)
    x = np.hstack([rows.numbers_NV, codes])
    return x[:, [n != leave_out for n in rows.space.names]]


def learnable(x_ND: np.ndarray) -> np.ndarray:
    """Features to train trees on: a column without any value, of which no bins can be made, is 0 throughout."""
    return np.where(np.isnan(x_ND).all(axis=0), 0.0, x_ND)


def category_flags(rows: Rows, leave_out: str | None = None) -> np.ndarray:
    """Which columns of `tree_features` are categories (D,)."""
    n_numbers = len(rows.space.numbers)
    flags = np.arange(len(rows.space.names)) >= n_numbers
    return flags[[n != leave_out for n in rows.space.names]]


def linear_features(rows: Rows, reference: Rows, leave_out: str | None = None) -> np.ndarray:
    """Numbers standardised by the reference (missing: its mean, and a flag), frequent categories one-hot, (N, D)."""
    blocks = []
    for j, name in enumerate(rows.space.numbers):
        if name == leave_out:
            continue
        known, column = reference.numbers_NV[:, j], rows.numbers_NV[:, j]
        known = known[np.isfinite(known)]
        mean, std = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
        blocks.append(np.clip(np.where(np.isfinite(column), (column - mean) / (std or 1.0), 0.0), -10, 10)[:, None])
        if len(known) < len(reference):
            blocks.append((~np.isfinite(column)).astype(float)[:, None])
    for j, coder in enumerate(rows.space.coders):
        if coder.name == leave_out:
            continue
        frequent = np.argsort(-np.bincount(reference.codes_NC[:, j], minlength=coder.cardinality), kind="stable")[
            :_ONE_HOT
        ]
        blocks.append((rows.codes_NC[:, j][:, None] == frequent[None, :]).astype(float))
    return np.hstack(blocks) if blocks else np.zeros((len(rows), 1))
