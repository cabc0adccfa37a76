"""The autoencoder's learner: learns a planted dependency, goes on from a checkpoint, stops by rows held back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.shared.spans import Spans
from raysynth.methods.vae.network import VaeNetworks
from raysynth.methods.vae.recipe import TrainableVae, VaeJob, VaeSettings
from raysynth.methods.vae.sampler import VaeSampler, decoder_arrays
from raysynth.training.batches import Batch, MemoryRows
from raysynth.training.checkpoints import FolderStore
from raysynth.training.job import CPU, train_here, trained
from raysynth.training.learner import At
from raysynth.training.loop import TrainSettings

SPANS = Spans((3, 3, 2), (2,))
HOW = VaeSettings(learning_rate=5e-3)


def table(n: int = 2000) -> MemoryRows:
    """Columns 0 and 1 agree in 93 of 100 rows; the value is near -0.5, 0 or 0.5 by column 0."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, n)
    b = np.where(rng.random(n) < 0.9, a, rng.integers(0, 3, n))
    values = (0.5 * (a - 1) + rng.normal(0, 0.05, n)).astype(np.float32)
    return MemoryRows(EncodedBlock(np.stack([a, b, np.zeros(n)], 1).astype(np.uint16), values[:, None]))


def job(epochs: int, components: int = 16, how: VaeSettings = HOW, **settings: Any) -> VaeJob:
    networks = VaeNetworks(4, (32,), (32,), components)
    settings = {"checkpoint_every": 2, "ema_decay": 0.99, **settings}
    return VaeJob(SPANS, (True, False), networks, how, settings=TrainSettings(epochs, 100, 1, **settings))


def test_it_learns_a_planted_dependency() -> None:
    made = job(30, how=VaeSettings(5e-3, warm_up_steps=100))
    result = train_here(made, table(), device=CPU)
    arrays = decoder_arrays(trained(made.trainable(CPU), result.state).model)
    sampler = VaeSampler(spans=SPANS, arrays=arrays, code_bias_S=np.zeros(SPANS.n_codes), latent_dim=4)
    block = sampler.generate(4000, np.random.default_rng(2))
    a, b = block.codes_NC[:, 0].astype(int), block.codes_NC[:, 1].astype(int)
    assert (a == b).mean() > 0.85  # independent columns: 0.33
    assert np.corrcoef(a, block.values_NV[:, 0])[0, 1] > 0.9
    assert result.history[-1]["reconstruction"] < result.history[0]["reconstruction"]


class _Noiseless(TrainableVae):
    """Without noise, a batch and its parts have the same gradient."""

    def _noise(self, codes_NC: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return torch.zeros(len(codes_NC), 4)


def test_an_accumulated_step_is_the_step_of_the_whole_batch() -> None:
    rows = table(100)
    codes, values = torch.from_numpy(rows.block.codes_NC.astype(np.int64)), torch.from_numpy(rows.block.values_NV)
    made = []
    for accumulation in (1, 4):
        networks = _Noiseless(job(1, accumulation=accumulation), CPU)
        (update,) = networks.updates(Batch(codes, values), At(0, 0), torch.Generator())
        made.append((update.losses, networks.leaving()))
    (whole, weights), (parts, others) = made
    assert parts["reconstruction"] == pytest.approx(whole["reconstruction"].item(), rel=1e-5)
    for a, b in zip(weights, others, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_resuming_from_disk_equals_training_in_one_go(tmp_path: Path) -> None:
    whole = train_here(job(5, validation_share=0.1), table(400))
    train_here(job(3, validation_share=0.1), table(400), store=FolderStore(tmp_path))
    resumed = train_here(job(5, validation_share=0.1), table(400), store=FolderStore(tmp_path))
    for a, b in zip(whole.state["weights"]["best"], resumed.state["weights"]["best"], strict=True):
        assert torch.equal(a, b)
    assert [e["validation"] for e in whole.history] == [e["validation"] for e in resumed.history]


def test_training_ends_where_rows_held_back_say_so_and_keeps_the_best_weights() -> None:
    """A rate at which the loss jumps about: some epoch is best, and three worse ones end the training."""
    made = job(200, how=VaeSettings(0.05), validation_share=0.2, patience=3)
    result = train_here(made, table(300))
    losses = [e["validation"] for e in result.history]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 4
    assert result.state["weights"]["best_loss"] == pytest.approx(min(losses), rel=1e-6)


def test_the_divergence_counts_more_and_more_over_the_warm_up() -> None:
    how = VaeSettings(warm_up_steps=10)
    np.testing.assert_allclose([how.divergence_weight(step) for step in range(12)], [*np.arange(10) / 10, 1, 1])
