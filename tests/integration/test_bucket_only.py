"""Two nodes of one processor, each with a scratch disk of its own, and only a bucket in common: fits, rows, figures.

The bucket is a server on loopback (moto). A node that is killed in the middle of the fit loses what lay on its disk;
the results are those of one process, and no node keeps rows on its disk at the end. (`test_node_loss.py` loses a node
in each other stage.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.fs as pafs
import pytest
from faults import Nodes, a_node_is_lost, nodes
from object_store import object_store

from raysynth import GaussianCopula, TabularVAE, load_synthetic_model
from raysynth.data import fragments as table_module
from raysynth.evaluation import statistical_similarity_score
from raysynth.files.storage import place
from raysynth.tuning import on_ray, sweep

N, ROWS = 4000, 500  # of the table, of a fragment


@pytest.fixture(scope="module")
def store() -> Iterator[pafs.FileSystem]:
    with object_store("127.0.0.1") as filesystem:
        yield filesystem


@pytest.fixture(scope="module")
def cluster(store: pafs.FileSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Its processes find the bucket by the environment that they inherit."""
    with pytest.MonkeyPatch.context() as patch, nodes(2, tmp_path_factory.mktemp("nodes")) as made:
        patch.setattr(table_module, "_BLOCK_ROWS", ROWS)
        patch.setattr(table_module, "_FEWEST_ROWS", ROWS)
        yield made


@pytest.fixture(scope="module")
def table(store: pafs.FileSystem) -> str:
    """A folder of Parquet files in the bucket."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=N)
    frame = pd.DataFrame({"x": x, "y": x + rng.normal(size=N), "c": np.where(x > 0, "a", "b")})
    for part in range(2):
        with store.open_output_stream(f"bucket/table/part-{part}.parquet") as stream:
            frame[part * N // 2 : (part + 1) * N // 2].to_parquet(stream, index=False, row_group_size=ROWS)
    return "s3://bucket/table"


def test_a_table_is_counted_though_a_node_is_lost_then_sampled_and_evaluated(
    cluster: Nodes, table: str, tmp_path: Path
) -> None:
    with a_node_is_lost(cluster, "_summarise_fragment", tmp_path / "fit"):
        GaussianCopula(seed=0, verbose=False).fit(table).save("s3://bucket/copula.raysynth")
    model = load_synthetic_model("s3://bucket/copula.raysynth")
    alone = GaussianCopula(seed=0, verbose=False).fit(pd.read_parquet(table))
    pd.testing.assert_frame_equal(model.sample(200, seed=3), alone.sample(200, seed=3))
    rows = 2 * 65_536
    here = model.sample_to(tmp_path / "here", rows, seed=1, rows_per_file=65_536, where="local")
    made = model.sample_to("s3://bucket/made", rows, seed=1, rows_per_file=65_536, where="ray")
    assert made.files == here.files  # names, rows, bytes and checksums
    assert statistical_similarity_score(table, "s3://bucket/made") > 0.95
    assert cluster.rows() == []


def test_a_network_learns_over_both_nodes_with_checkpoints_in_the_bucket(
    cluster: Nodes, table: str, store: pafs.FileSystem
) -> None:
    from ray.train import RunConfig, ScalingConfig

    sizes = {"latent_dim": 2, "encoder_layers": (16,), "decoder_layers": (16,), "prior_components": 2}
    spread = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}, placement_strategy="STRICT_SPREAD")
    run = RunConfig(name="vae", storage_path="s3://bucket/runs")
    model = TabularVAE(**sizes, epochs=2, batch_size=200, seed=0, verbose=False, scaling_config=spread, run_config=run)
    model.fit(table).save("s3://bucket/vae.raysynth")
    assert [entry["epoch"] for entry in model.history_] == [1, 2]
    kept = store.get_file_info(pafs.FileSelector("bucket/runs/vae", recursive=True))
    assert any("checkpoint_" in info.path for info in kept)
    again = load_synthetic_model("s3://bucket/vae.raysynth").sample(300, seed=2)
    pd.testing.assert_frame_equal(again, model.sample(300, seed=2))
    assert cluster.rows() == []


def test_a_sweep_is_kept_in_the_bucket_though_a_node_is_lost_and_is_not_repeated(
    cluster: Nodes, table: str, tmp_path: Path
) -> None:
    wanted = {"methods": ["copula"], "n_seeds": 3, "out": "s3://bucket/choice", "target_columns": "c"}
    with a_node_is_lost(cluster, "_trainable", tmp_path / "trial", on_ray):
        found = sweep(table, **wanted)
    assert [r.status for r in found.results] == ["finished"] * 3
    assert len(place("s3://bucket/choice/models").sizes()) == 3
    again = sweep(table, **wanted)
    assert again.repeated == 3 and again.results == found.results
    best = found.best()
    pd.testing.assert_frame_equal(again.best().sample(100, seed=1), best.sample(100, seed=1))
    found.generate_report("s3://bucket/choice/report.html")
    assert cluster.rows() == []
