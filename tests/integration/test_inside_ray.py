"""Called from other people's Ray programs, where all CPUs are held: done in the process, or refused; never a hang.

A limit of 90 s tells a hang, which has none, from a start of a worker on a busy machine; alone on two cores each case
takes under 10 s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import GaussianCopula
from raysynth.errors import ClusterError
from raysynth.running import ray_session

SECONDS = 90.0


@pytest.fixture(scope="module")
def one_cpu() -> Iterator[Any]:
    import ray

    ray.shutdown()  # the one that other modules share
    theirs = {"namespace": "theirs", "runtime_env": {"env_vars": {"THEIRS": "1"}}}
    ray.init("local", num_cpus=1, object_store_memory=2 * 10**8, include_dashboard=False, log_to_driver=False, **theirs)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 Parquet files of 30,000 made rows (fixed seed): two fragments."""
    rng = np.random.default_rng(4)
    made = tmp_path_factory.mktemp("table")
    for i in range(40):
        frame = pd.DataFrame({"age": rng.integers(18, 90, 30_000), "town": rng.choice(["Bonn", "Celle"], 30_000)})
        frame.to_parquet(made / f"part-{i:02d}.parquet")
    return made


def fitted_and_sampled(folder: Path, out: Path) -> int:
    """Rows written: learned from 1.2 M, 140,000 in three files."""
    assert os.environ.get("THEIRS") == "1"  # this runs on their Ray, in the environment that they asked for
    model = GaussianCopula(seed=1, verbose=False).fit(folder)
    return model.sample_to(out, 140_000, seed=1, rows_per_file=65_536).rows


def in_an_actor(ray: Any, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What `work` gives inside an actor that holds one CPU."""

    class Holder:
        def do(self) -> Any:
            return work(*arguments)

    actor = ray.remote(num_cpus=1)(Holder).options(**options).remote()
    try:
        return ray.get(actor.do.remote(), timeout=SECONDS)
    finally:
        ray.kill(actor)


def test_in_an_actor_that_holds_the_only_cpu(one_cpu: Any, folder: Path, tmp_path: Path) -> None:
    assert in_an_actor(one_cpu, fitted_and_sampled, folder, tmp_path) == 140_000


def test_in_an_actor_of_a_full_placement_group(one_cpu: Any, folder: Path, tmp_path: Path) -> None:
    """Tasks of the actor are captured by the group, which has no room for them."""
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([{"CPU": 1}])
    one_cpu.get(group.ready(), timeout=SECONDS)
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    try:
        rows = in_an_actor(one_cpu, fitted_and_sampled, folder, tmp_path, scheduling_strategy=inside)
        assert rows == 140_000
    finally:
        remove_placement_group(group)


def test_in_a_trial_of_tune(one_cpu: Any, folder: Path, tmp_path: Path) -> None:
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        tune.report({"rows": fitted_and_sampled(folder, tmp_path / "out")})

    tuner = tune.Tuner(trial, run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0))
    result = tuner.fit()[0]
    assert result.error is None and result.metrics is not None and result.metrics["rows"] == 140_000


def test_a_dataset_there_is_refused_with_the_cure(one_cpu: Any, folder: Path) -> None:
    def fit() -> str:
        import ray

        try:
            GaussianCopula(verbose=False).fit(ray.data.read_parquet(str(folder)))
        except ClusterError as error:
            return str(error)
        return "fitted"

    assert "none of Ray's CPUs is free" in in_an_actor(one_cpu, fit)


def test_where_a_cpu_is_free_the_work_goes_over_ray_and_out_of_the_group(
    one_cpu: Any, folder: Path, tmp_path: Path
) -> None:
    """An actor without a CPU, in a group that captures its tasks: they run outside, on the CPU that is free."""
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    def processes() -> set[int]:
        from raysynth.data.table import as_table
        from raysynth.running.runner import for_each_fragment

        return {*for_each_fragment(as_table(folder), lambda index, blocks: os.getpid()), -os.getpid()}

    group = placement_group([{"memory": 1}])
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    try:
        found = in_an_actor(one_cpu, processes, num_cpus=0, scheduling_strategy=inside)
    finally:
        remove_placement_group(group)
    own = -min(found)
    assert own not in found and len(found) >= 2


def test_the_environment_of_the_process_is_as_it_was(one_cpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    with ray_session._variable("RAYSYNTH_TEST", "1"):
        assert os.environ["RAYSYNTH_TEST"] == "1"
    monkeypatch.setenv("RAYSYNTH_SET", "mine")
    with ray_session._variable("RAYSYNTH_SET", "1"):
        assert os.environ["RAYSYNTH_SET"] == "mine"
    assert {k: v for k, v in os.environ.items() if k != "RAYSYNTH_SET"} == before
