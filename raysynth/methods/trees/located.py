"""A column as its location given others and a residual around it (residual coding; after M5, Quinlan 1992).

What follows others more closely than a leaf is wide (a bill the last one, a sum its parts) leaves blur. Here trees
learn the residual instead: leaves hold codes of residuals on a protected grid, and a draw adds one to the location of
its own row. Locations and residuals are shares of the column's rows (ranks), so that a draw lands on each value
as often as the column has it. Spikes, codes of many rows, have no rank: a leaf holds them, and 'missing', as they are.

Shape legend: N rows, F inputs, R codes of the column, B cells of residuals, S spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raysynth.methods.trees.columns import ColumnView

STEPS = 1024  # of the location, as an input of trees
_INSIDE = 1e-7  # ranks drawn below it or above 1 minus it count as these


@dataclass(frozen=True)
class Location:
    """Where a column lies given its inputs, and what a code of its trees then says.

    Codes below B are cells of residuals, the next S are spikes, the last is 'missing'.

    Args:
        tables: by the place among the inputs, an addend for each code.
        of_values: whether the sum is a value of the column; else a rank.
        low, high: cells of residuals, ascending, disjoint, (B,).
        spikes: their codes in the column, ascending, (S,).
        ranks: rank of the left edge of each code without spikes, and 1 at the end, (R,).
        middle: value of each code but 'missing', ascending, (R - 1,).
    """

    tables: Mapping[int, np.ndarray]
    of_values: bool
    low: np.ndarray
    high: np.ndarray
    spikes: np.ndarray
    ranks: np.ndarray
    middle: np.ndarray

    def of(self, codes_FN: Any) -> np.ndarray:
        """Location (N,) of each row, from the codes (N,) of each input."""
        total: np.ndarray = sum(table.take(codes_FN[place]) for place, table in self.tables.items())
        if self.of_values:
            return _interpolated(total, self.middle, self.ranks[:-1] / 2 + self.ranks[1:] / 2)
        return np.clip(total, 0.0, 1.0)

    @staticmethod
    def steps(location_N: np.ndarray) -> np.ndarray:
        """The input (N,) int32 that trees make of a location."""
        return np.minimum(location_N * STEPS, STEPS - 1).astype(np.int32)

    def codes(self, location_N: np.ndarray, drawn_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The column's codes (N,) uint16 of what trees drew for rows of these locations."""
        from raysynth.encoding.quantiles import searched

        n_cells = len(self.low)
        cell = np.minimum(drawn_N, n_cells - 1)
        residual_N = self.low.take(cell)
        residual_N += rng.random(len(drawn_N)) * (self.high.take(cell) - residual_N)
        rank_N = np.clip(location_N + residual_N, _INSIDE, 1 - _INSIDE)
        codes_N = searched(self.ranks[1:-1], rank_N).astype(np.uint16)
        fixed = np.flatnonzero(drawn_N >= n_cells)
        codes_N[fixed] = np.append(self.spikes, len(self.ranks) - 1)[drawn_N[fixed] - n_cells]
        return codes_N

    def probability(self, leaves: SortedLeaves, leaf_N: np.ndarray, location_N: np.ndarray, own_N: Any) -> np.ndarray:
        """P(own code) of rows in these leaves, (N,)."""
        own_N = own_N.astype(np.int64)
        fixed_N = self.fixed[own_N]
        below, above = (np.concatenate([e, [0]])[own_N] - location_N for e in self._reach)
        between = leaves.below(leaf_N, above, self.low, self.high) - leaves.below(leaf_N, below, self.low, self.high)
        result: np.ndarray = np.where(fixed_N >= 0, leaves.equal(leaf_N, fixed_N), between) / leaves.rows(leaf_N)
        return result

    @cached_property
    def fixed(self) -> np.ndarray:
        """What stands for each code in a leaf, (R,): of spikes and 'missing' a code, of others -1."""
        fixed = np.full(len(self.ranks), -1)
        fixed[np.append(self.spikes, len(self.ranks) - 1)] = len(self.low) + np.arange(len(self.spikes) + 1)
        return fixed

    @cached_property
    def _reach(self) -> tuple[np.ndarray, np.ndarray]:
        """From and to which rank a draw becomes each code, (R - 1,): the first and the last take what lies beyond."""
        low = np.where(self.ranks[:-1] <= _INSIDE, -np.inf, self.ranks[:-1])
        high = np.where(self.ranks[1:] >= 1 - _INSIDE, np.inf, self.ranks[1:])
        empty = self.ranks[1:] <= self.ranks[:-1]
        return np.where(empty, 0.0, low), np.where(empty, 0.0, high)


def _interpolated(x_N: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """What `np.interp` gives, up to rounding; each place is looked for where it should be."""
    from raysynth.encoding.quantiles import searched

    at = np.clip(searched(xs, x_N) - 1, 0, len(xs) - 2)
    way_N = np.clip((x_N - xs[at]) / np.maximum(np.diff(xs), 1e-300)[at], 0.0, 1.0)
    found_N: np.ndarray = ys[at] + way_N * np.diff(ys)[at]
    return found_N


def ranks_without(view: ColumnView, spikes: np.ndarray) -> np.ndarray:
    """Rank of the left edge of each code among the values that are no spikes, and 1 at the end, (R,)."""
    assert view.ranks is not None
    width = np.diff(view.ranks)
    width[spikes] = 0.0
    ranks = np.concatenate([[0.0], np.cumsum(width)]) / max(width.sum(), 1e-300)
    ranks[-1] = 1.0
    return ranks


@dataclass(frozen=True)
class SortedLeaves:
    """Leaves of a tree as slices [start, stop) of entries that are sorted inside each.

    Args:
        start, stop: of each node. codes: the entries.
    """

    start: np.ndarray
    stop: np.ndarray
    codes: np.ndarray
    is_leaf: np.ndarray

    def rows(self, leaf_N: np.ndarray) -> np.ndarray:
        """Entries of each leaf, (N,)."""
        rows: np.ndarray = self.stop[leaf_N] - self.start[leaf_N]
        return rows

    def equal(self, leaf_N: np.ndarray, code_N: np.ndarray) -> np.ndarray:
        """Entries of each leaf that are the code, (N,)."""
        first, after = self._places(leaf_N, code_N)
        return after - first

    def below(self, leaf_N: np.ndarray, x_N: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """How many entries of each leaf lie below x, (N,), where code c lies evenly in [low[c], high[c]]."""
        cell = np.searchsorted(high, x_N, side="left")
        inner = np.minimum(cell, len(low) - 1)
        width = high[inner] - low[inner]
        x_N = np.clip(x_N, low[0] - 1, high[-1] + 1)
        part = np.where(width > 0, np.clip((x_N - low[inner]) / np.where(width > 0, width, 1.0), 0, 1), 0.0)
        first, after = self._places(leaf_N, cell)
        below: np.ndarray = first - self.start[leaf_N] + np.where(cell < len(low), part, 0.0) * (after - first)
        return below

    def _places(self, leaf_N: np.ndarray, code_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = (self.start[leaf_N].astype(np.int64) << 16) + code_N
        return np.searchsorted(self._keys, key, side="left"), np.searchsorted(self._keys, key, side="right")

    @cached_property
    def _keys(self) -> np.ndarray:
        """First entry of its leaf, and code, of each entry as one ascending number."""
        start = np.sort(self.start[self.is_leaf]).astype(np.int64)
        return (np.repeat(start, np.diff(np.append(start, len(self.codes)))) << 16) + self.codes


@dataclass(frozen=True)
class OnRanks:
    """What codes say of a column's rank, by which two ways to code it are compared on rows left out.

    Args:
        low, high: the cell of ranks of each of the first codes, plus a row's `offset_N`.
        offset_N: its location; 0 where codes are those of the column.
        window_N2: the ranks about a row's own that count as right.
        fixed_N: the code that alone counts as right, of spikes and missing values; of others -1.
        own_N: the row's code.
    """

    low: np.ndarray
    high: np.ndarray
    offset_N: np.ndarray
    window_N2: np.ndarray
    fixed_N: np.ndarray
    own_N: np.ndarray

    def probability(self, tree: Mapping[str, np.ndarray], leaf_N: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """P(what counts as right) of some rows in their leaves, without the rows themselves."""
        leaves = SortedLeaves(tree["start"], tree["stop"], tree["codes"], tree["feature"] < 0)
        leaf, fixed, own = leaf_N[rows], self.fixed_N[rows], self.own_N[rows].astype(np.int64)
        ends = (self.window_N2[rows] - self.offset_N[rows, None]).T
        before, after = (leaves.below(leaf, end, self.low, self.high) for end in ends)
        cell = np.minimum(own, len(self.low) - 1)
        low, high = self.low[cell], np.maximum(self.high[cell], self.low[cell] + 1e-12)
        itself = np.clip((np.minimum(ends[1], high) - np.maximum(ends[0], low)) / (high - low), 0, 1)
        alike = np.where(fixed >= 0, leaves.equal(leaf, fixed) - 1, after - before - itself)
        result: np.ndarray = np.maximum(alike, 0) / np.maximum(leaves.rows(leaf) - 1, 1)
        return result
