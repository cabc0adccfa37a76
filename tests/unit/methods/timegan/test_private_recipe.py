"""Private sequences in training: what it is held to, what it goes on from; no real row reaches the generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.encoding.block import EncodedBlock
from raysynth.methods.timegan.network import SequenceLayout, VectorLayout
from raysynth.methods.timegan.private_recipe import (
    PrivateTimeGanJob,
    ReleasedSequences,
    moved,
)
from raysynth.methods.timegan.recipe import TimeGanSettings
from raysynth.training.batches import MemoryRows
from raysynth.training.job import CPU, average_alone, trained
from raysynth.training.learner import Learner
from raysynth.training.loop import TrainSettings, train
from raysynth.training.private_batches import PrivateBatch
from raysynth.training.private_steps import PrivateSteps

STEPS = 4
LAYOUT = SequenceLayout(STEPS, VectorLayout((2, 3), (0,), (0,), (0, -1)), VectorLayout((), (), (), ()))


def released() -> ReleasedSequences:
    rng = np.random.default_rng(0)
    code = np.eye(3)[np.arange(600) % 3]
    quantiles = np.sort(np.concatenate([rng.normal(0, 0.2, (600, 1)), code], 1), axis=0)
    lengths = rng.integers(1, STEPS + 1, 200)
    nothing = np.zeros((200, 0))
    made = ReleasedSequences(quantiles, lengths, nothing.astype(np.uint16), nothing.astype(np.float32))
    n = made.summary(LAYOUT)(torch.zeros(STEPS, 1, 4), torch.zeros(1, 1), torch.ones(STEPS, 1)).shape[1]
    return replace(made, moments_D=np.full(n, 0.01))


def job(**plan: Any) -> PrivateTimeGanJob:
    given = {"clip": 1.0, "noise_multiplier": 1.0, "sampling_rate": 0.5, "expected_batch": 20.0, "steps": 8, **plan}
    networks = TimeGanSettings(hidden=5, noise=2)
    settings = TrainSettings(4, 20, 0)
    return PrivateTimeGanJob(LAYOUT, networks, released(), settings=settings, plan=DpSgdPlan(**given))


def rows(n: int = 40) -> MemoryRows:
    rng = np.random.default_rng(1)
    codes = np.zeros((n, 1 + 2 * STEPS), np.uint16)
    codes[:, 0], codes[:, 2::2] = rng.integers(1, STEPS + 1, n), rng.integers(0, 3, (n, STEPS))
    return MemoryRows(EncodedBlock(codes, rng.normal(0, 0.2, (n, STEPS)).astype(np.float32)))


def after_training(of: PrivateTimeGanJob, data: MemoryRows) -> Learner:
    learner = of.learner(CPU, average_alone)
    batches = of.batches(data, batch_size=20, steps=2, rank=0, device=CPU)
    history = train(learner, batches, of.settings).history
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4] and not learner.finished
    assert all({"discriminator", "generator", "moments", "columns"} <= entry.keys() for entry in history)
    return learner


def test_it_trains_all_charged_steps_and_goes_on_from_its_state() -> None:
    learner = after_training(job(), rows())
    assert learner.steps == 8
    other = job().learner(CPU, average_alone)
    other.load_state_dict(learner.state_dict())
    noise = [torch.Generator().manual_seed(5) for _ in range(2)]
    for one, two in zip(learner.networks._made(noise[0]), other.networks._made(noise[1]), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    best = trained(job().trainable(CPU), learner.state_dict()).leaving()
    torch.testing.assert_close([p.detach() for p in best], learner.weights.best, rtol=0, atol=0)


@pytest.mark.parametrize("n", [0, 1])
def test_batches_without_sequences_are_no_error(n: int) -> None:
    after_training(job(sampling_rate=0.5), rows(n))


def test_real_sequences_reach_the_discriminator_alone() -> None:
    """An update of the generator is a function of what was released: no batch is handed to it."""
    made = job()
    gan, private = made.trainable(CPU), PrivateSteps(made.plan, average_alone)
    (batch,) = list(job(steps=1).batches(rows(), batch_size=20, steps=1, rank=0, device=CPU).epoch(0))
    update = gan._taught_critic(batch, private, torch.Generator().manual_seed(0))
    assert update.moved == ("critic",) and all(p.grad is None for p in gan.leaving())
    assert any(p.grad.abs().sum() > 0 for p in gan.critic.parameters() if p.grad is not None)


@pytest.mark.parametrize("clip", [0.01, 0.1])
def test_made_sequences_move_the_critic_by_the_clip_at_most(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As real ones do; else the critic would hear of made ones the louder the smaller the clip is."""
    made = job(clip=clip)
    gan, private = made.trainable(CPU), PrivateSteps(made.plan, average_alone)
    monkeypatch.setattr(private, "teach", lambda *_: torch.zeros(()))
    gan._taught_critic(PrivateBatch(()), private, torch.Generator().manual_seed(0))
    gradient = torch.cat([p.grad.reshape(-1) for p in gan.critic.parameters() if p.grad is not None])
    assert 0.1 * clip < gradient.norm() <= clip


def test_the_critic_is_projected_after_its_noised_step(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, order = job().learner(CPU, average_alone), []
    adam, critic = learner.optimisers["critic"].adam, learner.networks.critic
    step, project = adam.step, critic.project
    monkeypatch.setattr(adam, "step", lambda: (order.append("step"), step())[1])
    monkeypatch.setattr(critic, "project", lambda: (order.append("project"), project())[1])
    (batch,) = list(job(steps=1).batches(rows(), batch_size=20, steps=1, rank=0, device=CPU).epoch(0))
    learner.step(batch, torch.Generator().manual_seed(0))
    assert order == ["step", "project"]


def test_columns_are_compared_by_rank_over_the_steps_that_exist() -> None:
    gan = job().trainable(CPU)
    wanted = gan.released["quantiles"] * gan.summary.scale_W + gan.summary.mean_W
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    x_TNW, mask_TN = wanted[order].view(4, 150, -1), torch.ones(4, 150)
    none = torch.zeros(0)
    assert float(gan._columns_distance(x_TNW, none, mask_TN)) < 1e-6
    longer = torch.cat([x_TNW, torch.full_like(x_TNW[:1], 7.0)])
    there = torch.cat([mask_TN, torch.zeros(1, 150)])
    assert float(gan._columns_distance(longer, none, there)) < 1e-6
    assert float(gan._columns_distance(x_TNW + gan.summary.scale_W, none, mask_TN)) == pytest.approx(1.0, rel=0.01)


def test_ranks_are_moved_to_released_moments_within_reason() -> None:
    z_MW = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    mean_W, spread_W = torch.tensor([0.2, 0.0, 0.0]).double(), torch.tensor([0.5, 9.0, 0.0]).double()
    made_MW = moved(z_MW, mean_W, spread_W.square() + mean_W.square())
    torch.testing.assert_close(made_MW.mean(0), mean_W, atol=1e-6, rtol=0)
    torch.testing.assert_close(made_MW.std(0) / z_MW.std(0), torch.tensor([0.5, 1.5, 0.25]).double(), rtol=0.03, atol=0)
