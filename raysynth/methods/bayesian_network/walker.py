"""Draws by the alias method (Walker 1977), the inner loop of sampling a network, compiled."""

from __future__ import annotations

import numpy as np

from raysynth.running.compiled import compiled


@compiled
def pick(
    random_B: np.ndarray,
    index_B: np.ndarray,
    threshold: np.ndarray,
    alias: np.ndarray,
    n_codes: int,
    code_B: np.ndarray,
) -> None:
    """A code for each row, into `code_B`.

    Args:
        random_B: uint32; the high digits of its product with the number of codes pick an entry, the low ones decide.
        index_B: the distribution of each row.
        threshold, alias, n_codes: see `AliasTable`.
    """
    for i in range(len(random_B)):
        product = np.uint64(random_B[i]) * np.uint64(n_codes)
        entry = np.int64(product >> np.uint64(32))
        place = index_B[i] * n_codes + entry
        code_B[i] = entry if np.uint32(product & np.uint64(0xFFFFFFFF)) < threshold[place] else alias[place]
