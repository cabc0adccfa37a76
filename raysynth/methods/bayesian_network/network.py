"""A Bayesian network over codes: parents and conditional probabilities of each column, and the likelihood of rows.

Shape legend: N rows, C columns, Q configurations of a column's parents, R codes of the column.

Conditional probabilities come from counts, smoothed towards the same column with one parent less:

    p(y | p1..pk) = (n(y, p1..pk) + a p(y | p1..pk-1)) / (n(p1..pk) + a),

down to the column's own shares: a Dirichlet prior centred on the next smaller family (as interpolated back-off in
language models; MacKay and Peto 1995). The parent that tells least is left out first. The strength a of each level
maximises the likelihood of each row given all the others, which the counts give in closed form. A code that no row has
keeps probability zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from raysynth.errors import ModelFileError, ParameterError
from raysynth.methods.bayesian_network.counting import SetCounts, mask_of
from raysynth.methods.bayesian_network.edge_rules import Edge, topological_order

if TYPE_CHECKING:
    from pgmpy.models import DiscreteBayesianNetwork


@dataclass(frozen=True)
class Network:
    """p(row) = product over columns of p(code | codes of its parents).

    Args:
        cardinalities: number of codes of each column.
        parents: parents of each column; their order is that of the configuration's digits, the last one fastest.
        tables: for each column p(code | configuration), shape (Q, R), rows sum to 1.
        n_rows: rows that the tables were estimated from (decides the floor of `log_prob`).
    """

    cardinalities: tuple[int, ...]
    parents: tuple[tuple[int, ...], ...]
    tables: tuple[np.ndarray, ...]
    n_rows: float

    def __len__(self) -> int:
        return len(self.cardinalities)

    @property
    def order(self) -> list[int]:
        """Columns such that parents come first."""
        return topological_order(self.parents)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges as (parent, child) pairs of column indices."""
        return tuple((p, c) for c, parents in enumerate(self.parents) for p in parents)

    @property
    def n_parameters(self) -> int:
        """Free parameters, over all codes."""
        return sum(len(t) * (t.shape[1] - 1) for t in self.tables)

    def configuration(self, column: int, codes_NC: np.ndarray) -> np.ndarray:
        """Index of each row's configuration of the column's parents, shape (N,), int64."""
        index = np.zeros(len(codes_NC), dtype=np.int64)
        for parent in self.parents[column]:
            index *= self.cardinalities[parent]
            index += codes_NC[:, parent]
        return index

    def log_prob(self, codes_NC: np.ndarray) -> np.ndarray:
        """Natural logarithm of the probability of each row, shape (N,), float64.

        A code that was never seen where it stands counts as half a row of those that the network was estimated from,
        so that one such cell does not make a held-out row impossible.

        Args:
            codes_NC: codes, each below its column's cardinality.
        """
        floor = 0.5 / (self.n_rows + 1.0)
        result = np.zeros(len(codes_NC))
        for column, table in enumerate(self.tables):
            p = table[self.configuration(column, codes_NC), codes_NC[:, column]]
            result += np.log(np.maximum(p, floor))
        return result

    def factor(self, column: int) -> np.ndarray:
        """The column's table with one axis for each parent and the last one for the column."""
        return self.tables[column].reshape([self.cardinalities[p] for p in self.parents[column]] + [-1])

    def ancestors(self, columns: Iterator[int] | Sequence[int]) -> set[int]:
        """The columns and all that lead to them."""
        found: set[int] = set()
        waiting = list(columns)
        while waiting:
            column = waiting.pop()
            if column not in found:
                found.add(column)
                waiting += self.parents[column]
        return found

    def to_state(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        """JSON values and named arrays that `from_state` reads."""
        meta = {
            "cardinalities": list(self.cardinalities),
            "parents": [list(p) for p in self.parents],
            "n_rows": self.n_rows,
        }
        return meta, {f"table.{c}": t for c, t in enumerate(self.tables)}

    @classmethod
    def from_state(cls, meta: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> Network:
        """The inverse of `to_state`, checked; raises `ModelFileError`."""
        try:
            cards = tuple(int(c) for c in meta["cardinalities"])  # type: ignore[attr-defined]
            parents = tuple(tuple(int(p) for p in own) for own in meta["parents"])  # type: ignore[attr-defined]
            n_rows = float(meta["n_rows"])  # type: ignore[arg-type]
            stored = tuple(arrays[f"table.{c}"] for c in range(len(cards)))
            tables = tuple(t.astype(np.float64) for t in stored)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the model file's Bayesian network is incomplete ({error}); refit the model"
            ) from error
        _check(cards, parents, tables)
        if any(
            t.dtype != np.float64 for t in stored
        ):  # a file of version 0.1.0 with rounded numbers: add up to 1 again
            tables = tuple(t / t.sum(axis=1, keepdims=True) for t in tables)
        return cls(cards, parents, tables, n_rows)


def _check(cards: tuple[int, ...], parents: tuple[tuple[int, ...], ...], tables: tuple[np.ndarray, ...]) -> None:
    """A file is data from anywhere: indices in range, shapes that fit, probabilities, no cycle."""
    bad: bool = len(parents) != len(cards) or any(not 0 <= p < len(cards) for own in parents for p in own)
    bad = bad or min(cards, default=0) < 1
    if not bad:
        for card, own, table in zip(cards, parents, tables, strict=True):
            shape = (int(np.prod([cards[p] for p in own], dtype=object)), card)
            bad = bad or table.shape != shape or not bool(np.isfinite(table).all()) or bool((table < 0).any())
            bad = bad or not np.allclose(table.sum(axis=-1), 1.0, atol=1e-3)
    if bad:
        raise ModelFileError("the model file's Bayesian network has tables that do not fit its edges; refit the model")
    try:
        topological_order(parents)
    except ValueError as error:
        raise ModelFileError(f"the model file's Bayesian network is cyclic ({error}); refit the model") from error


_RESERVED = re.compile(r'[,;{}()|"\\\r\n\t]|//|/\*')  # characters that a BIF file gives a meaning


def to_pgmpy(network: Network, names: Sequence[str], states: Sequence[Sequence[str]]) -> DiscreteBayesianNetwork:
    """The network with its probabilities in pgmpy's form.

    Args:
        network: parents and tables.
        names: of the columns, as nodes.
        states: for each column the names of its codes; characters that BIF cannot hold are replaced.
    """
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    nodes = safe_names(names)
    state_names = {node: safe_names(own) for node, own in zip(nodes, states, strict=True)}
    result = DiscreteBayesianNetwork()
    result.add_nodes_from(nodes)
    result.add_edges_from((nodes[p], nodes[c]) for p, c in network.edges)
    for column, table in enumerate(network.tables):
        parents = [nodes[p] for p in network.parents[column]]
        cpd = TabularCPD(
            nodes[column],
            network.cardinalities[column],
            table.T,
            evidence=parents or None,
            evidence_card=[network.cardinalities[p] for p in network.parents[column]] or None,
            state_names={node: state_names[node] for node in (nodes[column], *parents)},
        )
        result.add_cpds(cpd)
    return result


def safe_names(names: Sequence[str]) -> list[str]:
    """Names without BIF's reserved characters, trimmed, and distinct."""
    result: list[str] = []
    taken: set[str] = set()
    for name in names:
        clean = _RESERVED.sub("_", str(name)).strip() or "_"
        distinct, k = clean, 2
        while distinct in taken:
            distinct, k = f"{clean}_{k}", k + 1
        taken.add(distinct)
        result.append(distinct)
    return result


STRENGTHS = (0.25, 1.0, 4.0, 16.0, 64.0, 256.0)


def estimate(counts: SetCounts, parents: Sequence[Sequence[int]], smoothing: float | None = None) -> Network:
    """The network with given parents, its probabilities from all rows: at most one pass.

    Args:
        counts: where tables come from.
        parents: parents of each column.
        smoothing: rows' worth of the smaller family in each configuration; None: chosen for each level by likelihood.

    Raises:
        ParameterError: negative smoothing.
    """
    if smoothing is not None and not smoothing >= 0:
        raise ParameterError(f"smoothing must be None (chosen from the counts) or a number >= 0; found {smoothing!r}")
    masks = [mask_of([child, *own]) for child, own in enumerate(parents)]
    tables = counts.count(masks)
    n_rows = float(next(iter(tables.values())).sum())
    cards = tuple(int(c) for c in counts.cardinalities)
    smoothed = tuple(
        conditional_table(_family(tables, masks[child], child, tuple(own)), smoothing)
        for child, own in enumerate(parents)
    )
    return Network(cards, tuple(tuple(own) for own in parents), smoothed, n_rows)


def conditional_table(counts: np.ndarray, smoothing: float | None = None) -> np.ndarray:
    """Smoothed p(code | configuration), shape (Q, R), from counts with an axis for each parent, then codes."""
    levels = back_off_levels(counts)
    p = np.full((1,) * (counts.ndim - 1) + counts.shape[-1:], 1.0)
    p[..., :] = np.maximum(levels[0], 0.0)
    total = p.sum()
    p = p / total if total > 0 else np.full_like(p, 1.0 / p.size)
    for level in levels[1:]:
        p = _smoothed(level, p, smoothing)
    return np.broadcast_to(p, counts.shape).reshape(-1, counts.shape[-1]).copy()


def back_off_levels(counts: np.ndarray) -> list[np.ndarray]:
    """Counts of ever larger families, from no parent to all; axes that are summed out keep length 1."""
    levels = [counts]
    kept = list(range(counts.ndim - 1))
    while kept:
        smaller = {axis: levels[0].sum(axis=axis, keepdims=True) for axis in kept}
        least = max(kept, key=lambda axis: _log_likelihood(smaller[axis]))
        levels.insert(0, smaller[least])
        kept.remove(least)
    return levels


def _smoothed(counts: np.ndarray, prior: np.ndarray, smoothing: float | None) -> np.ndarray:
    rows = counts.sum(axis=-1, keepdims=True)
    strength = _best_strength(counts, rows, prior) if smoothing is None else smoothing
    result = np.broadcast_to(prior, counts.shape).copy()
    np.divide(counts + strength * prior, rows + strength, out=result, where=rows + strength > 0)
    return result


def _best_strength(counts: np.ndarray, rows: np.ndarray, prior: np.ndarray) -> float:
    """The strength under which each row is likeliest given all other rows (leave-one-out)."""
    cells = np.nonzero(counts)
    n = counts[cells]
    total = np.broadcast_to(rows, counts.shape)[cells]
    p = np.broadcast_to(prior, counts.shape)[cells]

    def likelihood(strength: float) -> float:
        left = (np.maximum(n - 1, 0) + strength * p) / (np.maximum(total - 1, 0) + strength)
        return float(n @ np.log(np.maximum(left, 1e-300)))

    return max(STRENGTHS, key=likelihood)


def _family(tables: Mapping[int, np.ndarray], mask: int, child: int, parents: tuple[int, ...]) -> np.ndarray:
    """The table with axes in the order (parents, child)."""
    columns = sorted((*parents, child))
    return tables[mask].transpose([columns.index(c) for c in (*parents, child)])


def _log_likelihood(counts: np.ndarray) -> float:
    rows = counts.sum(axis=-1)
    cells, totals = counts[counts > 0], rows[rows > 0]
    return float((cells * np.log(cells)).sum() - (totals * np.log(totals)).sum())
