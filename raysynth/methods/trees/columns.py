"""How a tree sees a column: its codes as places on a line, and as numbers to predict; the order of drawing.

Where several rows belong to one person, what a leaf says is of enough persons, not of enough rows. A leaf of ten rows
of one person tells that person's values together, though each of them is shared by many. So splits are found from bags
of persons; a column that is the same in all rows of each person, given such columns alone, is split by one row of each;
and a node that too few persons stand behind is never drawn from, but the next one above it that enough do.

Shape legend: N rows, C columns, R codes of a column, M nodes, L entries of all leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import ColumnEncoder, TableEncoder
from raysynth.errors import ParameterError

CLIPPED_AT = 4.0  # standard deviations


@dataclass(frozen=True)
class ColumnView:
    """What growing needs to know of one column; made from its encoder, so from released things alone.

    Args:
        cardinality: R.
        ordered: whether codes are in the order of values.
        rank: for an ordered column the mean rank of each code in [0, 1], of 'missing' the mean, (R,).
        value: for an ordered column the code's middle value, standardised and clipped, of 'missing' the mean, (R,).
        missing: share of rows without a value.
        run: see `Forest`; None for columns without smooth cells.
        ranks: of a number the share of the values below each code, and 1 at the end, (R,).
        middle: of a number the middle value of each code but 'missing', (R - 1,).
        size: a further number to predict for each code, how far it is from 0, where spread depends on inputs, (R,).
    """

    cardinality: int
    ordered: bool
    rank: np.ndarray
    value: np.ndarray
    missing: float
    run: np.ndarray | None
    ranks: np.ndarray | None = None
    middle: np.ndarray | None = None
    size: np.ndarray | None = None


def views(columns: Sequence[ColumnEncoder]) -> tuple[ColumnView, ...]:
    """The view of each column of an encoder."""
    return tuple(_numeric(c) if isinstance(c, BinEncoder) else _nominal(c) for c in columns)


def _nominal(column: ColumnEncoder) -> ColumnView:
    none = np.zeros(column.cardinality)
    return ColumnView(column.cardinality, False, none, none, float(column.shares[-1]), None)


def _numeric(column: BinEncoder) -> ColumnView:
    cells, first = column.distribution, column.first_cell
    last = np.append(first[1:], len(cells.share)) - 1
    share = np.maximum(np.diff(column.ranks), 1e-12)
    share = share / share.sum()
    low, high = cells.low[first], cells.high[last]
    middle = low / 2 + high / 2
    mean = float(share @ middle)
    deviation = float(np.sqrt(share @ (middle - mean) ** 2)) or 1.0
    value = np.clip((middle - mean) / deviation, -CLIPPED_AT, CLIPPED_AT)
    rank = column.ranks[:-1] + np.diff(column.ranks) / 2
    smooth = high > low
    run = np.where(smooth, np.cumsum(~smooth), -1)
    return ColumnView(
        column.cardinality,
        True,
        np.append(rank, share @ rank),
        np.append(value, share @ value),
        float(column.shares[-1]),
        np.append(run, -1).astype(np.int32) if smooth.any() else None,
        column.ranks,
        middle,
    )


def drawing_order(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Columns in the order of drawing: those wanted first, as they are named; then the others, as in the table.

    Raises:
        ParameterError: a name is no modelled column, or stands twice.
    """
    if unknown := [name for name in wanted if name not in names]:
        raise ParameterError(f"order names '{unknown[0]}', which is no modelled column; these are: {', '.join(names)}")
    if len(set(wanted)) != len(wanted):
        raise ParameterError("order names a column twice; name each at most once")
    first = [list(names).index(name) for name in wanted]
    return (*first, *(c for c in range(len(names)) if c not in first))


@dataclass(frozen=True)
class RowsOfPersons:
    """Whose each row is.

    Args:
        person_N: number of the person, 0 .. n_persons - 1.
        n_persons: of the rows learned from.
        constant: columns with one code in all rows of each person, by index.
    """

    person_N: np.ndarray
    n_persons: int
    constant: frozenset[int]

    @classmethod
    def of(cls, persons_N: np.ndarray | None, codes_CN: np.ndarray) -> RowsOfPersons | None:
        """From a number or hash of each row's person; None where each row is one."""
        if persons_N is None:
            return None
        known, person_N = np.unique(persons_N, return_inverse=True)
        if len(known) == len(person_N):
            return None
        order = np.argsort(person_N, kind="stable")
        starts = np.searchsorted(person_N[order], np.arange(len(known)))
        sorted_CN = codes_CN[:, order]
        same_C = (np.minimum.reduceat(sorted_CN, starts, axis=1) == np.maximum.reduceat(sorted_CN, starts, axis=1)).all(
            1
        )
        return cls(person_N, len(known), frozenset(np.flatnonzero(same_C).tolist()))

    @property
    def share_N(self) -> np.ndarray:
        """How much of its person each row is, (N,): together the rows of one are 1."""
        return (1.0 / np.bincount(self.person_N))[self.person_N]

    def usual(self, codes_N: np.ndarray) -> np.ndarray:
        """The most frequent code of each row's person, (N,); of equally frequent ones the lowest."""
        pairs, rows = np.unique(np.stack([self.person_N, codes_N]), axis=1, return_counts=True)
        best = np.lexsort((pairs[1], -rows, pairs[0]))
        first = best[np.concatenate([[True], np.diff(pairs[0][best]) > 0])]
        usual_N: np.ndarray = pairs[1][first][self.person_N].astype(codes_N.dtype)
        return usual_N

    def bag(self, share: float, rng: np.random.Generator) -> np.ndarray:
        """All rows of a random share of the persons."""
        chosen = np.zeros(self.n_persons, bool)
        chosen[rng.permutation(self.n_persons)[: max(2, round(share * self.n_persons))]] = True
        return np.flatnonzero(chosen[self.person_N])

    @cached_property
    def first_rows(self) -> np.ndarray:
        """The first row of each person, (n_persons,)."""
        return np.unique(self.person_N, return_index=True)[1]

    def too_few(self, tree: Mapping[str, np.ndarray], order_N: np.ndarray, least: int) -> np.ndarray:
        """For each node (M,) whether fewer than `least` persons stand behind it; never for the root.

        Args:
            tree: its arrays. order_N: the row of each entry of its leaves.
        """
        person_L = self.person_N[order_N].astype(np.int64)
        few = np.zeros(len(tree["feature"]), bool)
        nodes = np.flatnonzero(tree["feature"] < 0)
        while len(nodes):
            start, rows = tree["start"][nodes].astype(np.int64), (tree["stop"] - tree["start"])[nodes].astype(np.int64)
            of = np.repeat(np.arange(len(nodes)), rows)
            entry = np.arange(len(of)) - np.repeat(np.cumsum(rows) - rows, rows) + start[of]
            pairs = np.unique(of * self.n_persons + person_L[entry])
            persons = np.bincount(pairs // self.n_persons, minlength=len(nodes))
            failing = nodes[(persons < least) & (nodes > 0)]  # above the root there is nothing to fall back on
            few[failing] = True
            nodes = np.unique(tree["parent"][failing])
        return few


def evened(
    encoder: TableEncoder, codes_CN: np.ndarray, persons: RowsOfPersons | None, once: Sequence[int], rare_threshold: int
) -> TableEncoder:
    """The encoder whose numbers are drawn so that they meet those learned from no more often than others.

    Args:
        codes_CN: of the rows learned from.
        persons: whose each is. once: columns drawn once for each person.
        rare_threshold: 1: nothing is protected, and the encoder stays as it is.
    """
    columns = list(encoder.columns)
    for c, column in enumerate(columns):
        if isinstance(column, BinEncoder) and rare_threshold > 1:
            own_N = codes_CN[c] if persons is None or c not in once else codes_CN[c][persons.first_rows]
            rows = np.bincount(own_N, minlength=column.cardinality)[:-1]
            columns[c] = column.evened(rows)
    return TableEncoder(tuple(columns))
