"""The GAN learner under a privacy budget: real rows reach the discriminator only, clipped and noised.

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

from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.dp.gradients.clip import clipped_sum
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.dp.gradients.uses import Use
from raysynth.methods.gan.conditional_learner import ConditionalGanLearner
from raysynth.methods.gan.critic_examples import critic_weights, first_directions, project, score_uses
from raysynth.methods.gan.discriminator import Rows
from raysynth.methods.gan.learner import GanLearner, GanSettings
from raysynth.methods.gan.network import Conditions
from raysynth.methods.shared.spans import Spans
from raysynth.training.average import Average
from raysynth.training.batches import Batch
from raysynth.training.job import average_alone
from raysynth.training.private_batches import PrivateBatch, PrivatePart
from raysynth.training.private_steps import PrivateSteps


class PrivateGanLearner(GanLearner):
    """Generator and discriminator under a budget (a `Learner` of `PrivateBatch`es).

    Args:
        plan: of DP-SGD.
        shares_K: released probability of each condition; those of one column add up to 1.
        n_fake: generated rows of a batch of this worker.
        others: as of `GanLearner`.
    """

    def __init__(
        self,
        spans: Spans,
        conditions: Conditions,
        settings: GanSettings,
        *,
        plan: DpSgdPlan,
        shares_K: np.ndarray,
        n_fake: int,
        seed: int,
        device: str | torch.device = "cpu",
        average: Average = average_alone,
    ) -> None:
        super().__init__(spans, conditions, settings, seed=seed, device=device, average=average)
        if self.discriminator.pac != 1:
            raise ValueError("a private discriminator judges one row at a time (pac = 1)")
        self.discriminator.dropout = 0.0
        self.private = PrivateSteps(plan, average)
        self.n_fake = max(2, n_fake // average.n_workers)
        self.shares_K = torch.from_numpy(np.asarray(shares_K, np.float32)).to(self.device)
        self.directions = first_directions(self.discriminator, torch.Generator().manual_seed(seed))
        self.critic_steps = 0

    def step(self, batch: PrivateBatch, rng: torch.Generator) -> dict[str, Tensor]:  # type: ignore[override]
        """One discriminator update; every `discriminator_steps`-th time a generator update too."""
        with torch.no_grad():
            _, fake = self._generate(self._asked(rng), rng)
        losses = {"discriminator": self._teach_critic(batch, fake, rng)}
        self.critic_steps += 1
        if self.critic_steps % self.settings.discriminator_steps == 0:
            raw, fake = self._generate(self._asked(rng), rng)
            losses["generator"] = self._teach_generator([self._generator_gradients(raw, fake, rng)])
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Everything that training resumes from."""
        directions = [d.detach().to("cpu", copy=True) for d in self.directions]
        return {**super().state_dict(), "directions": directions, "critic_steps": self.critic_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        super().load_state_dict(state)
        self.directions = [d.to(self.device) for d in state["directions"]]
        self.critic_steps = int(state["critic_steps"])

    def _teach_critic(self, batch: PrivateBatch, fake: Rows, rng: torch.Generator) -> Tensor:
        model = self.discriminator

        def uses(part: PrivatePart) -> tuple[list[Use], list[Tensor], Tensor]:
            rows, n = part.batch, len(part.counted_N)
            condition_N = self._read_conditions(rows.codes_NC, rng)
            real = Rows(self.index.rows(rows.codes_NC, rows.values_NV), condition_N)
            first = model.first_of_codes(rows.codes_NC, rows.values_NV, condition_N, self.index)
            return score_uses(model, real, first, model.keep(n, rng), sign=-1.0)

        released, real_loss = self.private.release(batch, uses)
        of_fakes, fake_score = self._clipped_mean(fake, rng)
        self.average(of_fakes)
        for weight, real_part, fake_part in zip(critic_weights(model), released, of_fakes, strict=True):
            weight.grad = real_part + fake_part
        self.discriminator_adam.step()
        project(model, self.directions)
        return real_loss + fake_score

    def _clipped_mean(self, fake: Rows, rng: torch.Generator) -> tuple[list[Tensor], Tensor]:
        """Of generated rows' own gradients, by `critic_weights`, and their mean score. No real row takes part."""
        model, n = self.discriminator, len(fake.vectors_NW)
        uses, _, score_N = score_uses(model, fake, model.first_of_vectors(fake), model.keep(n, rng), sign=1.0)
        return [s / n for s in clipped_sum(uses, self.private.plan.clip).sums], score_N.mean()

    def _draw_conditions(self, n: int, rng: torch.Generator) -> Tensor | None:
        """A column uniformly, then one of its codes by the released marginal."""
        if not self.conditions.columns:
            return None
        place = torch.multinomial(self.shares_K, n, replacement=True, generator=rng)
        return place

    def _asked(self, rng: torch.Generator) -> Batch:
        """What the generated rows of a batch are asked for; no real row is in it."""
        nothing = torch.zeros(self.n_fake, 0, dtype=torch.long, device=self.device)
        return Batch(nothing, nothing.float(), self._draw_conditions(self.n_fake, rng))


class PrivateConditionalGanLearner(ConditionalGanLearner, PrivateGanLearner):
    """The conditional GAN under a budget: what is given comes from a network that was released, never from real rows.

    Args:
        given_SQ: codes of the given columns, drawn from that network.
        others: as of `PrivateGanLearner`.
    """

    def __init__(self, *args: Any, given_SQ: np.ndarray, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given_SQ = torch.from_numpy(np.asarray(given_SQ, np.int64)).to(self.device)

    def _asked(self, rng: torch.Generator) -> Batch:
        codes_NC = torch.zeros(self.n_fake, len(self.spans.cardinalities), dtype=torch.long, device=self.device)
        drawn_N = torch.randint(len(self.given_SQ), (self.n_fake,), generator=rng, device=self.device)
        codes_NC[:, self.columns_Q] = self.given_SQ[drawn_N]
        return Batch(codes_NC, torch.zeros(self.n_fake, self.spans.n_values, device=self.device), None)

    def _read_conditions(self, codes_NC: Tensor, rng: torch.Generator) -> Tensor | None:
        """None: the row vectors hold what is given, and the critic sees it there."""
        return None
