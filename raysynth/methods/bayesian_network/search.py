"""Structure search: greedy hill climbing with restarts, a greedy order, or the best tree; few passes over the rows.

A climb needs new tables at nearly every step, and each would be a pass over the rows. So the climb runs ahead of the
counts: where a family is not counted yet, its gain is estimated from smaller families, and the climb goes on to the
end. All families that it met are then counted in one pass, and the climb starts again with what is known. It ends when
a run met no family whose gain had to be estimated: that run is the climb that a pass for each step would have made.
Several climbs share their passes. Without the counting a climb costs milliseconds.

One climb is a steepest ascent over single-edge additions, removals and reversals, with a walk on past the top (Koller
and Friedman 2009, section 18.4.3). Gains stand in matrices [parent, child]; a move changes the parents of one or two
columns, and only their columns of the matrices are computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.arguments import check_one_of
from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import all_subsets, columns_of, plan_blocks
from raysynth.methods.bayesian_network.edge_rules import Edge, EdgeRules, reachable
from raysynth.methods.bayesian_network.scores import Families, SetScores

STRUCTURES = ("hill_climbing", "greedy_order", "tree")
MAX_RUNS = 20
MAX_ROUNDS = 4
RESTARTS = 6
FIRST_PASS_BLOCKS = 200
MAX_COLUMNS_OF_TRIPLES = 24
SCREENED_COLUMNS = 32  # beyond so many, a column's partners are screened
PARTNERS = 10  # of each column, those that gain most alone; a column may be a partner of any number of others
WIDE_RESTARTS = 128  # columns times perturbed climbs beyond `SCREENED_COLUMNS`, at least one, in one round


@dataclass(frozen=True)
class Structure:
    """What a search found.

    Args:
        parents: parents of each column, ascending.
        score: of the network, in nats.
        dropped: (child, parents, reason) of candidates that were not considered because of the size of their table.
    """

    parents: tuple[tuple[int, ...], ...]
    score: float
    dropped: tuple[tuple[int, tuple[int, ...], str], ...] = ()


def find_structure(structure: str, scores: SetScores, rules: EdgeRules, restarts: int = RESTARTS) -> Structure:
    """Search by one of `STRUCTURES`; raises `ParameterError` for another name."""
    searches: dict[str, Callable[[], Structure]] = {
        "hill_climbing": lambda: hill_climb(scores, rules, restarts),
        "greedy_order": lambda: greedy_order(scores, rules),
        "tree": lambda: best_tree(scores, rules),
    }
    check_one_of("structure", structure, STRUCTURES)
    return searches[structure]()


def hill_climb(scores: SetScores, rules: EdgeRules, restarts: int = RESTARTS) -> Structure:
    """The best network of a climb from the required edges and of climbs from perturbed copies of the best so far.

    Args:
        scores: scores of column sets; nothing needs to be counted yet.
        rules: allowed and required edges, limits on parents and tables.
        restarts: perturbed climbs in a round; rounds go on while they improve, 4 at most; 0: one climb. Beyond 32
            columns there is one round of fewer, and edges are tried between each column and its best partners alone.
    """
    start_counts(scores, rules)
    rounds = MAX_ROUNDS if restarts else 0
    if rules.n_columns > SCREENED_COLUMNS:
        rules = screened(scores, rules)
        rounds, restarts = min(rounds, 1), min(restarts, max(1, WIDE_RESTARTS // rules.n_columns))
    families = Families(scores, rules)
    [best] = _tops(families, rules, [rules.required_parents()])
    for attempt in range(rounds):
        starts = [Climb(families, rules, best).perturbed(np.random.default_rng([attempt, k])) for k in range(restarts)]
        top = max(_tops(families, rules, starts), key=scores.total)
        if scores.total(top) <= scores.total(best) + 1e-9 * abs(scores.total(best)):
            break
        best = top
    return _structure(best, families)


def greedy_order(scores: SetScores, rules: EdgeRules) -> Structure:
    """The climb over networks in one order of the columns: each next column is the one closest to those before it.

    Closeness is the gain of the pair's edge (as Prim's tree grows); so the order is that of a maximum spanning tree.
    """
    start_counts(scores, rules)
    gain_CC = _pair_gains(scores, rules)
    closeness_CC = np.maximum(np.maximum(gain_CC, gain_CC.T), 0.0)
    order = [int(closeness_CC.sum(axis=1).argmax())]
    while len(order) < rules.n_columns:
        nearness_C = closeness_CC[order].max(axis=0)
        nearness_C[order] = -1.0
        order.append(int(nearness_C.argmax()))
    allowed_CC = rules.allowed_CC.copy()
    for k, later in enumerate(order):
        allowed_CC[later, order[:k]] = False
    for x, y in rules.required:
        allowed_CC[y, x], allowed_CC[x, y] = False, True
    families = Families(scores, rules)
    [best] = _tops(families, replace(rules, allowed_CC=allowed_CC), [rules.required_parents()])
    return _structure(best, families)


def best_tree(scores: SetScores, rules: EdgeRules) -> Structure:
    """The forest of the highest score (Chow and Liu 1968), its edges directed as the rules allow (Edmonds 1967)."""
    import networkx as nx

    start_counts(scores, replace(rules, max_parents=1))
    gain_CC = _pair_gains(scores, rules)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(rules.n_columns))
    graph.add_weighted_edges_from((int(x), int(y), float(gain_CC[x, y])) for x, y in np.argwhere(gain_CC > 0))
    sure = 1.0 + float(np.abs(gain_CC[np.isfinite(gain_CC)]).sum())
    for x, y in rules.required:
        graph.add_edge(x, y, weight=sure)
    edges: set[Edge] = set(nx.maximum_branching(graph, attr="weight").edges())
    if missing := set(rules.required) - edges:
        raise ParameterError(f"structure 'tree' gives a column one parent; required_edges ask for more at {missing}")
    parents = [sum(1 << x for x, child in edges if child == y) for y in range(rules.n_columns)]
    return _structure(parents, Families(scores, rules))


def screened(scores: SetScores, rules: EdgeRules) -> EdgeRules:
    """Rules that allow edges between a column and its best partners alone: those whose edge alone gains most."""
    gain_CC = _pair_gains(scores, rules)
    gain_CC = np.maximum(gain_CC, gain_CC.T)
    best_CC = np.zeros_like(rules.allowed_CC)
    best = np.argsort(-gain_CC, axis=1, kind="stable")[:, :PARTNERS]
    np.put_along_axis(best_CC, best, True, axis=1)
    kept_CC = (best_CC | best_CC.T) & (gain_CC > 0)
    for x, y in rules.required:
        kept_CC[x, y] = True
    return replace(rules, allowed_CC=rules.allowed_CC & kept_CC)


def start_counts(scores: SetScores, rules: EdgeRules) -> None:
    """The first pass: all triples of columns where these fit into few blocks, else all pairs."""
    if scores.n_rows:
        return
    n, counts = rules.n_columns, scores.counts
    required = [parents | 1 << child for child, parents in enumerate(rules.required_parents())]
    for mask in required:
        if counts.cells(mask) > rules.max_cells and mask.bit_count() > 1:
            raise ParameterError(
                f"required_edges join the columns {columns_of(mask)} (by position) in a table of "
                f"{counts.cells(mask):,} cells, more than {rules.max_cells:,}; raise that limit, or use fewer bins"
            )
    masks = required + [m for m in all_subsets(n, min(n, 2)) if counts.cells(m) <= rules.max_cells]
    if rules.max_parents > 1 and 3 <= n <= MAX_COLUMNS_OF_TRIPLES:
        triples = [m for m in all_subsets(n, 3) if counts.cells(m) <= rules.max_cells]
        if len(plan_blocks(triples, counts.cardinalities, counts.block_cells)) <= FIRST_PASS_BLOCKS:
            masks += triples
    scores.start(masks)


def _tops(families: Families, rules: EdgeRules, starts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Where climbs from each start end, with all families on their ways counted."""
    tops: dict[int, list[int]] = {}
    open_starts = list(range(len(starts)))
    for run in range(MAX_RUNS + 1):
        families.frozen = run == MAX_RUNS
        still_open = []
        for k in open_starts:
            wanted = families.n_wanted
            tops[k] = Climb(families, rules, starts[k]).run()
            if families.n_wanted > wanted:
                still_open.append(k)
        open_starts = still_open
        if not (masks := families.take_wanted()):
            break
        families.scores.require(masks)
    families.frozen = False
    families.scores.require(mask | 1 << c for top in tops.values() for c, mask in enumerate(top))
    return [tops[k] for k in range(len(starts))]


def _pair_gains(scores: SetScores, rules: EdgeRules) -> np.ndarray:
    """Score gained by each edge alone, [parent, child]; -inf where it is not allowed or its table is too large."""
    gain_CC = np.full((rules.n_columns, rules.n_columns), -np.inf)
    for x, y in np.argwhere(rules.allowed_CC).tolist():
        if scores.knows(1 << x | 1 << y):
            gain_CC[x, y] = scores.family(y, 1 << x) - scores.family(y, 0)
    return gain_CC


def _structure(parents: Sequence[int], families: Families) -> Structure:
    score = families.scores.total(parents)
    return Structure(tuple(columns_of(p) for p in parents), score, tuple(families.dropped.values()))


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
