"""The inner loops of nearest neighbours, compiled: weighted sums of differences between rows, none above 1.

Shape legend: Q queries, R references, D columns, K neighbours, L searches that each leave one column out; the
references lie in blocks of B, column by column within a block: (R / B, D, B). D is a multiple of four: columns of
weight 0 fill it up.
"""

from __future__ import annotations

import numpy as np

from raysynth.running.compiled import compiled


@compiled
def nearest_rows(
    asked: tuple[np.ndarray, np.ndarray, np.ndarray],
    searched: tuple[np.ndarray, np.ndarray, np.ndarray],
    weights_D: np.ndarray,
    power: int,
    left_out_L: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The K references of smallest sums of weight * min(|difference|, 1) ** power; of equal sums the lowest number.

    All sums are computed in float32, a query against a block of references; those that rounding leaves in doubt beside
    the K-th smallest so far are computed again in float64, so that the result is exact.

    Args:
        asked: the queries (Q, D) in float64; by how much float32 may be wrong for each (Q,), but for the sums' own
            rounding; whose each is (Q,), -1: of nobody among the references.
        searched: the references (R, D) in float64; in float32 (R / B, D, B); whose each is (R,): no row is a neighbour
            of a row of the same owner.
        power: 1 or 2.
        left_out_L: the column that each search does without; -1: none.

    Returns:
        The sums and the row numbers, (L, Q, K) each; infinite and -1 where there are not so many.
    """
    q_QD, slack_Q, owner_Q = asked
    points_RD, blocks_NDB, owner_R = searched
    shape = len(left_out_L), len(q_QD), k
    sums_LQK, rows_LQK = np.full(shape, np.inf), np.full(shape, -1)
    size, rounding = blocks_NDB.shape[2], (blocks_NDB.shape[1] + 8) * 2.0**-23
    here_QD, light_D = q_QD.astype(np.float32), weights_D.astype(np.float32)
    total_B, less_B = np.empty(size, np.float32), np.empty(size, np.float32)
    for block in range(blocks_NDB.shape[0]):
        first, columns_DB = block * size, blocks_NDB[block]
        here_RD, whose_R = points_RD[first : first + size], owner_R[first : first + size]
        for q in range(len(q_QD)):
            _totals(here_QD[q], columns_DB, light_D, power, total_B)
            for search in range(len(left_out_L)):
                left_out, sums_K, rows_K = left_out_L[search], sums_LQK[search, q], rows_LQK[search, q]
                worst, doubt, seen_B = sums_K[k - 1], slack_Q[q] + rounding * sums_K[k - 1], total_B
                if left_out >= 0:
                    seen_B, doubt = less_B, doubt + rounding * weights_D[left_out]
                    _subtracted(here_QD[q], columns_DB, light_D, power, left_out, total_B, seen_B)
                if worst > 0 and _any_below(seen_B, worst + doubt, len(here_RD)):
                    for r in range(len(here_RD)):
                        if seen_B[r] <= worst + doubt and whose_R[r] != owner_Q[q]:
                            total = _exact(q_QD[q], here_RD[r], weights_D, power, left_out, worst)
                            if total < worst:
                                _insert(sums_K, rows_K, total, first + r)
                                worst = sums_K[k - 1]
                                if doubt == np.inf:
                                    doubt = slack_Q[q] + rounding * (worst + weights_D.max())
    return sums_LQK, rows_LQK


@compiled
def _any_below(values_B: np.ndarray, limit: float, n: int) -> bool:
    """Whether any of the first n is at most a limit."""
    hits, limit_32 = 0, np.float32(limit)
    for r in range(n):
        hits += values_B[r] <= limit_32
    return hits > 0


@compiled
def _totals(q_D: np.ndarray, columns_DB: np.ndarray, weights_D: np.ndarray, power: int, total_B: np.ndarray) -> None:
    """Sums of one query with a block, four columns a turn: totals are fetched and stored a quarter as often."""
    one = np.float32(1)
    total_B[:] = 0
    for d in range(0, columns_DB.shape[0], 4):
        q0, q1, q2, q3 = q_D[d], q_D[d + 1], q_D[d + 2], q_D[d + 3]
        w0, w1, w2, w3 = weights_D[d], weights_D[d + 1], weights_D[d + 2], weights_D[d + 3]
        c0, c1, c2, c3 = columns_DB[d], columns_DB[d + 1], columns_DB[d + 2], columns_DB[d + 3]
        for r in range(len(total_B)):
            p0, p1, p2, p3 = abs(q0 - c0[r]), abs(q1 - c1[r]), abs(q2 - c2[r]), abs(q3 - c3[r])
            p0 = p0 if p0 < one else one
            p1 = p1 if p1 < one else one
            p2 = p2 if p2 < one else one
            p3 = p3 if p3 < one else one
            if power == 2:
                p0, p1, p2, p3 = p0 * p0, p1 * p1, p2 * p2, p3 * p3
            total_B[r] += (w0 * p0 + w1 * p1) + (w2 * p2 + w3 * p3)


@compiled
def _subtracted(
    q_D: np.ndarray,
    columns_DB: np.ndarray,
    weights_D: np.ndarray,
    power: int,
    d: int,
    total_B: np.ndarray,
    less_B: np.ndarray,
) -> None:
    """The sums without one column."""
    one, here, weight, column_B = np.float32(1), q_D[d], weights_D[d], columns_DB[d]
    for r in range(len(total_B)):
        part = abs(here - column_B[r])
        part = part if part < one else one
        less_B[r] = total_B[r] - (weight * part if power == 1 else weight * part * part)


@compiled
def _exact(
    q_D: np.ndarray, point_D: np.ndarray, weights_D: np.ndarray, power: int, left_out: int, enough: float
) -> float:
    """The sum of two rows in float64; once it is above `enough`, a part of it."""
    total = 0.0
    for d in range(len(q_D)):
        if d != left_out:
            part = min(abs(q_D[d] - point_D[d]), 1.0)
            total += weights_D[d] * (part if power == 1 else part * part)
            if total > enough:
                break
    return total


@compiled
def _insert(sums_K: np.ndarray, rows_K: np.ndarray, total: float, row: int) -> None:
    """Put a sum in its place behind its equals; the largest goes."""
    at = len(sums_K) - 1
    while at > 0 and total < sums_K[at - 1]:
        sums_K[at], rows_K[at] = sums_K[at - 1], rows_K[at - 1]
        at -= 1
    sums_K[at], rows_K[at] = total, row
