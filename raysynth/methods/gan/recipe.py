"""What a GAN is trained from, in one value: networks, optimisers, condition tables.

Under a privacy budget real rows reach the discriminator only, clipped and noised. Each step is one update of the
discriminator from a Poisson batch of real rows and a batch of generated rows of public size. The gradients of generated
rows are clipped like those of real ones, though nobody's privacy asks for it: else the discriminator hears of the
generated rows several times as loud, and learns little of what separates the two (on Adult at epsilon 3 an AUC of 0.56
instead of 0.79). After every few updates the generator learns, from the discriminator alone. Rows are drawn uniformly
(training by sampling would draw rare categories too often for the accountant), each real row's condition is read from
the row at one random column, and the generator's conditions come from the released marginals.

Sources: Xie et al. 2018, arXiv 1802.06739 (noise in the discriminator); Bie, Kamath and Zhang 2023, arXiv 2302.02936
(many discriminator steps for one of the generator; one for one was better here).

Each real row's own gradient has a closed form. With the slopes held fixed the score of a row is linear in every layer
(see `discriminator.py`), so a row's gradient by a layer's weight is the outer product of what went in, h_(l-1), and of
d_l; both are at hand after one pass each way. No gradient penalty (it uses each weight twice, and its mean mixes rows)
and packs of one row. The score is kept Lipschitz by a projection of the weights after each noised step instead: every
layer's spectral norm is at most 1 (Miyato et al. 2018, arXiv 1802.05957, algorithm 1, as a projection).

Shape legend: N rows, W = length of a row vector, K conditions, S codes, Q condition columns, H units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.dp.gradients.uses import AffineUse, GatherUse, Use
from raysynth.methods.gan.discriminator import Discriminator, Rows
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.training import GanSettings, TrainableGan
from raysynth.methods.shared.spans import Spans
from raysynth.training.batches import Batch, Batches, ConditionTables, HeldOut, RowSource
from raysynth.training.job import Job
from raysynth.training.learner import At, Update
from raysynth.training.private_batches import PrivateBatch, PrivatePart
from raysynth.training.private_steps import PrivateSteps


@dataclass(frozen=True)
class Asked:
    """What the generator makes rows for; all of it was released or is public.

    Args:
        n: generated rows of a batch, over all workers together.
        shares_K: probability of each condition; those of one column add up to 1.
        given_SQ: where all condition columns are given: their codes, drawn from a network of them.
    """

    n: int
    shares_K: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    given_SQ: np.ndarray | None = field(default=None, repr=False)


class PrivateGan(TrainableGan):
    """Generator and discriminator under a budget.

    Args:
        asked: what the generator makes rows for.
        args, others: as of `TrainableGan`.
    """

    def __init__(self, *args: Any, asked: Asked, seed: int, device: torch.device, **others: Any) -> None:
        super().__init__(*args, seed=seed, device=device, **others)
        if self.discriminator.pac != 1:
            raise ValueError("a private discriminator judges one row at a time (pac = 1)")
        self.discriminator.dropout = 0.0
        self.n_made = asked.n
        self.shares_K = torch.from_numpy(np.asarray(asked.shares_K, np.float32)).to(device)
        given = np.zeros((0, 0)) if asked.given_SQ is None else asked.given_SQ
        self.given_SQ = torch.from_numpy(np.asarray(given, np.int64)).to(device)
        self.directions = first_directions(self.discriminator, torch.Generator().manual_seed(seed))

    def private_updates(
        self, batch: PrivateBatch, private: PrivateSteps, at: At, rng: torch.Generator
    ) -> Iterator[Update]:
        """One of the discriminator; after every `discriminator_steps`-th one of the generator too."""
        n = max(2, self.n_made // private.n_workers)
        with torch.no_grad():
            _, fake = self._generate(self._asked(n, rng), rng)
        yield self._taught_critic(batch, private, fake, rng)
        project(self.discriminator, self.directions)
        if (at.step + 1) % self.settings.discriminator_steps == 0:
            raw, fake = self._generate(self._asked(n, rng), rng)
            yield self._taught_generator([self._generator_gradients(raw, fake, rng)])

    def get_extra_state(self) -> list[Tensor]:
        """The directions of the projection."""
        return self.directions

    def set_extra_state(self, state: list[Tensor]) -> None:
        """Resume from `get_extra_state`."""
        self.directions = [d.to(self.device) for d in state]

    def _taught_critic(self, batch: PrivateBatch, private: PrivateSteps, fake: Rows, rng: torch.Generator) -> Update:
        model = self.discriminator

        def uses(part: PrivatePart) -> tuple[list[Use], list[Tensor], Tensor]:
            rows, n = part.batch, len(part.counted_N)
            condition_N = self._read_conditions(rows.codes_NC, rng)
            real = Rows(self.index.rows(rows.codes_NC, rows.values_NV), condition_N)
            first = model.first_of_codes(rows.codes_NC, rows.values_NV, condition_N, self.index)
            return score_uses(model, real, first, model.keep(n, rng), sign=-1.0)

        released, real_loss = private.release(batch, uses)
        n = len(fake.vectors_NW)
        made, _, score_N = score_uses(model, fake, model.first_of_vectors(fake), model.keep(n, rng), sign=1.0)
        for weight, real_part, fake_part in zip(critic_weights(model), released, private.of_made(made, n), strict=True):
            weight.grad = real_part + fake_part
        losses = {"discriminator": real_loss + score_N.mean()}
        return Update(("discriminator",), losses, released=True, followed=False)

    def _draw_conditions(self, n: int, rng: torch.Generator) -> Tensor | None:
        """A column uniformly, then one of its codes by the released marginal."""
        if not self.conditions.columns:
            return None
        return torch.multinomial(self.shares_K, n, replacement=True, generator=rng)

    def _asked(self, n: int, rng: torch.Generator) -> Batch:
        """What the n generated rows of a batch are asked for; no real row is in it."""
        if self.given_W is None:
            nothing = torch.zeros(n, 0, dtype=torch.long, device=self.device)
            return Batch(nothing, nothing.float(), self._draw_conditions(n, rng))
        codes_NC = torch.zeros(n, len(self.spans.cardinalities), dtype=torch.long, device=self.device)
        drawn_N = torch.randint(len(self.given_SQ), (n,), generator=rng, device=self.device)
        codes_NC[:, self.columns_Q] = self.given_SQ[drawn_N]
        return Batch(codes_NC, torch.zeros(n, self.spans.n_values, device=self.device), None)


LARGEST_NORM = 1.0  # of each layer, which makes the score change by at most as much as the row


@torch.no_grad()
def score_uses(
    model: Discriminator, rows: Rows, first: Tensor, keep: list[Tensor], *, sign: float
) -> tuple[list[Use], list[Tensor], Tensor]:
    """What the gradients of each row's loss, its score times a sign, are made of.

    Args:
        model: with packs of one row.
        rows: N rows. first: their a_1 (`Discriminator.first_of_codes`, `first_of_vectors`).
        keep: dropout factors.
        sign: -1 for real rows, 1 for generated ones.

    Returns:
        The uses, the weights that they number, and each row's loss (N).
    """
    done = model.forward_from(first, keep)
    d_score = torch.full_like(done.score, sign)
    d = model.backward_from(d_score, done)
    weights = critic_weights(model)
    uses: list[Use] = [_layer(rows.vectors_NW, d[0], weights, 0)]
    for i in range(1, len(d)):
        uses.append(_layer(done.hidden[i - 1], d[i], weights, 2 * i))
    last = 2 * len(d)
    uses.append(AffineUse(done.hidden[-1][None, :, None], d_score[None, :, None, None], last, weights[last].shape))
    if rows.condition_N is not None:
        uses.append(GatherUse(rows.condition_N[None], d[0][None], last + 1, weights[last + 1].shape))
    return uses, weights, sign * done.score


def critic_weights(model: Discriminator) -> list[Tensor]:
    """Weight and bias of each layer, the last weight, and that of the conditions; not the last bias, which is idle."""
    layers = zip([model.row_weight, *model.weights], model.biases, strict=True)
    weights = [t for pair in layers for t in pair] + [model.out_weight]
    return [*weights, model.condition_weight] if model.n_conditions else weights


@torch.no_grad()
def project(model: Discriminator, directions: list[Tensor]) -> None:
    """Scale every layer whose spectral norm is above `LARGEST_NORM` down to it.

    Args:
        model: changed in place.
        directions: from `first_directions`; one step of the power iteration each time moves them, in place.
    """
    first = [model.row_weight, model.condition_weight] if model.n_conditions else [model.row_weight]
    for parts, direction in zip([first, *([w] for w in model.weights), [model.out_weight]], directions, strict=True):
        outputs = [part @ direction for part in parts]
        length = torch.cat(outputs).norm()
        back = torch.stack([part.T @ out for part, out in zip(parts, outputs, strict=True)]).sum(0)
        norm = back.norm() / length.clamp(min=1e-12)
        direction.copy_(back / back.norm().clamp(min=1e-12))
        factor = (LARGEST_NORM / norm).clamp(max=1.0)
        for part in parts:
            part *= factor


def first_directions(model: Discriminator, rng: torch.Generator) -> list[Tensor]:
    """A random unit vector for each layer's outputs."""
    widths = [*model.hidden, 1]
    drawn = [torch.randn(width, generator=rng) for width in widths]
    return [(v / v.norm()).to(model.row_weight.device) for v in drawn]


def _layer(inputs: Tensor, grads: Tensor, weights: list[Tensor], number: int) -> AffineUse:
    shape, bias_shape = weights[number].shape, weights[number + 1].shape
    return AffineUse(inputs[None, :, None], grads[None, :, None], number, shape, number + 1, bias_shape)


LEAST_HELD_ROWS = 200  # fewer cannot tell two epochs apart


@dataclass(frozen=True)
class GanJob(Job):
    """A GAN to train.

    Args:
        spans: layout of a row vector.
        conditions: the condition vector; no columns: none, and rows are drawn by shuffling.
        networks: networks and optimisers.
        all_given: the conditional GAN: all condition columns are given together, and rows are drawn by shuffling.
        asked: under a budget, what the generator makes rows for.
    """

    spans: Spans
    conditions: Conditions
    networks: GanSettings
    all_given: bool = False
    asked: Asked | None = field(default=None, repr=False)

    @property
    def batch_multiple(self) -> int:
        """Rows of a pack, in each part of an accumulated step."""
        return self.networks.pac * self.settings.accumulation

    def trainable(self, device: torch.device) -> TrainableGan:
        """Networks with fresh weights."""
        args, seed = (self.spans, self.conditions, self.networks), self.settings.seed
        if self.plan is not None:
            asked = self.asked or Asked(self.settings.batch_size)
            return PrivateGan(*args, asked=asked, seed=seed, device=device, all_given=self.all_given)
        return TrainableGan(
            *args,
            seed=seed,
            device=device,
            accumulation=self.settings.accumulation,
            all_given=self.all_given,
            compile_step=self.settings.compile_step,
        )

    def held_out(self, batches: Batches) -> HeldOut:
        """Training-by-sampling with a condition vector, shuffling without; none held back where they would be few."""
        share = self.settings.validation_share
        few = share * len(batches.rows) < LEAST_HELD_ROWS
        return HeldOut.split(batches, 0.0 if few else share, tables=None if self.all_given else self._tables)

    def _tables(self, rows: RowSource) -> ConditionTables | None:
        if not self.conditions.columns:
            return None
        return ConditionTables.build(rows, self.conditions.columns, self.conditions.cardinalities)
