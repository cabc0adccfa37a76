"""What a user is told when training on Ray's workers fails (no Ray is started)."""

from __future__ import annotations

import pytest

from raysynth.errors import ClusterError, TrainingError
from raysynth.training.distributed import _explained

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
