"""What a batch teaches a GAN: one step of WGAN-GP on encoded rows, with or without CTGAN's condition vector.

One step (Xu et al. 2019, section 4.4; the order of ctgan's reference training): the discriminator learns from generated
and real rows, then the generator from the discriminator. The generated rows of the last discriminator step serve the
generator's step too, so that the generator runs forward once a step.

Rows that are held back tell when to stop: after each epoch as many are generated with the averaged weights, and the
weights are kept whose pairs of columns lie closest to those of the held rows; its losses say nothing about its rows.

In a conditional GAN (Mirza and Osindero 2014) all condition columns are given, and the generator makes the others. A
generated row is given the codes of a real row of the same batch, so both kinds of rows have them in the same joint
distribution, and the discriminator can only tell the kinds apart by how the other columns go with them. The given codes
are part of the row vectors, which is all the discriminator needs to see of them.

Shape legend: N rows, M other rows, C columns, P pairs, Q condition columns, W = length of a row vector, S codes,
K conditions, E noise numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysynth.methods.gan.compiled import CompiledGan, Noise
from raysynth.methods.gan.discriminator import Discriminator, Rows, critic_losses, score_gradient
from raysynth.methods.gan.network import TEMPERATURE, Conditions, Generator, condition_loss, own_conditions
from raysynth.methods.shared.spans import SpanIndex, Spans, activate, gumbel_noise
from raysynth.training.averaging import Average
from raysynth.training.batches import Batch
from raysynth.training.learner import At, Optimiser, Trainable, Update, fixed_rng


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


class TrainableGan(Trainable):
    """Generator and discriminator, and what a batch teaches them.

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none.
        settings: networks and optimisers.
        seed: of the initial weights.
        device: torch device.
        accumulation: see `TrainSettings`.
        all_given: the conditional GAN: all condition columns are given together, and rows' vectors show them.
        compile_step: see `TrainSettings`.
    """

    def __init__(
        self,
        spans: Spans,
        conditions: Conditions,
        settings: GanSettings,
        *,
        seed: int,
        device: torch.device,
        accumulation: int = 1,
        all_given: bool = False,
        compile_step: bool = False,
    ) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        s = self.settings = settings
        self.spans, self.conditions, self.device, self.accumulation = spans, conditions, device, accumulation
        self.index = SpanIndex(spans)
        self.generator = Generator(spans.width, conditions.size, s.embedding_dim, s.generator_dim, rng)
        n_judged = 0 if all_given else conditions.size
        self.discriminator = Discriminator(spans.width, n_judged, s.pac, s.discriminator_dim, rng)
        self.to(device)
        self.column_K, self.place_K = (t.to(device) for t in conditions.table(spans))
        self.pairs = scored_pairs(spans.cardinalities)
        self.first_Q = torch.tensor(conditions.first, dtype=torch.long, device=device)
        self.columns_Q = torch.tensor(conditions.columns, dtype=torch.long, device=device)
        given_S = torch.isin(self.index.column_S, self.columns_Q)
        self.given_W = torch.cat([given_S.new_zeros(spans.n_values), given_S]).float() if all_given else None
        self.compiled = CompiledGan(self) if compile_step else None

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for each network."""
        s = self.settings
        return {
            "generator": _adam(self.generator, s.generator_lr, s.generator_decay),
            "discriminator": _adam(self.discriminator, s.discriminator_lr, s.discriminator_decay),
        }

    def leaving(self) -> list[nn.Parameter]:
        """Weights of the model: the generator's; the discriminator has seen real rows and stays behind."""
        return list(self.generator.parameters())

    def updates(self, batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
        """Some of the discriminator, one of the generator."""
        parts = batch.parts(self.accumulation)
        for _ in range(self.settings.discriminator_steps - 1):
            yield self._taught_discriminator(((part, self._fakes(part, rng)) for part in parts), rng)
        if len(parts) > 1:  # the graph of one part at a time
            yield self._taught_discriminator(((part, self._fakes(part, rng)) for part in parts), rng)
            made = ((part, self._noise(part, rng)) for part in parts)
            yield self._taught_generator(self._generator_loss(part, noise, rng) for part, noise in made)
            return
        noise = self._noise(batch, rng)
        if self.compiled is not None:  # a closed function leaves no graph behind: it makes the rows again
            yield self._taught_discriminator([(batch, self.compiled.fakes(batch, noise))], rng)
            yield self._taught_generator([self._generator_loss(batch, noise, rng)])
            return
        raw, fake = self.made(noise, batch)
        yield self._taught_discriminator([(batch, Rows(fake.vectors_NW.detach(), fake.condition_N))], rng)
        yield self._taught_generator([self._generator_gradients(raw, fake, rng)])

    def score(self, held: Batch) -> tuple[Tensor, int]:
        """Held rows against as many that are generated under conditions which they have."""
        fixed = fixed_rng(self.device)
        asked = Batch(held.codes_NC, held.values_NV, self._read_conditions(held.codes_NC, fixed))
        _, made = self._generate(asked, fixed)
        scores = made.vectors_NW[:, self.spans.n_values :].split(self.spans.cardinalities, 1)
        made_NC = torch.stack([score.argmax(1) for score in scores], 1)
        distance = pair_distance(held.codes_NC, made_NC, self.spans.cardinalities, self.pairs)
        return distance * len(made_NC), len(made_NC)

    def after_epoch(self, average: Average, epochs: int) -> None:
        """Average the running statistics of batch normalisation, which each worker keeps of its own rows."""
        average(b for b in self.generator.buffers() if b.is_floating_point())

    def made(self, noise: Noise, batch: Batch, *, count: bool = True) -> tuple[Tensor, Rows]:
        """Raw outputs (N, W) and rows for the conditions of a batch; `count`: see `Generator`."""
        if self.given_W is None:
            raw = self.generator(noise[0], batch.condition_N, count=count)
            return raw, Rows(activate(raw, noise[1], TEMPERATURE, self.index), batch.condition_N)
        raw = self.generator(noise[0], self.first_Q + batch.codes_NC[:, self.columns_Q], count=count)
        made = activate(raw, noise[1], TEMPERATURE, self.index)
        given = self.index.rows(batch.codes_NC, torch.zeros_like(batch.values_NV)) * self.given_W
        return raw, Rows(torch.addcmul(given, made, 1 - self.given_W), None)

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

    def _taught_discriminator(self, pairs: Iterable[tuple[Batch, Rows]], rng: torch.Generator) -> Update:
        """From (real rows, generated rows) of each part of a batch; losses are means over the parts."""
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
        return Update(("discriminator",), losses, followed=False)

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

    def _taught_generator(self, losses: Iterable[Tensor]) -> Update:
        """From the parts of a batch, whose losses bring their gradients; shows the mean of the losses."""
        loss = torch.zeros((), device=self.device)
        for part in losses:
            loss = loss + part / self.accumulation
        return Update(("generator",), {"generator": loss})

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

    def _read_conditions(self, codes_NC: Tensor, rng: torch.Generator) -> Tensor | None:
        """Each row's own code at one random condition column; None where there is none, or all are given."""
        if self.given_W is not None or not self.conditions.columns:
            return None
        return own_conditions(codes_NC, self.first_Q, self.columns_Q, rng)


def _adam(model: nn.Module, rate: float, decay: float) -> Optimiser:
    adam = torch.optim.Adam(list(model.parameters()), lr=rate, betas=(0.5, 0.9), weight_decay=decay, fused=True)
    return Optimiser(adam, rate)


MOST_PAIRS = 200
MOST_CELLS = 1 << 14  # of a pair; a pair of columns with more tells little at the number of rows that is held back


def scored_pairs(cardinalities: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Pairs of columns that are compared: those with few enough cells, the smallest first, at most 200.

    One column alone is a pair with itself; so is every column of a table in which no two fit together.
    """
    columns = range(len(cardinalities))
    pairs = [(a, b) for a in columns for b in columns[a + 1 :] if cardinalities[a] * cardinalities[b] <= MOST_CELLS]
    pairs.sort(key=lambda pair: cardinalities[pair[0]] * cardinalities[pair[1]])
    return tuple(pairs[:MOST_PAIRS]) or tuple((c, c) for c in columns)


def pair_distance(
    real_NC: Tensor, made_MC: Tensor, cardinalities: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> Tensor:
    """Total variation of pairs of columns, mean over the pairs: 0 for equal shares, 1 for none in common.

    Sampling alone gives more than 0; two scores against the same rows can be compared.

    Args:
        real_NC, made_MC: codes, int64, on one device.
        cardinalities: number of codes of each column (C).
        pairs: of columns, see `scored_pairs`.
    """
    total = torch.zeros((), device=real_NC.device)
    for a, b in pairs:
        width = cardinalities[b] if a != b else 1
        cells = [codes[:, a] * width + codes[:, b] * (a != b) for codes in (real_NC, made_MC)]
        shares = [_counts(cell, cardinalities[a] * width) / len(cell) for cell in cells]
        total += (shares[0] - shares[1]).abs().sum() / 2
    return total / max(1, len(pairs))


def _counts(cell_N: Tensor, n_cells: int) -> Tensor:
    """How often each cell occurs; `torch.bincount` would make the host wait for the largest cell."""
    ones_N = torch.ones(len(cell_N), device=cell_N.device)
    return torch.zeros(n_cells, device=cell_N.device).scatter_add_(0, cell_N, ones_N)
