"""The model of one column given those before it: an even mixture of trees over codes, drawn from and evaluated.

A leaf holds counts over the column's codes, kept as a sorted list of codes, so that a draw is one look-up. The leaves
of a tree lie in the order of the tree, so that an inner node's counts are those of a slice of the list, too: a draw
that leaves the leaf (with probability 1 - keep) is one from its parent, and so on upwards (interpolated
back-off; Chen and Goodman 1999, section 2.3, on the path of a tree).

Shape legend: N rows, F inputs (columns before this one, then scores), T trees, M nodes, L entries of all leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raysynth.errors import ModelFileError
from raysynth.methods.trees.boosting import grouped
from raysynth.methods.trees.corrections import Correction
from raysynth.methods.trees.located import Location, SortedLeaves

MOST_LEVELS = 64
HIGHEST = np.iinfo(np.int32).max  # the threshold of a leaf
ENDLESS = "a tree in the model file is deeper than any that was written; refit the model"


@dataclass(frozen=True)
class Score:
    """A sum of one number for each input column's code, and of boosted trees, as ranks: what a single split cannot see.

    Args:
        tables: for each input column an addend for each of its codes.
        low, high: sums outside count as these, low < high.
        rank: of each of the equal steps between them, ascending, (steps,).
        correction: None, or trees whose sum is added.
    """

    tables: tuple[np.ndarray, ...]
    low: float
    high: float
    rank: np.ndarray
    correction: Correction | None = None

    def of(self, total_N: np.ndarray) -> np.ndarray:
        """Rank (N,) of each sum."""
        return self.rank.take(self.steps(total_N))

    def steps(self, total_N: np.ndarray) -> np.ndarray:
        """The step (N,) that each sum lies in."""
        last = len(self.rank) - 1
        place = (total_N - np.float32(self.low)) * np.float32(len(self.rank) / (self.high - self.low))
        steps: np.ndarray = np.clip(place, 0, last).astype(np.int32)
        return steps


@dataclass(frozen=True)
class Forest:
    """Trees of one column.

    Args:
        inputs: the columns that splits look at, by index in the layout.
        orders: for each input None, or the place of each code in the order that splits use.
        scores: further inputs, made of the columns.
        roots: first node of each tree, (T,).
        feature: input that a node splits by; -1 in a leaf, (M,).
        threshold: rows whose input is at most this go left; in a leaf `HIGHEST`, (M,).
        left: node of the left child; the right one follows it, (M,).
        parent: (M,); a root is its own.
        start, stop: the node's slice of `codes`, (M,).
        codes: sorted inside each leaf, (L,).
        keep: probability that a draw stays in a node, else it goes to the parent; 1 in a root, (M,).
        run: None, or for each code of the column the number of its stretch of neighbouring smooth cells (-1: an atom,
            or missing); values between two entries of a leaf in one stretch are drawn, too.
        location: None, or what turns the codes that leaves hold into the column's; then it is the input after the
            columns, and no draw leaves its leaf.
    """

    inputs: tuple[int, ...]
    orders: tuple[np.ndarray | None, ...]
    scores: tuple[Score, ...]
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    parent: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    codes: np.ndarray
    keep: np.ndarray
    run: np.ndarray | None
    location: Location | None = None

    # ---- rows to leaves ----------------------------------------------------------------------------------------------

    def features(self, codes_CN: np.ndarray) -> np.ndarray:
        """Input values (F, N) uint16 of rows whose codes (C, N) uint16 are given by column."""
        orders = zip(self.inputs, self.orders, strict=True)
        columns = [codes_CN[c] if order is None else order.take(codes_CN[c]) for c, order in orders]
        made_SN = self._made(codes_CN, self._located(codes_CN))
        return np.array([*columns, *made_SN], np.uint16).reshape(-1, codes_CN.shape[1])

    def _located(self, codes_CN: Any) -> np.ndarray:
        """The location (N,) of each row; without one nothing (0,)."""
        return np.zeros(0) if self.location is None else self.location.of([codes_CN[c] for c in self.inputs])

    def _made(self, codes_CN: np.ndarray, location_N: np.ndarray) -> np.ndarray:
        """The inputs (S, N) uint16 that are made of the columns: steps of the location, then ranks of scores."""
        from raysynth.methods.trees.drawing import TILE, put_ranks

        located = self.location is not None
        more_SN = np.empty((located + len(self.scores), codes_CN.shape[1]), np.uint16)
        if not len(more_SN):
            return more_SN
        inputs = np.array(self.inputs, np.int64)
        if self.location is not None:
            more_SN[0] = self.location.steps(location_N)
        groups = [score.correction.group for score in self.scores if score.correction is not None]  # all the same
        groups_NF = grouped(groups[0], codes_CN[inputs]) if groups else np.zeros((0, 0), np.uint8)
        for rank_N, score, of_score in zip(more_SN[located:], self.scores, self._tables, strict=True):
            more_N = np.zeros(0) if score.correction is None else score.correction.trees.sums(groups_NF)
            put_ranks(codes_CN, inputs, *of_score, more_N, np.empty(TILE, np.float32), rank_N)
        return more_SN

    @cached_property
    def _sources(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input columns, the places of all orders, and where each input's begin (-1: it has none)."""
        ends = np.cumsum([0, *(0 if o is None else len(o) for o in self.orders)])
        starts = [-1 if o is None else start for o, start in zip(self.orders, ends, strict=False)]
        places = [o.astype(np.uint16) for o in self.orders if o is not None]
        inputs, start_F = np.array(self.inputs, np.int64), np.array(starts, np.int64)
        return inputs, np.concatenate([np.zeros(0, np.uint16), *places]), start_F

    @cached_property
    def _tables(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Of each score its addends, where each input's begin, the lowest sum and steps for each unit, and ranks."""
        result = []
        for score in self.scores:
            starts = np.cumsum([0, *(len(t) for t in score.tables[:-1])])
            scales = np.array([score.low, len(score.rank) / (score.high - score.low)], np.float32)
            tables = np.concatenate(score.tables).astype(np.float32)
            result.append((tables, starts, scales, score.rank.astype(np.uint16)))
        return result

    @cached_property
    def _nodes(self) -> np.ndarray:
        from raysynth.methods.trees.drawing import packed

        return packed(self.feature, self.threshold, self.left)

    def leaves(self, x_FN: np.ndarray, tree_N: np.ndarray) -> np.ndarray:
        """Leaf (N,) uint32 of each row, given by its inputs, in the tree that is named for it."""
        from raysynth.methods.trees.drawing import TILE, all_walked

        leaf_N = self.roots.take(tree_N).astype(np.uint32)
        if not all_walked(self._nodes, x_FN, np.empty(TILE * max(len(x_FN), 1), np.uint16), leaf_N):
            raise ModelFileError(ENDLESS)
        return leaf_N

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def draw(self, codes_CN: np.ndarray, n: int, rng: np.random.Generator, *, even: bool = False) -> np.ndarray:
        """Codes (n,) of the column for rows whose other codes are given by column.

        In a leaf, a place between two entries in one stretch of smooth cells is a code between them. Half of the first
        and half of the last entry have no neighbour and stay: a leaf that gave all of one end would draw too low or
        too high.

        Args:
            even: rows share out trees and the entries of leaves evenly (systematic sampling; Madow and Madow 1944):
                each row's code is drawn as it is otherwise, but how often the n rows have a code varies less.
        """
        from raysynth.methods.trees.drawing import TILE, drawn, shuffled

        codes_CN = np.ascontiguousarray(codes_CN)
        keys, order = rng.integers(0, 1 << 64, 3, dtype=np.uint64), np.empty(n, np.uint32)
        shuffled(keys[2], order)
        location_N, (trees, n_places) = self._located(codes_CN), self._for_draws
        more_SN = self._made(codes_CN, location_N)
        root_P = np.repeat(self.roots.astype(np.uint32), self._rows_each(n, rng, even=even))
        x = np.zeros(TILE * max(len(self.inputs) + len(more_SN), 1), np.uint16)
        space = root_P, x, np.empty(TILE, np.uint32), np.empty(TILE)
        run = np.zeros(0, np.int32) if self.run is None or self.location is not None else self.run
        before, codes_N = np.zeros(n_places + 1 if even else 0, np.int32), np.empty(n, self.codes.dtype)
        if not drawn(codes_CN, more_SN, self._sources, trees, (self.codes, run), keys, before, space, order, codes_N):
            raise ModelFileError(ENDLESS)
        if self.location is not None:
            return self.location.codes(location_N, codes_N, rng)
        return codes_N

    def _rows_each(self, n: int, rng: np.random.Generator, *, even: bool) -> np.ndarray:
        """How many of n rows each tree draws, (T,)."""
        n_trees = len(self.roots)
        if not even:
            return rng.multinomial(n, np.full(n_trees, 1 / n_trees))
        return n // n_trees + ((np.arange(n_trees) - rng.integers(n_trees)) % n_trees < n % n_trees)

    @cached_property
    def _for_draws(self) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], int]:
        """Nodes, the probability that a draw leaves each (empty: none does), and the numbers of each; and how many
        places there are where some node's entries begin. See `drawing.drawn`."""
        places, place = np.unique(self.start, return_inverse=True)
        numbers = np.stack([self.start, self.stop, place, self.parent], axis=1).astype(np.uint32)  # in drawing's order
        leaves = np.zeros(0, np.float32) if self.location is not None else 1 - self.keep
        return (self._nodes, leaves, numbers), len(places)

    # ---- probabilities -----------------------------------------------------------------------------------------------

    def probability(self, codes_CN: Any, own_N: np.ndarray) -> np.ndarray:
        """P(own code | the others), (N,): the mean over the trees."""
        n = len(own_N)
        x_FN, total = self.features(codes_CN), np.zeros(n)
        location_N = self._located(codes_CN)
        for tree in range(len(self.roots)):
            leaf_N = self.leaves(x_FN, np.full(n, tree))
            if self.location is None:
                total += self._in_tree(leaf_N, own_N.astype(np.int64))
            else:
                total += self.location.probability(self._sorted_leaves, leaf_N, location_N, own_N)
        return total / len(self.roots)

    @cached_property
    def _sorted_leaves(self) -> SortedLeaves:
        return SortedLeaves(self.start, self.stop, self.codes, self.feature < 0)

    def _in_tree(self, leaf_N: np.ndarray, own_N: np.ndarray) -> np.ndarray:
        """P(own code) in the leaf, mixed with that of its ancestors."""
        node, weight = leaf_N.copy(), np.ones(len(leaf_N))
        result = np.zeros(len(leaf_N))
        for level in range(MOST_LEVELS):
            keep = self.keep[node]
            own = self._in_leaf(node, own_N) if level == 0 else self._in_node(node, own_N)
            result += weight * keep * own
            weight = weight * (1 - keep)
            if not weight.any():
                break
            node = self.parent[node]
        return result

    def _in_node(self, node_N: np.ndarray, own_N: np.ndarray) -> np.ndarray:
        """Share of the node's entries that are the code: entries of one code, in the order of all leaves."""
        first, last = (
            np.searchsorted(self._by_code, own_N * self._stride + place)
            for place in (self.start[node_N], self.stop[node_N])
        )
        return (last - first) / (self.stop[node_N] - self.start[node_N])

    @cached_property
    def _stride(self) -> int:
        return len(self.codes) + 1

    @cached_property
    def _by_code(self) -> np.ndarray:
        return np.sort(self.codes.astype(np.int64) * self._stride + np.arange(len(self.codes)))

    def _in_leaf(self, leaf_N: np.ndarray, own_N: np.ndarray) -> np.ndarray:
        if self.run is None:
            return self._in_node(leaf_N, own_N)
        start, stop = self.start[leaf_N].astype(np.int64), self.stop[leaf_N].astype(np.int64)
        key = start << 16
        lo, hi = (np.searchsorted(self._by_leaf, key + own_N, side) for side in ("left", "right"))
        last = stop - 1
        before, first = np.maximum(lo - 1, start), np.minimum(lo, last)
        end, after = np.maximum(hi - 1, start), np.minimum(hi, last)
        below = np.where((lo > start) & (lo < stop) & self._joined(before, first), self._share(before, first), np.nan)
        above = np.where((hi > start) & (hi < stop) & self._joined(end, after), self._share(end, after), np.nan)
        among = np.where(np.isnan(below), 0.0, below)  # no entry of this code: what lies between two others
        count = (hi - lo) + sum(np.where(np.isnan(s), 0.0, s - 0.5) for s in (below, above))
        result: np.ndarray = np.where(hi > lo, count, among) / (stop - start)
        return result

    def _share(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Of a place between two entries, the probability of each code from the one to the other."""
        share: np.ndarray = 1.0 / (self.codes[other].astype(np.int64) - self.codes[one] + 1)
        return share

    def _joined(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        assert self.run is not None
        runs = self.run[self.codes[one]]
        return (runs >= 0) & (runs == self.run[self.codes[other]])

    @cached_property
    def _by_leaf(self) -> np.ndarray:
        """First entry of its leaf, and code, of each entry as one ascending number."""
        leaf = np.flatnonzero(self.feature < 0)
        start = np.sort(self.start[leaf]).astype(np.int64)
        return (np.repeat(start, np.diff(np.append(start, len(self.codes)))) << 16) + self.codes
