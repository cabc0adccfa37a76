"""What an autoencoder is trained from, and what a batch teaches it: the negative evidence bound, by AdamW.

Shape legend: N rows, L latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from raysynth.methods.shared.spans import SpanIndex, Spans
from raysynth.methods.vae.network import TabularVae, VaeNetworks
from raysynth.training.batches import Batch
from raysynth.training.compiled import add_gradients, compiled
from raysynth.training.job import Job
from raysynth.training.learner import At, Optimiser, Trainable, Update, fixed_rng
from raysynth.training.private_batches import PrivateBatch
from raysynth.training.private_steps import PrivateSteps

CLIP_NORM = 5.0  # of the gradient of the mean loss


@dataclass(frozen=True)
class VaeSettings:
    """How the networks are trained.

    Args:
        learning_rate, weight_decay: of AdamW.
        loss_factor: weight of the reconstruction beside the divergence; 1 is the bound, the paper's code has 2.
        warm_up_steps: over which the weight of the divergence rises from 0 to 1.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    loss_factor: float = 2.0
    warm_up_steps: int = 0

    def divergence_weight(self, step: int) -> float:
        """Rises from 0 to 1 over the first steps, so that places mean something before the prior gathers them."""
        return min(1.0, step / max(1, self.warm_up_steps))


@dataclass(frozen=True)
class VaeJob(Job):
    """An autoencoder to train.

    Args:
        spans: layout of a row vector.
        has_spread: see `TabularVae`.
        networks: sizes.
        training: optimiser and loss.
    """

    spans: Spans
    has_spread: tuple[bool, ...]
    networks: VaeNetworks
    training: VaeSettings

    def trainable(self, device: torch.device) -> TrainableVae:
        """The autoencoder with fresh weights."""
        return TrainableVae(self, device)


class TrainableVae(Trainable):
    """The autoencoder, and what a batch teaches it."""

    def __init__(self, job: VaeJob, device: torch.device) -> None:
        super().__init__()
        self.how, self.accumulation = job.training, job.settings.accumulation
        rng = torch.Generator().manual_seed(job.settings.seed)
        self.index = SpanIndex(job.spans)
        self.model = TabularVae(job.spans, job.networks, job.has_spread, rng)
        self.to(device)
        self.weights = self.leaving()
        self._gradients = compiled(
            _weighted_losses(self.model, self.index, job.training.loss_factor, self.accumulation),
            device,
            wanted=job.settings.compile_step and job.plan is None,
            name="the autoencoder's loss",
            parameters=self.weights,
        )

    def optimisers(self) -> dict[str, Optimiser]:
        """One AdamW of all weights."""
        rate, decay = self.how.learning_rate, self.how.weight_decay
        adam = torch.optim.AdamW(self.weights, lr=rate, weight_decay=decay, fused=True)
        return {"model": Optimiser(adam, rate, clip_norm=CLIP_NORM)}

    def updates(self, batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
        """One; reconstruction and divergence in nats."""
        device = batch.codes_NC.device
        weight = torch.full((), self.how.divergence_weight(at.step), device=device)
        sums = [torch.zeros((), device=device) for _ in range(2)]
        for part in batch.parts(self.accumulation):
            noise_NL = self._noise(part.codes_NC, rng)
            found = self._gradients(part.codes_NC, part.values_NV, noise_NL, weight)
            add_gradients(self.weights, found[2:])
            sums = [s + loss for s, loss in zip(sums, found[:2], strict=True)]
        yield Update(("model",), dict(zip(("reconstruction", "divergence"), sums, strict=True)))

    def private_updates(
        self, batch: PrivateBatch, private: PrivateSteps, at: At, rng: torch.Generator
    ) -> Iterator[Update]:
        """One, from a gradient that was clipped by row and noised."""
        weight = self.how.divergence_weight(at.step)

        def losses(part: Batch) -> Tensor:
            reconstruction_N, divergence_N = self._example_losses(part, rng)
            return self.how.loss_factor * reconstruction_N + weight * divergence_N

        yield Update(("model",), {"loss": private.teach(self.model, batch, losses)}, released=True)

    def score(self, held: Batch) -> tuple[Tensor, int]:
        """The bound with its full divergence, of the same noise each epoch."""
        reconstruction_N, divergence_N = self._example_losses(held, fixed_rng(held.codes_NC.device))
        loss = self.how.loss_factor * reconstruction_N.mean() + divergence_N.mean()
        return loss * len(held.codes_NC), len(held.codes_NC)

    def _example_losses(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        noise_NL = self._noise(batch.codes_NC, rng)
        return self.model.example_losses(batch.codes_NC, batch.values_NV, noise_NL, self.index)

    def _noise(self, codes_NC: Tensor, rng: torch.Generator) -> Tensor:
        return torch.empty(len(codes_NC), self.model.latent_dim, device=codes_NC.device).normal_(generator=rng)


def _weighted_losses(
    model: TabularVae, index: SpanIndex, loss_factor: float, parts: int
) -> Callable[..., tuple[Tensor, ...]]:
    """The function of a step: what is minimised, reconstruction and divergence, as shares of the means over a batch."""

    def losses(codes_NC: Tensor, values_NV: Tensor, noise_NL: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        reconstruction_N, divergence_N = model.example_losses(codes_NC, values_NV, noise_NL, index)
        reconstruction, divergence = reconstruction_N.mean() / parts, divergence_N.mean() / parts
        return loss_factor * reconstruction + weight * divergence, reconstruction, divergence

    return losses
