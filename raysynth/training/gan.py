"""The GAN learner: one step of WGAN-GP on a batch of encoded rows, with or without CTGAN's condition vector.

One step (Xu et al. 2019, section 4.4; the order of ctgan's reference training): the discriminator learns from generated
and real rows, then the generator from the discriminator. The generated rows of the last discriminator step serve the
generator's step too, so that the generator runs forward once a step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from raysynth.dp.gradient_release import DpSgdPlan
from raysynth.models.ctgan import TEMPERATURE, Conditions, Generator, condition_loss
from raysynth.models.discriminator import Discriminator, Rows, critic_gradients, score_gradient
from raysynth.models.spans import SpanIndex, Spans, activate, gumbel_noise
from raysynth.training.batches import Batch, Batches, ConditionTables, RowSource
from raysynth.training.job import Average, average_alone
from raysynth.training.loop import TrainSettings
from raysynth.training.private_batches import PoissonBatches


@dataclass(frozen=True)
class GanSettings:
    """Networks and optimisers; the defaults are the paper's.

    Args:
        embedding_dim: noise numbers.
        generator_dim, discriminator_dim: units of each hidden layer.
        generator_lr, discriminator_lr: learning rates of Adam (betas 0.5, 0.9).
        generator_decay, discriminator_decay: weight decay.
        discriminator_steps: discriminator updates for one of the generator.
        pac: rows in a pack.
        ema_decay: of the average of the generator's weights that is kept for sampling; 0 keeps the last weights.
    """

    embedding_dim: int = 128
    generator_dim: tuple[int, ...] = (256, 256)
    discriminator_dim: tuple[int, ...] = (256, 256)
    generator_lr: float = 2e-4
    generator_decay: float = 1e-6
    discriminator_lr: float = 2e-4
    discriminator_decay: float = 1e-6
    discriminator_steps: int = 1
    pac: int = 10
    ema_decay: float = 0.999

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class GanJob:
    """A GAN to train (a `Job`).

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none, and rows are drawn by shuffling.
        networks: networks and optimisers.
        settings: epochs, batch size, seed.
        plan: of DP-SGD; None: without a privacy budget.
        shares_K: under a budget, the released probability of each condition.
    """

    spans: Spans
    conditions: Conditions
    networks: GanSettings
    settings: TrainSettings
    plan: DpSgdPlan | None = None
    shares_K: np.ndarray | None = field(default=None, repr=False)

    @property
    def signature(self) -> str:
        """Columns, networks and everything that changes an epoch; not the number of epochs, which may grow."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in ("epochs", "checkpoint_every")}
        private = None if self.plan is None else self.plan.fit_id
        return json.dumps([asdict(self.spans), asdict(self.conditions), self.networks.to_dict(), settings, private])

    @property
    def batch_multiple(self) -> int:
        """Rows of a pack."""
        return self.networks.pac

    def learner(self, device: torch.device, average: Average) -> GanLearner:
        """Networks with fresh weights on a device."""
        if self.plan is not None:
            from raysynth.training.private_gan import PrivateGanLearner

            return PrivateGanLearner(
                self.spans,
                self.conditions,
                self.networks,
                plan=self.plan,
                shares_K=np.zeros(0) if self.shares_K is None else self.shares_K,
                n_fake=self.settings.batch_size,
                seed=self.settings.seed,
                device=device,
                average=average,
            )
        return GanLearner(
            self.spans, self.conditions, self.networks, seed=self.settings.seed, device=device, average=average
        )

    def batches(
        self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device
    ) -> Batches | PoissonBatches:
        """Training-by-sampling with a condition vector, shuffling without; Poisson samples under a budget."""
        if self.plan is not None:
            return PoissonBatches(rows, self.plan, rank=rank, device=device)
        tables = None
        if self.conditions.columns:
            tables = ConditionTables.build(rows, self.conditions.columns, self.conditions.cardinalities)
        return Batches(rows, batch_size, steps, self.settings.seed, rank, tables, device)


class GanLearner:
    """Generator, discriminator, their optimisers and the generator's moving average on one device.

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none.
        settings: networks and optimisers.
        seed: of the initial weights.
        device: torch device.
        average: averages tensors over the workers, in place.
    """

    conditions_in_rows: ClassVar[bool] = False  # whether row vectors hold the conditions, so that the critic sees them

    def __init__(
        self,
        spans: Spans,
        conditions: Conditions,
        settings: GanSettings,
        *,
        seed: int,
        device: str | torch.device = "cpu",
        average: Average = average_alone,
    ) -> None:
        rng = torch.Generator().manual_seed(seed)
        s = self.settings = settings
        self.spans, self.conditions, self.device, self.average = spans, conditions, torch.device(device), average
        self.index = SpanIndex(spans).to(device)
        self.column_K, self.place_K = (t.to(device) for t in conditions.table(spans))
        self.generator = Generator(spans.width, conditions.size, s.embedding_dim, s.generator_dim, rng).to(device)
        n_judged = 0 if self.conditions_in_rows else conditions.size
        self.discriminator = Discriminator(spans.width, n_judged, s.pac, s.discriminator_dim, rng).to(device)
        self.generator_adam = _adam(self.generator, s.generator_lr, s.generator_decay)
        self.discriminator_adam = _adam(self.discriminator, s.discriminator_lr, s.discriminator_decay)
        self.averaged = [p.detach().clone() for p in self.generator.parameters()]
        self.steps = 0

    @property
    def finished(self) -> bool:
        """Never: a GAN's losses do not tell when to stop."""
        return False

    def step(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """One discriminator and one generator update; losses stay on the device."""
        for _ in range(self.settings.discriminator_steps - 1):
            with torch.no_grad():
                _, fake = self._generate(batch, rng)
            self._teach_discriminator(fake, batch, rng)
        raw, fake = self._generate(batch, rng)
        losses = self._teach_discriminator(Rows(fake.vectors_NW.detach(), fake.condition_N), batch, rng)
        losses["generator"] = self._teach_generator(raw, fake, rng)
        return losses

    def set_learning_rate(self, factor: float) -> None:
        """Scale both learning rates."""
        for adam, rate in (
            (self.generator_adam, self.settings.generator_lr),
            (self.discriminator_adam, self.settings.discriminator_lr),
        ):
            for group in adam.param_groups:
                group["lr"] = rate * factor

    def end_epoch(self) -> None:
        """Average the running statistics of batch normalisation, which each worker keeps of its own rows."""
        self.average(b for b in self.generator.buffers() if b.is_floating_point())

    def state_dict(self) -> dict[str, Any]:
        """Everything that training goes on from; tensors on the CPU are copies."""
        state = {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_adam": self.generator_adam.state_dict(),
            "discriminator_adam": self.discriminator_adam.state_dict(),
            "averaged": self.averaged,
            "steps": self.steps,
        }
        result: dict[str, Any] = copied(state)
        return result

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_adam.load_state_dict(state["generator_adam"])
        self.discriminator_adam.load_state_dict(state["discriminator_adam"])
        self.averaged = [t.to(self.device) for t in state["averaged"]]
        self.steps = state["steps"]

    def _generate(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Rows]:
        n, condition_N = len(batch.codes_NC), batch.condition_N
        noise_NE = torch.empty(n, self.settings.embedding_dim, device=self.device).normal_(generator=rng)
        raw = self.generator(noise_NE, condition_N)
        vectors = activate(raw, gumbel_noise((n, self.spans.n_codes), rng), TEMPERATURE, self.index)
        return raw, Rows(vectors, condition_N)

    def _teach_discriminator(self, fake: Rows, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        model = self.discriminator
        real = Rows(self.index.rows(batch.codes_NC, batch.values_NV), batch.real_condition_N)
        first_real = model.first_of_codes(batch.codes_NC, batch.values_NV, batch.real_condition_N, self.index)
        packs = len(batch.codes_NC) // model.pac
        mix_Q = torch.empty(packs, device=self.device).uniform_(generator=rng)
        losses = critic_gradients(model, fake, real, first_real, mix_Q, model.keep(packs, rng))
        self.average(p.grad for p in model.parameters() if p.grad is not None)
        self.discriminator_adam.step()
        return losses

    def _teach_generator(self, raw: Tensor, fake: Rows, rng: torch.Generator) -> Tensor:
        packs = len(raw) // self.discriminator.pac
        detached = Rows(fake.vectors_NW.detach(), fake.condition_N)
        loss, gradient = score_gradient(self.discriminator, detached, self.discriminator.keep(packs, rng))
        self.generator_adam.zero_grad()
        outputs, gradients = [fake.vectors_NW], [gradient]
        if fake.condition_N is not None:
            kept = condition_loss(raw, fake.condition_N, self.column_K, self.place_K, self.index)
            loss = loss + kept.detach()
            outputs, gradients = [*outputs, kept], [*gradients, torch.ones_like(kept)]
        torch.autograd.backward(outputs, gradients)
        self.average(p.grad for p in self.generator.parameters() if p.grad is not None)
        self.generator_adam.step()
        self._follow()
        return loss

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; early on over fewer steps, so that the first weights are forgotten."""
        self.steps += 1
        decay = min(self.settings.ema_decay, self.steps / (self.steps + 9))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self.generator.parameters()], 1 - decay)


def averaged_generator(job: GanJob, state: dict[str, Any]) -> Generator:
    """The generator with the moving average of its weights, from a learner's state; on the CPU."""
    learner = job.learner(torch.device("cpu"), average_alone)
    learner.load_state_dict(state)
    with torch.no_grad():
        for parameter, mean in zip(learner.generator.parameters(), learner.averaged, strict=True):
            parameter.copy_(mean)
    return learner.generator


def _adam(model: torch.nn.Module, rate: float, decay: float) -> torch.optim.Adam:
    return torch.optim.Adam(list(model.parameters()), lr=rate, betas=(0.5, 0.9), weight_decay=decay, fused=True)


def copied(value: Any) -> Any:
    """The same nest of dicts and lists with every tensor detached, copied and on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(v) for v in value)
    return value
