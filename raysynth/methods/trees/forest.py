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
from raysynth.methods.trees.located import Location, SortedLeaves

MOST_LEVELS = 64
GOLDEN = (5**0.5 - 1) / 2
HIGHEST = np.iinfo(np.int32).max  # the threshold of a leaf


@dataclass(frozen=True)
class Score:
    """A sum of one number for each input column's code, as ranks: what a single split cannot see.

    Args:
        tables: for each input column an addend for each of its codes.
        low, high: sums outside count as these, low < high.
        rank: of each of the equal steps between them, ascending, (steps,).
    """

    tables: tuple[np.ndarray, ...]
    low: float
    high: float
    rank: np.ndarray

    def ranks(self, codes_FN: Any) -> np.ndarray:
        """Rank (N,) of each row, from the codes (N,) of each input column."""
        total = self.tables[0].take(codes_FN[0])
        for table, codes_N in zip(self.tables[1:], codes_FN[1:], strict=True):
            total += table.take(codes_N)
        return self.of(total)

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

    def features(self, codes_CN: Any) -> np.ndarray:
        """Input values (F, N) int32 of rows whose codes are given by column."""
        columns = [codes_CN[c] for c in self.inputs]
        places = [c if o is None else o[c] for c, o in zip(columns, self.orders, strict=True)]
        located = [] if self.location is None else [self.location.steps(self.location.of(columns))]
        stacked = [*places, *located, *(score.ranks(columns) for score in self.scores)]
        n = len(codes_CN[0]) if len(codes_CN) else 0
        return np.array(stacked, dtype=np.int32) if stacked else np.zeros((1, n), np.int32)

    def leaves(self, x_FN: np.ndarray, tree_N: np.ndarray) -> np.ndarray:
        """Leaf (N,) of each row in the tree that is named for it."""
        from raysynth.methods.trees.loops import walked

        leaf_N = walked(self.feature, self.threshold, self.left, x_FN, self.roots.take(tree_N))
        if len(leaf_N) < len(tree_N):
            raise ModelFileError("a tree in the model file is deeper than any that was written; refit the model")
        return leaf_N

    # ---- drawing -----------------------------------------------------------------------------------------------------

    def draw(self, codes_CN: Any, n: int, rng: np.random.Generator, *, even: bool = False) -> np.ndarray:
        """Codes (n,) of the column for rows whose other codes are given by column.

        Args:
            even: rows share out trees and the entries of leaves evenly (systematic sampling; Madow and Madow 1944):
                each row's code is drawn as it is otherwise, but how often the n rows have a code varies less.
        """
        tree_N = np.arange(n) % len(self.roots) if n < 64 else rng.integers(0, len(self.roots), n, dtype=np.int32)
        tree_N = rng.permutation((np.arange(n) + tree_N[:1]) % len(self.roots)) if even else tree_N
        leaf_N = self.leaves(self.features(codes_CN) if self.inputs else np.zeros((1, n), np.int32), tree_N)
        node_N = leaf_N if self.location is not None else self._backed_off(leaf_N, rng)
        start_N = self.start[node_N]
        place = (_spread(self._place.take(node_N), rng) if even else rng.random(n)) * (self.stop[node_N] - start_N)
        if self.location is not None:
            location_N = self.location.of([codes_CN[c] for c in self.inputs])
            return self.location.codes(location_N, self.codes[start_N + place.astype(np.int64)], rng)
        if self.run is None:
            drawn: np.ndarray = self.codes[start_N + place.astype(np.int64)]
            return drawn
        return self._between(start_N, place, node_N, leaf_N)

    @cached_property
    def _place(self) -> np.ndarray:
        """Where each node's entries begin, among the places where some begin: small numbers are sorted faster, (M,)."""
        places, place = np.unique(self.start, return_inverse=True)
        return place.astype(np.uint16) if len(places) <= 65_536 else place

    def _backed_off(self, leaf_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        node_N = leaf_N.copy()
        rows = np.flatnonzero(rng.random(len(node_N)) >= self.keep.take(node_N))
        while len(rows):
            node_N[rows] = up = self.parent.take(node_N.take(rows))
            rows = rows[rng.random(len(rows)) >= self.keep.take(up)]
        return node_N

    def _between(self, start_N: np.ndarray, place: np.ndarray, node_N: np.ndarray, leaf_N: np.ndarray) -> np.ndarray:
        """Codes at a place (N,) among a node's entries, of which each reaches half an entry down and up.

        In a leaf, a place between two entries in one stretch of smooth cells is a code between them. Half of the first
        and half of the last entry have no neighbour and stay: a leaf that gave all of one end would draw too low or
        too high.
        """
        assert self.run is not None
        entry = start_N + place.astype(np.int64)
        drawn: np.ndarray = self.codes[entry]
        part = place - np.floor(place)
        lower = entry - (part < 0.5)
        rows = np.flatnonzero((node_N == leaf_N) & (lower >= start_N) & (lower + 1 < self.stop[node_N]))
        low, high = self.codes[lower[rows]].astype(np.int64), self.codes[lower[rows] + 1].astype(np.int64)
        joined = (self.run[low] >= 0) & (self.run[low] == self.run[high])
        rows, low, high = rows[joined], low[joined], high[joined]
        way = (part[rows] + 0.5) % 1.0
        drawn[rows] = low + (way * (high - low + 1)).astype(np.int64)
        return drawn

    # ---- probabilities -----------------------------------------------------------------------------------------------

    def probability(self, codes_CN: Any, own_N: np.ndarray) -> np.ndarray:
        """P(own code | the others), (N,): the mean over the trees."""
        n = len(own_N)
        x_FN = self.features(codes_CN) if self.inputs else np.zeros((1, n), np.int32)
        total = np.zeros(n)
        location_N = np.zeros(n) if self.location is None else self.location.of([codes_CN[c] for c in self.inputs])
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


def _spread(place_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A number (N,) in [0, 1) for each row, uniform by itself, evenly spread over rows of one place or of near ones.

    Multiples of the golden ratio are so over any run (Niederreiter 1992, section 3.1); runs follow the order of places,
    rows of a place in random order.
    """
    n = len(place_N)
    order = rng.permutation(n)
    order = order[np.argsort(place_N[order], kind="stable")]
    spread_N = np.empty(n)
    spread_N[order] = (np.arange(n) * GOLDEN + rng.random()) % 1.0
    return spread_N
