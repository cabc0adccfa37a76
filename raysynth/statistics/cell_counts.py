"""Counts of fixed cells, chosen before the rows are seen: what can be released with noise of sensitivity 1.

Every row falls into exactly one cell of each column, whatever it holds: values outside a declared domain, infinite
numbers and NaN have cells too, so that no error depends on a row. The counts are exact and private until
`statistics/noised.py` releases them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raysynth.data.total_cast import is_missing
from raysynth.kinds.arrow_text import indices_of, plain, ticks


@dataclass(frozen=True)
class DomainCells:
    """A declared list of values: a cell each, then one for all other values, then one for missing ones."""

    values: tuple[Any, ...]
    dtype: pa.DataType

    @property
    def n_cells(self) -> int:
        """Cells, with those for other and missing values."""
        return len(self.values) + 2

    @cached_property
    def _known(self) -> pa.Array:
        return pa.array(self.values, type=self.dtype)

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        if pt.is_dictionary(array.type):
            table = np.append(self._codes(array.dictionary), len(self.values) + 1)
            return table[indices_of(array, len(array.dictionary))]
        return self._codes(array)

    def _codes(self, array: pa.Array) -> np.ndarray:
        codes = pc.index_in(array.cast(self.dtype), value_set=self._known).fill_null(len(self.values))
        result: np.ndarray = codes.to_numpy(zero_copy_only=False).astype(np.int64)
        result[is_missing(array)] = len(self.values) + 1
        return result


@dataclass(frozen=True)
class NumberCells:
    """Intervals of numbers: cell i holds starts[i] <= x < starts[i + 1]; smaller ones go to the first; then missing."""

    starts: np.ndarray

    @property
    def n_cells(self) -> int:
        """Cells, with the one for missing values."""
        return len(self.starts) + 1

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        missing = is_missing(array)
        x = np.where(missing, 0.0, as_doubles(array))
        cells = np.maximum(np.searchsorted(self.starts, x, side="right") - 1, 0)
        return np.where(missing, len(self.starts), cells)


@dataclass(frozen=True)
class PresenceCells:
    """Whether there is a value: present, missing."""

    n_cells = 2

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        return is_missing(array).astype(np.int64)


@dataclass(frozen=True)
class OpenCells:
    """Every value that occurs is a cell of its own: a private list, released by stability-based selection only.

    Args:
        low, high: of numbers, only those in one of these disjoint ascending intervals [low, high) count; None: all do.
    """

    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def counted(self, array: pa.Array) -> pa.Array:
        """The values of a block that count."""
        if self.low is None or self.high is None:
            return array
        x = as_doubles(array)
        at = np.searchsorted(self.low, x, side="right") - 1
        return array.filter(pa.array((at >= 0) & (x < self.high[at]) & ~is_missing(array)))


class FixedCells(Protocol):
    """Cells that are fixed before rows are seen, each row in one of them."""

    @property
    def n_cells(self) -> int:
        """Cells, with the one for missing values."""
        ...

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        ...


Cells: TypeAlias = FixedCells | OpenCells


@dataclass
class CellCounts:
    """Exact counts of the cells of some columns, in one mergeable pass.

    Open cells are counted without a limit (a bounded sketch has no sensitivity of 1): memory grows with the distinct
    values of such a column.

    Args:
        cells: the cells of each column.
        beside: other cells of some of these columns, a histogram of its own.
    """

    cells: Mapping[str, Cells]
    beside: Mapping[str, FixedCells] = field(default_factory=dict)
    n_rows: int = 0
    other: dict[str, np.ndarray] = field(init=False)
    fixed: dict[str, np.ndarray] = field(init=False)
    open: dict[str, Counter[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.fixed = {n: np.zeros(c.n_cells, np.int64) for n, c in self.cells.items() if not isinstance(c, OpenCells)}
        self.open = {n: Counter() for n, c in self.cells.items() if isinstance(c, OpenCells)}
        self.other = {n: np.zeros(c.n_cells, np.int64) for n, c in self.beside.items()}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a block that has the columns."""
        self.n_rows += batch.num_rows
        for name, cells in self.cells.items():
            array = batch.column(name)
            if isinstance(cells, OpenCells):
                self.open[name].update(_value_counts(cells.counted(array)))
            else:
                self.fixed[name] += np.bincount(cells.index(array), minlength=cells.n_cells)
        for name, own in self.beside.items():
            self.other[name] += np.bincount(own.index(batch.column(name)), minlength=own.n_cells)

    def merge(self, other: CellCounts) -> None:
        """Add the counts of another part of the table."""
        self.n_rows += other.n_rows
        for name, counts in other.fixed.items():
            self.fixed[name] += counts
        for name, counts in other.other.items():
            self.other[name] += counts
        for name, values in other.open.items():
            self.open[name].update(values)


def as_doubles(array: pa.Array) -> np.ndarray:
    """Numbers as float64, times as integers of their unit; 0 where missing."""
    x: np.ndarray = plain(ticks(array)).cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
    return x


def _value_counts(array: pa.Array) -> Counter[Any]:
    """Rows of each value of a block; missing ones under None, times as integers of their unit.

    Added up by value: two entries of an Arrow array may be one value to a dict, and one row counts in one place alone.
    """
    if pt.is_floating(array.type):
        array = pc.if_else(pc.is_finite(array), array, None)
    counted = ticks(array).value_counts()  # two instants of one clock time, when clocks are set back, equal in Python
    rows: Counter[Any] = Counter()
    for value, n in zip(plain(counted.field(0)).to_pylist(), counted.field(1).to_pylist(), strict=True):
        rows[value] += n
    return rows
