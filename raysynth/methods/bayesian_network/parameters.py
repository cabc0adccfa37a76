"""Conditional probabilities from counts, smoothed towards the same column with one parent less.

p(y | p1..pk) = (n(y, p1..pk) + a p(y | p1..pk-1)) / (n(p1..pk) + a), down to the column's own shares: a Dirichlet prior
centred on the next smaller family (as interpolated back-off in language models; MacKay and Peto 1995). The parent that
tells least is left out first. The strength a of each level maximises the likelihood of each row given all the others,
which the counts give in closed form. A code that no row has keeps probability zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import SetCounts, mask_of
from raysynth.methods.bayesian_network.network import Network

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
