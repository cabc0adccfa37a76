"""Which edges a network may have, must have and must not have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.arguments import check_whole
from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import columns_of

SMALL_TABLE = 1 << 16  # cells that a table may have however few rows there are

Edge = tuple[int, int]


@dataclass(frozen=True)
class EdgeRules:
    """Limits of the search; an edge (x, y) says that x is a parent of y.

    Args:
        allowed_CC: True at [x, y] where the edge x -> y may exist.
        required: edges that every network has.
        max_parents: parents of a column at most.
        max_cells: cells of the table of a column with its parents at most.
    """

    allowed_CC: np.ndarray
    required: tuple[Edge, ...] = ()
    max_parents: int = 3
    max_cells: int = 1_000_000

    @property
    def n_columns(self) -> int:
        """Columns that the rules are about."""
        return len(self.allowed_CC)

    def bounded(self, cardinalities: Sequence[int], cells: int) -> EdgeRules:
        """Rules under which no table that is not required has more cells than these, or than a small table has."""
        families = [
            math.prod(cardinalities[c] for c in columns_of(p | 1 << y))
            for y, p in enumerate(self.required_parents())
            if p
        ]
        needed = max((n for n in families if n <= self.max_cells), default=0)
        return replace(self, max_cells=min(self.max_cells, max(cells, SMALL_TABLE, needed)))

    def required_parents(self) -> list[int]:
        """The mask of required parents of each column."""
        parents = [0] * self.n_columns
        for x, y in self.required:
            parents[y] |= 1 << x
        return parents


def edge_rules(
    names: Sequence[str],
    *,
    required: Iterable[tuple[str, str]] = (),
    forbidden: Iterable[tuple[str, str]] = (),
    order: Sequence[str] | None = None,
    max_parents: int = 3,
    max_cells: int = 1_000_000,
) -> EdgeRules:
    """Rules from column names, checked.

    Args:
        names: columns in the order of the codes.
        required: (parent, child) pairs that must be edges.
        forbidden: (parent, child) pairs that must not be.
        order: columns of which none may be a parent of an earlier one; columns left out are free.
        max_parents: at least 1.
        max_cells: largest table of a column with its parents.

    Raises:
        ParameterError: unknown column, a required edge that is forbidden or against the order, a cycle of required
            edges, more required parents than `max_parents`.
    """
    check_whole("max_parents", max_parents)
    check_whole("max_cells", max_cells, 4)
    allowed_CC = ~np.eye(len(names), dtype=bool)
    for x, y in _edges(names, forbidden, "forbidden_edges"):
        allowed_CC[x, y] = False
    position = [_index(names, name, "order") for name in order or ()]
    if len(set(position)) != len(position):
        raise ParameterError("order names a column twice; name each column once")
    for k, later in enumerate(position):
        allowed_CC[later, position[:k]] = False
    needed = tuple(dict.fromkeys(_edges(names, required, "required_edges")))
    for x, y in needed:
        if not allowed_CC[x, y]:
            raise ParameterError(
                f"required_edges: '{names[x]}' -> '{names[y]}' is also forbidden or against `order`; drop one"
            )
        allowed_CC[y, x] = False
    rules = EdgeRules(allowed_CC, needed, int(max_parents), int(max_cells))
    _check_required(rules, names)
    return rules


def reachable(adjacent_CC: np.ndarray) -> np.ndarray:
    """True at [x, y] where a directed path leads from x to y, the empty path included."""
    reach = adjacent_CC | np.eye(len(adjacent_CC), dtype=bool)
    while True:
        further = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
        if (further == reach).all():
            return reach
        reach = further


def topological_order(parents: Sequence[Sequence[int]]) -> list[int]:
    """Columns such that parents come first; raises `ParameterError` when the edges form a cycle."""
    order: list[int] = []
    placed: set[int] = set()
    waiting = list(range(len(parents)))
    while waiting:
        ready = [c for c in waiting if placed.issuperset(parents[c])]
        if not ready:
            raise ParameterError(f"the edges form a cycle among the columns {waiting}")
        order += ready
        placed.update(ready)
        waiting = [c for c in waiting if c not in placed]
    return order


def _check_required(rules: EdgeRules, names: Sequence[str]) -> None:
    adjacent_CC = np.zeros_like(rules.allowed_CC)
    for x, y in rules.required:
        adjacent_CC[x, y] = True
    reach = reachable(adjacent_CC)
    for x, y in rules.required:
        if reach[y, x]:
            raise ParameterError(
                f"required_edges form a cycle through '{names[x]}' -> '{names[y]}'; remove one of them"
            )
    for y in np.flatnonzero(adjacent_CC.sum(axis=0) > rules.max_parents).tolist():
        raise ParameterError(
            f"required_edges give column '{names[y]}' {adjacent_CC[:, y].sum()} parents, more than "
            f"max_parents={rules.max_parents}; raise max_parents"
        )


def _edges(names: Sequence[str], edges: Iterable[tuple[str, str]], argument: str) -> list[Edge]:
    result = []
    for edge in edges:
        if isinstance(edge, str) or len(tuple(edge)) != 2:
            raise ParameterError(f"{argument} must be (parent, child) pairs of column names; found {edge!r}")
        parent, child = (_index(names, name, argument) for name in edge)
        if parent == child:
            raise ParameterError(f"{argument}: column '{names[child]}' cannot be its own parent")
        result.append((parent, child))
    return result


def _index(names: Sequence[str], name: str, argument: str) -> int:
    if name not in names:
        raise ParameterError(f"{argument}: there is no modelled column '{name}'; there are: {', '.join(names)}")
    return list(names).index(name)
