"""TimeGAN under a privacy budget: real sequences reach the discriminator only, clipped and noised, and one mean.

A reduced scheme: without embedding. Five networks taught through noise would share one budget, and what is learned of
the embedder bounds all that follows. Here the generator, the supervisor and the recovery (which makes steps of states)
are one generator of steps, and the discriminator sees steps (`SequenceCritic`). What the generator learns from has been
released before: the discriminator's weights, the noised mean of sequences' summaries (`methods/timegan/summary.py`),
the noised distribution of each column, and context drawn from the released model of entities. So all its updates are
post-processing, and there may be as many as one likes. At small epsilon most of what
it learns comes from the summaries; there the discriminator, drowned in noise, adds little.

Unit and sampling: a sequence (all rows of one entity that count) is one example of a Poisson sample. Its loss depends
on its own steps alone (no pack, no batch statistics, no noise shared with others), its gradient is clipped to norm C by
exact norms (`dp/gradients/record.py`), so that one sequence more or less changes the sum by at most C, and the sum
carries N(0, sigma^2 C^2): the subsampled Gaussian mechanism (Abadi et al. 2016), composed over the plan's steps, all
charged before the first. No choice and no length of training depends on the rows.

The discriminator is a recurrent network (as `network.Recurrent`) that sees the steps themselves: without an embedding
there are fewer networks that have to be taught through noise. Where it learns, sequences pass it by plain products
(`GRU.by_products`), whose example gradients `dp/gradients/record.py` knows; where the generator does, the fast way. Its
weights are projected after each noised step: no matrix of a gate, nor the output's, has a spectral norm above
`LARGEST_NORM`.

Shape legend: T steps, N sequences, M released quantiles, W numbers of a step's vector, K of the context's, H hidden
units, D numbers of a summary, S drawn contexts, C columns, V values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.dp.gradients.release import example_gradients
from raysynth.methods.shared.spans import gumbel_noise
from raysynth.methods.timegan.network import (
    Autoencoder,
    LatentGenerator,
    Recurrent,
    SequenceLayout,
    SequenceVectors,
    TimeGanSizes,
    step_mask,
)
from raysynth.methods.timegan.recipe import SequenceJob, adam_of
from raysynth.methods.timegan.summary import SequenceSummary
from raysynth.training.batches import Batch, RowSource
from raysynth.training.compiled import add_gradients
from raysynth.training.learner import At, Optimiser, Trainable, Update
from raysynth.training.private_batches import PrivateBatch
from raysynth.training.private_steps import PrivateSteps

TEMPERATURE = 0.3  # of the Gumbel-softmax of codes
MADE = 256  # sequences that the generator makes for an update: public, whatever the size of a batch
UPDATES = 4  # of the generator for one of the discriminator
STRETCH = (0.25, 1.5)  # of a released distribution by the released moments
BEYOND = 1e6  # above every standardised number
LEAST_SCALE = (0.01, 0.1)  # of a value and of a code's place, in units of its range


@dataclass(frozen=True)
class ReleasedSequences:
    """What is known of the real sequences beside the discriminator; all of it was released or is public.

    Args:
        quantiles_MW: of each number of a step's vector, ascending, from the columns' noised distributions.
        moments_D: noised mean of the summaries; None: nobody asked for them yet.
        length_S, codes_SC, values_SV: lengths and context of sequences, drawn from the noised model of entities.
    """

    quantiles_MW: np.ndarray = field(repr=False)
    length_S: np.ndarray = field(repr=False)
    codes_SC: np.ndarray = field(repr=False)
    values_SV: np.ndarray = field(repr=False)
    moments_D: np.ndarray | None = field(default=None, repr=False)

    def summary(self, layout: SequenceLayout) -> SequenceSummary:
        """Of sequences, with the released mean and spread of each number."""
        quantiles_MW = torch.from_numpy(self.quantiles_MW).double()
        least = torch.full((layout.step.width,), LEAST_SCALE[1], dtype=torch.double)
        least[: layout.step.n_values] = LEAST_SCALE[0]
        scale_W = torch.maximum(quantiles_MW.std(0, correction=0), least)
        return SequenceSummary(layout.steps, quantiles_MW.mean(0).float(), scale_W.float(), layout.context_width)


@dataclass(frozen=True)
class PrivateTimeGanJob(SequenceJob):
    """A TimeGAN to train under a budget; of the weights of losses, `distance_weight` is for what was released.

    Args:
        released: what the generator learns from beside the discriminator.
    """

    released: ReleasedSequences = field(repr=False)

    def trainable(self, device: torch.device) -> TrainablePrivateTimeGan:
        """Networks with fresh weights."""
        return TrainablePrivateTimeGan(self, device)


class TrainablePrivateTimeGan(Trainable):
    """Generator and discriminator, and what a batch of real sequences teaches them under a budget.

    Args:
        job: what is trained.
        device: torch device.
    """

    def __init__(self, job: PrivateTimeGanJob, device: torch.device) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(job.settings.seed)
        self.settings, self.device, self.layout = job.networks, device, job.layout
        self.vectors = SequenceVectors(job.layout)
        self.summary = job.released.summary(job.layout)
        self.generator = LatentGenerator(job.sizes, rng)
        self.autoencoder = Autoencoder(job.sizes, rng)  # its recovery alone is used
        self.critic = SequenceCritic(job.sizes, self.summary.mean_W, self.summary.scale_W, rng)
        self.to(device)
        self.released = self._on_device(job.released)
        self.warm_up_steps = 0 if job.plan is None else job.plan.steps // 4

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for what makes sequences, and for the discriminator."""
        return {
            "generator": adam_of(self.leaving(), self.settings.learning_rate),
            "critic": adam_of(self.critic.parameters(), self.settings.discriminator_rate),
        }

    def leaving(self) -> list[nn.Parameter]:
        """The weights that sampling needs: of generator, supervisor and recovery."""
        return [*self.generator.parameters(), *self.autoencoder.recovery.parameters()]

    def private_updates(
        self, batch: PrivateBatch, private: PrivateSteps, at: At, rng: torch.Generator
    ) -> Iterator[Update]:
        """One of the discriminator from a Poisson batch, then some of the generator."""
        yield self._taught_critic(batch, private, rng)
        self.critic.project()
        share = min(1.0, (at.step + 1) / max(1, self.warm_up_steps))
        for _ in range(UPDATES):
            yield self._taught_generator(share, rng)

    def _on_device(self, released: ReleasedSequences) -> dict[str, Tensor]:
        """As tensors; the quantiles in units of each column's spread."""
        assert released.moments_D is not None
        quantiles_MW = torch.from_numpy(released.quantiles_MW).float().to(self.device)
        moments_D = torch.from_numpy(released.moments_D).float().to(self.device)
        z_MW = (quantiles_MW - self.summary.mean_W) / self.summary.scale_W
        n_values = self.layout.step.n_values
        z_MW[:, :n_values] = moved(z_MW, *self.summary.pooled(moments_D))[:, :n_values]
        return {
            "quantiles": z_MW,
            "moments": moments_D,
            "length": torch.from_numpy(released.length_S.astype(np.int64)).to(self.device),
            "codes": torch.from_numpy(released.codes_SC.astype(np.int64)).to(self.device),
            "values": torch.from_numpy(released.values_SV.astype(np.float32)).to(self.device),
        }

    # ---- updates -----------------------------------------------------------------------------------------------------

    def _taught_critic(self, batch: PrivateBatch, private: PrivateSteps, rng: torch.Generator) -> Update:
        """From a released gradient of real sequences and the gradient of made ones.

        Made sequences are clipped like real ones, which keeps the two sides equally loud: `gan/recipe.py`.
        """

        def losses(part: Batch) -> Tensor:
            real = self.vectors(part.codes_NC, part.values_NV)
            return self.critic.example_losses(real.x_TNW, real.context_NK, real.mask_TN, as_real=True)

        with torch.no_grad():
            made = self._made(rng)
        real_loss = private.teach(self.critic, batch, losses)
        gradients = example_gradients(self.critic, lambda: self.critic.example_losses(*made, as_real=False), MADE)
        of_made = private.of_made(gradients.uses, MADE)
        torch.autograd.backward(gradients.weights, of_made)  # adds to what was released
        shown = {"discriminator": real_loss + gradients.losses_N.mean()}
        return Update(("critic",), shown, released=True, followed=False)

    def _taught_generator(self, share: float, rng: torch.Generator) -> Update:
        """From what was released; no real sequence takes part. `share`: of the discriminator's part."""
        made = self._made(rng)
        fooling = self.critic.fooling_loss(*made)
        moments, columns = self._moments_distance(*made), self._columns_distance(*made)
        total = share * fooling + self.settings.distance_weight * (moments + columns)
        weights = self.leaving()
        add_gradients(weights, torch.autograd.grad(total, weights))
        shown = {"generator": fooling.detach(), "moments": moments.detach(), "columns": columns.detach()}
        return Update(("generator",), shown)

    def _made(self, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors, context and mask of as many made sequences as always."""
        drawn_N = torch.randint(len(self.released["length"]), (MADE,), generator=rng, device=self.device)
        length_N, codes_NC, values_NV = (self.released[k][drawn_N] for k in ("length", "codes", "values"))
        context_NK = self.vectors.context_of(length_N, codes_NC, values_NV)
        mask_TN = step_mask(length_N, self.layout.steps)
        _, states_TNH = self.generator(self.generator.noise(self.layout.steps, MADE, rng), context_NK)
        raw_MW = self.autoencoder.recover(states_TNH).flatten(0, 1)
        noise = gumbel_noise((len(raw_MW), self.layout.step.spans.n_codes), rng)
        x_MW = self.vectors.step.relaxed(raw_MW, noise, TEMPERATURE)
        return x_MW.view(*mask_TN.shape, -1) * mask_TN[..., None], context_NK, mask_TN

    def _moments_distance(self, x_TNW: Tensor, context_NK: Tensor, mask_TN: Tensor) -> Tensor:
        """Squared distance of the made sequences' mean summary from the released one, per number of a step.

        From two halves of the batch, so that it is unbiased: a generator gains nothing by sequences that are all alike.
        """
        made_ND = self.summary(x_TNW, context_NK, mask_TN)
        first_D, second_D = (half.mean(0) - self.released["moments"] for half in made_ND.chunk(2))
        return (first_D * second_D).sum() / self.layout.step.width

    def _columns_distance(self, x_TNW: Tensor, context_NK: Tensor, mask_TN: Tensor) -> Tensor:
        """Mean squared difference of equal ranks from each column's released distribution, in its spread."""
        quantiles_MW, there_P1 = self.released["quantiles"], mask_TN.reshape(-1, 1) > 0
        z_PW = ((x_TNW - self.summary.mean_W) / self.summary.scale_W).flatten(0, 1)
        ranked_PW = torch.where(there_P1, z_PW, BEYOND).sort(0).values  # steps that are none come last
        count, place_P = mask_TN.sum().clamp(min=1), torch.arange(len(z_PW), device=self.device)
        rank_P = ((place_P + 0.5) / count * len(quantiles_MW)).long().clamp(max=len(quantiles_MW) - 1)
        apart_PW = torch.where(place_P[:, None] < count, ranked_PW - quantiles_MW[rank_P], 0.0)
        return apart_PW.square().sum() / (count * z_PW.shape[1])


def moved(z_MW: Tensor, mean_W: Tensor, square_W: Tensor) -> Tensor:
    """Ranked numbers moved and stretched to another mean and mean square, within reason.

    A noised histogram of many cells has some of its mass where nothing is, far from the rest; a mean is less noised.
    """
    spread_W = (square_W - mean_W.square()).clamp(min=0).sqrt()
    factor_W = (spread_W / z_MW.std(0, correction=0).clamp(min=1e-6)).clamp(*STRETCH)
    return (z_MW - z_MW.mean(0)) * factor_W + mean_W.clamp(-1, 1)


def summed_summaries(rows: RowSource, layout: SequenceLayout, summary: SequenceSummary) -> np.ndarray:
    """Sum over all sequences of their clipped summaries (D), in float64: private, for one noised release.

    Sensitivity: a sequence more or less changes the sum by its own summary, whose L2 norm is at most `summary.clip`.
    """
    vectors, exact = SequenceVectors(layout), summary.double()
    total: np.ndarray | float = 0.0
    for first in range(0, max(1, len(rows)), MADE):
        block = rows.take(np.arange(first, min(first + MADE, len(rows))))
        codes, values = torch.from_numpy(block.codes_NC.astype(np.int64)), torch.from_numpy(block.values_NV)
        real = vectors(codes, values.float())
        made = exact(real.x_TNW.double(), real.context_NK.double(), real.mask_TN.double())
        total = total + made.sum(0).numpy()
    return np.asarray(total)


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
