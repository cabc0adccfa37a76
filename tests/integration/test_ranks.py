"""The neural fits over two and four ranks on one machine (gloo), which stand for as many GPUs.

First the jobs in plain processes, where the state of every rank can be looked at; then a whole fit by Ray Train on a
cluster of one CPU, which has no room for all the workers that were asked for.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.multiprocessing as mp
from faults import QUICK_TRAIN

from raysynth import DPTabularVAE
from raysynth.data.sequences import Windows
from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import GanJob
from raysynth.methods.gan.training import GanSettings
from raysynth.methods.shared.spans import Spans
from raysynth.methods.timegan.network import SequenceLayout, VectorLayout
from raysynth.methods.timegan.recipe import TimeGanJob, TimeGanSettings
from raysynth.methods.vae.network import VaeNetworks
from raysynth.methods.vae.recipe import VaeJob, VaeSettings
from raysynth.training.job import Job, Place, train_worker
from raysynth.training.loop import TrainSettings
from raysynth.training.shards import ShardSet, Shares
from raysynth.training.window_shards import write_windows

SPANS = Spans((3, 3, 2), (2,))
ROWS, BATCH, EPOCHS = 2000, 200, 4
LENGTH = 4
STEPS = ROWS // BATCH * EPOCHS
SETTINGS = TrainSettings(EPOCHS, BATCH, 1, ema_decay=0.9)
N = 4000  # rows of the whole fit
PRELOADED = [
    "torch.distributed",
    "pandas",
    "pytest",
    "raysynth.training.distributed",
    "raysynth.methods.vae.recipe",
]  # once
Trained = dict[str, list[dict[str, Any]]]


def gan() -> GanJob:
    networks = GanSettings(16, (32,), (32,), generator_lr=2e-3, discriminator_lr=2e-3, pac=5)
    return GanJob(SPANS, Conditions.on(SPANS, (0, 1)), networks, settings=SETTINGS)


def private_vae() -> VaeJob:
    """Noise small enough to learn under; what the noise must be is `test_private_workers.py`'s question."""
    plan = DpSgdPlan(clip=1.0, noise_multiplier=0.5, sampling_rate=BATCH / ROWS, expected_batch=BATCH, steps=STEPS)
    how, networks = VaeSettings(learning_rate=2e-3, loss_factor=5.0), VaeNetworks(4, (32,), (32,), 0)
    return VaeJob(SPANS, (True, False), networks, how, settings=SETTINGS, plan=plan)


def sequences() -> TimeGanJob:
    none = VectorLayout((), (), (), ())
    layout = SequenceLayout(LENGTH, VectorLayout((1,), (0,), (0,), (0,)), none)
    networks = TimeGanSettings(hidden=8, embedding_share=0.25, projections=16)
    return TimeGanJob(layout, networks, settings=SETTINGS)


JOBS: dict[str, Callable[[], Job]] = {"ctgan": gan, "private autoencoder": private_vae, "sequences": sequences}
AVERAGED = {"ctgan": STEPS, "private autoencoder": STEPS, "sequences": STEPS * 3 // 4}  # not while states are learned


@pytest.fixture(scope="module")
def shards(
    planted_shards: Callable[[int, int], ShardSet], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Shares]:
    """What each job learns from: a table, or windows of 4 of the steps of one series."""
    table = planted_shards(8, ROWS // 8)
    series = np.sin(np.arange(ROWS + LENGTH, dtype=np.float32) / 5)[:, None]
    steps = EncodedBlock(np.zeros(series.shape, np.uint16), series)
    context = EncodedBlock(np.empty((ROWS, 0), np.uint16), np.empty((ROWS, 0), np.float32))
    windows = Windows(np.arange(ROWS), np.full(ROWS, LENGTH))
    in_windows = write_windows(tmp_path_factory.mktemp("windows"), steps, context, windows, LENGTH)
    return {"ctgan": table, "private autoencoder": table, "sequences": in_windows}


def rank_of_all_jobs(rank: int, size: int, shards: dict[str, Shares], folder: str) -> None:
    """One rank: trains each job and writes down what it holds at the end."""
    import torch.distributed as dist

    from raysynth.training.distributed import average_over_workers

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    for name, job in JOBS.items():
        result = train_worker(
            job(),
            shards[name].share(rank, size),
            Place(rank, size, torch.device("cpu"), average_over_workers),
            n_rows=shards[name].n_rows,
            store=None,
            label=name,
        )
        torch.save({"state": result.state, "history": result.history}, Path(folder) / f"{name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)], ids=["2 ranks", "4 ranks"])
def ranks(
    request: pytest.FixtureRequest, shards: dict[str, Shares], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """For each job what each rank holds at the end."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.set_forkserver_preload(PRELOADED)
    args = (request.param, shards, str(folder))
    mp.start_processes(rank_of_all_jobs, args=args, nprocs=request.param, start_method="forkserver")
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(request.param)] for name in JOBS}


def weights_of(trained: dict[str, Any]) -> dict[str, Any]:
    """The moving average in a learner's state."""
    weights: dict[str, Any] = trained["state"]["weights"]
    return weights


@pytest.mark.parametrize("name", list(JOBS))
def test_all_ranks_end_with_the_same_weights_after_the_steps_of_one(ranks: Trained, name: str) -> None:
    first, *others = ranks[name]
    assert [entry["epoch"] for entry in first["history"]] == list(range(1, EPOCHS + 1))
    assert weights_of(first)["steps"] == AVERAGED[name]  # the batch is divided, not multiplied
    for other in others:
        for a, b in zip(weights_of(first)["best"], weights_of(other)["best"], strict=True):
            assert torch.equal(a, b)
        losses = [[{k: v for k, v in e.items() if k != "seconds"} for e in r["history"]] for r in (first, other)]
        assert losses[0] == losses[1]


def test_private_steps_over_ranks_learn(ranks: Trained) -> None:
    losses = [entry["loss"] for entry in ranks["private autoencoder"][0]["history"]]
    assert losses[-1] < losses[0]


# ---- a whole fit by Ray Train on one CPU -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_cpu() -> Iterator[Any]:
    """A cluster of one CPU, which Ray Data and the workers of Ray Train have to share."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        if ray.is_initialized():
            ray.shutdown()
        environment = {"env_vars": QUICK_TRAIN}
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        yield ray
        ray.shutdown()


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, N)
    b = np.where(rng.random(N) < 0.9, a, rng.integers(0, 3, N))
    return pd.DataFrame({"a": np.array(list("xyz"))[a], "b": np.array(list("uvw"))[b], "x": a + rng.normal(0, 0.3, N)})


@pytest.mark.slow  # a Ray of its own; on the shared one it is `test_training_ray.py`'s
def test_a_private_fit_runs_narrower_where_the_cluster_has_no_room(one_cpu: Any) -> None:
    """One to four workers of one CPU each, and a Dataset whose tasks need that CPU too: nobody waits for ever.

    Shards are complete before the first worker starts; one runs, all charged steps are done, the budget is the user's.
    """
    from ray.train import ScalingConfig

    rows = frame()
    dataset = one_cpu.data.from_pandas([rows[i : i + 1000] for i in range(0, N, 1000)])
    model = DPTabularVAE(
        epsilon=3.0,
        delta=1e-5,
        latent_dim=4,
        encoder_layers=(32,),
        decoder_layers=(32,),
        epochs=3,
        scaling_config=ScalingConfig(num_workers=(1, 4), resources_per_worker={"CPU": 1}),
        categorical_columns=["a", "b"],
        continuous_columns=["x"],
        seed=1,
        verbose=False,
    ).fit(dataset)
    assert [entry["epoch"] for entry in model.history_] == [1, 2, 3]
    assert all(np.isfinite(entry["loss"]) for entry in model.history_)
    assert 2.9 < model.privacy_spent_.epsilon <= 3.0 * (1 + 1e-6)
