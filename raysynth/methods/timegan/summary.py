"""What one sequence is summarised to, so that a noised mean over sequences can say how a generator's should be.

A summary is a vector of bounded norm: level and profile of each number, how much it moves about its level, how it
hangs together with its own past and with the other numbers, and all that against the context. Spreads enter by their
logarithm and correlations as such, so that small movements count as much as large ones. The generator is held to the
noised mean of these vectors over the real sequences: summaries of its own sequences are clipped in the same way.

Blocks, each scaled so that its norm is about the square root of W (a block of many numbers does not drown the others):
length and sums of z and z^2 over steps, over T (`pooled` makes means and spreads of them); levels m, products m m';
profile (z of each step); log spreads v, v^2, m v; autocorrelations r_1 .. r_L of each number; correlations between
numbers at the same step; context times m, context times v.

Shape legend: T steps, N sequences, W numbers of a step's vector, K of the context's, L lags, D numbers of a summary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LAGS = 12
REACH = 4.0  # standard deviations beyond which a number counts as there
LEAST_SPREAD = 1e-4  # of the variance along a sequence, in units of the column's; below, it counts as none
MOST_PAIRED = 128  # numbers of a step up to which pairs are compared
OF_SQUARES = 0.5  # scale of squares and products of levels, which are large in few sequences and would be clipped there
CLIP = 2.5  # largest norm of a summary, in units of the square root of W
MARGIN = 1e-6  # relative, for the rounding of the clipping


class SequenceSummary(nn.Module):
    """Summaries of sequences.

    Args:
        steps: T.
        mean_W, scale_W: released mean and standard deviation of each number.
        n_context: K.
    """

    def __init__(self, steps: int, mean_W: Tensor, scale_W: Tensor, n_context: int) -> None:
        super().__init__()
        self.steps, self.width, self.n_context = steps, len(mean_W), n_context
        self.lags = min(LAGS, max(steps - 2, 0))
        self.register_buffer("mean_W", mean_W, persistent=False)
        self.register_buffer("scale_W", scale_W, persistent=False)

    mean_W: Tensor
    scale_W: Tensor

    @property
    def clip(self) -> float:
        """Largest L2 norm of a summary: public, from the number of columns alone."""
        return CLIP * math.sqrt(max(self.width, 1))

    def forward(self, x_TNW: Tensor, context_NK: Tensor, mask_TN: Tensor) -> Tensor:
        """Clipped summaries (N, D); one that is not finite is zero.

        Args:
            x_TNW: vectors of the steps.
            context_NK: length and static context.
            mask_TN: 1 where a sequence has a step.
        """
        raw_ND = torch.cat(self._blocks(x_TNW, context_NK, mask_TN), 1)
        raw_ND = torch.where(torch.isfinite(raw_ND).all(1, keepdim=True), raw_ND, torch.zeros_like(raw_ND))
        norm_N1 = raw_ND.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
        return raw_ND * (self.clip * (1 - MARGIN) / norm_N1).clamp(max=1.0)

    def pooled(self, mean_D: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and mean square over all steps (W each) of standardised numbers, from a mean summary.

        Sequences that were clipped count with the weight that this left them.
        """
        length = mean_D[0].clamp(min=1e-3)
        squares_W = mean_D[1 + self.width : 1 + 2 * self.width] / OF_SQUARES
        return mean_D[1 : 1 + self.width] / length, squares_W / length

    def _blocks(self, x_TNW: Tensor, context_NK: Tensor, mask_TN: Tensor) -> list[Tensor]:
        mask_TN1, steps_N1 = mask_TN[..., None], mask_TN.sum(0)[:, None].clamp(min=1)
        z_TNW = ((x_TNW - self.mean_W) / self.scale_W).clamp(-REACH, REACH) * mask_TN1
        level_NW = z_TNW.sum(0) / steps_N1
        moved_TNW = (z_TNW - level_NW) * mask_TN1
        square_NW = moved_TNW.square().sum(0)
        spread_NW = log_spread(square_NW / steps_N1)
        unit_TNW = moved_TNW / (square_NW + LEAST_SPREAD * steps_N1).sqrt()
        profile = z_TNW.transpose(0, 1).flatten(1) / math.sqrt(self.steps)
        share_N1 = mask_TN.sum(0)[:, None] / self.steps
        sums = [share_N1, z_TNW.sum(0) / self.steps, OF_SQUARES * z_TNW.square().sum(0) / self.steps]
        blocks = [*sums, level_NW, profile, spread_NW, spread_NW.square(), level_NW * spread_NW]
        blocks += [(unit_TNW[k:] * unit_TNW[:-k]).sum(0) for k in range(1, self.lags + 1)]
        if self.n_context:
            own_NK = context_NK / math.sqrt(self.n_context)
            blocks += [torch.einsum("nk,nw->nkw", own_NK, x).flatten(1) for x in (level_NW, spread_NW)]
        if self.width <= MOST_PAIRED:
            i, j = torch.triu_indices(self.width, self.width, device=x_TNW.device)
            blocks.append(level_NW[:, i] * level_NW[:, j] * OF_SQUARES * math.sqrt(2 / self.width))
            together_NWW = torch.einsum("tnw,tnv->nwv", unit_TNW, unit_TNW)
            i, j = torch.triu_indices(self.width, self.width, 1, device=x_TNW.device)
            blocks.append(together_NWW[:, i, j] * math.sqrt(2 / self.width))
        return blocks


def log_spread(variance: Tensor) -> Tensor:
    """The logarithm of a variance, from -1 (none) to about 1."""
    return 1 + 2 * torch.log(variance + LEAST_SPREAD) / -math.log(LEAST_SPREAD)
