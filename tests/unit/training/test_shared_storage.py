"""Training on several nodes keeps its checkpoints where all of them see them: said before anything is encoded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from raysynth import TabularVAE
from raysynth.errors import ParameterError
from raysynth.methods.shared import neural
from raysynth.training import distributed
from raysynth.training.distributed import check_storage


def node(cpus: float, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus} if cpus else {}}


def cluster(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, Any]) -> None:
    monkeypatch.setattr(distributed, "start_ray", lambda: SimpleNamespace(nodes=lambda: list(nodes)))


@pytest.mark.parametrize("nodes", [(node(2), node(2)), (node(0),)], ids=["two nodes", "head of an autoscaled cluster"])
def test_other_nodes_without_shared_storage_are_refused(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[dict[str, Any], ...]
) -> None:
    cluster(monkeypatch, *nodes)
    with pytest.raises(ParameterError, match="storage_path='s3://bucket/runs' or '/shared/runs'"):
        check_storage(is_shared=False)
    check_storage(is_shared=True)


def test_one_node_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, node(2), node(2, alive=False))
    check_storage(is_shared=False)


def test_a_fit_is_refused_before_its_shards_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train import ScalingConfig

    cluster(monkeypatch, node(2), node(2))
    monkeypatch.setattr(neural, "stream_shards", lambda *_, **__: pytest.fail("shards were written"))
    model = TabularVAE(scaling_config=ScalingConfig(num_workers=2), epochs=1, seed=0, verbose=False)
    with pytest.raises(ParameterError, match="all of them see"):
        model.fit(pd.DataFrame({"a": range(50), "b": ["x", "y"] * 25}))
