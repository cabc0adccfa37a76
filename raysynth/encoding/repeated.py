"""Made values that several rows share: the rows of a made person, and the columns that are the same in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from raysynth.encoding.distribution import smooth
from raysynth.kinds.description import Maker
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.kinds.permutation import permute
from raysynth.statistics.released import NumericDistribution

CYCLE = 4096  # persons after whom the same numbers of rows come again, in another order
_SPREAD = 16  # different numbers of rows that a cell of several is spread over


@dataclass(frozen=True)
class RowsEach:
    """Which made person each row belongs to, from the row's number alone, so that any worker makes its own rows.

    Persons follow each other, each with all rows together. Of 4,096 persons in a row the numbers of rows have the given
    distribution as nearly as whole persons can, in an order that a keyed permutation draws anew for the next 4,096.

    Args:
        shares: pairs (rows, share of the persons), shares of any positive sum.
    """

    shares: tuple[tuple[int, float], ...]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Rows of each person of a cycle, ascending, shape (CYCLE,)."""
        pairs = sorted(self.shares)
        rows = np.array([n for n, _ in pairs], np.int64)
        ranks = np.cumsum([share for _, share in pairs])
        middle = (np.arange(CYCLE) + 0.5) / CYCLE
        lengths: np.ndarray = rows[np.searchsorted(ranks[:-1] / ranks[-1], middle, side="right")]
        return lengths

    def persons(self, row_start: int, n: int, key: int, label: str) -> np.ndarray:
        """Number of the person of each row, ascending without gaps, shape (n,) int64.

        Args:
            row_start: number of the first row within the whole output, >= 0.
            n: how many rows.
            key: non-negative integer. label: tells this column from others of the same key.
        """
        in_cycle = int(self.lengths.sum())
        first, last = row_start // in_cycle, (row_start + max(n, 1) - 1) // in_cycle
        persons = []
        for cycle in range(first, last + 1):
            begin = max(row_start - cycle * in_cycle, 0)
            end = min(row_start + n - cycle * in_cycle, in_cycle)
            order = permute(np.arange(CYCLE, dtype=np.uint64), CYCLE, key, f"{label}/rows/{cycle}").view(np.int64)
            ends = np.cumsum(self.lengths[order])
            persons.append(cycle * CYCLE + np.searchsorted(ends, np.arange(begin, end), side="right"))
        return np.concatenate(persons)

    def first_row(self, person: int, key: int, label: str) -> int:
        """Number of the first row of a person within the whole output; arguments as of `persons`."""
        cycle, place = divmod(person, CYCLE)
        order = permute(np.arange(CYCLE, dtype=np.uint64), CYCLE, key, f"{label}/rows/{cycle}").view(np.int64)
        return cycle * int(self.lengths.sum()) + int(self.lengths[order[:place]].sum())


@dataclass(frozen=True)
class RepeatedEncoder:
    """Values of a column that all rows of a made person share.

    Args:
        inner: makes one value for each number: here of persons.
        rows_each: how many rows persons have.
        entity: name of the column of persons: columns of one entity change together.
    """

    inner: Maker
    rows_each: RowsEach
    entity: str

    def values(self, row_start: int, n: int, key: int) -> pa.Array:
        """Values of rows row_start to row_start + n - 1, in the column's Arrow type; see `Maker`.

        Raises:
            SchemaError: the column's type has fewer different values than persons are needed.
        """
        if n == 0:
            return self.inner.values(0, 0, key)
        persons = self.rows_each.persons(row_start, n, key, self.entity)
        first, last = int(persons[0]), int(persons[-1])
        return self.inner.values(first, last - first + 1, key).take(pa.array(persons - first))

    def near(self, places: np.ndarray, row_start: int, reserved: int, key: int) -> pa.Array:
        """As `IdentifierEncoder.near`: the key of a person is near the place of its rows.

        Args:
            places: one for each row, the same in all rows of a person (N,).
            row_start: a multiple of `reserved`.
            reserved: rows of a chunk; 0: rows are made singly, and get keys as by `values`.
            key: as of `values`.
        """
        assert isinstance(self.inner, IdentifierEncoder)
        if not reserved or not len(places):
            return self.values(row_start, len(places), key)
        persons_N = self.rows_each.persons(row_start, len(places), key, self.entity)
        persons, begins, of_N = np.unique(persons_N, return_index=True, return_inverse=True)
        first = self.rows_each.first_row(int(persons[0]), key, self.entity) // reserved
        after = self.rows_each.first_row(int(persons[-1]) + 1, key, self.entity)
        # a chunk has as many numbers of keys as rows: the first is that of who begins there and ends later
        chunk, own = row_start // reserved, [int(first < row_start // reserved), len(persons)]
        if after > (chunk + 1) * reserved and len(persons) > own[0]:
            own[1] -= 1
        inside = slice(*own)
        parts = [
            self.inner.near(places[begins[: own[0]]], first * reserved, 1, key),
            self.inner.near(places[begins[inside]], chunk * reserved + 1, reserved - 1, key),
            self.inner.near(places[begins[own[1] :]], chunk * reserved, 1, key),
        ]
        return pa.concat_arrays(parts).take(pa.array(of_N))


def rows_each_of(rows_P: np.ndarray, rare_threshold: int) -> tuple[tuple[int, float], ...]:
    """How many rows persons have, as pairs (rows, share) that at least `rare_threshold` persons stand behind.

    Protected as a number is (`encoding/distribution.py`), each person a row of it: numbers that enough persons have
    stay, the others are spread evenly over cells that enough persons share, and the most rows are those of the
    outermost cell.

    Args:
        rows_P: rows of each person, at least 1, shape (P,).
        rare_threshold: persons that must share what leaves.
    """
    rows, persons = np.unique(rows_P, return_counts=True)
    x = rows.astype(float)
    counted = NumericDistribution(x, x, persons, 0.0, float(x.mean()), float(x.std()), 0, True, 0.0)
    cells = smooth(counted, rare_threshold)
    pairs: dict[int, float] = {}
    for low, high, share in zip(np.ceil(cells.low), np.floor(cells.high), cells.share, strict=True):
        inside = np.unique(np.linspace(max(low, 1), max(high, low, 1), _SPREAD).round().astype(np.int64))
        for n in inside.tolist():
            pairs[n] = pairs.get(n, 0.0) + float(share) / len(inside)
    return tuple(sorted((n, share) for n, share in pairs.items() if share > 0))
