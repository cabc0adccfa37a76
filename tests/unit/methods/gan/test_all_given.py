"""The conditional GAN in training: what is given stays, the others follow from it, a checkpoint goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import GanJob
from raysynth.methods.gan.sampler import ConditionalGanSampler, folded
from raysynth.methods.gan.training import GanSettings
from raysynth.methods.shared.spans import Spans
from raysynth.training.batches import Batch, MemoryRows
from raysynth.training.checkpoints import FolderStore
from raysynth.training.job import CPU, train_here, trained
from raysynth.training.loop import TrainSettings

SPANS = Spans((3, 3, 3, 2), (3,))
NETWORKS = GanSettings(16, (32, 32), (32, 32), generator_lr=2e-3, discriminator_lr=2e-3, pac=5)


class Uniform:
    """Given codes that are independent and uniform; `weights` choose among them."""

    def generate(self, n: int, rng: np.random.Generator, weights: dict[int, np.ndarray] | None = None) -> EncodedBlock:
        p = [np.ones(3), np.ones(3)]
        for q, w in (weights or {}).items():
            p[q] = w
        codes = np.stack([rng.choice(3, n, p=w / w.sum()) for w in p], 1).astype(np.uint16)
        return EncodedBlock(codes, np.empty((n, 0), np.float32))


def table(n: int = 3000) -> MemoryRows:
    """Column 2 is the larger of the given two in 93 of 100 rows: it follows from both together."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, n), rng.integers(0, 3, n)
    c = np.where(rng.random(n) < 0.9, np.maximum(a, b), rng.integers(0, 3, n))
    values = (0.5 * (a - 1) + rng.normal(0, 0.05, n)).astype(np.float32)
    return MemoryRows(EncodedBlock(np.stack([a, b, c, np.zeros(n)], 1).astype(np.uint16), values[:, None]))


def job(epochs: int) -> GanJob:
    settings = TrainSettings(epochs, 100, 1, checkpoint_every=2, ema_decay=0.99)
    return GanJob(SPANS, Conditions.on(SPANS, (0, 1)), NETWORKS, all_given=True, settings=settings)


def test_generated_rows_have_the_given_codes() -> None:
    codes = torch.from_numpy(table(20).block.codes_NC.astype(np.int64))
    _, fake = job(1).trainable(CPU)._generate(Batch(codes, torch.zeros(20, 1)), torch.Generator().manual_seed(0))
    made = fake.vectors_NW[:, 1:].split(SPANS.cardinalities, 1)
    for column in (0, 1):
        torch.testing.assert_close(made[column], torch.nn.functional.one_hot(codes[:, column], 3).float())
    torch.testing.assert_close(made[2].sum(1), torch.ones(20))
    assert ((made[2] > 0) & (made[2] < 1)).any()


@pytest.mark.slow  # `test_conditional_gan.py` has a whole model that learned it
def test_the_others_follow_from_all_given_columns_together() -> None:
    made = job(40)
    result = train_here(made, table(), device=CPU)
    sampler = ConditionalGanSampler(
        spans=SPANS,
        arrays={},
        code_bias_S=np.zeros(SPANS.n_codes),
        conditions=made.conditions,
        shares_K=np.zeros(0),
        hidden=(32, 32),
        given=Uniform(),
    )
    arrays = folded(trained(made.trainable(CPU), result.state).generator, sampler.draw_conditions, 100, 0)
    weights = {0: np.array([1.0, 1.0, 0]), 1: np.array([1.0, 0, 1.0])}
    block = replace(sampler, arrays=arrays).generate(3000, np.random.default_rng(2), weights)
    a, b, c = block.codes_NC[:, :3].T.astype(int)
    assert set(a) == {0, 1} and set(b) == {0, 2}
    for given_b in (0, 2):
        assert (c == np.maximum(a, b))[b == given_b].mean() > 0.6  # the data: 0.93; by chance: 0.33
    assert np.corrcoef(a, block.values_NV[:, 0])[0, 1] > 0.6


def test_resuming_from_disk_equals_training_in_one_go(tmp_path: Path) -> None:
    whole = train_here(job(4), table(300))
    train_here(job(2), table(300), store=FolderStore(tmp_path))
    resumed = train_here(job(4), table(300), store=FolderStore(tmp_path))
    for a, b in zip(whole.state["weights"]["best"], resumed.state["weights"]["best"], strict=True):
        assert torch.equal(a, b)
