"""What a TimeGAN is trained from: first embedder, recovery and supervisor learn, then all five networks together.

A step of the second phase (Yoon et al. 2019, section 4.3): the discriminator learns from real and made states; then
generator and supervisor learn to fool it, to say which state follows, and to match the distribution of real sequences,
while embedder and recovery go on learning to give sequences back.

A sequence is one wide encoded row, so that batches, shards and workers are those of any other model: codes
[length | context (Cc) | step after step (T * C)], values [context (Vc) | step after step (T * V)].

Shape legend: T steps, N sequences, M = T * N, W numbers of a step's vector, K of the context's, C columns, V values,
D numbers of a flattened sequence, R and Q of its principal axes, P projections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysynth.methods.timegan.network import (
    Autoencoder,
    LatentDiscriminator,
    LatentGenerator,
    SequenceLayout,
    Sequences,
    SequenceVectors,
    TimeGanSizes,
    masked_mean,
    sliced_distance,
    supervised_loss,
    whitening,
)
from raysynth.training.averaging import Average
from raysynth.training.batches import Batch
from raysynth.training.job import Job
from raysynth.training.learner import At, Optimiser, Trainable, Update

MOST_COMPARED = 1024  # numbers of a flattened sequence whose joint distribution is matched; beyond, some steps are
AXES = 16  # principal axes that are always among the projections


@dataclass(frozen=True)
class TimeGanSettings:
    """Networks, optimisers and the weights of the losses.

    Args:
        hidden: units of every network. layers: of each recurrent one. noise: numbers of each step and of a sequence.
        learning_rate: of Adam for all networks but the discriminator. discriminator_rate: for it.
        embedding_share: share of the epochs in which embedder, recovery and supervisor learn alone.
        recovery_weight, supervised_weight, distance_weight: of these losses beside the adversarial one.
        early_weight: of the adversarial loss of states before the supervisor (the paper's gamma).
        projections: random directions in which distributions are matched.
        floor: share of a column's range below which a spread is only kept small, not matched.
        flat_share: how hard such spreads are kept small, at most, as a share of the pull of those that are matched.
    """

    hidden: int = 24
    layers: int = 1
    noise: int = 8
    learning_rate: float = 2e-3
    discriminator_rate: float = 2e-3
    embedding_share: float = 0.15
    recovery_weight: float = 10.0
    supervised_weight: float = 10.0
    distance_weight: float = 3.0
    early_weight: float = 0.3
    projections: int = 128
    floor: float = 0.01
    flat_share: float = 0.2

    def sizes(self, layout: SequenceLayout) -> TimeGanSizes:
        """Of the networks for sequences of a layout."""
        step = layout.step
        return TimeGanSizes(step.width, step.n_values, layout.context_width, self.hidden, self.layers, self.noise)


@dataclass(frozen=True)
class SequenceJob(Job):
    """A TimeGAN to train, with or without a budget.

    Args:
        layout: of a wide row.
        networks: networks and optimisers.
    """

    layout: SequenceLayout
    networks: TimeGanSettings

    @property
    def sizes(self) -> TimeGanSizes:
        """Widths and depths of the networks for this layout."""
        return self.networks.sizes(self.layout)


class TimeGanJob(SequenceJob):
    """A TimeGAN to train without a budget."""

    @property
    def signature(self) -> str:
        """The epochs too, since the phases divide them."""
        return f"{super().signature} of {self.settings.epochs} epochs"

    def trainable(self, device: torch.device) -> TrainableTimeGan:
        """Networks with fresh weights."""
        return TrainableTimeGan(self, device)


class TrainableTimeGan(Trainable):
    """The five networks, and what a batch teaches them in each phase.

    Args:
        job: what is trained.
        device: torch device.
    """

    def __init__(self, job: TimeGanJob, device: torch.device) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(job.settings.seed)
        s = self.settings = job.networks
        self.device = device
        self.vectors = SequenceVectors(job.layout)
        self.autoencoder = Autoencoder(job.sizes, rng)
        self.generator = LatentGenerator(job.sizes, rng)
        self.discriminator = LatentDiscriminator(job.sizes, rng)
        self.to(device)
        self.embedding_epochs = min(max(1, round(s.embedding_share * job.settings.epochs)), job.settings.epochs)
        self.compared = compared_steps(job.layout).to(device)
        d = len(self.compared) * job.layout.step.width + job.layout.context_width
        self.moments = [torch.zeros(*shape, device=device) for shape in ((1,), (d,), (d, d))]
        self.varied_DR, self.flat_DQ = torch.eye(d, device=device), torch.empty(d, 0, device=device)

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for each network."""
        s = self.settings
        return {
            "autoencoder": adam_of(self.autoencoder.parameters(), s.learning_rate, 0.9),
            "generator": adam_of(self.generator.parameters(), s.learning_rate),
            "discriminator": adam_of(self.discriminator.parameters(), s.discriminator_rate),
        }

    def leaving(self) -> list[nn.Parameter]:
        """The weights that sampling needs: of generator, supervisor and recovery."""
        return [*self.generator.parameters(), *self.autoencoder.recovery.parameters()]

    def updates(self, batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
        """Of the networks that learn in this phase."""
        real = self.vectors(batch.codes_NC, batch.values_NV)
        if at.epoch >= self.embedding_epochs:
            yield from self._play(real, rng)
            return
        if at.epoch == 0:
            self._watch(real)
        yield self._embed(real)

    def after_epoch(self, average: Average, epochs: int) -> None:
        """After the first epoch the directions of the comparison are known, the same on all workers."""
        if epochs == 1:
            average(self.moments)
            n, sums_D, products_DD = self.moments
            mean_D = sums_D / n
            covariance_DD = products_DD / n - torch.outer(mean_D, mean_D)
            self.varied_DR, self.flat_DQ = whitening(covariance_DD, 2 * self.settings.floor)

    def get_extra_state(self) -> list[Tensor]:
        """Moments and directions, whose numbers follow the data."""
        return [*self.moments, self.varied_DR, self.flat_DQ]

    def set_extra_state(self, state: list[Tensor]) -> None:
        """Resume from `get_extra_state`."""
        *self.moments, self.varied_DR, self.flat_DQ = (t.to(self.device) for t in state)

    # ---- the two phases ----------------------------------------------------------------------------------------------

    def _embed(self, real: Sequences) -> Update:
        """Embedder and recovery learn to give sequences back, the supervisor which state follows."""
        h_TNH = self.autoencoder.embed(real.x_TNW, real.context_NK)
        recovery = self._recovery_loss(h_TNH, real)
        supervised = self._supervised_loss(h_TNH, real)
        self._differentiate(recovery + supervised, self.autoencoder, self.generator)
        losses = {"recovery": recovery.detach(), "supervised": supervised.detach()}
        return Update(("autoencoder", "generator"), losses, followed=False)

    def _play(self, real: Sequences, rng: torch.Generator) -> Iterator[Update]:
        """One update of the discriminator, then one of all others."""
        s = self.settings
        h_TNH = self.autoencoder.embed(real.x_TNW, real.context_NK)
        steps, n = real.mask_TN.shape
        noise = self.generator.noise(steps, n, rng)
        early_TNH, made_TNH = self.generator(noise, real.context_NK)
        told = self._told_loss(h_TNH.detach(), made_TNH.detach(), early_TNH.detach(), real)
        self._differentiate(told, self.discriminator)
        yield Update(("discriminator",), {}, followed=False)
        losses = {
            "recovery": self._recovery_loss(h_TNH, real),
            "supervised": self._supervised_loss(h_TNH, real),
            "adversarial": self._fooling_loss(made_TNH, early_TNH, real),
            "distance": self._distance(made_TNH, real, rng),
        }
        weights = {
            "recovery": s.recovery_weight,
            "supervised": s.supervised_weight,
            "adversarial": 1.0,
            "distance": s.distance_weight,
        }
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        self._differentiate(total, self.autoencoder, self.generator)
        shown = {name: loss.detach() for name, loss in {**losses, "discriminator": told}.items()}
        yield Update(("autoencoder", "generator"), shown)

    # ---- losses ------------------------------------------------------------------------------------------------------

    def _recovery_loss(self, h_TNH: Tensor, real: Sequences) -> Tensor:
        """How badly steps come back from their states (section 4.2, eq. 7)."""
        raw_MW = self.autoencoder.recover(h_TNH).flatten(0, 1)
        loss_M = self.vectors.step.loss(raw_MW, real.codes_MC, real.values_MV)
        return masked_mean(loss_M.view_as(real.mask_TN), real.mask_TN)

    def _supervised_loss(self, h_TNH: Tensor, real: Sequences) -> Tensor:
        return supervised_loss(self.generator.supervise(h_TNH, real.context_NK), h_TNH, real.mask_TN)

    def _told_loss(self, real_TNH: Tensor, made_TNH: Tensor, early_TNH: Tensor, real: Sequences) -> Tensor:
        """Cross-entropy of the discriminator (eq. 8): real states, the supervisor's, the generator's."""
        mask_TN, softplus = real.mask_TN, nn.functional.softplus
        states = torch.cat([real_TNH, made_TNH, early_TNH], 1)
        real_TN, made_TN, early_TN = self.discriminator(states, real.context_NK.repeat(3, 1)).chunk(3, 1)
        early = self.settings.early_weight * masked_mean(softplus(early_TN), mask_TN)
        return masked_mean(softplus(-real_TN), mask_TN) + masked_mean(softplus(made_TN), mask_TN) + early

    def _fooling_loss(self, made_TNH: Tensor, early_TNH: Tensor, real: Sequences) -> Tensor:
        states, softplus = torch.cat([made_TNH, early_TNH], 1), nn.functional.softplus
        made_TN, early_TN = self.discriminator(states, real.context_NK.repeat(2, 1)).chunk(2, 1)
        early = self.settings.early_weight * masked_mean(softplus(-early_TN), real.mask_TN)
        return masked_mean(softplus(-made_TN), real.mask_TN) + early

    def _distance(self, made_TNH: Tensor, real: Sequences, rng: torch.Generator) -> Tensor:
        """How far recovered sequences are from the real ones of the batch, in principal and in random directions."""
        raw_TNW = self.autoencoder.recover(made_TNH)
        soft_TNW = self.vectors.step.soft(raw_TNW.flatten(0, 1)).view_as(raw_TNW) * real.mask_TN[..., None]
        real_ND, made_ND = self._flat(real.x_TNW, real), self._flat(soft_TNW, real)
        axes_DP = self.varied_DR[:, -AXES:]  # those of the largest variance come last
        directions = (axes_DP, self._random(self.varied_DR, rng))
        varied = torch.stack([sliced_distance(real_ND, made_ND, d) for d in directions]).sum()
        if not self.flat_DQ.shape[1]:
            return varied
        flat = sliced_distance(real_ND, made_ND, self._random(self.flat_DQ, rng))
        return varied + self._flat_weight(varied, flat, made_ND) * flat

    def _flat_weight(self, varied: Tensor, flat: Tensor, made_ND: Tensor) -> Tensor:
        """At most 1, and such that the pull in flat directions stays a share of that in varied ones.

        Without it, noise in directions where real sequences hardly differ outweighs all else on smooth data, and the
        cheapest way to be rid of it is to make all sequences equal. The pull, not the value, is bounded: a bounded
        value (log, say) pulls the harder, the less sequences differ.
        """
        pulls = [torch.autograd.grad(loss, made_ND, retain_graph=True)[0].norm() for loss in (varied, flat)]
        return (self.settings.flat_share * pulls[0] / pulls[1].clamp_min(1e-12)).clamp_max(1.0)

    def _random(self, columns_DR: Tensor, rng: torch.Generator) -> Tensor:
        """Random directions (D, P) of unit length in the space of some columns."""
        random_RP = torch.empty(columns_DR.shape[1], self.settings.projections, device=self.device)
        return columns_DR @ nn.functional.normalize(random_RP.normal_(generator=rng), dim=0)

    def _flat(self, x_TNW: Tensor, real: Sequences) -> Tensor:
        """Sequences with their context as one vector each (N, D)."""
        steps = x_TNW.index_select(0, self.compared).transpose(0, 1).flatten(1)
        return torch.cat([steps, real.context_NK], 1)

    # ---- gradients ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _differentiate(loss: Tensor, *networks: nn.Module) -> None:
        """Gradients of some networks; the others keep theirs."""
        weights = [p for network in networks for p in network.parameters()]
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            weight.grad = gradient

    @torch.no_grad()
    def _watch(self, real: Sequences) -> None:
        """Count, sum and products of flattened real sequences."""
        flat_ND = self._flat(real.x_TNW, real)
        for total, more in zip(
            self.moments, (flat_ND.new_full((1,), len(flat_ND)), flat_ND.sum(0), flat_ND.t() @ flat_ND), strict=True
        ):
            total += more


def compared_steps(layout: SequenceLayout) -> Tensor:
    """The steps whose joint distribution is matched: all, or evenly spaced ones where sequences are long and wide."""
    most = max(2, MOST_COMPARED // max(1, layout.step.width))
    if layout.steps <= most:
        return torch.arange(layout.steps)
    return torch.linspace(0, layout.steps - 1, most).round().long()


def adam_of(weights: Iterable[nn.Parameter], rate: float, first_beta: float = 0.5) -> Optimiser:
    """Adam of some weights."""
    return Optimiser(torch.optim.Adam(list(weights), lr=rate, betas=(first_beta, 0.99), fused=True), rate)
