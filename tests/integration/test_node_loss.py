"""Four nodes of one CPU each; one is killed in the middle of each stage: the result is that of an undisturbed run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from raysynth import GaussianCopula, ray_execution
from raysynth import table as table_module
from raysynth.evaluation import statistical_similarity_score
from raysynth.models.spans import Spans
from raysynth.models.vae import VaeNetworks
from raysynth.statistics import collect
from raysynth.table import Table, as_table
from raysynth.training.batches import Batch
from raysynth.training.distributed import train_on_ray
from raysynth.training.job import Average
from raysynth.training.loop import TrainSettings
from raysynth.training.shards import write_shards
from raysynth.training.vae import VaeJob, VaeLearner, VaeSettings

N = 6000
ROWS = 300  # of a fragment
STAGE_SECONDS = 60.0
EPOCHS, BATCH = 6, 600  # ten steps an epoch
LOST_AT = 25  # the step in which the node of a worker is killed: in epoch 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    if ray.is_initialized():
        ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(table_module, "_BLOCK_ROWS", ROWS)
        patch.setattr(table_module, "_FEWEST_ROWS", ROWS)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(2):
            made.add_node(num_cpus=1)
        env = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}  # a report waits for the next look at the workers
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": env})
        yield made
        ray.shutdown()
        made.shutdown()


@contextmanager
def a_node_is_lost(cluster: Any, task: str, mark: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fourth node that is killed as soon as a task of the stage is running on it; the task waits for that."""
    node = cluster.add_node(num_cpus=1)
    patch.setattr(ray_execution, task, held_on(node.node_id, mark, getattr(ray_execution, task)))
    killed = threading.Event()

    def kill() -> None:
        until = time.monotonic() + STAGE_SECONDS
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        killer.join()
        patch.undo()
    assert mark.exists(), "no task of the stage was running on the node"


def held_on(node_id: str, mark: Path, run: Callable[..., Any]) -> Callable[..., Any]:
    """The same task, but on one node it says that it has begun and never ends; a closure, so that it travels whole."""

    def task(*args: Any) -> Any:
        import time

        import ray

        if ray.get_runtime_context().get_node_id() == node_id:
            mark.touch()
            time.sleep(1e6)  # until the node is killed
        while not mark.exists():  # all others wait, so that the stage is not over before the node has a task
            time.sleep(0.02)
        return run(*args)

    return task


@pytest.fixture(scope="module")
def table(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Table:
    rng = np.random.default_rng(3)
    x = rng.normal(size=N)
    frame = pd.DataFrame({"x": x, "y": x + rng.normal(size=N), "c": rng.choice(["a", "b", "c"], N)})
    path = tmp_path_factory.mktemp("table") / "rows.parquet"
    frame.to_parquet(path, row_group_size=ROWS)
    return as_table(path)


@pytest.fixture(scope="module")
def model(table: Table) -> GaussianCopula:
    return GaussianCopula(seed=0, verbose=False).fit(table)


def test_statistics(cluster: Any, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(table.fragments) == N // ROWS
    with a_node_is_lost(cluster, "_summarise_fragment", tmp_path / "mark", monkeypatch):
        found = collect(table, where="ray")
    expected = collect(table, where="local")
    assert found.n_rows == expected.n_rows == N
    for name in ("x", "y"):
        a, b = (s.columns[name].distribution().value for s in (found, expected))
        assert (a.mean, a.std) == (b.mean, b.std)
    a, b = (s.columns["c"].categories().value for s in (found, expected))
    assert a.values == b.values
    np.testing.assert_array_equal(a.counts, b.counts)


def test_shards(
    cluster: Any, table: Table, model: GaussianCopula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write_shards(table, model.encoder_, tmp_path / "whole", rows_per_shard=200)
    with a_node_is_lost(cluster, "_apply_to_fragment", tmp_path / "mark", monkeypatch):
        found = write_shards(table, model.encoder_, tmp_path / "lost", rows_per_shard=200)
    assert found.shards == expected.shards  # names, rows and checksums
    assert found.share(0, 1).column(0).shape == (N,)


def test_samples_and_their_evaluation(
    cluster: Any, table: Table, model: GaussianCopula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 12 * 65_536
    expected = model.sample_to(tmp_path / "whole", rows, seed=1, rows_per_file=65_536, where="local")
    with a_node_is_lost(cluster, "_call", tmp_path / "mark", monkeypatch):
        found = model.sample_to(tmp_path / "lost", rows, seed=1, rows_per_file=65_536, where="ray")
    assert found.files == expected.files  # names, rows, bytes and checksums
    real = pd.concat([b.to_pandas() for f in table.fragments for b in f.blocks()])
    score = statistical_similarity_score(real_data=real, synthetic_data=str(tmp_path / "whole"))
    with a_node_is_lost(cluster, "_summarise_fragment", tmp_path / "mark2", monkeypatch):
        again = statistical_similarity_score(real_data=real, synthetic_data=str(tmp_path / "lost"))
    assert again == score


# ---- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldJob(VaeJob):
    """An autoencoder, one of whose workers, not on the head, says in a step where it runs and goes no further, once."""

    mark: Path | None = None
    head: str = ""

    def learner(self, device: torch.device, average: Average) -> VaeLearner:
        import ray

        node = ray.get_runtime_context().get_node_id()
        return HeldLearner(self, node, device=device, average=average)


class HeldLearner(VaeLearner):
    """See `HeldJob`."""

    def __init__(self, job: HeldJob, node: str, *, device: torch.device, average: Average) -> None:
        super().__init__(job, device=device, average=average)
        self.mark, self.node = (None if node == job.head else job.mark), node

    def step(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:  # type: ignore[override]
        if self.mark is not None and self.weights.steps == LOST_AT and not self.mark.exists():
            whole = self.mark.with_suffix(f".{os.getpid()}")
            whole.write_text(self.node)
            whole.rename(self.mark)
            time.sleep(1e6)  # until the node is killed
        return super().step(batch, rng)


def autoencoder(spans: Spans, mark: Path, head: str) -> HeldJob:
    settings = TrainSettings(EPOCHS, BATCH, 1, checkpoint_every=1)
    return HeldJob(spans, (), VaeNetworks(4, (16,), (16,), 0), VaeSettings(), settings, None, mark, head)


def test_training(cluster: Any, tmp_path: Path) -> None:
    """The node of a worker is killed in epoch 3 of 6: two others go on from the checkpoint of epoch 2."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    rows = pd.DataFrame({"c": np.random.default_rng(0).choice(["a", "b", "c"], N)})
    encoder = GaussianCopula(seed=0, verbose=False).fit(rows).encoder_
    shards = write_shards(as_table(rows), encoder, tmp_path / "shards", rows_per_shard=1000)
    spread = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}, placement_strategy="SPREAD")
    head = ray.get_runtime_context().get_node_id()
    mark = tmp_path / "mark"

    def kill() -> None:
        until = time.monotonic() + STAGE_SECONDS
        while not mark.exists() and time.monotonic() < until:
            time.sleep(0.02)
        if mark.exists():
            (node,) = (n for n in cluster.list_all_nodes() if n.node_id == mark.read_text())
            cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    run = RunConfig(name="lost", storage_path=str(tmp_path), failure_config=FailureConfig(max_failures=2))
    lost = train_on_ray(autoencoder(Spans.of(encoder.layout), mark, head), shards, spread, run)
    killer.join()
    cluster.add_node(num_cpus=1)  # in place of the lost one
    assert mark.exists(), "no worker ran on another node than the head"
    assert [entry["epoch"] for entry in lost.history] == list(range(1, EPOCHS + 1))
    assert lost.state["weights"]["steps"] == EPOCHS * N // BATCH
    assert sorted(p.name for p in (tmp_path / "lost").glob("checkpoint_*"))
