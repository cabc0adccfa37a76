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
GOLDEN = (5**0.5 - 1) / 2
HIGHEST = np.iinfo(np.int32).max  # the threshold of a leaf


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
        """Input values (N, F) uint16 of rows whose codes (C, N) uint16 are given by column."""
        from raysynth.methods.trees.drawing import TILE, put_inputs, put_scores

        n_columns, located = len(self.inputs), self.location is not None
        x_NF = np.zeros((codes_CN.shape[1], max(n_columns + located + len(self.scores), 1)), np.uint16)
        codes_CN, inputs = np.ascontiguousarray(codes_CN), np.array(self.inputs, np.int64)
        put_inputs(codes_CN, inputs, *self._places, x_NF)
        if self.location is not None:
            x_NF[:, n_columns] = self.location.steps(self.location.of(codes_CN[inputs]))
        groups = [score.correction.group for score in self.scores if score.correction is not None]  # all the same
        groups_NF = grouped(groups[0], codes_CN[inputs]) if groups else np.zeros((0, 0), np.uint8)
        for i, (score, of_score) in enumerate(zip(self.scores, self._tables, strict=True), n_columns + located):
            more_N = np.zeros(0) if score.correction is None else score.correction.trees.sums(groups_NF)
            put_scores(codes_CN, inputs, *of_score, more_N, np.empty(TILE, np.float32), x_NF, i)
        return x_NF

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """The places of all orders, and where each input's begin (-1: it has none)."""
        ends = np.cumsum([0, *(0 if o is None else len(o) for o in self.orders)])
        start_F = [-1 if o is None else start for o, start in zip(self.orders, ends, strict=False)]
        places = [o.astype(np.int32) for o in self.orders if o is not None]
        return np.concatenate([np.zeros(0, np.int32), *places]), np.array(start_F, np.int64)

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

    def leaves(self, x_NF: np.ndarray, tree_N: np.ndarray) -> np.ndarray:
        """Leaf (N,) int32 of each row in the tree that is named for it."""
        from raysynth.methods.trees.drawing import walked

        leaf_N = self.roots.take(tree_N)
        if not walked(self._nodes, x_NF, leaf_N):
            raise ModelFileError("a tree in the model file is deeper than any that was written; refit the model")
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
        from raysynth.methods.trees.drawing import picked

        tree_N = np.arange(n) % len(self.roots) if n < 64 else rng.integers(0, len(self.roots), n, dtype=np.int32)
        if even and n:
            in_turn = (np.arange(len(self.roots)) + tree_N[0]) % len(self.roots)
            tree_N = rng.permutation(np.tile(in_turn, -(-n // len(in_turn)))[:n])
        leaf_N = self.leaves(self.features(codes_CN), tree_N)
        node_N = leaf_N if self.location is not None else self._backed_off(leaf_N, rng)
        part_N = self._spread(node_N, rng) if even else rng.random(n)
        run = np.zeros(0, np.int32) if self.run is None or self.location is not None else self.run
        codes_N = np.empty(n, self.codes.dtype)
        picked(node_N, leaf_N, (self.start, self.stop, self.codes), run, part_N, codes_N)
        if self.location is not None:
            return self.location.codes(self.location.of(codes_CN[list(self.inputs)]), codes_N, rng)
        return codes_N

    def _backed_off(self, leaf_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        from raysynth.methods.trees.drawing import left_nodes, went_up

        node_N, rows = leaf_N.copy(), np.empty(len(leaf_N), np.int64)
        n_rows = left_nodes(node_N, self.keep, rng.random(len(node_N)), rows)
        while n_rows:
            n_rows = went_up(node_N, self.parent, self.keep, rng.random(n_rows), rows)
        return node_N

    def _spread(self, node_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A number (N,) in [0, 1) for each row, uniform by itself, evenly spread over rows of one node or of near ones.

        Multiples of the golden ratio are so over any run (Niederreiter 1992, section 3.1); runs follow the order of
        nodes' entries, rows of a node in random order.
        """
        from raysynth.methods.trees.drawing import spread

        place, n_places = self._place
        order, spread_N = rng.permutation(len(node_N)), np.empty(len(node_N))
        spread(node_N, place, order, np.zeros(n_places + 1, np.int64), (GOLDEN, rng.random()), spread_N)
        return spread_N

    @cached_property
    def _place(self) -> tuple[np.ndarray, int]:
        """Where each node's entries begin, among the places where some begin, (M,), and how many places there are."""
        places, place = np.unique(self.start, return_inverse=True)
        return place.astype(np.int64), len(places)

    # ---- probabilities -----------------------------------------------------------------------------------------------

    def probability(self, codes_CN: Any, own_N: np.ndarray) -> np.ndarray:
        """P(own code | the others), (N,): the mean over the trees."""
        n = len(own_N)
        x_NF, total = self.features(codes_CN), np.zeros(n)
        location_N = np.zeros(n) if self.location is None else self.location.of([codes_CN[c] for c in self.inputs])
        for tree in range(len(self.roots)):
            leaf_N = self.leaves(x_NF, np.full(n, tree))
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
