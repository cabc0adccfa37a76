"""What a user is told when training on Ray's workers waits or fails (no Ray is started)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from raysynth.errors import ClusterError, TrainingError
from raysynth.training.distributed import _explained, completed, say_what_it_waits_for, worker_range

WorkerGroupError = pytest.importorskip("ray.train").WorkerGroupError


def test_a_workers_own_error_is_what_the_user_sees() -> None:
    own = TrainingError("the walk loss is not finite in epoch 3")
    assert _explained(WorkerGroupError("traceback", {0: RuntimeError("gloo"), 1: own})) is own


def test_running_out_of_memory_names_the_cure() -> None:
    error = _explained(WorkerGroupError("traceback", {0: RuntimeError("CUDA out of memory")}))
    assert isinstance(error, TrainingError)
    assert "batch_size" in str(error)


def test_lost_workers_name_the_retries() -> None:
    error = _explained(WorkerGroupError("worker died", {1: ConnectionError("lost")}))
    assert isinstance(error, ClusterError)
    assert "1 of the workers" in str(error) and "max_failures" in str(error)


NO_RETRIES = {"max_failures": 0, "max_preemption_failures": 0}


@pytest.mark.parametrize("said", [None, {}, {"max_failures": 1}, {"max_failures": -1}, NO_RETRIES])
def test_a_run_is_tried_again_unless_the_user_says_otherwise(said: dict[str, int] | None) -> None:
    from ray.train import FailureConfig, RunConfig

    given = None if said is None else FailureConfig(**said)
    found = completed(RunConfig(name="mine", storage_path="/shared/runs", failure_config=given), "/scratch")
    assert (found.name, found.storage_path) == ("mine", "/shared/runs")
    assert found.failure_config == FailureConfig(**(said or {"max_failures": 3}))
    unsaid = completed(None, "/scratch")
    assert unsaid.failure_config == FailureConfig(max_failures=3) and unsaid.storage_path == "/scratch"


@pytest.mark.parametrize(
    ("workers", "per_worker", "found", "waits"),
    [
        (4, {"CPU": 1}, {"CPU": 2.0}, "4 workers need 4 CPU, and the cluster has 2 CPU"),
        (4, {"CPU": 0.5}, {"CPU": 2.0}, ""),
        ((1, 4), {"CPU": 1}, {"CPU": 1.0}, ""),
        ((2, 4), {"CPU": 1}, {"CPU": 1.0}, "2 workers need 2 CPU, and the cluster has 1 CPU"),
        (1, {"CPU": 1, "GPU": 1}, {"CPU": 8.0}, "need 1 GPU, and the cluster has 8 CPU, 0 GPU"),
    ],
)
def test_a_cluster_without_room_is_told_of(
    workers: int | tuple[int, int],
    per_worker: dict[str, float],
    found: Mapping[str, float],
    waits: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from ray.train import ScalingConfig

    scaling = ScalingConfig(num_workers=workers, resources_per_worker=per_worker, use_gpu="GPU" in per_worker)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "raysynth"):
        say_what_it_waits_for(scaling, found)
    assert waits in caplog.text if waits else caplog.text == ""
    assert worker_range(scaling) == (workers if isinstance(workers, tuple) else (workers, workers))
