"""The GAN learner: one step of WGAN-GP on a batch of encoded rows, with or without CTGAN's condition vector.

One step (Xu et al. 2019, section 4.4; the order of ctgan's reference training): the discriminator learns from generated
and real rows, then the generator from the discriminator. The generated rows of the last discriminator step serve the
generator's step too, so that the generator runs forward once a step.

Rows that are held back tell when to stop: after each epoch as many are generated with the averaged weights, and the
weights are kept whose pairs of columns lie closest to those of the held rows (`likeness.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from raysynth.methods.gan.discriminator import Discriminator, Rows, critic_losses, score_gradient
from raysynth.methods.gan.likeness import pair_distance, scored_pairs
from raysynth.methods.gan.network import TEMPERATURE, Conditions, Generator, condition_loss, own_conditions
from raysynth.methods.shared.spans import SpanIndex, Spans, activate, gumbel_noise
from raysynth.training.average import Average
from raysynth.training.averaging import BestAverage, on_cpu
from raysynth.training.batches import Batch
from raysynth.training.held_out import ValidationBatch
from raysynth.training.job import average_alone

LEAST_HELD_ROWS = 200


Noise = tuple[Tensor, Tensor]  # normal (N, E), and Gumbel (N, S)


@dataclass(frozen=True)
class GanSettings:
    """Networks and optimisers; the defaults are the paper's but for the learning rates (2e-4 there).

    Args:
        embedding_dim: noise numbers.
        generator_dim, discriminator_dim: units of each hidden layer.
        generator_lr, discriminator_lr: learning rates of Adam (betas 0.5, 0.9).
        generator_decay, discriminator_decay: weight decay.
        discriminator_steps: discriminator updates for one of the generator.
        pac: rows in a pack.
        ema_decay: of the average of the generator's weights that is kept for sampling; 0 keeps the last weights.
        validation_share: share of each worker's rows that are held back (at most 8,192 rows, and none where they would
            be fewer than 200: so few cannot tell two epochs apart); 0: none.
        patience: epochs without a better score on them after which training ends; 0: never.
    """

    embedding_dim: int = 128
    generator_dim: tuple[int, ...] = (256, 256)
    discriminator_dim: tuple[int, ...] = (256, 256)
    generator_lr: float = 5e-4
    generator_decay: float = 1e-6
    discriminator_lr: float = 5e-4
    discriminator_decay: float = 1e-6
    discriminator_steps: int = 1
    pac: int = 10
    ema_decay: float = 0.999
    validation_share: float = 0.0
    patience: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The sizes as JSON values, for the model file."""
        return asdict(self)


class ClosedFunctions(Protocol):
    """The arithmetic of a step as closed functions, which may be compiled (`compiled.py`)."""

    def fakes(self, batch: Batch, noise: Noise) -> Rows:
        """Generated rows for the conditions of a batch."""
        ...

    def critic_losses(
        self, batch: Batch, fake: Rows, mix_Q: Tensor, keep: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Loss, penalty and gradients of the discriminator."""
        ...

    def generator_loss(self, batch: Batch, noise: Noise, keep: Sequence[Tensor]) -> Tensor:
        """The generator's loss on a part of a batch; its gradients are added to those that are there."""
        ...


class GanLearner:
    """Generator, discriminator, their optimisers and the generator's moving average on one device.

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none.
        settings: networks and optimisers.
        seed: of the initial weights.
        device: torch device.
        average: averages tensors over the workers, in place.
        accumulation: see `TrainSettings`.
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
        accumulation: int = 1,
    ) -> None:
        rng = torch.Generator().manual_seed(seed)
        s = self.settings = settings
        self.spans, self.conditions, self.device, self.average = spans, conditions, torch.device(device), average
        self.accumulation = accumulation
        self.index = SpanIndex(spans).to(device)
        self.column_K, self.place_K = (t.to(device) for t in conditions.table(spans))
        self.generator = Generator(spans.width, conditions.size, s.embedding_dim, s.generator_dim, rng).to(device)
        n_judged = 0 if self.conditions_in_rows else conditions.size
        self.discriminator = Discriminator(spans.width, n_judged, s.pac, s.discriminator_dim, rng).to(device)
        self.generator_adam = _adam(self.generator, s.generator_lr, s.generator_decay)
        self.discriminator_adam = _adam(self.discriminator, s.discriminator_lr, s.discriminator_decay)
        self.weights = BestAverage(list(self.generator.parameters()), s.ema_decay)
        self.pairs = scored_pairs(spans.cardinalities)
        self.first_Q = torch.tensor(conditions.first, dtype=torch.long, device=self.device)
        self.columns_Q = torch.tensor(conditions.columns, dtype=torch.long, device=self.device)
        self.compiled: ClosedFunctions | None = None

    @property
    def finished(self) -> bool:
        """Whether the generated rows have not come closer to the held ones for `patience` epochs."""
        return 0 < self.settings.patience <= self.weights.epochs_since_best

    def step(self, batch: Batch | ValidationBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """One discriminator and one generator update; or the score of held rows; losses stay on the device."""
        if isinstance(batch, ValidationBatch):
            return self._validate(batch)
        parts = batch.parts(self.accumulation)
        for _ in range(self.settings.discriminator_steps - 1):
            self._teach_discriminator(((part, self._fakes(part, rng)) for part in parts), rng)
        if len(parts) > 1:  # the graph of one part at a time
            losses = self._teach_discriminator(((part, self._fakes(part, rng)) for part in parts), rng)
            made = ((part, self._noise(part, rng)) for part in parts)
            losses["generator"] = self._teach_generator(self._generator_loss(part, noise, rng) for part, noise in made)
            return losses
        noise = self._noise(batch, rng)
        if self.compiled is not None:  # a closed function leaves no graph behind: it makes the rows again
            losses = self._teach_discriminator([(batch, self.compiled.fakes(batch, noise))], rng)
            losses["generator"] = self._teach_generator([self._generator_loss(batch, noise, rng)])
            return losses
        raw, fake = self.made(noise, batch)
        losses = self._teach_discriminator([(batch, Rows(fake.vectors_NW.detach(), fake.condition_N))], rng)
        losses["generator"] = self._teach_generator([self._generator_gradients(raw, fake, rng)])
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
        """Average the running statistics of batch normalisation, which each worker keeps of its own rows.

        Then choose the weights that would leave now.
        """
        self.average(b for b in self.generator.buffers() if b.is_floating_point())
        self.weights.end_epoch(self.average)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training resumes from; tensors on the CPU are copies."""
        state = {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_adam": self.generator_adam.state_dict(),
            "discriminator_adam": self.discriminator_adam.state_dict(),
        }
        result: dict[str, Any] = on_cpu(state)
        return {**result, "weights": self.weights.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_adam.load_state_dict(state["generator_adam"])
        self.discriminator_adam.load_state_dict(state["discriminator_adam"])
        self.weights.load_state_dict(state["weights"])

    def made(self, noise: Noise, batch: Batch, *, count: bool = True) -> tuple[Tensor, Rows]:
        """Raw outputs (N, W) and rows for the conditions of a batch; `count`: see `Generator`."""
        raw = self.generator(noise[0], batch.condition_N, count=count)
        return raw, Rows(activate(raw, noise[1], TEMPERATURE, self.index), batch.condition_N)

    def _generate(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Rows]:
        return self.made(self._noise(batch, rng), batch)

    def _noise(self, batch: Batch, rng: torch.Generator) -> Noise:
        n = len(batch.codes_NC)
        noise_NE = torch.empty(n, self.settings.embedding_dim, device=self.device).normal_(generator=rng)
        return noise_NE, gumbel_noise((n, self.spans.n_codes), rng)

    @torch.no_grad()
    def _fakes(self, batch: Batch, rng: torch.Generator) -> Rows:
        noise = self._noise(batch, rng)
        return self.made(noise, batch)[1] if self.compiled is None else self.compiled.fakes(batch, noise)

    def _teach_discriminator(self, pairs: Iterable[tuple[Batch, Rows]], rng: torch.Generator) -> dict[str, Tensor]:
        """One update from (real rows, generated rows) of each part of a batch; losses are means over the parts."""
        weights = list(self.discriminator.parameters())
        losses: dict[str, Tensor] = {}
        sums: list[Tensor] = []
        for batch, fake in pairs:
            for name, loss in self._critic_gradients(batch, fake, rng).items():
                losses[name] = losses.get(name, 0) + loss / self.accumulation
            gradients = [p.grad for p in weights if p.grad is not None]
            sums = gradients if not sums else list(torch._foreach_add(sums, gradients))
        if self.accumulation > 1:
            torch._foreach_div_(sums, float(self.accumulation))
            for weight, gradient in zip(weights, sums, strict=True):
                weight.grad = gradient
        self.average(sums)
        self.discriminator_adam.step()
        return losses

    def _critic_gradients(self, batch: Batch, fake: Rows, rng: torch.Generator) -> dict[str, Tensor]:
        packs = len(batch.codes_NC) // self.discriminator.pac
        mix_Q = torch.empty(packs, device=self.device).uniform_(generator=rng)
        keep = self.discriminator.keep(packs, rng)
        if self.compiled is not None:
            loss, penalty, *gradients = self.compiled.critic_losses(batch, fake, mix_Q, keep)
        else:
            loss, penalty, *gradients = critic_losses(self.discriminator, fake, *self.judged(batch), mix_Q, keep)
        for weight, gradient in zip(self.discriminator.parameters(), gradients, strict=True):
            weight.grad = gradient
        assert loss is not None and penalty is not None
        return {"discriminator": loss, "penalty": penalty}

    def judged(self, batch: Batch) -> tuple[Rows, Tensor]:
        """Real rows, and what the critic's first layer makes of them."""
        real = Rows(self.index.rows(batch.codes_NC, batch.values_NV), batch.real_condition_N)
        first_real = self.discriminator.first_of_codes(
            batch.codes_NC, batch.values_NV, batch.real_condition_N, self.index
        )
        return real, first_real

    def _teach_generator(self, losses: Iterable[Tensor]) -> Tensor:
        """One update from the parts of a batch, whose losses bring their gradients; the mean of the losses."""
        loss = torch.zeros((), device=self.device)
        for part in losses:
            loss = loss + part / self.accumulation
        self.average(p.grad for p in self.generator.parameters() if p.grad is not None)
        self.generator_adam.step()
        self.generator_adam.zero_grad(set_to_none=True)
        self.weights.follow()
        return loss

    def _generator_loss(self, batch: Batch, noise: Noise, rng: torch.Generator) -> Tensor:
        """The loss of a part of a batch; its gradients are added to those of the parts before."""
        if self.compiled is None:
            return self._generator_gradients(*self.made(noise, batch), rng)
        packs = len(batch.codes_NC) // self.discriminator.pac
        return self.compiled.generator_loss(batch, noise, self.discriminator.keep(packs, rng))

    def _generator_gradients(self, raw: Tensor, fake: Rows, rng: torch.Generator) -> Tensor:
        packs = len(raw) // self.discriminator.pac
        detached = Rows(fake.vectors_NW.detach(), fake.condition_N)
        loss, gradient = score_gradient(self.discriminator, detached, self.discriminator.keep(packs, rng))
        outputs, gradients = [fake.vectors_NW], [gradient / self.accumulation]
        if fake.condition_N is not None:
            kept = condition_loss(raw, fake.condition_N, self.column_K, self.place_K, self.index)
            loss = loss + kept.detach()
            outputs, gradients = [*outputs, kept], [*gradients, torch.ones_like(kept) / self.accumulation]
        torch.autograd.backward(outputs, gradients)
        return loss

    def _validate(self, held: ValidationBatch) -> dict[str, Tensor]:
        """Held rows against as many that are generated under conditions which they have; the same noise each epoch."""
        fixed = torch.Generator(self.device).manual_seed(0)
        asked = Batch(held.codes_NC, held.values_NV, self._read_conditions(held.codes_NC, fixed))
        with self.weights.in_use():
            _, made = self._generate(asked, fixed)
        scores = made.vectors_NW[:, self.spans.n_values :].split(self.spans.cardinalities, 1)
        made_NC = torch.stack([score.argmax(1) for score in scores], 1)
        distance = pair_distance(held.codes_NC, made_NC, self.spans.cardinalities, self.pairs)
        self.weights.add_held(distance * len(made_NC), len(made_NC))
        return {"validation": distance}

    def _read_conditions(self, codes_NC: Tensor, rng: torch.Generator) -> Tensor | None:
        """Each row's own code at one random condition column."""
        if not self.conditions.columns:
            return None
        return own_conditions(codes_NC, self.first_Q, self.columns_Q, rng)


def _adam(model: torch.nn.Module, rate: float, decay: float) -> torch.optim.Adam:
    return torch.optim.Adam(list(model.parameters()), lr=rate, betas=(0.5, 0.9), weight_decay=decay, fused=True)
