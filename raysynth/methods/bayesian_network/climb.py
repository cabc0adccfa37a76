"""One climb: steepest ascent over single-edge additions, removals and reversals, and a walk on past the top.

Koller and Friedman 2009, section 18.4.3. Gains stand in matrices [parent, child]; a move changes the parents of one or
two columns, and only their columns of the matrices are computed again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raysynth.methods.bayesian_network.counting import columns_of
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, reachable
from raysynth.methods.bayesian_network.families import Families

PATIENCE = 30
_WORST = -1e15

Move = tuple[float, str, int, int]
KINDS = ("add", "remove", "flip")


class Climb:
    """The state of one climb.

    Args:
        families: gains of families.
        rules: allowed and required edges, most parents.
        parents: mask of the parents of each column to start from; None: the required edges.
    """

    def __init__(self, families: Families, rules: EdgeRules, parents: Sequence[int] | None = None) -> None:
        self.families = families
        self.rules = rules
        self.parents = list(rules.required_parents() if parents is None else parents)
        n = rules.n_columns
        self.edge_CC = np.zeros((n, n), dtype=bool)
        for child, mask in enumerate(self.parents):
            self.edge_CC[list(columns_of(mask)), child] = True
        self.fixed_CC = np.zeros((n, n), dtype=bool)
        for x, y in rules.required:
            self.fixed_CC[x, y] = True
        self._reach_CC: np.ndarray | None = None  # of the edges as they are, when it is known
        # Where an edge may be or is, in the order of [parent, child]: of many columns far fewer than all pairs.
        self._x, self._y = np.nonzero(rules.allowed_CC | self.edge_CC)
        # Gains below the rounding of sums over all rows are none.
        self.rounding = 1e-6 + 1e-12 * families.scores.n_rows * np.log(families.scores.n_rows + 1.0)
        # Equivalent first edges tie: the parent with fewer codes leaves more room for further parents.
        cells = np.array([families.scores.cells(1 << c) for c in range(n)])
        self.tie_CC = self.rounding * (cells[None, :] > cells[:, None])
        self.add_CC = np.full((n, n), -np.inf)
        self.remove_CC = np.full((n, n), -np.inf)

    def run(self) -> list[int]:
        """Climb, then walk on over the best networks not seen yet until no better one comes; the best one's parents."""
        for child in range(self.rules.n_columns):
            self._refresh(child)
        best, best_gain, gain, stale = list(self.parents), 0.0, 0.0, 0
        seen = {tuple(self.parents)}
        while stale <= PATIENCE and len(seen) <= 20 * self.rules.n_columns + 100:
            if (move := self._best_move(seen)) is None:
                break
            gain += move[0]
            self._apply(move)
            for child in {move[2], move[3]} if move[1] == "flip" else {move[3]}:
                self._refresh(child)
            seen.add(tuple(self.parents))
            stale += 1
            if gain > best_gain + self.rounding:
                best, best_gain, stale = list(self.parents), gain, 0
        return best

    def perturbed(self, rng: np.random.Generator) -> list[int]:
        """Parents after random legal reversals and removals of a quarter of the edges."""
        for _ in range(max(2, int(self.edge_CC.sum()) // 4)):
            room_C = self.edge_CC.sum(axis=0) < self.rules.max_parents
            flips = self._reversible() & room_C[:, None] & self.rules.allowed_CC.T
            kind = "flip" if flips.any() and rng.random() < 0.7 else "remove"
            edges = np.argwhere((flips if kind == "flip" else self.edge_CC) & ~self.fixed_CC)
            if len(edges):
                x, y = edges[rng.integers(len(edges))].tolist()
                self._apply((0.0, kind, x, y))
        return self.parents

    def _apply(self, move: Move) -> None:
        _, kind, x, y = move
        self._toggle(x, y)
        if kind == "flip":
            self._toggle(y, x)

    def _toggle(self, x: int, y: int) -> None:
        self.edge_CC[x, y] ^= True
        self.parents[y] ^= 1 << x
        if self.edge_CC[x, y] and self._reach_CC is not None:
            self._reach_CC |= np.outer(self._reach_CC[:, x], self._reach_CC[y])
        else:
            self._reach_CC = None

    def _refresh(self, child: int) -> None:
        """Gains of all changes to one column's parents."""
        parents = self.parents[child]
        self.add_CC[:, child] = self.remove_CC[:, child] = -np.inf
        full = parents.bit_count() >= self.rules.max_parents
        for x in np.flatnonzero(self.rules.allowed_CC[:, child] | self.edge_CC[:, child]).tolist():
            if parents >> x & 1:
                if not self.fixed_CC[x, child]:
                    self.remove_CC[x, child] = -max(self.families.gain(child, parents ^ 1 << x, x), _WORST)
            elif not full and self.rules.allowed_CC[x, child]:
                self.add_CC[x, child] = self.families.gain(child, parents, x)

    def _reversible(self) -> np.ndarray:
        """True at [x, y] where the edge x -> y is the only path from x to y, so that its reversal makes no cycle."""
        paths_CC = self.edge_CC.astype(np.float32) @ reachable(self.edge_CC).astype(np.float32)
        return self.edge_CC & (paths_CC == 1)

    def _best_move(self, seen: set[tuple[int, ...]]) -> Move | None:
        """The legal move of the largest gain that leads to a network not seen before."""
        if self._reach_CC is None:
            self._reach_CC = reachable(self.edge_CC)
        x_E, y_E = self._x, self._y
        if not len(x_E):
            return None
        remove_E = self.remove_CC[x_E, y_E]
        gain_KE = np.stack(
            [
                np.where(self._reach_CC[y_E, x_E], -np.inf, self.add_CC[x_E, y_E] + self.tie_CC[x_E, y_E]),
                remove_E,
                remove_E + self.add_CC[y_E, x_E],
            ]
        )
        while True:
            kind, e = (int(i) for i in np.unravel_index(gain_KE.argmax(), gain_KE.shape))
            gain, x, y = float(gain_KE[kind, e]), int(x_E[e]), int(y_E[e])
            if gain == -np.inf:
                return None
            if (kind < 2 or self._may_turn(x, y)) and self._after(KINDS[kind], x, y) not in seen:
                return gain, KINDS[kind], x, y
            gain_KE[kind, e] = -np.inf

    def _may_turn(self, x: int, y: int) -> bool:
        """True where the edge x -> y is the only path from x to y."""
        assert self._reach_CC is not None
        others = self.edge_CC[x].copy()
        others[y] = False
        return not self._reach_CC[others, y].any()

    def _after(self, kind: str, x: int, y: int) -> tuple[int, ...]:
        parents = list(self.parents)
        parents[y] ^= 1 << x
        if kind == "flip":
            parents[x] ^= 1 << y
        return tuple(parents)
