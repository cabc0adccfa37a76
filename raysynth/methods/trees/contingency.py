"""How much columns depend on one another, by counts of pairs of their groups, compiled."""

from __future__ import annotations

import numpy as np

from raysynth.running.compiled import compiled


@compiled
def contingencies(groups_CN: np.ndarray, column: int, n_others: int, n_groups: int) -> np.ndarray:
    """Sum of rows^2 / (rows of the one group x rows of the other) of a column with each of the first ones, (n_others,).

    1 where they are independent, and 1 + the mean square contingency in general.

    Args:
        groups_CN: the group of each row (uint8) in each of C columns.
        column: which. n_others: of the first columns. n_groups: of every column.
    """
    found = np.zeros(n_others)
    rows, own_rows, other_rows = np.zeros(n_groups * n_groups), np.zeros(n_groups), np.zeros(n_groups)
    own_N = groups_CN[column]
    for c in range(n_others):
        other_N = groups_CN[c]
        rows[:], own_rows[:], other_rows[:] = 0, 0, 0
        for i in range(len(own_N)):
            rows[own_N[i] * n_groups + other_N[i]] += 1
        for a in range(n_groups):
            for b in range(n_groups):
                own_rows[a] += rows[a * n_groups + b]
                other_rows[b] += rows[a * n_groups + b]
        for a in range(n_groups):
            for b in range(n_groups):
                if rows[a * n_groups + b] > 0:
                    found[c] += rows[a * n_groups + b] ** 2 / (own_rows[a] * other_rows[b])
    return found
