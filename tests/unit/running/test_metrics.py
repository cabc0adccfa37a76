"""Metrics: counted where Ray runs, by names that Prometheus takes; nothing, and no import of Ray, where it does not."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from raysynth.running import metrics


class Counter:
    """Of `ray.util.metrics`."""

    made: list[Counter] = []

    def __init__(self, name: str, description: str) -> None:
        self.name, self.total = name, 0
        self.made.append(self)

    def inc(self, n: int) -> None:
        self.total += n


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> list[Counter]:
    monkeypatch.setattr(metrics, "_counters", {})
    monkeypatch.setattr(Counter, "made", [])
    monkeypatch.setitem(sys.modules, "ray.util.metrics", SimpleNamespace(Counter=Counter))
    return Counter.made


def ray(running: bool) -> Any:
    return SimpleNamespace(is_initialized=lambda: running)


def test_counts_add_up_where_ray_runs(counters: list[Counter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ray(True))
    monkeypatch.setitem(sys.modules, "ray.util", SimpleNamespace(metrics=sys.modules["ray.util.metrics"]))
    metrics.count_done("fragments")
    metrics.count_done("fragments", 2)
    metrics.count_done("rows_written", 0)
    metrics.count_done("trials", 1)
    assert [(c.name, c.total) for c in Counter.made] == [("raysynth_fragments", 3), ("raysynth_trials", 1)]


@pytest.mark.parametrize("found", [None, False])
def test_nothing_is_counted_where_it_does_not(
    found: bool | None, counters: list[Counter], monkeypatch: pytest.MonkeyPatch
) -> None:
    if found is None:
        monkeypatch.delitem(sys.modules, "ray", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "ray", ray(found))
    metrics.count_done("fragments")
    assert Counter.made == [] and metrics._counters == {}
