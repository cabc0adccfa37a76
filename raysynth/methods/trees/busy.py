"""Which made persons have many rows: those that real ones with many are like (older patients come more often).

How many rows made persons have is fixed by row numbers (`encoding/repeated.py`); what they are like is drawn. Both are
brought together by a score: an additive prediction of the normal score of a person's number of rows from what is the
same in all of them, with as much noise as it leaves unexplained (a Gaussian copula).

Shape legend: P persons, C columns, R codes of a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.errors import ModelFileError
from raysynth.methods.trees.additive import additive_predictions, design_of
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons

TELLS = 0.02  # share of the scores' variance that is worth it
FEWEST_PERSONS = 200
MOST_PERSONS = 50_000


@dataclass(frozen=True)
class Busy:
    """A score of persons.

    Args:
        tables: of each column that is one for a person, by its index: an addend for each code, (R,) float32.
        noise: standard deviation of what is added by chance.
    """

    tables: Mapping[int, np.ndarray]
    noise: float

    def scores(self, codes_PC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The larger, the more rows a person has, (P,)."""
        total_P = rng.standard_normal(len(codes_PC)) * self.noise
        for c, table in self.tables.items():
            total_P += table[codes_PC[:, c]]
        return total_P

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and named arrays that `busy_from` reads."""
        return {"busy": {"noise": self.noise}}, {f"busy.{c}": table for c, table in self.tables.items()}


def busy_from(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], columns: Sequence[ColumnView]) -> Busy | None:
    """The score of a model file; None in one without. Raises `ModelFileError` where it does not fit the columns."""
    if "busy" not in meta:
        return None
    tables = {c: arrays[f"busy.{c}"] for c in range(len(columns)) if f"busy.{c}" in arrays}
    noise = float(meta["busy"]["noise"])
    fit = all(t.shape == (columns[c].cardinality,) and np.isfinite(t).all() for c, t in tables.items())
    if not (fit and tables and 0.0 <= noise <= 1.0):
        raise ModelFileError("the model file's score of persons does not fit its columns; refit the model")
    return Busy(tables, noise)


def learn_busy(
    codes_CN: np.ndarray, columns: Sequence[ColumnView], own: Sequence[int], persons: RowsOfPersons
) -> Busy | None:
    """The score of persons; None where what they are like tells nothing of how many rows they have.

    Args:
        codes_CN: (C, N) of the rows learned from.
        own: columns that are one for each person.
        persons: whose each row is.
    """
    if not own or persons.n_persons < FEWEST_PERSONS:
        return None
    rows_P = np.bincount(persons.person_N)
    first_P = persons.first_rows
    if len(first_P) > MOST_PERSONS:
        some = np.linspace(0, len(first_P) - 1, MOST_PERSONS).astype(np.int64)
        rows_P, first_P = rows_P[some], first_P[some]
    score_P = _normal_scores(rows_P)
    if not score_P.any():
        return None
    codes_CP, at = np.ascontiguousarray(codes_CN[:, first_P][list(own)]), list(range(len(own)))
    design = design_of(codes_CP, [columns[c] for c in own], len(own))
    (found,) = additive_predictions(design, codes_CP, at, score_P[:, None])
    explained = float(found.total_N.var() / score_P.var())
    if explained <= TELLS + sum(len(design.terms(c)) for c in at) / len(first_P):  # so much by chance
        return None
    tables = {c: table / np.float32(score_P.std()) for c, table in zip(own, found.tables, strict=True)}
    return Busy(tables, float(np.sqrt(max(1.0 - explained, 0.0))))


def _normal_scores(rows_P: np.ndarray) -> np.ndarray:
    """Normal quantiles of the mean ranks of numbers of rows, (P,); 0 where all have one number."""
    from scipy.special import ndtri

    _, of_P, counts = np.unique(rows_P, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return np.zeros(len(rows_P))
    scores: np.ndarray = ndtri((np.cumsum(counts) - counts / 2) / len(rows_P))[of_P]
    return scores
