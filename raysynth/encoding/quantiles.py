"""The inner loops of drawing numbers, compiled: values at ranks of a distribution of cells, and cells of values."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from raysynth.running.compiled import compiled

MOST_GUIDES = 4096
Arrays: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def quantiles(rank_N: np.ndarray, arrays: Arrays) -> np.ndarray:
    """What `SmoothDistribution.quantile` gives, bit by bit: the cell of a rank is looked for where it should be.

    Args:
        rank_N: in [0, 1].
        arrays: of the distribution (`SmoothDistribution.arrays`).
    """
    found_N = np.empty(len(rank_N))
    _values(found_N, rank_N, *arrays, _guide(*arrays))
    return found_N


def drawn(
    codes_N: np.ndarray,
    fixed: np.ndarray,
    is_spread: np.ndarray,
    ranks: np.ndarray,
    rng: np.random.Generator,
    arrays: Arrays,
) -> np.ndarray:
    """A value for each code (N,): its fixed one, or one at a random rank between those of the code and the next.

    Args:
        codes_N: uint16.
        fixed, is_spread: of each code, 'missing' too, the value and whether one is drawn instead.
        ranks: of the left edge of each code, and 1.
    """
    n_spread = int(np.bincount(codes_N, minlength=len(is_spread)) @ is_spread)
    found_N, rank_N, at_N = fixed[codes_N], rng.random(n_spread), np.empty(n_spread, np.int64)
    _ranked(codes_N, is_spread, ranks, rank_N, at_N)
    found_N[at_N] = quantiles(rank_N, arrays)
    return found_N


def searched(edges: np.ndarray, x_N: np.ndarray) -> np.ndarray:
    """`np.searchsorted(edges, x_N, side="right")` of finite numbers: each is looked for where it should be."""
    n_guides = min(2 * len(edges), MOST_GUIDES)
    guide = np.searchsorted(edges, np.linspace(edges[0], edges[-1], n_guides + 1), side="right")
    at_N = np.empty(len(x_N), np.int64)
    _searched(edges, x_N, guide, at_N)
    return at_N


def _guide(cumulative: np.ndarray, low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The cells at ranks of even distance."""
    n_guides = min(2 * len(share), MOST_GUIDES)
    return np.searchsorted(cumulative[1:-1], np.arange(n_guides) / n_guides, side="right")


@compiled
def _ranked(
    codes_N: np.ndarray, is_spread: np.ndarray, ranks: np.ndarray, rank_N: np.ndarray, at_N: np.ndarray
) -> None:
    """Put draws from [0, 1) between the ranks of their codes, in place, and say which rows they are for."""
    j = 0
    for i in range(len(codes_N)):
        code = codes_N[i]
        if is_spread[code]:
            low = ranks[code]
            rank_N[j], at_N[j] = low + rank_N[j] * (ranks[code + 1] - low), i
            j += 1


@compiled
def _values(
    found_N: np.ndarray,
    rank_N: np.ndarray,
    cumulative: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    share: np.ndarray,
    guide: np.ndarray,
) -> None:
    last, n_guides = len(share) - 1, len(guide)
    for i in range(len(rank_N)):
        rank = rank_N[i]
        cell = guide[min(max(int(rank * n_guides), 0), n_guides - 1)]
        while cell < last and cumulative[cell + 1] <= rank:
            cell += 1
        while cell > 0 and cumulative[cell] > rank:
            cell -= 1
        inside = min(max((rank - cumulative[cell]) / max(share[cell], 1e-300), 0.0), 1.0)
        found_N[i] = low[cell] + inside * (high[cell] - low[cell])


@compiled
def _searched(edges: np.ndarray, x_N: np.ndarray, guide: np.ndarray, at_N: np.ndarray) -> None:
    n, n_guides = len(edges), len(guide) - 1
    span = edges[n - 1] - edges[0]
    per_unit = n_guides / span if span > 0 else 0.0
    for i in range(len(x_N)):
        x = x_N[i]
        g = int(min(max((x - edges[0]) * per_unit, 0.0), n_guides - 1.0))
        low, high = guide[g], guide[g + 1]
        while low < high:
            middle = (low + high) // 2
            if edges[middle] <= x:
                low = middle + 1
            else:
                high = middle
        while low < n and edges[low] <= x:  # rounding may have named the guide beside
            low += 1
        while low > 0 and edges[low - 1] > x:
            low -= 1
        at_N[i] = low
