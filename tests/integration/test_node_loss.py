"""Four nodes of one CPU each; one is killed in the middle of each stage: the result is that of an undisturbed run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults import HeldJob, Nodes, a_node_is_lost, a_worker_is_lost, nodes
from shards import write_shards

from raysynth import GaussianCopula
from raysynth.data import fragments as table_module
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.evaluation import statistical_similarity_score
from raysynth.methods.shared.spans import Spans
from raysynth.methods.vae.network import VaeNetworks
from raysynth.methods.vae.recipe import VaeSettings
from raysynth.statistics import collect
from raysynth.training.distributed import train_on_ray
from raysynth.training.loop import TrainSettings

N = 6000
ROWS = 300  # of a fragment
EPOCHS, BATCH = 6, 600  # ten steps an epoch
LOST_AT = 25  # the step in which the node of a worker is killed: in epoch 3


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch, nodes(3, tmp_path_factory.mktemp("nodes")) as made:
        patch.setattr(table_module, "_BLOCK_ROWS", ROWS)
        patch.setattr(table_module, "_FEWEST_ROWS", ROWS)
        yield made


@pytest.fixture(scope="module")
def table(cluster: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Table:
    rng = np.random.default_rng(3)
    x = rng.normal(size=N)
    frame = pd.DataFrame({"x": x, "y": x + rng.normal(size=N), "c": rng.choice(["a", "b", "c"], N)})
    path = tmp_path_factory.mktemp("table") / "rows.parquet"
    frame.to_parquet(path, row_group_size=ROWS)
    return as_table(path)


@pytest.fixture(scope="module")
def model(table: Table) -> GaussianCopula:
    return GaussianCopula(seed=0, verbose=False).fit(table)


def test_statistics(cluster: Nodes, table: Table, tmp_path: Path) -> None:
    assert len(table.fragments) == N // ROWS
    with a_node_is_lost(cluster, "_summarise_fragment", tmp_path / "mark"):
        found = collect(table, where="ray")
    expected = collect(table, where="local")
    assert found.n_rows == expected.n_rows == N
    for name in ("x", "y"):
        a, b = (s.columns[name].distribution().value for s in (found, expected))
        assert (a.mean, a.std) == (b.mean, b.std)
    a, b = (s.columns["c"].categories().value for s in (found, expected))
    assert a.values == b.values
    np.testing.assert_array_equal(a.counts, b.counts)


@pytest.mark.slow  # the stage before has the same tasks of Ray Data
def test_shards(cluster: Nodes, table: Table, model: GaussianCopula, tmp_path: Path) -> None:
    expected = write_shards(table, model.encoder_, tmp_path / "whole", rows_per_shard=200)
    with a_node_is_lost(cluster, "_apply_to_fragment", tmp_path / "mark"):
        found = write_shards(table, model.encoder_, tmp_path / "lost", rows_per_shard=200)
    assert found.shards == expected.shards  # names, rows and checksums
    assert found.share(0, 1).column(0).shape == (N,)


def test_samples(cluster: Nodes, model: GaussianCopula, tmp_path: Path) -> None:
    rows = 6 * 65_536
    expected = model.sample_to(tmp_path / "whole", rows, seed=1, rows_per_file=65_536, where="local")
    with a_node_is_lost(cluster, "_call", tmp_path / "mark"):
        found = model.sample_to(tmp_path / "lost", rows, seed=1, rows_per_file=65_536, where="ray")
    assert found.files == expected.files  # names, rows, bytes and checksums


@pytest.mark.slow  # it reads by the tasks of `test_statistics`
def test_evaluation(cluster: Nodes, table: Table, model: GaussianCopula, tmp_path: Path) -> None:
    made = tmp_path / "made"
    model.sample_to(made, 12 * 65_536, seed=1, rows_per_file=65_536, where="local")
    real = pd.concat([b.to_pandas() for f in table.fragments for b in f.blocks()])
    score = statistical_similarity_score(real_data=real, synthetic_data=str(made))
    with a_node_is_lost(cluster, "_summarise_fragment", tmp_path / "mark"):
        again = statistical_similarity_score(real_data=real, synthetic_data=str(made))
    assert again == score


@pytest.mark.slow  # `test_training_ray.py` loses a worker on a node that stays
def test_training(cluster: Nodes, tmp_path: Path) -> None:
    """The node of a worker is killed in epoch 3 of 6: two others go on from the checkpoint of epoch 2."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    rows = pd.DataFrame({"c": np.random.default_rng(0).choice(["a", "b", "c"], N)})
    encoder = GaussianCopula(seed=0, verbose=False).fit(rows).encoder_
    shards = write_shards(as_table(rows), encoder, tmp_path / "shards", rows_per_shard=1000)
    spread = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}, placement_strategy="SPREAD")
    run = RunConfig(name="lost", storage_path=str(tmp_path), failure_config=FailureConfig(max_failures=2))
    settings, networks = TrainSettings(EPOCHS, BATCH, 1, checkpoint_every=1), VaeNetworks(4, (16,), (16,), 0)
    mark, head = tmp_path / "mark", ray.get_runtime_context().get_node_id()
    job = HeldJob(Spans.of(encoder.layout), (), networks, VaeSettings(), mark, head, LOST_AT, settings=settings)
    with a_worker_is_lost(cluster, mark):
        lost = train_on_ray(job, shards, spread, run)
    cluster.add()  # in place of the lost one
    assert [entry["epoch"] for entry in lost.history] == list(range(1, EPOCHS + 1))
    assert lost.state["weights"]["steps"] == EPOCHS * N // BATCH
    assert sorted(p.name for p in (tmp_path / "lost").glob("checkpoint_*"))
