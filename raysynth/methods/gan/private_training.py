"""A GAN under a privacy budget: real rows reach the discriminator only, clipped and noised.

Each step is one update of the discriminator from a Poisson batch of real rows and a batch of generated rows of public
size. The gradients of generated rows are clipped like those of real ones, though nobody's privacy asks for it: else the
discriminator hears of the generated rows several times as loud, and learns little of what separates the two (on Adult
at epsilon 3 an AUC of 0.56 instead of 0.79). After every few updates the generator learns, from the discriminator
alone. Rows are drawn uniformly (training by sampling would draw rare categories too often for the accountant), each
real row's condition is read from the row at one random column, and the generator's conditions come from the released
marginals.

Sources: Xie et al. 2018, arXiv 1802.06739 (noise in the discriminator); Bie, Kamath and Zhang 2023, arXiv 2302.02936
(many discriminator steps for one of the generator; one for one was better here).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.dp.gradients.uses import Use
from raysynth.methods.gan.critic_examples import critic_weights, first_directions, project, score_uses
from raysynth.methods.gan.discriminator import Rows
from raysynth.methods.gan.training import TrainableGan
from raysynth.training.batches import Batch
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
