"""The GAN in training: learns a planted dependency, reproduces itself from a seed, goes on from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import GanJob
from raysynth.methods.gan.sampler import GanSampler, drawn_by, folded
from raysynth.methods.gan.training import GanSettings
from raysynth.methods.shared.spans import Spans
from raysynth.training.batches import Batch, MemoryRows
from raysynth.training.checkpoints import FolderStore
from raysynth.training.job import CPU, train_here, trained
from raysynth.training.loop import TrainResult, TrainSettings

SPANS = Spans((3, 3, 2), (2,))
SMALL = GanSettings(16, (32, 32), (32, 32), generator_lr=2e-3, discriminator_lr=2e-3, pac=5)


def table(n: int = 2000) -> MemoryRows:
    """Columns 0 and 1 agree in 90 of 100 rows; the value is near -0.5, 0 or 0.5 by column 0."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, n)
    b = np.where(rng.random(n) < 0.9, a, rng.integers(0, 3, n))
    values = (0.5 * (a - 1) + rng.normal(0, 0.05, n)).astype(np.float32)
    return MemoryRows(EncodedBlock(np.stack([a, b, np.zeros(n)], 1).astype(np.uint16), values[:, None]))


def job(
    epochs: int, *, conditional: bool = True, seed: int = 1, networks: GanSettings = SMALL, **settings: Any
) -> GanJob:
    conditions = Conditions.on(SPANS, (0, 1) if conditional else ())
    settings = {"checkpoint_every": 2, "ema_decay": 0.99, **settings}
    return GanJob(SPANS, conditions, networks, settings=TrainSettings(epochs, 100, seed, **settings))


def same(a: TrainResult, b: TrainResult) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state["weights"]["best"], b.state["weights"]["best"], strict=True))


TWICE = pytest.param(True, 2, 15, marks=pytest.mark.slow)  # each batch in two parts


@pytest.mark.parametrize(("conditional", "accumulation", "epochs"), [(True, 1, 15), (False, 1, 30), TWICE])
def test_it_learns_a_planted_dependency(conditional: bool, accumulation: int, epochs: int) -> None:
    made = job(epochs, conditional=conditional, accumulation=accumulation)
    result = train_here(made, table(), device=CPU)
    shares = np.full(made.conditions.size, 1 / 3)
    arrays = folded(trained(made.trainable(CPU), result.state).generator, drawn_by(shares), 100, 0)
    sampler = GanSampler(
        spans=SPANS,
        arrays=arrays,
        code_bias_S=np.zeros(SPANS.n_codes),
        conditions=made.conditions,
        shares_K=shares,
        hidden=(32, 32),
    )
    block = sampler.generate(4000, np.random.default_rng(2))
    a, b = block.codes_NC[:, 0].astype(int), block.codes_NC[:, 1].astype(int)
    assert (a == b).mean() > 0.75  # the data: 0.93; independent columns: 0.33
    assert np.corrcoef(a, block.values_NV[:, 0])[0, 1] > 0.6


def test_the_seed_decides_the_model() -> None:
    first, again, other = (train_here(job(2, seed=s), table(400)) for s in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert [e["discriminator"] for e in first.history] == [e["discriminator"] for e in again.history]


def test_resuming_from_disk_equals_training_in_one_go(tmp_path: Path) -> None:
    whole = train_here(job(5), table(400))
    train_here(job(3), table(400), store=FolderStore(tmp_path))
    resumed = train_here(job(5), table(400), store=FolderStore(tmp_path))
    assert same(whole, resumed)
    assert [e["penalty"] for e in whole.history] == [e["penalty"] for e in resumed.history]
    for x, y in zip(whole.state["networks"].values(), resumed.state["networks"].values(), strict=True):
        assert torch.equal(x, y)


def test_several_discriminator_steps_and_no_moving_average_work() -> None:
    result = train_here(job(1, networks=replace(SMALL, discriminator_steps=3), ema_decay=0), table(400))
    assert len(result.history) == 1
    last = next(v for k, v in result.state["networks"].items() if k.startswith("generator."))
    assert torch.allclose(result.state["weights"]["averaged"][0], last)


def test_an_accumulated_step_uses_the_mean_gradient_of_its_parts() -> None:
    """The discriminator's gradient over two parts is the mean of what each gives by itself, at the same weights."""
    gan = job(1, accumulation=2).trainable(CPU)
    block = table(20).block
    codes, values = torch.from_numpy(block.codes_NC.astype(np.int64)), torch.from_numpy(block.values_NV)
    condition = codes[:, 0]
    parts = Batch(codes, values, condition, condition).parts(2)
    fakes = [gan._fakes(part, torch.Generator().manual_seed(5)) for part in parts]
    alone: list[list[torch.Tensor]] = []
    rng = torch.Generator().manual_seed(6)
    for part, fake in zip(parts, fakes, strict=True):
        gan._critic_gradients(part, fake, rng)
        alone.append([p.grad for p in gan.discriminator.parameters() if p.grad is not None])
    gan._taught_discriminator(zip(parts, fakes, strict=True), torch.Generator().manual_seed(6))
    for weight, first, second in zip(gan.discriminator.parameters(), *alone, strict=True):
        torch.testing.assert_close(weight.grad, (first + second) / 2)


def test_rows_held_back_stop_the_training_and_choose_the_weights() -> None:
    """The score falls while the dependency is learned; a learning rate that wrecks the networks ends the training."""
    good = train_here(job(12, validation_share=0.2), table())
    scores = [e["validation"] for e in good.history]
    assert min(scores[8:]) < 0.5 * scores[0]
    assert good.state["weights"]["best_loss"] == pytest.approx(min(scores), abs=1e-6)
    wrecked = train_here(job(60, networks=replace(SMALL, generator_lr=0.5), validation_share=0.2, patience=2), table())
    assert len(wrecked.history) < 60
    best = int(np.argmin([e["validation"] for e in wrecked.history])) + 1
    assert len(wrecked.history) == best + 2


def test_too_few_rows_to_tell_epochs_apart_are_not_held_back() -> None:
    assert "validation" not in train_here(job(1, validation_share=0.2), table(400)).history[0]
