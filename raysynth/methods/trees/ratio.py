"""How many times as often the real table has a row as the trees draw it, and rows drawn anew by that.

Leaves are wide and each column is learned for itself, so drawn rows can be told from real ones. Boosted trees that
learn to do so estimate the ratio of both densities (Sugiyama et al. 2012, chapter 4; of generators: Azadi et al. 2019,
Grover et al. 2019), and of more rows than are asked for those stay that the ratio speaks for.

Leaves of the ratio hold at least 30 persons, and 2 x `rare_threshold`; thresholds lie between codes.

Shape legend: N rows, C columns, R codes of a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ConditionError
from raysynth.methods.trees.boosting import BoostedTrees, Boosting, boosted, grouped
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons
from raysynth.methods.trees.sampler import TreesGenerator

MOST_GROUPS = 255
LEAST_PERSONS = 30  # in a leaf: smaller ones say where the rows learned from lie
LEARNED_ROWS = 50_000  # of the table at most
DRAWN_EACH, DRAWN_LEAST = 2, 40_000  # rows drawn for each of them: four, of large tables two
LARGEST = 3.0  # a logarithm of the ratio beyond it counts as that
CUT_OFF = 0.002  # share of the ratio's mass that may lie above the rows drawn for each that stays
MOST_EACH = 8.0
SPARE_ROWS = 32
BALANCED_GROUPS = 64  # of a column, whose shares are kept
EXCHANGES, MOST_EXCHANGES = 8, 32_768  # tried for each row, and in all: shares come no nearer by further ones
RAKINGS = 3
RAKED_LIKE = 5.0  # rows added to each group's counts
RAKED_ROWS = 8  # drawn ones for each group of all columns: of a wide table raking to finer ones would fit their noise
BLOCK_ROWS = 16_384
ROUNDS = 24  # of a row that completes another, until it stays


@dataclass(frozen=True)
class Ratio:
    """Weights of rows.

    Args:
        trees: on groups of codes.
        group: of each code, by column, (R,) uint8.
        margins: added to the trees' sum for each group of a column, so that weighted rows have the table's shares.
        shares: the table's, of each group of a column; each sums to 1.
        offset: taken from the trees' sum, so that weights of drawn rows have mean 1.
        each: rows to draw for each that shall stay.
        known: columns that the drawn rows shared with real ones; it is a ratio of what is drawn given these.
    """

    trees: BoostedTrees
    group: tuple[np.ndarray, ...]
    margins: tuple[np.ndarray, ...]
    shares: tuple[np.ndarray, ...]
    offset: float
    each: float
    known: tuple[int, ...] = ()

    def log_weights(self, x_NF: np.ndarray) -> np.ndarray:
        """Natural logarithm of the weight of each row of groups, (N,)."""
        total_N = self.trees.sums(x_NF) - self.offset
        for margin, x_N in zip(self.margins, x_NF.T, strict=True):
            total_N += margin.take(x_N)
        return np.clip(total_N, -LARGEST, LARGEST)


def learn_ratio(
    codes_CN: np.ndarray,
    columns: Sequence[ColumnView],
    generator: TreesGenerator,
    known: Sequence[int],
    rare_threshold: int,
    persons: RowsOfPersons | None,
    seed: int,
) -> Ratio:
    """The ratio of the rows learned from to those that the trees draw.

    Args:
        codes_CN: (C, N) of the rows learned from.
        known: columns that come first in the order and are never drawn row by row.
        persons: whose each row is, where persons have several.
    """
    rng = np.random.default_rng([seed, 1])
    person_N = np.ones(codes_CN.shape[1], np.float32)
    if persons is not None:
        person_N = persons.share_N.astype(np.float32)
    codes_CN, person_N = _some(codes_CN, person_N, rng)
    group = tuple(_groups(codes_CN[c], view) for c, view in enumerate(columns))
    return _learned(codes_CN, person_N, group, generator, known, rare_threshold, rng)


def learn_ratio_of_persons(
    codes_CN: np.ndarray,
    columns: Sequence[ColumnView],
    generator: TreesGenerator,
    own: Sequence[int],
    rare_threshold: int,
    persons: RowsOfPersons,
    seed: int,
) -> Ratio:
    """The ratio of the persons learned from to those that the trees draw, by the columns that are one for each of them.

    Args:
        codes_CN: (C, N) of the rows learned from.
        own: these columns.
        persons: whose each row is.
    """
    rng = np.random.default_rng([seed, 2])
    codes_CN = codes_CN[:, persons.first_rows]
    codes_CN, person_N = _some(codes_CN, np.ones(codes_CN.shape[1], np.float32), rng)
    one = [np.zeros(view.cardinality, np.uint8) for view in columns]  # of other columns all codes are one group
    group = tuple(_groups(codes_CN[c], view) if c in own else one[c] for c, view in enumerate(columns))
    return _learned(codes_CN, person_N, group, generator, (), rare_threshold, rng)


def _some(codes_CN: np.ndarray, person_N: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most `LEARNED_ROWS` of the rows, side by side in memory."""
    rows: Any = slice(None)
    if codes_CN.shape[1] > LEARNED_ROWS:
        rows = np.sort(rng.choice(codes_CN.shape[1], LEARNED_ROWS, replace=False))
    return np.ascontiguousarray(codes_CN[:, rows]), person_N[rows]


def _learned(
    codes_CN: np.ndarray,
    person_N: np.ndarray,
    group: tuple[np.ndarray, ...],
    generator: TreesGenerator,
    known: Sequence[int],
    rare_threshold: int,
    rng: np.random.Generator,
) -> Ratio:
    n = codes_CN.shape[1]
    times = DRAWN_EACH if DRAWN_EACH * n >= DRAWN_LEAST else 2 * DRAWN_EACH

    def drawn() -> np.ndarray:
        if known:
            return generator.generate_given(np.tile(codes_CN, times).T, known, rng).T
        return generator.generate(times * n, rng).codes_NC.T

    x_NF = grouped(group, np.concatenate([codes_CN, drawn()], axis=1))
    trees, _ = boosted(x_NF, n, person_N, max(2 * rare_threshold, LEAST_PERSONS), Boosting(), rng)
    fresh_NF = grouped(group, drawn())  # the trees have learned to doubt the others
    sums_N = trees.sums(fresh_NF)
    margins = _raked([int(g.max()) + 1 for g in group], x_NF[:n], fresh_NF, sums_N)
    shares = tuple(np.bincount(x, minlength=len(m)) / n for x, m in zip(x_NF[:n].T, margins, strict=True))
    offset = float(np.log(np.mean(np.exp(sums_N))))
    weight_N = np.exp(np.clip(sums_N - offset, -LARGEST, LARGEST))
    each = 1.25
    while each < MOST_EACH and np.minimum(weight_N, each).mean() < (1 - CUT_OFF) * weight_N.mean():
        each += 0.25
    return Ratio(trees, group, margins, shares, offset, each, tuple(known))


def _raked(
    sizes: Sequence[int], real_NF: np.ndarray, drawn_NF: np.ndarray, sums_N: np.ndarray
) -> tuple[np.ndarray, ...]:
    """For each input an addend for each of its groups, float32, with which weighted drawn rows have the real shares.

    By iterative proportional fitting (Deming and Stephan 1940); `sums_N`, the weights' logarithms, grow by them.
    """
    most, counts = len(drawn_NF) // (RAKED_ROWS * len(sizes)), list(zip(real_NF.T, sizes, strict=True))
    joined = [_joined(np.bincount(real_N, minlength=size), most) for real_N, size in counts]
    margins = tuple(np.zeros(size, np.float32) for size in sizes)
    for _ in range(RAKINGS):
        for margin, of, real_N, drawn_N in zip(margins, joined, real_NF.T, drawn_NF.T, strict=True):
            weight_N, n = np.exp(np.minimum(sums_N, LARGEST)), int(of.max()) + 1
            wanted = np.bincount(of.take(real_N), minlength=n)
            found = np.bincount(of.take(drawn_N), weights=weight_N, minlength=n) * (len(real_N) / weight_N.sum())
            step = np.log((wanted + RAKED_LIKE) / (found + RAKED_LIKE)).astype(np.float32).take(of)
            margin += step
            sums_N += step.take(drawn_N)
    return margins


def _joined(rows_R: np.ndarray, most: int) -> np.ndarray:
    """Groups of neighbours with about as many rows each, at most `most` (one: none is told from another), (R,)."""
    if len(rows_R) <= most:
        return np.arange(len(rows_R))
    middle = (np.cumsum(rows_R) - rows_R / 2) / max(rows_R.sum(), 1)
    return np.unique(np.minimum(np.floor(middle * most), most - 1), return_inverse=True)[1]


def _groups(codes_N: np.ndarray, view: ColumnView) -> np.ndarray:
    """At most `MOST_GROUPS` groups of a column's codes (R,): neighbours, or those of few rows."""
    if view.ordered:
        place = np.append(np.floor(view.rank[:-1] * (MOST_GROUPS - 2)).astype(np.int64), MOST_GROUPS)
        if view.cardinality <= MOST_GROUPS:
            place = np.arange(view.cardinality)
    else:
        rows = np.bincount(codes_N, minlength=view.cardinality)
        place = np.empty(view.cardinality, np.int64)
        place[np.argsort(-rows, kind="stable")] = np.minimum(np.arange(view.cardinality), MOST_GROUPS - 1)
    return np.unique(place, return_inverse=True)[1].astype(np.uint8)


def chosen(
    x_NF: np.ndarray, weight_N: np.ndarray, n: int, rng: np.random.Generator, shares: Sequence[np.ndarray] | None = None
) -> np.ndarray:
    """n of more rows, none twice, each as probable as its weight says, in random order.

    Where weights are so uneven that a row would be certain, it is, and the others share the remaining places. Then rows
    change places with others of like weight where this brings the shares of each column closer to those that are wanted
    (balanced sampling; Deville and Tille 2004, by exchange).

    Args:
        x_NF: groups of each row.
        shares: that are wanted, of each group of a column; None: those of all weighted rows.
    """
    p = np.minimum(weight_N * _scale(weight_N, n), 1.0)
    line = rng.permutation(len(p))  # drawn rows follow a regular pattern, and so do regular picks
    reached = np.cumsum(p[line])
    picks = np.searchsorted(reached, (np.arange(n) + rng.random()) * (reached[-1] / n), side="right")
    is_in = np.zeros(len(p), bool)
    is_in[line[np.minimum(picks, len(p) - 1)]] = True
    ins, outs = rng.permutation(np.flatnonzero(is_in)), np.flatnonzero(~is_in)
    if len(ins) < n:  # a place that rounding gave twice
        ins = np.concatenate([ins, rng.permutation(outs)[: n - len(ins)]])
        outs = np.setdiff1d(outs, ins)
    _balance(x_NF, ins, outs, p, rng, shares)
    return ins


def _scale(weight_N: np.ndarray, n: int) -> float:
    """What weights are multiplied by, so that as probabilities of at most 1 they add up to n."""
    every = n / float(weight_N.sum())
    if every * weight_N.max() <= 1.0:
        return every
    high, certain = np.sort(weight_N)[::-1], np.arange(n)
    scale = (n - certain) / np.cumsum(high[::-1])[::-1][:n]  # of the others, where so many of the largest are certain
    return float(scale[np.argmax(high[:n] * scale <= 1.0)])


def _balance(
    x_NF: np.ndarray,
    ins: np.ndarray,
    outs: np.ndarray,
    p: np.ndarray,
    rng: np.random.Generator,
    shares: Sequence[np.ndarray] | None,
) -> None:
    """Exchanges, in place, rows of `ins` for those of `outs`; the other arguments as those of `chosen`."""
    from raysynth.methods.trees.drawing import exchanged

    n_columns = x_NF.shape[1]
    sizes = np.array([len(s) for s in shares] if shares else x_NF.max(axis=0) + 1, np.int64)
    coarse_F = -(-sizes // BALANCED_GROUPS)
    cells_NF, shape = x_NF.copy(), (n_columns, BALANCED_GROUPS)
    for f in np.flatnonzero(coarse_F > 1):
        cells_NF[:, f] //= np.uint8(coarse_F[f])
    if shares is None:
        wanted = [np.bincount(cells, weights=p, minlength=BALANCED_GROUPS) for cells in cells_NF.T]
    else:
        groups = [np.arange(len(s)) // k for s, k in zip(shares, coarse_F, strict=True)]
        wanted = [len(ins) * np.bincount(g, s, BALANCED_GROUPS) for g, s in zip(groups, shares, strict=True)]
    wanted_FB, changes = np.reshape(wanted, shape), (np.empty(shape), np.empty(shape))
    key, tries = rng.integers(0, 1 << 64, dtype=np.uint64), min(EXCHANGES * len(ins), MOST_EXCHANGES)
    exchanged(cells_NF, ins, outs, p, -wanted_FB, 1.0 / (wanted_FB + 1.0), changes, tries, key)


@dataclass(frozen=True)
class WeightedTrees:
    """Rows of the trees, more than are asked for, of which the ratio chooses.

    Args:
        ratio: of rows, or of what is drawn given its `known` columns.
        of_persons: of what is one for each person, where rows of a person are drawn given that.
    """

    trees: TreesGenerator
    ratio: Ratio
    of_persons: Ratio | None = None
    exact_conditions: ClassVar[bool] = True
    fills: ClassVar[bool] = True

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows; raises `ConditionError` where too few rows satisfy the conditions."""
        ratio = self.of_persons if self.ratio.known else self.ratio
        if ratio is None:
            return self.trees.generate(n, rng, weights)
        blocks = [self._block(ratio, min(BLOCK_ROWS, n - start), rng, weights) for start in range(0, n, BLOCK_ROWS)]
        codes_NC = np.concatenate(blocks) if blocks else np.empty((0, len(self.trees.order)), np.uint16)
        return EncodedBlock(codes_NC, np.empty((n, 0), np.float32))

    def _block(
        self, ratio: Ratio, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None
    ) -> np.ndarray:
        try:
            drawn_NC = self.trees.generate(int(np.ceil(ratio.each * n)) + SPARE_ROWS, rng, weights).codes_NC
        except ConditionError:  # rows so rare that no more can be had are as the trees draw them
            return self.trees.generate(n, rng, weights).codes_NC
        x_NF = grouped(ratio.group, drawn_NC.T)
        rows = chosen(x_NF, np.exp(ratio.log_weights(x_NF)), n, rng, None if weights else ratio.shares)
        return drawn_NC[rows]

    def completes(self, known: Sequence[int]) -> bool:
        """Whether the known columns come first in the order, so that all others can be drawn given them."""
        return self.trees.completes(known)

    def rows_scores(self, codes_PC: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """As `TreesGenerator.rows_scores`."""
        return self.trees.rows_scores(codes_PC, rng)

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) with all columns but the `known` ones drawn given these; as `TreesGenerator.generate_given`.

        A row stays with a probability in proportion to its weight (rejection sampling); after 24 rounds one of those
        drawn for it is chosen by weight.
        """
        if not set(self.ratio.known) <= set(known):
            return self.trees.generate_given(codes_NC, known, rng)
        if not self.trees.completes(known):
            codes_CN = np.array(codes_NC.T, dtype=np.uint16, order="C")
            return self.trees.drawn_given(codes_CN, known, rng, self._log_weights).T
        result_NC = np.array(codes_NC)
        left, total_N = np.arange(len(result_NC)), np.zeros(len(result_NC))
        for _ in range(ROUNDS):
            drawn_NC = self.trees.generate_given(codes_NC[left], known, rng)
            weight_N = np.exp(self.ratio.log_weights(grouped(self.ratio.group, drawn_NC.T)))
            total_N[left] += weight_N
            stays = rng.random(len(left)) * self.ratio.each < weight_N
            taken = stays | (rng.random(len(left)) * total_N[left] < weight_N)
            result_NC[left[taken]] = drawn_NC[taken]
            left = left[~stays]
            if not len(left):
                break
        return result_NC

    def _log_weights(self, codes_CM: np.ndarray) -> np.ndarray:
        return self.ratio.log_weights(grouped(self.ratio.group, codes_CM))
