"""Which figures of rows exist: the one table from a figure's name to its file, in the order in which they are said."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib import import_module
from typing import Any

from raysynth.evaluation.metrics.metric import Compared, Metric
from raysynth.running.progress import progress

METRICS: dict[str, str] = {
    "realism": "raysynth.evaluation.metrics.realism",
    "manifold": "raysynth.evaluation.metrics.manifold",
    "embedding": "raysynth.evaluation.metrics.embedding",
}


@cache
def metrics() -> dict[str, Metric[Any]]:
    """Every figure by name."""
    return {name: import_module(module).METRIC for name, module in METRICS.items()}


def measure(compared: Compared, wanted: Collection[str]) -> dict[str, Any]:
    """What each figure that is asked for found, by name; one that these rows do not allow is left out."""
    measured = {}
    for name, metric in metrics().items():
        if metric.asked_by in wanted:
            with progress(metric.doing):
                found = metric.compute(compared)
            if found is not None:
                measured[name] = found
    return measured
