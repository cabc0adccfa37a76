"""The inner loops of nearest neighbours, compiled: weighted sums of differences between rows, none above 1.

Shape legend: Q queries, R references, D columns, M members of the best groups, K neighbours.
"""

from __future__ import annotations

import numpy as np

from raysynth.running.compiled import compiled


@compiled
def add_sums(
    q_QD: np.ndarray, r_DR: np.ndarray, start: int, n: int, weights_D: np.ndarray, power: int, total_QR: np.ndarray
) -> None:
    """Add weight * min(|difference|, 1) ** power of each column to `total_QR`, in float32; power 1 or 2.

    The references are the n from `start` on. Arrays lie row by row without gaps, so that the inner loop is one of
    vectors; a query's sums and a block's columns stay in the processor's cache.
    """
    one = np.float32(1)
    for q in range(q_QD.shape[0]):
        total_R = total_QR[q]
        for d in range(q_QD.shape[1]):
            here, weight, column_R = q_QD[q, d], weights_D[d], r_DR[d, start : start + n]
            if weight == 0:
                continue
            for r in range(len(column_R)):
                part = abs(here - column_R[r])
                part = part if part < one else one
                total_R[r] += weight * part if power == 1 else weight * part * part


@compiled
def nearest_members(
    q_QD: np.ndarray,
    points_RD: np.ndarray,
    weights_D: np.ndarray,
    power: int,
    members_QM: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The k members of smallest sums (Q, K) and their row numbers, in float64; of equal sums the lower number first.

    Args:
        members_QM: row numbers; those of -1 do not count.
    """
    sums_QK, rows_QK = np.full((len(q_QD), k), np.inf), np.full((len(q_QD), k), -1)
    for q in range(len(q_QD)):
        for row in members_QM[q]:
            if row < 0:
                continue
            total, last = 0.0, sums_QK[q, k - 1]
            for d in range(q_QD.shape[1]):
                part = min(abs(q_QD[q, d] - points_RD[row, d]), 1.0)
                total += weights_D[d] * (part if power == 1 else part * part)
                if total > last:
                    break
            at = k
            while at > 0 and (
                total < sums_QK[q, at - 1]
                or (total == sums_QK[q, at - 1] and (row < rows_QK[q, at - 1] or rows_QK[q, at - 1] < 0))
            ):
                at -= 1
            if at < k:
                for i in range(k - 1, at, -1):
                    sums_QK[q, i], rows_QK[q, i] = sums_QK[q, i - 1], rows_QK[q, i - 1]
                sums_QK[q, at], rows_QK[q, at] = total, row
    return sums_QK, rows_QK
