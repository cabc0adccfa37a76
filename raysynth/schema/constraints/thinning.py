"""Rules that move no share and no mean: rows that keep them are used with probabilities that undo the shift.

A model whose rows break a rule breaks it more often in some places than in others, so rejection alone changes the
distribution of every column of the rule; and a column that is computed from others has the distribution that their
joint one gives it. In the real table all rows keep the rules, and the model has each column's own distribution right:
it is the joint one that is off. So each row that is left gets a weight, a product of one factor for each column (by
cells of numbers, categories, missing), under which the columns of the rules have the shares that they should (raking;
Deming and Stephan 1940), and is used with a probability in proportion to it. Where a, b and a + b have their
variances, a and b have their covariance: so computed columns mend relations, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.errors import ModelFileError
from raysynth.kinds.arrow_text import plain
from raysynth.schema.constraints.base import column_of, missing, numbers_of

CELLS = 10  # of a column of numbers
COMPUTED_CELLS = 32  # of a computed one: of few values each
MOST_VALUES = 20  # with a cell of their own
MOST = 10.0  # weight of a row in mean weights: beyond that, too many rows would be made for one
OFF = 0.025  # share of rows in other cells than wanted, from which on a computed column is mended
_SWEEPS = 20


@dataclass(frozen=True)
class Factors:
    """What one column brings to the weight of a row.

    Args:
        column: its name.
        ends: of numbers and times (integers of their unit): ascending ends of the cells; None for categories.
        values: of categories: those with a cell of their own, as text.
        factors: one for each cell, then (categories) one for all other values, then one for a missing value; of a
            column whose shares are wanted (see `learned`): these shares.
    """

    column: str
    ends: tuple[float, ...] | None
    values: tuple[str, ...]
    factors: tuple[float, ...]

    def cells(self, table: pa.Table) -> np.ndarray:
        """The cell of each row, (N,)."""
        array = column_of(table, self.column)
        if self.ends is not None:
            numbers, absent = numbers_of(array)
            return np.where(absent, len(self.ends) + 1, np.searchsorted(self.ends, numbers.astype(float), "right"))
        found = pc.index_in(_texts(array), value_set=pa.array(self.values, pa.large_string()))
        known = found.fill_null(len(self.values)).to_numpy(zero_copy_only=False)
        return np.where(missing(array), len(self.values) + 1, known)


@dataclass(frozen=True)
class Thinning:
    """With what probability a row that keeps all rules is used.

    Args:
        columns: the factors of its weight.
        most: the weight that is used always, and all above it.
    """

    columns: tuple[Factors, ...]
    most: float

    def probabilities(self, table: pa.Table) -> np.ndarray:
        """For each row, (N,), from 0 to 1."""
        weight = np.ones(table.num_rows)
        for column in self.columns:
            weight *= np.asarray(column.factors)[column.cells(table)]
        return np.minimum(1.0, weight / self.most)

    def without(self, names: Sequence[str]) -> Thinning | None:
        """Of rows that are drawn given some columns: they tell no row from another; None: none left."""
        left = []
        for c in self.columns:
            if c.column not in names:
                usual = float(np.median([f for f in c.factors if f > 0] or [1.0]))
                left.append(replace(c, factors=tuple(f / usual for f in c.factors)))
        most = float(np.prod([max(c.factors) for c in left]))
        return Thinning(tuple(left), min(most, MOST)) if left and most > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        columns = [
            {"column": c.column, "ends": c.ends and list(c.ends), "values": list(c.values), "factors": list(c.factors)}
            for c in self.columns
        ]
        return {"most": self.most, "columns": columns}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Thinning:
        """The inverse of `to_dict`; raises `ModelFileError`."""
        columns = []
        for c in content["columns"]:
            ends = None if c["ends"] is None else tuple(map(float, c["ends"]))
            found = Factors(str(c["column"]), ends, tuple(map(str, c["values"])), tuple(map(float, c["factors"])))
            n_cells = len(found.values if ends is None else ends) + 2
            is_sound = np.isfinite(found.factors).all() and min(found.factors, default=-1.0) >= 0
            if len(found.factors) != n_cells or not is_sound or list(ends or ()) != sorted(ends or ()):
                raise ModelFileError(
                    f"the weights of rejection for column '{found.column}' are damaged; refit the model"
                )
            columns.append(found)
        most = float(content["most"])
        if not (np.isfinite(most) and most > 0):
            raise ModelFileError("the weights of rejection are damaged; refit the model")
        return cls(tuple(columns), most)


def learned(
    rows: pa.Table, kept: np.ndarray, columns: Sequence[str], shares: Sequence[Factors] = ()
) -> Thinning | None:
    """The thinning under which kept rows have the wanted shares, else those that all rows have; None: no row is kept.

    Args:
        rows: made rows, before rejection.
        kept: for each whether it keeps all rules, (N,) bool.
        columns: those of the rules.
        shares: for some of them the share of each cell that is wanted.
    """
    if not kept.any() or not columns:
        return None
    given = {c.column: c for c in shares}
    empty = [given.get(name) or _cells_of(rows, name) for name in columns]
    cells = [c.cells(rows) for c in empty]
    sizes = [len(c.ends if c.ends is not None else c.values) + 2 for c in empty]
    wanted = [
        np.asarray(c.factors) if c.column in given else np.bincount(at, minlength=k) / len(at)
        for c, at, k in zip(empty, cells, sizes, strict=True)
    ]
    own = [c[kept] for c in cells]
    factors = [np.ones(k) for k in sizes]
    weight = np.ones(int(kept.sum()))
    for _ in range(_SWEEPS):
        for at, inside, factor in zip(own, wanted, factors, strict=True):
            now = np.bincount(at, weight, minlength=len(inside)) / weight.sum()
            ratio = np.divide(inside, now, out=np.ones(len(now)), where=now > 0)
            factor *= ratio
            weight *= ratio[at]
        weight /= (scale := weight.mean())
        factors[0] /= scale
    made = (Factors(c.column, c.ends, c.values, tuple(f.tolist())) for c, f in zip(empty, factors, strict=True))
    return Thinning(tuple(made), min(float(weight.max()), MOST))


def is_off(rows: pa.Table, kept: np.ndarray, column: Factors) -> bool:
    """Whether the shares of a column among kept rows are further from the wanted ones than chance takes them."""
    wanted = np.asarray(column.factors)
    found = np.bincount(column.cells(rows)[kept], minlength=len(wanted)) / max(kept.sum(), 1)
    by_chance = np.sqrt(2 / np.pi * wanted * (1 - wanted) / max(kept.sum(), 1)).sum()
    return bool(np.abs(found - wanted).sum() > 2 * OFF + by_chance)


def _cells_of(rows: pa.Table, name: str) -> Factors:
    """The cells of a column, factors still to be found."""
    array = column_of(rows, name)
    if pt.is_dictionary(array.type) or pt.is_boolean(array.type) or pt.is_large_string(array.type):
        counted = sorted(pc.value_counts(_texts(array).drop_null()).to_pylist(), key=lambda c: -c["counts"])
        return Factors(name, None, tuple(c["values"] for c in counted[:MOST_VALUES]), ())
    numbers, absent = numbers_of(array)
    ends = np.unique(numbers[~absent].astype(float))
    if len(ends) > MOST_VALUES:
        ends = np.unique(np.quantile(numbers[~absent].astype(float), np.arange(1, CELLS) / CELLS))
    return Factors(name, tuple(map(float, ends)), (), ())


def _texts(array: pa.Array) -> pa.Array:
    return plain(array).cast(pa.large_string())
