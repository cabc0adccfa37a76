"""The discriminator of sequences under differential privacy: one sequence at a time, its gradients open to clipping.

A recurrent network (as `time_gan.Recurrent`) that sees the steps themselves: without an embedding there are fewer
networks that have to be taught through noise. Where the critic learns, sequences pass it by plain products
(`GRU.by_products`), whose example gradients `dp/gradients/record.py` knows; where the generator does, the fast way. Its
weights are projected after each noised step: no matrix of a gate, nor the output's, has a spectral norm above
`LARGEST_NORM`.

Shape legend: T steps, N sequences, W numbers of a step's vector, K of the context's, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysynth.methods.timegan.network import Recurrent, TimeGanSizes

LARGEST_NORM = 1.5  # a gate's matrix starts at about 1.2


class SequenceCritic(nn.Module):
    """A logit for each step: whether the steps so far are real.

    Args:
        sizes: of the network.
        mean_W, scale_W: released; steps are brought to about zero and one by them.
        rng: draws the initial weights.
    """

    def __init__(self, sizes: TimeGanSizes, mean_W: Tensor, scale_W: Tensor, rng: torch.Generator) -> None:
        super().__init__()
        self.network = Recurrent(sizes.width, sizes, 1, rng)
        self.register_buffer("mean_W", mean_W, persistent=False)
        self.register_buffer("scale_W", scale_W, persistent=False)

    mean_W: Tensor
    scale_W: Tensor

    def forward(self, x_TNW: Tensor, context_NK: Tensor) -> Tensor:
        """Logits (T, N) of made sequences."""
        return self.network((x_TNW - self.mean_W) / self.scale_W, context_NK)[..., 0]

    def example_losses(self, x_TNW: Tensor, context_NK: Tensor, mask_TN: Tensor, *, as_real: bool) -> Tensor:
        """(N,) for each sequence the cross-entropy of 'real' or 'made', summed over its steps and divided by T.

        Each depends on its own sequence alone, and T is declared. By plain products, whose gradients can be clipped.
        """
        x_NTW = ((x_TNW - self.mean_W) / self.scale_W).transpose(0, 1)
        context_NTK = context_NK[:, None].expand(-1, x_NTW.shape[1], -1)
        states_NTH = self.network.gru.by_products(torch.cat([x_NTW, context_NTK], 2))
        logits_NT = self.network.output(states_NTH)[..., 0]
        loss_NT = nn.functional.softplus(-logits_NT if as_real else logits_NT)
        return (loss_NT * mask_TN.t()).sum(1) / len(mask_TN)

    def fooling_loss(self, x_TNW: Tensor, context_NK: Tensor, mask_TN: Tensor) -> Tensor:
        """What the generator wants to be small: mean over made sequences of the cross-entropy of 'real'."""
        loss_TN = nn.functional.softplus(-self(x_TNW, context_NK))
        return (loss_TN * mask_TN).sum(0).mean() / len(mask_TN)

    @torch.no_grad()
    def project(self) -> None:
        """Scale every gate's matrix, and the output's, whose spectral norm is above `LARGEST_NORM` down to it."""
        gru = self.network.gru
        gates = [gate for matrix in (*gru.input, *gru.recurrent) for gate in matrix.split(gru.hidden, 1)]
        for matrix in (*gates, self.network.output.weight):
            norm = torch.linalg.matrix_norm(matrix, 2)
            matrix *= (LARGEST_NORM / norm.clamp(min=1e-12)).clamp(max=1.0)
