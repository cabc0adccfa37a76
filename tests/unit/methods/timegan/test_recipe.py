"""TimeGAN in training: its phases, what it learns, and that a resumed run equals an uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ParameterError
from raysynth.methods.timegan.network import SequenceLayout, VectorLayout
from raysynth.methods.timegan.recipe import TimeGanJob, TimeGanSettings, compared_steps
from raysynth.training.batches import MemoryRows
from raysynth.training.checkpoints import FolderStore
from raysynth.training.job import train_here
from raysynth.training.loop import TrainSettings

STEPS = 6
NONE = VectorLayout((), (), (), ())
LAYOUT = SequenceLayout(STEPS, VectorLayout((1, 2), (0,), (0,), (0, -1)), NONE)


@pytest.fixture(scope="module")
def rows() -> MemoryRows:
    """128 sequences of 2 to 6 steps: a rising or falling line, and a code that says whether it is above 0."""
    rng = np.random.default_rng(0)
    line = rng.uniform(-0.3, 0.3, (128, 1)) + np.linspace(-0.6, 0.6, STEPS) * rng.choice([-1, 1], (128, 1))
    codes = np.stack([np.zeros_like(line), line > 0], axis=2).reshape(128, -1)
    length = rng.integers(2, STEPS + 1, (128, 1))
    return MemoryRows(EncodedBlock(np.concatenate([length, codes], 1).astype(np.uint16), line.astype(np.float32)))


def job(epochs: int = 6, **settings: float) -> TimeGanJob:
    networks = replace(TimeGanSettings(hidden=8, embedding_share=0.5, projections=16), **settings)
    return TimeGanJob(LAYOUT, networks, settings=TrainSettings(epochs, 32, 0, "cosine", checkpoint_every=2))


def test_the_autoencoder_learns_first_and_then_all_networks(rows: MemoryRows) -> None:
    history = train_here(job(40), rows, device=torch.device("cpu")).history
    alone = {"recovery", "supervised"}
    assert [set(h) - {"epoch", "seconds"} == alone for h in history] == [True] * 20 + [False] * 20
    assert history[19]["recovery"] < 0.5 * history[0]["recovery"]
    assert history[-1]["distance"] < 0.5 * history[20]["distance"]
    assert all(np.isfinite(list(h.values())).all() for h in history)


def test_a_resumed_run_equals_an_uninterrupted_one(rows: MemoryRows, tmp_path: Path) -> None:
    device = torch.device("cpu")
    whole = train_here(job(), rows, device=device)
    store = FolderStore(tmp_path)

    class Stopped(Exception):
        pass

    class UntilFourth(FolderStore):
        def report(self, entry, checkpoint):  # type: ignore[no-untyped-def]
            super().report(entry, checkpoint)
            if entry["epoch"] == 4:
                raise Stopped

    with pytest.raises(Stopped):
        train_here(job(), rows, store=UntilFourth(tmp_path), device=device)
    resumed = train_here(job(), rows, store=store, device=device)
    assert [h["epoch"] for h in resumed.history] == [1, 2, 3, 4, 5, 6]
    for found, wanted in zip(resumed.state["weights"]["averaged"], whole.state["weights"]["averaged"], strict=True):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(ParameterError, match="belongs to another table, other hyper-parameters"):
        train_here(job(8), rows, store=store, device=device)  # the phases divide the epochs


def test_noise_in_flat_directions_pulls_no_harder_than_its_share() -> None:
    gan = job(flat_share=0.2).trainable(torch.device("cpu"))
    for noise in (1e-6, 1.0, 1e3):
        made_ND = torch.tensor([[1.0, noise], [-1.0, -noise]], requires_grad=True)
        varied, flat = (made_ND[:, 0] - 3).square().mean(), made_ND[:, 1].square().mean()
        weight = gan._flat_weight(varied, flat, made_ND)
        pulls = [torch.autograd.grad(x, made_ND, retain_graph=True)[0].norm() for x in (varied, weight * flat)]
        assert pulls[1] <= 0.2 * pulls[0] * (1 + 1e-5)
        assert (weight == 1) == (noise < 1)  # small noise is not weighed down
        assert not weight.requires_grad


def test_long_wide_sequences_are_compared_at_some_steps() -> None:
    wide = SequenceLayout(500, VectorLayout((1,) * 20, tuple(range(20)), (0,) * 20, (0,) * 20), NONE)
    steps = compared_steps(wide)
    assert len(steps) == 51 and steps[0] == 0 and steps[-1] == 499 and (steps.diff() > 0).all()
    assert compared_steps(LAYOUT).tolist() == list(range(STEPS))
