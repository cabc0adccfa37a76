"""Methods for sequences on two workers of Ray Train, by the same call as tables; one of the workers is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from raysynth import AutoregressiveSequences, TimeSeriesGAN
from raysynth.methods.sequences.rows import CHUNK_SEQUENCES, Coders
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer
from raysynth.methods.timegan.recipe import TimeGanJob, TrainableTimeGan
from raysynth.training.batches import Batch
from raysynth.training.learner import At, Update

pytest.importorskip("ray")

FEW, MANY, STEPS, BATCH, EPOCHS = 400, 2000, 8, 50, 6
RHO, LEVEL = 0.8, 1.5
Fits = dict[str, Future[SequenceSynthesizer]]


def panel(n: int) -> pd.DataFrame:
    """n sequences of 8 steps: x_t = 0.8 x_{t-1} + noise of a variance that keeps 1, about a level of the group."""
    rng = np.random.default_rng(0)
    is_high, x = rng.random(n) < 0.5, np.empty((n, STEPS))
    x[:, 0] = rng.normal(size=n)
    for t in range(1, STEPS):
        x[:, t] = RHO * x[:, t - 1] + np.sqrt(1 - RHO**2) * rng.normal(size=n)
    x += np.where(is_high, LEVEL, -LEVEL)[:, None]
    group = np.where(is_high, "high", "low")
    return pd.DataFrame({"id": np.repeat(np.arange(n), STEPS), "group": np.repeat(group, STEPS), "x": x.ravel()})


@dataclass(frozen=True)
class FragileJob(TimeGanJob):
    """A TimeGAN whose rank 1 ends its process without a word in the middle of epoch 3, once."""

    die: Path = field(default=Path(), repr=False)

    def trainable(self, device: torch.device) -> TrainableTimeGan:
        from ray import train

        made = super().trainable(device)
        if not torch.distributed.is_initialized():  # the driver, which takes the weights from the result
            return made
        inner, is_last = made.updates, train.get_context().get_world_rank() == 1

        def updates(batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
            if is_last and at.step == FEW // BATCH * 5 // 2 and not self.die.exists():
                self.die.touch()
                os._exit(1)
            return inner(batch, at, rng)

        made.updates = updates
        return made


class FragileGan(TimeSeriesGAN):
    """Trains a `FragileJob`."""

    die: Path = field(init=False)

    def _job(self, coders: Coders, seed: int, n_sequences: int) -> TimeGanJob:
        job = super()._job(coders, seed, n_sequences)
        return FragileJob(**{f.name: getattr(job, f.name) for f in fields(job)}, die=self.die)


def spread(folder: Path, name: str, retries: int) -> dict[str, Any]:
    """What a user says for two workers; half a CPU each, so that several fits of this module run at once."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

    return {
        "scaling_config": ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.3}),
        "run_config": RunConfig(
            name=name,
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=retries),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
        "checkpoint_every": 2,
        "sequence_key": "id",
        "seed": 0,
        "verbose": False,
    }


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def rows_of(folder: Path) -> AutoregressiveSequences:
    return AutoregressiveSequences(units=16, width=16, hidden=8, epochs=EPOCHS, **spread(folder, "rows", 0))


@pytest.fixture(scope="module", params=["rows", pytest.param("gan", marks=pytest.mark.slow)])
def fitted(request: pytest.FixtureRequest, two_cpus: None, storage: Path) -> tuple[str, SequenceSynthesizer]:
    """Name and model: of rows one after the other, and a GAN that loses a worker."""
    if request.param == "rows":
        return "rows", rows_of(storage).fit(panel(FEW))
    gan = FragileGan(hidden_dim=16, epochs=EPOCHS, batch_size=BATCH, **spread(storage, "gan", 1))
    gan.die = storage / "died"
    return "gan", gan.fit(panel(FEW))


@pytest.fixture(scope="module")
def learned(two_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> Fits:
    """Both methods on rows enough to learn from, and nothing is lost."""
    folder = tmp_path_factory.mktemp("learned")
    gan = TimeSeriesGAN(hidden_dim=16, epochs=EPOCHS, batch_size=BATCH, **spread(folder, "gan", 0))
    models: dict[str, SequenceSynthesizer] = {"gan": gan, "rows": rows_of(folder)}
    data = panel(MANY)
    with ThreadPoolExecutor(len(models)) as pool:
        return {name: pool.submit(model.fit, data) for name, model in models.items()}


def of_group(table: pd.DataFrame, group: str) -> np.ndarray:
    return table.loc[table["group"] == group, "x"].to_numpy().reshape(-1, STEPS)


@pytest.mark.slow  # `test_ranks.py` has the same weights on all ranks, and one worker's learning is tested by method
@pytest.mark.parametrize(("name", "within"), [("gan", 0.1), ("rows", 0.15)])
def test_two_workers_learn_level_spread_and_dependency(learned: Fits, name: str, within: float) -> None:
    """One worker comes as near: a lag-1 correlation of 0.74 to 0.82 (`rows`: 0.85 to 0.88) for 0.80."""
    model = learned[name].result()
    made = model.sample(1500, seed=1)
    for group, level in (("high", LEVEL), ("low", -LEVEL)):
        x = of_group(made, group)
        assert len(x) == pytest.approx(750, abs=100)
        assert x.mean() == pytest.approx(level, abs=0.3) and x.std() == pytest.approx(1, abs=0.35)
        assert np.corrcoef(x[:, :-1].ravel(), x[:, 1:].ravel())[0, 1] == pytest.approx(RHO, abs=within)
    if name == "gan":
        assert model.history_[5]["distance"] < model.history_[1]["distance"]


def test_no_epoch_is_left_out_where_a_worker_is_lost_or_none(
    fitted: tuple[str, SequenceSynthesizer], storage: Path
) -> None:
    """Rank 1 of the GAN ends in epoch 3 of 6: the fit goes on from the checkpoint of epoch 2, where the networks
    already play.

    That it then equals an undisturbed one is tested in `test_training_ray.py` and, alone, by `resume`.
    """
    name, model = fitted
    assert [entry["epoch"] for entry in model.history_] == [1, 2, 3, 4, 5, 6]
    if name == "gan":
        assert (storage / "died").exists()
        playing = ["distance" in entry for entry in model.history_]
        assert playing == [False] + [True] * 5  # states are learned in the first epoch
        assert all(np.isfinite(entry["distance"]) for entry in model.history_[1:])


def test_curves_and_checkpoints_are_kept_and_encoded_rows_are_not(
    fitted: tuple[str, SequenceSynthesizer], storage: Path
) -> None:
    name, model = fitted
    assert len(model.sample(30, seed=1)) == 30 * STEPS
    assert list((storage / name / "tensorboard").iterdir()) and list((storage / name).glob("checkpoint_*"))
    assert not list(storage.rglob("encoded-rows-*"))


def test_a_dataset_has_the_sequences_of_sample_in_their_order(fitted: tuple[str, SequenceSynthesizer]) -> None:
    """A chunk and a part; conditions, too."""
    model, n = fitted[1], CHUNK_SEQUENCES + 7
    found = model.sample_dataset(n, {"group": "low"}, seed=4).to_pandas()
    expected = model.sample(n, {"group": "low"}, seed=4)
    assert len(found) == n * STEPS and set(found["group"]) == {"low"}
    pd.testing.assert_frame_equal(found.astype(expected.dtypes), expected, check_exact=True)
