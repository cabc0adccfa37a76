"""How far generated rows lie from held-out ones: the score by which a GAN's training is stopped.

A GAN's losses say nothing about its rows; the distributions of pairs of columns do.

Shape legend: N rows, M other rows, C columns, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_PAIRS = 200
MOST_CELLS = 1 << 14  # of a pair; a pair of columns with more tells little at the number of rows that is held back


def scored_pairs(cardinalities: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Pairs of columns that are compared: those with few enough cells, the smallest first, at most 200.

    One column alone is a pair with itself; so is every column of a table in which no two fit together.
    """
    columns = range(len(cardinalities))
    pairs = [(a, b) for a in columns for b in columns[a + 1 :] if cardinalities[a] * cardinalities[b] <= MOST_CELLS]
    pairs.sort(key=lambda pair: cardinalities[pair[0]] * cardinalities[pair[1]])
    return tuple(pairs[:MOST_PAIRS]) or tuple((c, c) for c in columns)


def pair_distance(
    real_NC: Tensor, made_MC: Tensor, cardinalities: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> Tensor:
    """Total variation of pairs of columns, mean over the pairs: 0 for equal shares, 1 for none in common.

    Sampling alone gives more than 0; two scores against the same rows can be compared.

    Args:
        real_NC, made_MC: codes, int64, on one device.
        cardinalities: number of codes of each column (C).
        pairs: of columns, see `scored_pairs`.
    """
    total = torch.zeros((), device=real_NC.device)
    for a, b in pairs:
        width = cardinalities[b] if a != b else 1
        cells = [codes[:, a] * width + codes[:, b] * (a != b) for codes in (real_NC, made_MC)]
        shares = [_counts(cell, cardinalities[a] * width) / len(cell) for cell in cells]
        total += (shares[0] - shares[1]).abs().sum() / 2
    return total / max(1, len(pairs))


def _counts(cell_N: Tensor, n_cells: int) -> Tensor:
    """How often each cell occurs; `torch.bincount` would make the host wait for the largest cell."""
    ones_N = torch.ones(len(cell_N), device=cell_N.device)
    return torch.zeros(n_cells, device=cell_N.device).scatter_add_(0, cell_N, ones_N)
