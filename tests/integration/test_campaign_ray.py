"""Campaigns over Ray: the driver is killed, a node is lost, and every trial is there exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

N_MODELS = 16
SCRIPT = """
import sys, pandas as pd, ray
from raysynth.campaigns import AttackCampaign
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2 * 10**8)
AttackCampaign(pd.read_parquet(sys.argv[1]), ["copula"], sys.argv[2], attacks=["distance"], n_models=int(sys.argv[3]),
               n_targets=6, n_training=80, seed=5, where="ray").run()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    height = rng.normal(170, 9, 400)
    frame = pd.DataFrame(
        {"height": height, "weight": rng.normal(0.9 * height - 85, 8), "c": rng.choice(["a", "b"], 400)}
    )
    path = tmp_path_factory.mktemp("data") / "people.parquet"
    frame.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return campaign(data, tmp_path_factory.mktemp("local"), where="local").run().to_frame()


@pytest.fixture
def no_ray() -> Iterator[Any]:
    """For a test that starts a cluster of its own."""
    import ray

    ray.shutdown()
    yield ray
    ray.shutdown()


def campaign(data: Path, folder: Path, where: str) -> Any:
    from raysynth.campaigns import AttackCampaign

    return AttackCampaign(
        pd.read_parquet(data),
        ["copula"],
        folder,
        attacks=["distance"],
        n_models=N_MODELS,
        n_targets=6,
        n_training=80,
        seed=5,
        where=where,
    )


def n_done(folder: Path) -> int:
    trials = folder / "trials"
    return sum(not p.name.startswith(".") for p in trials.iterdir()) if trials.exists() else 0  # what is begun is none


def wait_until(true: Any, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_a_killed_driver_loses_and_repeats_nothing(
    data: Path, expected: pd.DataFrame, tmp_path: Path, two_cpus: Any
) -> None:
    folder = tmp_path / "campaign"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(data), str(folder), str(N_MODELS)], start_new_session=True
    )
    try:
        wait_until(lambda: n_done(folder) >= 4 or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # workers of the dead driver may still finish what they had begun
    written = {p.name: p.stat().st_mtime_ns for p in (folder / "trials").iterdir()}
    before = {name: at for name, at in written.items() if not name.startswith(".")}  # what was begun is no trial
    assert 4 <= len(before) < N_MODELS
    results = campaign(data, folder, where="ray").run()
    pd.testing.assert_frame_equal(results.to_frame(), expected)
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "trials").iterdir()}
    assert len(after) == N_MODELS
    assert all(after[name] == time_written for name, time_written in before.items())


@pytest.mark.slow  # a cluster of its own; `test_node_loss.py` loses one under tasks, a driver is lost above
def test_a_lost_node_loses_and_repeats_nothing(data: Path, expected: pd.DataFrame, tmp_path: Path, no_ray: Any) -> None:
    from ray.cluster_utils import Cluster

    folder = tmp_path / "campaign"
    cluster = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 2 * 10**8},
    )
    node = cluster.add_node(num_cpus=1, object_store_memory=2 * 10**8)
    found: list[Any] = []
    runner = threading.Thread(target=lambda: found.append(campaign(data, folder, where="ray").run()))
    try:
        runner.start()
        wait_until(lambda: n_done(folder) >= 4)
        cluster.remove_node(node, allow_graceful=False)
        runner.join(120)
        assert found, "the campaign did not end"
        assert found[0].failures == {}
        pd.testing.assert_frame_equal(found[0].to_frame(), expected)
        assert n_done(folder) == N_MODELS
    finally:
        no_ray.shutdown()
        cluster.shutdown()
