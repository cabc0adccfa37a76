"""The private GAN's learner: generated rows weigh as much as real ones, whatever the clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysynth.dp.gradient_release import DpSgdPlan
from raysynth.models.critic_examples import critic_weights
from raysynth.models.ctgan import Conditions
from raysynth.models.discriminator import Rows
from raysynth.models.spans import Spans
from raysynth.training.batches import Batch
from raysynth.training.gan import GanSettings
from raysynth.training.job import average_alone
from raysynth.training.private_batches import PrivateBatch, PrivatePart
from raysynth.training.private_gan import PrivateGanLearner

SPANS = Spans((3, 4, 2), (1,))
N = 64


def learner_of(clip: float) -> PrivateGanLearner:
    plan = DpSgdPlan(clip, noise_multiplier=1e-9, sampling_rate=0.1, expected_batch=N, steps=1, insecure_seed=0)
    settings = GanSettings(embedding_dim=4, generator_dim=(8,), discriminator_dim=(8, 8), pac=1)
    conditions = Conditions.on(SPANS, ())
    return PrivateGanLearner(
        SPANS, conditions, settings, plan=plan, shares_K=np.zeros(0), n_fake=N, seed=0, average=average_alone
    )


def rows_of(seed: int) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    codes_NC = torch.stack([torch.randint(0, k, (N,), generator=rng) for k in SPANS.cardinalities], 1)
    return Batch(codes_NC, torch.randn(N, 1, generator=rng))


def critic_gradient(learner: PrivateGanLearner, real: Batch, fake: Batch) -> torch.Tensor:
    """The discriminator's gradient of one update, laid end to end."""
    batch = PrivateBatch((PrivatePart(real, torch.ones(N, dtype=torch.bool), np.arange(N)),))
    made = Rows(learner.index.rows(fake.codes_NC, fake.values_NV), None)
    learner._teach_critic(batch, made, torch.Generator().manual_seed(0))
    return torch.cat([w.grad.reshape(-1) for w in critic_weights(learner.discriminator) if w.grad is not None])


@pytest.mark.parametrize("clip", [0.05, 1.0, 100.0])
def test_rows_like_the_real_ones_leave_the_critic_where_it_is(clip: float) -> None:
    """Also where every gradient is longer than the clip: equal rows have equal weight on both sides."""
    same = critic_gradient(learner_of(clip), rows_of(1), rows_of(1))
    other = critic_gradient(learner_of(clip), rows_of(1), rows_of(2))
    assert same.norm() < 1e-5 * clip
    assert other.norm() > 0.01 * min(clip, 1.0)


def test_a_generated_row_moves_the_critic_by_the_clip_at_most() -> None:
    learner, near = learner_of(0.5), rows_of(1)
    far = Rows(learner.index.rows(near.codes_NC, near.values_NV * 1e4), None)
    gradients, _ = learner._clipped_mean(far, torch.Generator().manual_seed(0))
    assert torch.cat([g.reshape(-1) for g in gradients]).norm() <= 0.5
