"""Conditions on codes for the any-order sampler: in which order they are drawn, and resampling among candidates.

Shape legend: N rows, V codes of one column, M candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysynth.errors import ConditionError


@dataclass(frozen=True)
class Conditions:
    """Weights of the conditioned columns in the order in which they are drawn.

    Columns that allow one code come first (their normaliser is then the same for every row), then the others, the most
    restrictive first.
    """

    weights: dict[int, Tensor]
    needs_candidates: bool

    @classmethod
    def of(
        cls, weights: Mapping[int, np.ndarray], starts: np.ndarray, possible: np.ndarray, bias: np.ndarray
    ) -> Conditions:
        """Conditions from the sampling layer's weights.

        Args:
            weights: for a column, P(condition | code).
            starts: first of each column's codes among all codes.
            possible, bias: of all codes: whether a row had it, and its logit before any column is known.

        Raises:
            ConditionError: a column allows no code that a row had.
        """
        allowed: dict[int, np.ndarray] = {}
        several: dict[int, np.ndarray] = {}
        for c, weight in weights.items():
            own = np.where(possible[starts[c] : starts[c + 1]], np.asarray(weight, float), 0.0)
            if not own.any():
                raise impossible()
            if not (np.asarray(weight) == 1).all():
                (several if np.count_nonzero(own) > 1 else allowed)[c] = own
        prior = {c: np.exp(bias[starts[c] : starts[c + 1]]) for c in several}
        share = {c: float(prior[c] @ several[c] / prior[c].sum()) for c in several}
        allowed.update({c: several[c] for c in sorted(several, key=lambda c: (share[c], c))})
        return cls({c: torch.tensor(w, dtype=torch.float32) for c, w in allowed.items()}, len(several) > 1)


@dataclass(frozen=True)
class Candidates:
    """Draws of the conditioned columns, and the logarithm of each one's importance weight (-inf: impossible)."""

    codes: dict[int, Tensor]
    weight_M: Tensor

    @property
    def effective(self) -> float:
        """Number of equally weighted draws that they are worth (Kish): (sum w)^2 / sum w^2."""
        w = _scaled(self.weight_M)
        return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0

    def joined(self, other: Candidates) -> Candidates:
        """Both, one after the other."""
        return Candidates(
            {c: torch.cat([own, other.codes[c]]) for c, own in self.codes.items()},
            torch.cat([self.weight_M, other.weight_M]),
        )


def resampled(weight_M: Tensor, n: int, rng: np.random.Generator) -> Tensor:
    """n indices drawn by importance weight with the least spread (systematic resampling), in random order."""
    w = _scaled(weight_M).double()
    edges = w.cumsum(0)
    place = (torch.arange(n, dtype=torch.float64) + float(rng.random())) / n * (float(edges[-1]) * (1 - 1e-12))
    return torch.searchsorted(edges, place, right=True).clamp(max=len(w) - 1)[torch.from_numpy(rng.permutation(n))]


def _scaled(weight_M: Tensor) -> Tensor:
    """Weights from their logarithms, the largest 1; all 0 where none is finite."""
    top = weight_M.max()
    return (weight_M - top).exp() if bool(top.isfinite()) else torch.zeros_like(weight_M)


def impossible() -> ConditionError:
    """The error for conditions that no row satisfies under the model."""
    return ConditionError("under the model no row satisfies the conditions; widen them")
