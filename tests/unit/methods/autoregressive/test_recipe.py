"""The any-order network in training: it learns, holds rows back, keeps the best weights, stops, and resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.autoregressive.network import CodeLayout, NetworkSettings
from raysynth.methods.autoregressive.recipe import AnyOrderJob, AnyOrderSettings
from raysynth.training.batches import MemoryRows, RowsWithout, ValidationBatch
from raysynth.training.checkpoints import FolderStore
from raysynth.training.job import CPU, average_alone, train_here, trained
from raysynth.training.loop import TrainSettings

LAYOUT = CodeLayout((5, 5, 3), (0, 0, 0))


def rows(n: int = 2000) -> MemoryRows:
    """Column 1 is column 0 plus one, modulo 5; column 2 is noise."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 5, n)
    codes = np.stack([first, (first + 1) % 5, rng.integers(0, 3, n)], 1).astype(np.uint16)
    return MemoryRows(EncodedBlock(codes, np.empty((n, 0), np.float32)))


def job(epochs: int = 4, batch_size: int = 64, n: int = 2000, **settings: Any) -> AnyOrderJob:
    settings = {"checkpoint_every": 2, "validation_share": 0.05, "patience": 10, **settings}
    steps = epochs * (n // batch_size)
    return AnyOrderJob(
        LAYOUT,
        NetworkSettings(width=16, hidden=16, layers=1, dropout=0.0),
        AnyOrderSettings(learning_rate=0.02, groups=4, total_steps=steps),
        tuple(np.full(k, 1 / k) for k in LAYOUT.cardinalities),
        settings=TrainSettings(epochs, batch_size, seed=1, **settings),
    )


def test_the_loss_reaches_the_entropy_of_the_table() -> None:
    result = train_here(job(epochs=8), rows(), device=CPU)
    entropy = np.log(5) + np.log(3)
    assert result.history[-1]["validation"] < entropy + 0.15
    assert result.history[0]["validation"] > result.history[-1]["validation"]


def test_held_back_rows_are_not_learned_from() -> None:
    made = job(validation_share=0.1).batches(rows(), batch_size=64, steps=28, rank=0, device=CPU)
    batches = list(made.epoch(0))
    held = sum(len(b.codes_NC) for b in batches if isinstance(b, ValidationBatch))
    assert held == 200
    assert len(made.training.rows) == 1800


def test_rows_without_some_are_all_the_others() -> None:
    numbered = MemoryRows(EncodedBlock(np.arange(10, dtype=np.uint16)[:, None], np.empty((10, 0), np.float32)))
    kept = RowsWithout(numbered, np.array([0, 3, 4, 9]))
    expected = [1, 2, 5, 6, 7, 8]
    assert len(kept) == 6
    assert kept.take(np.arange(6)).codes_NC[:, 0].tolist() == expected
    assert kept.take(np.array([5, 0])).codes_NC[:, 0].tolist() == [8, 1]
    assert kept.column(0).tolist() == expected


def test_training_ends_when_patience_is_over_and_keeps_the_best_weights() -> None:
    few = rows(120)  # noise column: soon learned by heart
    result = train_here(job(epochs=200, batch_size=16, n=120, validation_share=0.3, patience=3), few, device=CPU)
    losses = [h["validation"] for h in result.history]
    assert len(losses) < 200
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert np.isclose(result.state["weights"]["best_loss"], min(losses), atol=1e-3)


def test_without_held_back_rows_the_last_average_is_kept() -> None:
    result = train_here(job(validation_share=0.0), rows(), device=CPU)
    assert len(result.history) == 4
    assert "validation" not in result.history[0]
    for kept, averaged in zip(*(result.state["weights"][key] for key in ("best", "averaged")), strict=True):
        assert torch.equal(kept, averaged)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    table = rows(500)
    whole = train_here(job(n=500), table, device=CPU)
    first = job(n=500)
    short = replace(first, settings=replace(first.settings, epochs=2, checkpoint_every=10))
    train_here(short, table, store=FolderStore(tmp_path), device=CPU)
    resumed = train_here(job(n=500), table, store=FolderStore(tmp_path), device=CPU)
    assert [h["loss"] for h in resumed.history] == [h["loss"] for h in whole.history]
    for a, b in zip(resumed.state["weights"]["best"], whole.state["weights"]["best"], strict=True):
        assert torch.equal(a, b)


def test_the_network_of_a_state_has_the_best_weights() -> None:
    made = job()
    state = made.learner(CPU, average_alone).state_dict()
    state["weights"]["best"] = [torch.full_like(t, 0.25) for t in state["weights"]["best"]]
    assert all((p == 0.25).all() for p in trained(made.trainable(CPU), state).parameters())


def test_the_learning_rate_rises_then_falls() -> None:
    settings = AnyOrderSettings(total_steps=1000)
    factors = [settings.rate_factor(s) for s in (0, 50, 100, 500, 1000)]
    assert factors[0] < factors[1] < factors[2]
    assert factors[2] > factors[3] > factors[4]
    assert 0 < factors[4] <= 0.011
