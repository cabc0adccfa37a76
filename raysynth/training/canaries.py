"""Gradient canaries: rows of an audit whose gradients are replaced by worst ones, and what comes out of every step.

An audit of DP-SGD in one run (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846; gradient canaries: Nasr et al. 2023,
arXiv 2302.07956) puts many canaries into the table and sees all iterates. A canary is a real row of the table: it goes
through the statistics, is drawn by the sampler and clipped like any other. Only its gradient is another one: far above
the clip, along one coordinate of the weights that is its own. The guarantee holds for any loss, so for this one too.

While a `GradientCanaries` is active in this process, `PrivateSteps` hands it every part of a batch and every released
gradient. Nothing else knows of it.

Shape legend: N rows of a part, M canaries, K of them in the table, D numbers of all weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from raysynth.errors import ParameterError

if TYPE_CHECKING:
    from raysynth.dp.gradients.release import GradientRelease
    from raysynth.dp.gradients.uses import Use
    from raysynth.training.private_batches import PrivatePart

ABOVE_CLIP = 1000.0  # norm of a canary's gradient over the clip: without clipping nobody could miss it


@dataclass(frozen=True)
class CoordinateUse:
    """Examples whose gradient is zero but for one coordinate of all weights, laid end to end (a `Use` of all weights).

    Args:
        coordinate_N: which one.
        size: the gradient there.
        shapes: of the weights.
    """

    coordinate_N: Tensor
    size: float
    shapes: tuple[torch.Size, ...]

    def squared_norms(self) -> Tensor:
        """Squared norm of each example's gradient, (N,): it has one number that is not 0."""
        return torch.full_like(self.coordinate_N, self.size**2, dtype=torch.float32)

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """Added up in their places."""
        flat = factor_N.new_zeros(sum(s.numel() for s in self.shapes))
        flat.index_add_(0, self.coordinate_N, factor_N * self.size)
        parts = flat.split([s.numel() for s in self.shapes])
        return {i: part.reshape(shape) for i, (part, shape) in enumerate(zip(parts, self.shapes, strict=True))}

    def without(self, example_N: Tensor) -> CoordinateUse:
        """Theirs are finite always; nothing is to be taken out but by a factor of zero."""
        return self


class GradientCanaries:
    """The canaries of one audit and, after a fit, the score of each.

    Args:
        first_row: rows of the table from this one on are canaries.
        included_M: bool; which of the canaries are in the table, in order.
        seed: of their coordinates, which the adversary knows.

    Attributes:
        scores_M: sum over all steps of what was released at each canary's coordinate, less what the other rows put
            there: the adversary knows these, and even which of them were drawn. None before the first step.
        n_steps: that were seen.
    """

    def __init__(self, first_row: int, included_M: np.ndarray, seed: int = 0) -> None:
        self.first_row, self.n_canaries, self.seed = first_row, len(included_M), seed
        self._in_table_K = np.flatnonzero(included_M)
        self._coordinate_M: np.ndarray | None = None
        self._others_M = np.zeros(len(included_M))
        self.scores_M: np.ndarray | None = None
        self.n_steps = 0

    def add(self, release: GradientRelease, part: PrivatePart, uses: Sequence[Use], weights: Sequence[Tensor]) -> None:
        """Add a part to a step: its canaries with gradients of theirs, the other rows as they are."""
        shapes = tuple(w.shape for w in weights)
        if self._coordinate_M is None:
            self._coordinate_M = self._coordinates(sum(s.numel() for s in shapes))
        is_canary_N = part.rows_N >= self.first_row
        device, before = part.counted_N.device, release.exact_sum
        release.add_uses(uses, weights, part.counted_N & torch.from_numpy(~is_canary_N).to(device))
        after = release.exact_sum
        assert after is not None
        self._others_M = self._others_M + self._at(after if before is None else after - before)
        if is_canary_N.any():
            own = self._coordinate_M[self._in_table_K[part.rows_N[is_canary_N] - self.first_row]]
            size = ABOVE_CLIP * release.plan.clip
            release.add_uses([CoordinateUse(torch.from_numpy(own).to(device), size, shapes)], weights)

    def see(self, released: Sequence[Tensor], expected_batch: float) -> None:
        """What left in one step, as a mean over the expected batch."""
        sum_M = self._at(torch.cat([r.reshape(-1) for r in released])) * expected_batch - self._others_M
        self.scores_M = sum_M if self.scores_M is None else self.scores_M + sum_M
        self._others_M = np.zeros(self.n_canaries)
        self.n_steps += 1

    def _at(self, flat_D: Tensor) -> np.ndarray:
        """The numbers at the canaries' coordinates (M)."""
        assert self._coordinate_M is not None
        return flat_D.detach().double().cpu().numpy()[self._coordinate_M]

    def _coordinates(self, size: int) -> np.ndarray:
        if size < self.n_canaries:
            raise ParameterError(
                f"an audit with {self.n_canaries} gradient canaries needs as many weights; this network has {size}: "
                "lower n_canaries, or enlarge the network"
            )
        return np.random.default_rng(self.seed).permutation(size)[: self.n_canaries]


_ACTIVE: ContextVar[GradientCanaries | None] = ContextVar("gradient canaries", default=None)


def active_canaries() -> GradientCanaries | None:
    """Those of an audit that is going on in this process; None otherwise."""
    return _ACTIVE.get()


@contextmanager
def planted(canaries: GradientCanaries) -> Iterator[None]:
    """Inside, every training in this process by DP-SGD is audited."""
    token = _ACTIVE.set(canaries)
    try:
        yield
    finally:
        _ACTIVE.reset(token)
