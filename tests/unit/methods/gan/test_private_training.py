"""The private GAN in training: packs of one; fake batches of a public size, as heavy as real ones; the projection."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.discriminator import Rows
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import Asked, GanJob, PrivateGan, critic_weights, score_uses
from raysynth.methods.gan.training import GanSettings
from raysynth.methods.shared.spans import Spans
from raysynth.training.batches import Batch, MemoryRows
from raysynth.training.job import CPU, average_alone, train_here
from raysynth.training.learner import Learner
from raysynth.training.loop import TrainSettings
from raysynth.training.private_batches import PrivateBatch, PrivatePart
from raysynth.training.private_steps import PrivateSteps

SPANS = Spans((3, 4, 2), (1,))
N = 64


def private_of(clip: float) -> PrivateSteps:
    plan = DpSgdPlan(clip, noise_multiplier=1e-9, sampling_rate=0.1, expected_batch=N, steps=1, insecure_seed=0)
    return PrivateSteps(plan, average_alone)


def small_gan() -> PrivateGan:
    settings = GanSettings(embedding_dim=4, generator_dim=(8,), discriminator_dim=(8, 8), pac=1)
    conditions = Conditions.on(SPANS, ())
    return PrivateGan(SPANS, conditions, settings, asked=Asked(N), seed=0, device=CPU)


def rows_of(seed: int) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    codes_NC = torch.stack([torch.randint(0, k, (N,), generator=rng) for k in SPANS.cardinalities], 1)
    return Batch(codes_NC, torch.randn(N, 1, generator=rng))


def critic_gradient(clip: float, real: Batch, fake: Batch) -> torch.Tensor:
    """The discriminator's gradient of one update, laid end to end."""
    batch = PrivateBatch((PrivatePart(real, torch.ones(N, dtype=torch.bool), np.arange(N)),))
    gan = small_gan()
    made = Rows(gan.index.rows(fake.codes_NC, fake.values_NV), None)
    gan._taught_critic(batch, private_of(clip), made, torch.Generator().manual_seed(0))
    return torch.cat([w.grad.reshape(-1) for w in critic_weights(gan.discriminator) if w.grad is not None])


@pytest.mark.parametrize("clip", [0.05, 1.0, 100.0])
def test_rows_like_the_real_ones_leave_the_critic_where_it_is(clip: float) -> None:
    """Also where every gradient is longer than the clip: equal rows have equal weight on both sides."""
    same = critic_gradient(clip, rows_of(1), rows_of(1))
    other = critic_gradient(clip, rows_of(1), rows_of(2))
    assert same.norm() < 1e-5 * clip
    assert other.norm() > 0.01 * min(clip, 1.0)


def test_a_generated_row_moves_the_critic_by_the_clip_at_most() -> None:
    gan, near = small_gan(), rows_of(1)
    model, far = gan.discriminator, Rows(gan.index.rows(near.codes_NC, near.values_NV * 1e4), None)
    keep = model.keep(N, torch.Generator().manual_seed(0))
    uses, _, _ = score_uses(model, far, model.first_of_vectors(far), keep, sign=1.0)
    gradients = private_of(0.5).of_made(uses, N)
    assert torch.cat([g.reshape(-1) for g in gradients]).norm() <= 0.5


# ---- rules of 'One door to the private data' -------------------------------------------------------------------------

SHARES = np.array([0.7, 0.3, 0.0, 0.1, 0.1, 0.1, 0.7])  # released; the real rows have others
PLAN = DpSgdPlan(clip=1.0, noise_multiplier=1.0, sampling_rate=1.0, expected_batch=40.0, steps=30)
SMALL = GanSettings(8, (8,), (8, 8), discriminator_lr=0.3, pac=1)
N_FAKE = 24


def job(**networks: Any) -> GanJob:
    settings, sizes = TrainSettings(1, N_FAKE, 1), replace(SMALL, **networks)
    asked = Asked(N_FAKE, SHARES)
    return GanJob(SPANS, Conditions.on(SPANS, (0, 1)), sizes, asked=asked, settings=settings, plan=PLAN)


def learner() -> Learner:
    made = job().learner(CPU, average_alone)
    assert isinstance(made.networks, PrivateGan)
    return made


def batch(n: int) -> PrivateBatch:
    """One step's rows; all have the code 2 in column 0."""
    codes = np.tile(np.array([[2, 0, 0]], np.uint16), (n, 1))
    rows = MemoryRows(EncodedBlock(codes, np.zeros((n, 1), np.float32)))
    return next(iter(job().batches(rows, batch_size=N_FAKE, steps=1, rank=0, device=CPU).epoch(0)))


def test_packs_of_several_rows_are_refused() -> None:
    """A pack's gradient mixes rows, and no clip by row would hold for it."""
    with pytest.raises(ValueError, match="one row at a time"):
        job(pac=2).learner(CPU, average_alone)


@pytest.mark.parametrize("plan", [PLAN, None])
def test_norms_are_multiplied_in_full_precision(plan: DpSgdPlan | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A norm that is rounded down lets a gradient through that is longer than the noise is made for."""
    asked = []

    def noted(device: torch.device, *, exact: bool) -> Any:
        asked.append(exact)
        return nullcontext()

    monkeypatch.setattr("raysynth.training.job.tensor_cores", noted)
    codes = np.zeros((N_FAKE, 3), np.uint16)
    train_here(
        replace(job(), plan=plan), MemoryRows(EncodedBlock(codes, np.zeros((N_FAKE, 1), np.float32))), device=CPU
    )
    assert asked == [plan is not None]


def test_as_many_rows_are_made_whatever_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of real rows in a batch is private, so that of fake ones must not follow it."""
    one, made = learner(), []
    inner = PrivateGan._generate

    def counted(self: PrivateGan, asked: Any, rng: torch.Generator) -> Any:
        found = inner(self, asked, rng)
        made.append(len(found[1].vectors_NW))
        return found

    monkeypatch.setattr(PrivateGan, "_generate", counted)
    for n in (0, 1, 40):
        one.step(batch(n), torch.Generator().manual_seed(0))
    assert made == [N_FAKE] * 6


def test_conditions_are_asked_for_by_the_released_shares_alone() -> None:
    one = learner()
    one.step(batch(40), torch.Generator().manual_seed(0))
    drawn = one.networks._draw_conditions(20_000, torch.Generator().manual_seed(1))
    assert drawn is not None
    found = np.bincount(drawn.numpy(), minlength=7) / 20_000
    assert np.abs(found - SHARES / 2).max() < 0.02 and found[2] == 0, "the code that all real rows have"


def test_every_layer_is_bounded_after_the_noised_step() -> None:
    """A large learning rate drives the weights beyond the bound; the power iteration follows within some steps."""
    one, rng = learner(), torch.Generator().manual_seed(0)
    for _ in range(30):
        one.step(batch(40), rng)
    model = one.networks.discriminator
    layers = [torch.cat([model.row_weight, model.condition_weight]), *model.weights, model.out_weight]
    norms = [float(torch.linalg.matrix_norm(w.detach(), 2)) for w in layers]
    assert max(norms) < 1.3 and max(norms) > 0.9, norms
