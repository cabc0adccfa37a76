"""Which made parent each row gets, where the parent is not the one that brought it: a join on codes.

A row wants a kind of parent; a parent has a kind, and a number of children that it is to have. The parents are dealt
out like cards: as many of each as it is to have children, to rows that want its kind; what is left over on both sides
after that is dealt regardless of the kind. So the distribution of the number of children is kept, and the kind as far
as the numbers allow. Shape legend: N rows, P parents, S places of children.
"""

from __future__ import annotations

import numpy as np

from raysynth.related.grouping import NO_PARENT


def deal(
    wanted_N: np.ndarray, kind_P: np.ndarray, number_P: np.ndarray, rng: np.random.Generator, level: int | None = None
) -> np.ndarray:
    """The parent of each row, (N,) int64; `NO_PARENT` where none is wanted or there.

    Args:
        wanted_N: kind of parent that each row wants, `NO_PARENT` for none.
        kind_P: of each parent. number_P: how many children it is to have.
        rng: of the dealing.
        level: kinds are numbered within levels of so many; a parent of another level is never dealt. None: all kinds
            are one level.
    """
    result = np.full(len(wanted_N), NO_PARENT, np.int64)
    rows = rng.permutation(np.flatnonzero(wanted_N != NO_PARENT))
    places = rng.permutation(np.repeat(np.arange(len(kind_P)), number_P))
    rows, places = _dealt(result, rows, wanted_N, places, kind_P)
    level_N, level_P = (np.zeros(len(x), np.int64) if level is None else x // level for x in (wanted_N, kind_P))
    rows, places = _dealt(result, rows, level_N, places, level_P)
    if len(rows) and len(kind_P):  # more rows than places: parents by their numbers
        for of_N, of_P in ((wanted_N, kind_P), (level_N, level_P)):
            rows = _drawn(result, rows, of_N, of_P, number_P, rng)
    return result


def _dealt(
    result: np.ndarray, rows: np.ndarray, wanted_N: np.ndarray, places: np.ndarray, kind_P: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Deal places to rows that want their kind, in order; the rows and places that are left."""
    by_row, by_place = np.argsort(wanted_N[rows], kind="stable"), np.argsort(kind_P[places], kind="stable")
    rows, places = rows[by_row], places[by_place]
    wanted, offered = wanted_N[rows], kind_P[places]
    rank = np.arange(len(rows)) - np.searchsorted(wanted, wanted)
    start, stop = np.searchsorted(offered, wanted), np.searchsorted(offered, wanted, side="right")
    hit = start + rank < stop
    taken = (start + rank)[hit]
    result[rows[hit]] = places[taken]
    left = np.ones(len(places), bool)
    left[taken] = False
    return rows[~hit], places[left]


def _drawn(
    result: np.ndarray,
    rows: np.ndarray,
    wanted_N: np.ndarray,
    kind_P: np.ndarray,
    number_P: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw a parent of the wanted kind for each row, by the parents' numbers; the rows for which there is none."""
    order = np.argsort(kind_P, kind="stable")
    kinds = kind_P[order]
    mass = np.concatenate([[0.0], np.cumsum(number_P[order] + 1e-3)])
    start, stop = (np.searchsorted(kinds, wanted_N[rows], side) for side in ("left", "right"))
    hit = stop > start
    at = mass[start[hit]] + rng.random(int(hit.sum())) * (mass[stop[hit]] - mass[start[hit]])
    place = np.clip(np.searchsorted(mass, at, side="right") - 1, start[hit], stop[hit] - 1)
    result[rows[hit]] = order[place]
    return rows[~hit]
