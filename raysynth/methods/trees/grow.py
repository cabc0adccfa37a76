"""Growing the trees of one column: splits from bags of rows, leaf counts from all of them.

Splits are found over codes (`splits`), and thresholds are whole codes, so that they lie on the encoder's grid, which no
few rows decide.

Shape legend: N rows, F inputs, T trees, K targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.methods.trees.backoff import GROUPS, JUDGED_ROWS, NEVER, BackOff, Chosen, is_less_likely, keep_of
from raysynth.methods.trees.columns import RowsOfPersons
from raysynth.methods.trees.forest import HIGHEST
from raysynth.methods.trees.located import OnRanks

if TYPE_CHECKING:
    from raysynth.methods.trees.splits import Inputs

TRIED = 2  # trees by which forms of growth are compared; of a wide table one
LARGER = (2, 4, 8, 16)  # times as many rows in a leaf, which a column of few codes may take


@dataclass(frozen=True)
class GrowthRule:
    """How the trees of a column are grown.

    Args:
        n_trees: T.
        leaf_rows: least rows of a leaf, counted over all rows.
        bag_share: share of the rows that the splits of one tree are found from, below 1.
        tried: trees by which forms of growth are compared.
        leaf_persons: least persons behind a node that is drawn from, where they have several rows; 0: `leaf_rows`.
    """

    n_trees: int
    leaf_rows: int
    bag_share: float
    tried: int = TRIED
    leaf_persons: int = 0


@dataclass(frozen=True)
class ColumnData:
    """What the trees of a column are grown from.

    Args:
        x_FN: inputs, those made of several columns last.
        targets_NK: numbers whose variance splits lower; of classes a column of 0 and 1 for each.
        own_N: codes of the column. cardinality: R.
        n_columns: how many of the inputs are columns.
        persons: where they have several rows: a leaf is drawn from where enough of them stand behind it.
        ranks: what `own_N` say of ranks, where there are two ways to code the column.
        residual: whether `own_N` are codes of residuals, which are drawn from leaves alone.
    """

    x_FN: np.ndarray
    targets_NK: np.ndarray
    own_N: np.ndarray
    cardinality: int
    n_columns: int
    persons: RowsOfPersons | None = None
    ranks: OnRanks | None = None
    residual: bool = False

    def bag(self, share: float, rng: np.random.Generator) -> np.ndarray:
        """The rows that the splits of one tree are found from."""
        if self.persons is not None:
            return self.persons.bag(share, rng)
        return rng.permutation(len(self.own_N))[: max(2, round(share * len(self.own_N)))]


def grow(
    data: ColumnData, rule: GrowthRule, rng: np.random.Generator, residual: ColumnData | None = None
) -> tuple[dict[str, Any], int, bool]:
    """The arrays of a `Forest` (roots, feature, threshold, left, parent, start, stop, codes, keep); inputs in use; and
    whether its codes are those of `residual`, the same column coded as residuals.

    Rows left out of the first trees decide what serves the column: inputs made of several columns, which show what
    depends a little on each, but draw splits away from what follows one closely; and of a column of few codes, whose
    rows would come back whole, how large leaves are: the largest that make these rows no less likely than the best do,
    within one standard error. They decide in the same way whether residuals are learned.
    """
    from raysynth.methods.trees.splits import Inputs

    judged, every = rng.permutation(len(data.own_N))[:JUDGED_ROWS], len(data.x_FN)
    bags = [(data.bag(rule.bag_share, rng), int(rng.integers(2**31))) for _ in range(rule.n_trees)]
    first = partial(_Growth, data, Inputs.of(data.x_FN), rule, judged)
    best = first(max(data.n_columns, 1)).grow(bags[: rule.tried])
    if every > best.n_inputs:
        full = first(every).grow(bags[: rule.tried])
        best = full if is_less_likely(best.chosen.log_p_N, full.chosen.log_p_N) else best
    if data.cardinality <= 2 * GROUPS:
        likeliest = best
        for factor in LARGER:
            larger = first(best.n_inputs, factor).grow(bags[: rule.tried])
            likeliest = max(likeliest, larger, key=lambda g: g.likelihood)
            if is_less_likely(larger.chosen.log_p_N, likeliest.chosen.log_p_N):
                break
            best = larger
    if residual is not None:
        inputs = Inputs.of(residual.x_FN)
        coded = _Growth(residual, inputs, rule, judged, len(residual.x_FN)).grow(bags[: rule.tried])
        best = coded if is_less_likely(best.log_p_of_ranks, coded.log_p_of_ranks) else best
    best.grow(bags[rule.tried :])
    return _joined(best.settled()), best.n_inputs, best.data is residual


class _Growth:
    """Trees of one form, and what rows left out make of them: from the first inputs, leaves `factor` times as large."""

    def __init__(
        self, data: ColumnData, inputs: Inputs, rule: GrowthRule, judged: np.ndarray, n_inputs: int, factor: int = 1
    ) -> None:
        self.data, self.inputs, self.rule, self.n_inputs = data, inputs.first(n_inputs), rule, n_inputs
        self.bag_rows = math.ceil(factor * rule.leaf_rows * rule.bag_share)
        self.judge = BackOff(data.own_N, data.cardinality, judged)
        self.trees: list[dict[str, np.ndarray]] = []
        self.few: list[np.ndarray | None] = []  # nodes of too few persons
        self.on_ranks: list[tuple[np.ndarray, np.ndarray]] = []  # rows left out of a tree, and what they are given

    def grow(self, bags: Sequence[tuple[np.ndarray, int]]) -> _Growth:
        """One more tree from each bag and seed."""
        data, persons, x_FN = self.data, self.data.persons, self.inputs.x_FN
        least = self.rule.leaf_persons or self.rule.leaf_rows
        for bag, seed in bags:
            nodes = Nodes(*self.inputs.splits(bag, data.targets_NK, self.bag_rows, seed))
            nodes, at_N = nodes.without_small(x_FN, self.rule.leaf_rows)
            tree, leaf_N, order_N = _filled(nodes, data.own_N, at_N)
            if persons is None:
                if not data.residual and len(self.trees) < self.rule.tried:  # they suffice, and judging takes time
                    self.judge.add(tree, leaf_N, order_N, bag)
                if data.ranks is not None:
                    left_out = np.setdiff1d(self.judge.judged, bag)
                    self.on_ranks.append((left_out, data.ranks.probability(tree, leaf_N, left_out)))
            else:  # rows of a person know each other: judged are persons by others
                others, _, order = _filled(nodes, data.own_N[bag], at_N[bag])
                self.judge.add(others, leaf_N, bag[order], bag, holds_judged=False)
            self.trees.append(tree)
            self.few.append(None if persons is None else persons.too_few(tree, order_N, least))
        self.chosen = self.judge.best() if not data.residual else Chosen(0.0, 1.0, np.zeros(0))
        return self

    def settled(self) -> list[dict[str, np.ndarray]]:
        """The arrays of the trees with `keep`, which is 0 where too few persons stand behind a node."""
        keeps = [keep_of(tree, self.chosen.alpha, self.chosen.of_pure) for tree in self.trees]
        keeps = [k if f is None else np.where(f, np.float32(0), k) for k, f in zip(keeps, self.few, strict=True)]
        return [{**tree, "keep": keep} for tree, keep in zip(self.trees, keeps, strict=True)]

    @property
    def log_p_of_ranks(self) -> np.ndarray:
        """Log-likelihood of the rank of each row left out, in the order of rows, under an even mixture of the trees."""
        rows, given = (np.concatenate(x) for x in zip(*self.on_ranks, strict=True))
        _, place = np.unique(rows, return_inverse=True)
        log_p: np.ndarray = np.log(np.bincount(place, weights=given) / np.bincount(place) + NEVER / 4)
        return log_p

    @property
    def likelihood(self) -> float:
        """Mean log-likelihood of rows left out."""
        return float(self.chosen.log_p_N.mean()) if len(self.chosen.log_p_N) else 0.0


@dataclass
class Nodes:
    """A tree: nodes numbered by a walk down the left side first; -1: no child, (M,)."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def leaves(self, x_FN: np.ndarray) -> np.ndarray:
        """The leaf (N,) of each row."""
        from raysynth.methods.trees.splits import leaves_of

        leaf_N: np.ndarray = leaves_of(x_FN, self.feature, self.threshold, self.left, self.right)
        return leaf_N

    def ends(self) -> np.ndarray:
        """Behind the last node below each node, (M,)."""
        end, inner = np.arange(1, len(self.left) + 1), self.left >= 0
        while True:
            further = np.where(inner, end[np.where(inner, self.right, 0)], end)
            if (further == end).all():
                return end
            end = further

    def without_small(self, x_FN: np.ndarray, least: int) -> tuple[Nodes, np.ndarray]:
        """The same without splits that leave fewer than `least` of the rows on a side, and the leaf (N,) of each row.

        These rows go where the other side's go: the node becomes the child of enough rows, or a leaf where none has.
        """
        leaf_N = self.leaves(x_FN)
        before = np.concatenate([[0], np.cumsum(np.bincount(leaf_N, minlength=len(self.left)))])
        rows = before[self.ends()] - before[:-1]
        fewest = np.minimum(rows[self.left], rows[self.right])
        small = np.flatnonzero((self.left >= 0) & (fewest < least))
        for node in small[::-1].tolist():  # from the lowest up
            child = max(self.left[node], self.right[node], key=lambda c: rows[c])
            if rows[child] < least:
                self.left[node] = self.right[node] = -1
            else:
                for array in (self.feature, self.threshold, self.left, self.right):
                    array[node] = array[child]
        return self, self.leaves(x_FN) if len(small) else leaf_N


def _filled(
    nodes: Nodes, own_N: np.ndarray, leaf_N: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """One tree with whole thresholds, children side by side, and the counts of all rows in its leaves."""
    inner = _reached(nodes) & (nodes.left >= 0)
    size = 1 + 2 * int(inner.sum())
    new = np.zeros(len(inner), np.int64)  # nodes in pairs: 0 the root, then both children of each inner node
    position = 1 + 2 * np.arange(inner.sum())
    new[nodes.left[inner]], new[nodes.right[inner]] = position, position + 1
    feature = np.full(size, -1, np.int16)
    threshold = np.full(size, HIGHEST, np.int32)
    left = np.zeros(size, np.int32)
    parent = np.zeros(size, np.int32)
    feature[new[inner]] = nodes.feature[inner]
    threshold[new[inner]] = nodes.threshold[inner]
    left[new[inner]] = position
    parent[position] = parent[position + 1] = new[inner]
    reached = np.concatenate([[0], nodes.left[inner], nodes.right[inner]])
    before = np.concatenate([[0], np.cumsum(np.bincount(leaf_N, minlength=len(inner)))])
    start, stop = np.empty(size, np.int32), np.empty(size, np.int32)
    start[new[reached]], stop[new[reached]] = before[reached], before[nodes.ends()[reached]]
    order = np.argsort(leaf_N * (int(own_N.max()) + 1) + own_N)  # rows of one leaf and code are in any order
    arrays: dict[str, np.ndarray] = {
        "feature": feature,
        "threshold": threshold,
        "left": left,
        "parent": parent,
        "start": start,
        "stop": stop,
        "codes": own_N[order].astype(np.uint16),
    }
    return arrays, new[leaf_N], order


def _reached(nodes: Nodes) -> np.ndarray:
    """Which nodes are still in the tree, (M,)."""
    reached = np.zeros(len(nodes.left), bool)
    at = np.zeros(1, np.int64)
    while len(at):
        reached[at] = True
        at = at[nodes.left[at] >= 0]
        at = np.concatenate([nodes.left[at], nodes.right[at]])
    return reached


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Trees one after the other: numbers of nodes and entries shifted."""
    nodes = np.cumsum([0] + [len(p["feature"]) for p in parts])
    entries = np.cumsum([0] + [len(p["codes"]) for p in parts])
    shift = {"left": nodes, "parent": nodes, "start": entries, "stop": entries}
    joined = {
        key: np.concatenate([p[key] + (shift[key][i] if key in shift else 0) for i, p in enumerate(parts)]).astype(
            parts[0][key].dtype
        )
        for key in parts[0]
    }
    return {"roots": nodes[:-1].astype(np.int32), **joined}
