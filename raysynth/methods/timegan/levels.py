"""The levels of made sequences, moved to those of real ones: the last step from a generator to its samples.

A GAN leaves out the thin ends of a distribution, and for a series that wandered far the ends are whole stretches of it:
levels that no made sequence has. Here the mean of each number over a sequence is mapped to the real mean of the same
rank, and all steps of the sequence are moved by the difference, so that what happens within a sequence stays as made.

Shape legend: N sequences, T steps, V numbers, K knots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_KNOTS = 65
SEQUENCES_PER_KNOT = 20  # a knot tells of so many sequences, not of one


@dataclass(frozen=True)
class SequenceLevels:
    """Where levels go; beyond the outer knots as they do.

    Args:
        made_VK: ascending quantiles of the mean of each number over a made sequence.
        wanted_VK: the same quantiles of real sequences.
    """

    made_VK: np.ndarray
    wanted_VK: np.ndarray

    @classmethod
    def fit(cls, made_NV: np.ndarray, real_NV: np.ndarray) -> SequenceLevels | None:
        """From the levels of made and of real sequences (see `levels_of`); None where these are too few."""
        n_real = int((~np.isnan(real_NV)).sum(0).min(initial=MOST_KNOTS * SEQUENCES_PER_KNOT))
        n_knots = min(n_real // SEQUENCES_PER_KNOT, MOST_KNOTS)
        if n_knots < 2 or np.isnan(made_NV).all(0).any():
            return None
        ranks = (np.arange(n_knots) + 0.5) / n_knots
        return cls(*(np.nanquantile(x, ranks, axis=0).T.astype(np.float32) for x in (made_NV, real_NV)))

    def moved(self, values_NTV: np.ndarray, counts_NTV: np.ndarray) -> np.ndarray:
        """Sequences with their levels moved (float32); `counts_NTV`: see `levels_of`."""
        level_NV = np.nan_to_num(levels_of(values_NTV, counts_NTV))
        shifts = [
            np.interp(level_N, made_K, wanted_K - made_K)
            for level_N, made_K, wanted_K in zip(level_NV.T, self.made_VK, self.wanted_VK, strict=True)
        ]
        moved: np.ndarray = values_NTV + np.stack(shifts, 1).astype(np.float32)[:, None, :]
        return moved


def levels_of(values_NTV: np.ndarray, counts_NTV: np.ndarray) -> np.ndarray:
    """Mean of each number over the steps of each sequence (N, V); NaN where it has none.

    Args:
        values_NTV: numbers.
        counts_NTV: where a sequence has the step, and the step the number.
    """
    n_NV = counts_NTV.sum(1)
    total_NV = np.where(counts_NTV, values_NTV, 0).sum(1, dtype=np.float64)
    return np.where(n_NV > 0, total_NV / np.maximum(n_NV, 1), np.nan)
