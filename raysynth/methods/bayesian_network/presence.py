"""Columns that are missing together: an edge for that alone, where the search finds none or smoothing blurs it.

An edge between two columns of R categories costs R^2 parameters, so a score refuses it for what is one bit: that both
are missing in the same rows. Here a column whose gaps are nearly a function of those of an earlier column (in the order
of the graph that the search found, so no cycle can arise) has that column as a parent that tells only whether it is
missing: p(code | parents, present or not) = p(missing | present or not) p(code | parents, not missing).
The code of 'missing' is each column's last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from raysynth.methods.bayesian_network.counting import mask_of
from raysynth.methods.bayesian_network.edge_rules import EdgeRules, topological_order
from raysynth.methods.bayesian_network.network import Network
from raysynth.methods.bayesian_network.scores import SetScores

UNEXPLAINED = 0.1  # share of the entropy of a column's gaps up to which another column's gaps tell them

Parents = tuple[tuple[int, ...], ...]
Gaps = dict[tuple[int, int], np.ndarray]
"""For each (column, other column) the rows by [other is missing, column is missing], (2, 2)."""


def gaps_together(scores: SetScores, rules: EdgeRules) -> Gaps:
    """Of all pairs of columns that both have gaps and whose table may be counted; one more pass at most."""
    counts, n = scores.counts, rules.n_columns
    single = counts.count(1 << c for c in range(n))
    some = [c for c in range(n) if 0 < single[1 << c][-1] < single[1 << c].sum()]
    pairs = [(a, b) for i, a in enumerate(some) for b in some[i + 1 :]]
    pairs = [pair for pair in pairs if counts.cells(mask_of(pair)) <= rules.max_cells]
    tables = counts.count(map(mask_of, pairs))
    result: Gaps = {}
    for a, b in pairs:
        table = tables[mask_of((a, b))]  # axes (a, b)
        both, missing_a, missing_b = table[-1, -1], table[-1].sum(), table[:, -1].sum()
        by_a = np.array([[table.sum() - missing_a - missing_b + both, missing_b - both], [missing_a - both, both]])
        result[b, a], result[a, b] = by_a, by_a.T
    return result


def presence_parents(
    parents: Parents, gaps: Gaps, scores: SetScores, rules: EdgeRules
) -> tuple[Parents, dict[int, int]]:
    """Parents of which some may have made room, and for each column that follows another one's gaps, which one that is.

    A parent that tells least by itself makes room where the limits on parents or cells would be passed; required ones
    stay, and where nothing else is left to go, the column is as it was.
    """
    place = {c: i for i, c in enumerate(topological_order(parents))}
    result, leaders = list(parents), dict[int, int]()
    for child, own in enumerate(parents):
        earlier = [
            p for (c, p) in gaps if c == child and place[p] < place[c] and (p in own or rules.allowed_CC[p, child])
        ]
        told = {p: _unexplained(gaps[child, p]) for p in earlier}
        best = min(told, key=lambda p: (round(told[p], 6), p not in own, place[p]), default=None)
        if best is None or told[best] > UNEXPLAINED:
            continue
        room = _with_room(child, own, best, scores, rules)
        if room is not None:
            result[child], leaders[child] = room, best
    return tuple(result), leaders


def with_presence(network: Network, leaders: Mapping[int, int], gaps: Gaps) -> Network:
    """The network with one more parent of each column of `leaders`, which tells only whether it is missing."""
    parents, tables = list(network.parents), list(network.tables)
    for child, leader in leaders.items():
        own, cards = network.parents[child], network.cardinalities
        table = network.factor(child)
        if leader not in own:
            parents[child] = (*own, leader)
            shape = (*table.shape[:-1], cards[leader], table.shape[-1])
            table = np.broadcast_to(table[..., None, :], shape)
        axis = parents[child].index(leader)
        tables[child] = _with_gaps(table, axis, gaps[child, leader]).reshape(-1, cards[child])
    return replace(network, parents=tuple(parents), tables=tuple(tables))


def _with_gaps(table: np.ndarray, axis: int, gaps_22: np.ndarray) -> np.ndarray:
    """p(code | parents) with the share of missing cells by whether the parent on an axis is missing."""
    present = table[..., :-1]
    mass = present.sum(axis=-1, keepdims=True)
    usual = present.reshape(-1, present.shape[-1]).mean(axis=0)
    present = np.where(mass > 0, present / np.where(mass > 0, mass, 1.0), usual / usual.sum())
    missing_2 = gaps_22[:, 1] / gaps_22.sum(axis=1)
    of_parent = np.full(table.shape[axis], missing_2[0])
    of_parent[-1] = missing_2[1]
    shape = [1] * table.ndim
    shape[axis] = -1
    missing = np.broadcast_to(of_parent.reshape(shape), (*table.shape[:-1], 1))
    return np.concatenate([present * (1.0 - missing), missing], axis=-1)


def _with_room(
    child: int, own: Sequence[int], leader: int, scores: SetScores, rules: EdgeRules
) -> tuple[int, ...] | None:
    """The child's parents without those that must go for the leader; None where that is not enough."""
    kept = list(own)
    required = rules.required_parents()[child]

    def fits() -> bool:
        family = mask_of([child, leader, *kept])
        return len({leader, *kept}) <= rules.max_parents and scores.counts.cells(family) <= rules.max_cells

    def told(parent: int) -> float:
        return scores.family(child, 1 << parent) - scores.family(child, 0)

    while not fits():
        free = [p for p in kept if p != leader and not required >> p & 1]
        if not free:
            return None
        kept.remove(min(free, key=told))
    return tuple(kept)


def _unexplained(gaps_22: np.ndarray) -> float:
    """H(missing | the other is missing or not) / H(missing)."""
    return _entropy(gaps_22) / max(_entropy(gaps_22.sum(axis=0, keepdims=True)), 1e-300)


def _entropy(counts: np.ndarray) -> float:
    """Of the last axis given the first, in nats, times the rows."""
    share = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1.0)
    return float(-(counts * np.log(np.where(share > 0, share, 1.0))).sum())
