"""Wide gaps between the values of a number: between a sentinel (-999, 9999-12-31) and the others nothing is drawn.

A gap is wide where it is several times what the values on its denser side spread over, so that stray values inside a
gap do not hide it. Values of many rows (atoms) say nothing about spread: beside them the other side decides.
"""

from __future__ import annotations

import numpy as np

WIDE = 5.0  # times the spread of the values beside it; of exponential spacings one in several thousand is as wide


def wide_gaps(
    low: np.ndarray, high: np.ndarray, counts: np.ndarray, is_atom: np.ndarray, *, rows: float, unit: float
) -> np.ndarray:
    """Whether the gap behind each cell but the last is wide, shape (cells - 1,) bool.

    Args:
        low, high, counts: of ordered cells, shape (cells,).
        is_atom: cells that are values of many rows, shape (cells,).
        rows: this many rows on each side of a gap are looked at.
        unit: distance of neighbouring values on the column's grid; 0 where there is none.
    """
    if len(low) < 2:
        return np.zeros(0, bool)
    gap = low[1:] - high[:-1]
    on_right = _spread(low, high, counts, rows)[1:]
    on_left = _spread(-high[::-1], -low[::-1], counts[::-1], rows)[::-1][:-1]
    on_left, on_right = np.where(is_atom[:-1], np.inf, on_left), np.where(is_atom[1:], np.inf, on_right)
    spread = np.maximum(np.minimum(on_left, on_right), unit)
    return (gap > WIDE * spread) & ~(is_atom[1:] & is_atom[:-1])


def without_lone_cuts(cut: np.ndarray, gap: np.ndarray, counts: np.ndarray, least_rows: float) -> np.ndarray:
    """The cuts (cells - 1,) without those between neighbouring groups that are too small alone, but not together.

    Neighbours that are nearer to others are not joined: a few stray rows and the last rows of the others, say.

    Args:
        cut, gap: whether there is a cut behind each cell but the last, and how wide its gap is, (cells - 1,).
        counts: rows of each cell, (cells,).
        least_rows: that a group needs.
    """
    rows = np.bincount(np.concatenate([[0], np.cumsum(cut)]), weights=counts)
    small = rows < least_rows
    series = np.concatenate([[0], np.cumsum(small[1:] != small[:-1])])  # neighbouring groups, all small or none
    together = np.bincount(series, weights=rows)[series]
    width = np.concatenate([[np.inf], gap[cut], [np.inf]])
    nearest = width[1:-1] <= np.minimum(width[:-2], width[2:])
    inside = cut.copy()
    inside[cut] = ~(small[:-1] & small[1:] & nearest & (together[:-1] >= least_rows))
    return inside


def _spread(low: np.ndarray, high: np.ndarray, counts: np.ndarray, rows: float) -> np.ndarray:
    """What about `rows` rows from each cell on spread over, their widest gap apart."""
    after = np.cumsum(counts)
    last = np.minimum(np.searchsorted(after, after - counts + rows, side="left"), len(low) - 1)
    gaps = np.append(low[1:] - high[:-1], 0.0)
    widest = _largest_between(gaps, np.arange(len(low)), last)
    return np.asarray(high[last] - low - widest)


def _largest_between(x: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The largest of x[start:stop] for each pair; 0 where it is empty."""
    result = np.zeros(len(start))
    length = stop - start
    table, width = x, 1
    while width <= length.max(initial=0):
        own = np.flatnonzero((length >= width) & (length < 2 * width))
        result[own] = np.maximum(table[start[own]], table[stop[own] - width])
        table = np.maximum(table[:-width], table[width:]) if len(table) > width else table
        width *= 2
    return result
