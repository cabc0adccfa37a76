"""Singling out: predicates, read off the synthetic table, that exactly one real row satisfies.

After Giomi et al. (2023, section 3.1) and Cohen and Nissim (2020): the attacker keeps predicates that single out a row
of the synthetic table; a claim is right where exactly one training row satisfies it. The same predicates on rows that
the synthesizer never saw are the baseline.

Shape legend: P predicates, D columns, N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from raysynth.attacks.attack import ClaimAttack, Records, View
from raysynth.comparison.rows import Rows

EQUAL, AT_MOST, AT_LEAST = 0, 1, 2
_ROUNDS, _SURE_ROUNDS = 200, 40
_FEWEST_KEPT = 1e-3  # of a round's predicates: after the sure rounds, one with fewer that single a row out is the last


@dataclass(frozen=True)
class Predicate:
    """A conjunction of comparisons: of each, the column's position, the relation and the value (NaN: missing)."""

    columns: tuple[int, ...]
    relations: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def key(self) -> str:
        """Equal for equal predicates."""
        return repr((self.columns, self.relations, self.values))


class SinglingOutAttack(ClaimAttack):
    """What both attacks share: repeated rows count once, claims are checked by counting.

    Args:
        n_claims: predicates; fewer where the synthetic table does not give as many.
    """

    family: ClassVar[str] = "singling_out"
    in_one_go: ClassVar[bool] = True

    def __init__(self, n_claims: int = 2_000) -> None:
        self.n_claims = n_claims

    def candidates(self, rows_ND: np.ndarray, n_numbers: int, rng: np.random.Generator) -> Iterator[list[Predicate]]:
        """Batches of predicates that may single out a row."""
        raise NotImplementedError

    def claim(self, view: View, rng: np.random.Generator) -> list[Predicate]:
        """Predicates that exactly one synthetic row satisfies."""
        rows_ND = distinct(view.synthetic.rows)
        kept: dict[str, Predicate] = {}
        numbers = len(view.synthetic.rows.space.numbers)
        for done, batch in enumerate(self.candidates(rows_ND, numbers, rng), 1):
            fresh = list({p.key: p for p in batch if p.key not in kept}.values())
            counts, _ = matches(fresh, rows_ND)
            found = {p.key: p for p, count in zip(fresh, counts, strict=True) if count == 1}
            kept |= found
            exhausted = done >= _SURE_ROUNDS and len(found) < _FEWEST_KEPT * len(batch)
            if len(kept) >= self.n_claims or exhausted:
                break
        return list(kept.values())[: self.n_claims]

    def check(self, claims: Any, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """1 where exactly one row satisfies the predicate, and that row."""
        counts, rows = matches(claims, distinct(records.rows))
        return (counts == 1).astype(float), np.where(counts == 1, rows, -1)


class UnivariateSinglingOut(SinglingOutAttack):
    """Predicates on one column: a value that occurs once, the smallest, the largest."""

    name: ClassVar[str] = "singling_out_univariate"
    title: ClassVar[str] = "Singling out by one column"

    def candidates(self, rows_ND: np.ndarray, n_numbers: int, rng: np.random.Generator) -> Iterator[list[Predicate]]:
        """All of them, in random order."""
        found = []
        for column, values in enumerate(rows_ND.T):
            present = values[np.isfinite(values)]
            once, counts = np.unique(present, return_counts=True)
            found += [Predicate((column,), (EQUAL,), (float(v),)) for v in once[counts == 1]]
            if len(present) == len(values) - 1:
                found.append(Predicate((column,), (EQUAL,), (float("nan"),)))
            if column < n_numbers and len(present):
                found.append(Predicate((column,), (AT_MOST,), (float(present.min()),)))
                found.append(Predicate((column,), (AT_LEAST,), (float(present.max()),)))
        yield [found[i] for i in rng.permutation(len(found))]


class MultivariateSinglingOut(SinglingOutAttack):
    """Predicates on several columns of one synthetic row: its categories, and numbers at least as extreme as its own.

    Args:
        n_columns: of a predicate.
    """

    name: ClassVar[str] = "singling_out_multivariate"
    title: ClassVar[str] = "Singling out by several columns"

    def __init__(self, n_claims: int = 2_000, n_columns: int = 3) -> None:
        super().__init__(n_claims)
        self.n_columns = n_columns

    def candidates(self, rows_ND: np.ndarray, n_numbers: int, rng: np.random.Generator) -> Iterator[list[Predicate]]:
        """Random rows, random columns."""
        n_rows, n_columns = rows_ND.shape
        size = min(self.n_columns, n_columns)
        medians = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0 for c in rows_ND.T])
        for _ in range(_ROUNDS):
            batch = []
            for row in rng.integers(0, n_rows, self.n_claims):
                columns = np.sort(rng.choice(n_columns, size, replace=False))
                values = rows_ND[row, columns]
                ordered = (columns < n_numbers) & np.isfinite(values)
                relations = np.where(ordered, np.where(values > medians[columns], AT_LEAST, AT_MOST), EQUAL)
                batch.append(Predicate(tuple(columns.tolist()), tuple(relations.tolist()), tuple(values.tolist())))
            yield batch


def distinct(rows: Rows) -> np.ndarray:
    """The different rows as numbers and codes in one float array (N, D)."""
    together = np.hstack([rows.numbers_NV, rows.codes_NC.astype(float)])
    kept = np.unique(np.nan_to_num(together, nan=np.inf), axis=0, return_index=True)[1]
    return together[np.sort(kept)]


def matches(predicates: list[Predicate], rows_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many rows satisfy each predicate (P,), and the first that does (P,), -1 where none."""
    counts, first = np.zeros(len(predicates), dtype=np.int64), np.full(len(predicates), -1)
    columns = [np.ascontiguousarray(c) for c in rows_ND.T]
    missing = [np.isnan(c) for c in columns]
    for i, predicate in enumerate(predicates):
        rows = np.arange(len(rows_ND))
        for column, relation, value in zip(predicate.columns, predicate.relations, predicate.values, strict=True):
            values = columns[column][rows]
            if np.isnan(value):
                rows = rows[missing[column][rows]]
            elif relation == EQUAL:
                rows = rows[values == value]
            else:
                rows = rows[values <= value] if relation == AT_MOST else rows[values >= value]
        counts[i] = len(rows)
        if len(rows):
            first[i] = rows[0]
    return counts, first
