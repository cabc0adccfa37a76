"""The autoencoder's learner: the negative evidence bound, AdamW, and the best moving average of the weights.

Shape legend: N rows, L latent dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.methods.shared.spans import SpanIndex, Spans
from raysynth.methods.vae.network import TabularVae, VaeNetworks
from raysynth.training.average import Average
from raysynth.training.averaging import BestAverage, copy_all, on_cpu
from raysynth.training.batches import Batch, Batches, RowSource
from raysynth.training.compiled import add_gradients, compiled
from raysynth.training.held_out import HeldOut, ValidationBatch
from raysynth.training.job import average_alone
from raysynth.training.loop import TrainSettings
from raysynth.training.private_batches import PoissonBatches, PrivateBatch
from raysynth.training.private_steps import PrivateSteps

CLIP_NORM = 5.0  # of the gradient of the mean loss


@dataclass(frozen=True)
class VaeSettings:
    """How the networks are trained.

    Args:
        learning_rate, weight_decay: of AdamW.
        loss_factor: weight of the reconstruction beside the divergence; 1 is the bound, the paper's code has 2.
        warm_up_steps: over which the weight of the divergence rises from 0 to 1.
        ema_decay: of the moving average of the weights; 0: the last weights.
        validation_share: share of each worker's rows that are held back (at most 8,192 rows); 0: none.
        patience: epochs without a better validation loss after which training ends; 0: never.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    loss_factor: float = 2.0
    warm_up_steps: int = 0
    ema_decay: float = 0.995
    validation_share: float = 0.0
    patience: int = 0


@dataclass(frozen=True)
class VaeJob:
    """An autoencoder to train (a `Job`).

    Args:
        spans: layout of a row vector.
        has_spread: see `TabularVae`.
        networks: sizes.
        training: optimiser and stopping.
        settings: epochs, batch size, seed.
        plan: of DP-SGD; None: without a privacy budget.
    """

    spans: Spans
    has_spread: tuple[bool, ...]
    networks: VaeNetworks
    training: VaeSettings
    settings: TrainSettings
    plan: DpSgdPlan | None = None

    @property
    def signature(self) -> str:
        """Columns, networks and everything that changes an epoch."""
        settings = self.settings.of_an_epoch
        parts = [asdict(self.spans), self.has_spread, asdict(self.networks), asdict(self.training), settings]
        return json.dumps(parts if self.plan is None else [*parts, self.plan.fit_id])

    @property
    def batch_multiple(self) -> int:
        """A batch is divided evenly into the parts of an accumulated step."""
        return self.settings.accumulation

    def learner(self, device: torch.device, average: Average) -> VaeLearner:
        """Networks with fresh weights on a device."""
        return VaeLearner(self, device=device, average=average)

    def batches(
        self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device
    ) -> HeldOut | PoissonBatches:
        """Shuffled batches of this worker's rows, and its validation rows at the end of each epoch."""
        if self.plan is not None:
            return PoissonBatches(rows, self.plan, rank=rank, device=device)
        batches = Batches(rows, batch_size, steps, self.settings.seed, rank, device=device)
        return HeldOut.split(batches, self.training.validation_share)

    def model_of(self, state: dict[str, Any]) -> TabularVae:
        """The networks with the weights that leave, from a learner's state; on the CPU."""
        learner = self.learner(torch.device("cpu"), average_alone)
        with torch.no_grad():
            copy_all(state["weights"]["best"], list(learner.model.parameters()))
        return learner.model


class VaeLearner:
    """Networks, optimiser and moving average on one device (a `Learner`)."""

    def __init__(self, job: VaeJob, *, device: torch.device, average: Average) -> None:
        self.training, self.device, self.average = job.training, torch.device(device), average
        self.accumulation = job.settings.accumulation
        self.private = PrivateSteps(job.plan, average) if job.plan is not None else None
        rng = torch.Generator().manual_seed(job.settings.seed)
        self.index = SpanIndex(job.spans).to(self.device)
        self.model = TabularVae(job.spans, job.networks, job.has_spread, rng).to(self.device)
        self.parameters = list(self.model.parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=job.training.learning_rate, weight_decay=job.training.weight_decay, fused=True
        )
        self.weights = BestAverage(self.parameters, job.training.ema_decay)
        self._gradients = compiled(
            _weighted_losses(self.model, self.index, job.training.loss_factor, self.accumulation),
            self.device,
            wanted=job.settings.compile_step and self.private is None,
            name="the autoencoder's loss",
            parameters=self.parameters,
        )

    @property
    def finished(self) -> bool:
        """Whether the validation loss has not fallen for `patience` epochs."""
        return 0 < self.training.patience <= self.weights.epochs_since_best

    def step(self, batch: Batch | PrivateBatch | ValidationBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """One update from a batch; or the loss of validation rows under the averaged weights."""
        if isinstance(batch, ValidationBatch):
            return self._validate(batch)
        if isinstance(batch, PrivateBatch):
            return self._private_step(batch, rng)
        self.optimiser.zero_grad(set_to_none=True)
        sums = [torch.zeros((), device=self.device) for _ in range(2)]
        for part in batch.parts(self.accumulation):
            losses, gradients = self._part_gradients(part, rng)
            add_gradients(self.parameters, gradients)
            sums = [s + loss for s, loss in zip(sums, losses, strict=True)]
        self.average(p.grad for p in self.parameters if p.grad is not None)
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)
        self.optimiser.step()
        self.weights.follow()
        return dict(zip(("reconstruction", "divergence"), sums, strict=True))

    @property
    def _divergence_weight(self) -> float:
        """Rises from 0 to 1 over the first steps, so that places mean something before the prior gathers them."""
        return min(1.0, self.weights.steps / max(1, self.training.warm_up_steps))

    def _private_step(self, batch: PrivateBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """One update under a budget, from a gradient that was clipped by row and noised."""
        assert self.private is not None

        def losses(part: Batch) -> Tensor:
            reconstruction_N, divergence_N = self._example_losses(part, rng)
            return self.training.loss_factor * reconstruction_N + self._divergence_weight * divergence_N

        loss = self.private.teach(self.model, batch, losses)
        self.optimiser.step()
        self.weights.follow()
        return {"loss": loss}

    def _part_gradients(self, part: Batch, rng: torch.Generator) -> tuple[list[Tensor], list[Tensor | None]]:
        """Losses of a part of a batch, in nats, and the gradient for each parameter; of equal parts they add up."""
        weight = torch.full((), self._divergence_weight, device=self.device)
        found = self._gradients(part.codes_NC, part.values_NV, self._noise(len(part.codes_NC), rng), weight)
        return [loss for loss in found[:2] if loss is not None], list(found[2:])

    def _example_losses(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        noise_NL = self._noise(len(batch.codes_NC), rng)
        return self.model.example_losses(batch.codes_NC, batch.values_NV, noise_NL, self.index)

    def _noise(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.empty(n, self.model.latent_dim, device=self.device).normal_(generator=rng)

    def _validate(self, batch: ValidationBatch) -> dict[str, Tensor]:
        """The same noise each epoch, so that epochs can be compared."""
        fixed = torch.Generator(self.device).manual_seed(0)
        with self.weights.in_use():
            reconstruction_N, divergence_N = self._example_losses(batch, fixed)
        loss = self.training.loss_factor * reconstruction_N.mean() + divergence_N.mean()
        self.weights.add_held(loss * len(batch.codes_NC), len(batch.codes_NC))
        return {"validation": loss}

    def set_learning_rate(self, factor: float) -> None:
        """Scale the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * factor

    def end_epoch(self) -> None:
        """Choose the weights that would leave now."""
        self.weights.end_epoch(self.average)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training resumes from; tensors on the CPU are copies."""
        state: dict[str, Any] = on_cpu({"model": list(self.parameters), "optimiser": self.optimiser.state_dict()})
        return {**state, "weights": self.weights.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        with torch.no_grad():
            copy_all(state["model"], self.parameters)
        self.optimiser.load_state_dict(state["optimiser"])
        self.weights.load_state_dict(state["weights"])


def _weighted_losses(
    model: TabularVae, index: SpanIndex, loss_factor: float, parts: int
) -> Callable[..., tuple[Tensor, ...]]:
    """The function of a step: what is minimised, reconstruction and divergence, as shares of the means over a batch."""

    def losses(codes_NC: Tensor, values_NV: Tensor, noise_NL: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        reconstruction_N, divergence_N = model.example_losses(codes_NC, values_NV, noise_NL, index)
        reconstruction, divergence = reconstruction_N.mean() / parts, divergence_N.mean() / parts
        return loss_factor * reconstruction + weight * divergence, reconstruction, divergence

    return losses
