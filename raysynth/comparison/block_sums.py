"""Weighted sums of cut differences between rows, the inner loop of nearest neighbours, compiled.

Shape legend: Q queries, R references, D columns.
"""

from __future__ import annotations

import numpy as np

from raysynth.running.compiled import compiled


@compiled
def add_sums(q_QD: np.ndarray, r_DR: np.ndarray, weights_D: np.ndarray, power: int, total_QR: np.ndarray) -> None:
    """Add weight * min(|difference|, 1) ** power of each column to `total_QR`, in float32; power 1 or 2.

    A query's sums and a block's columns stay in the processor's cache, and one pass does it all.
    """
    one = np.float32(1)
    for q in range(q_QD.shape[0]):
        total_R = total_QR[q]
        for d in range(q_QD.shape[1]):
            here, weight, column_R = q_QD[q, d], weights_D[d], r_DR[d]
            if weight == 0:
                continue
            for r in range(r_DR.shape[1]):
                part = abs(here - column_R[r])
                part = part if part < one else one
                total_R[r] += weight * part if power == 1 else weight * part * part
