"""Which Ray is connected to: none that was killed and is only noted still."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from raysynth.errors import ClusterError
from raysynth.running.ray_session import start_ray

ray = pytest.importorskip("ray")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What Ray is started with; it is not. Its notes lie in a folder of the test's own."""
    asked: list[Any] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address=None, **_: asked.append(address))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


def note(folder: Path, address: str) -> None:
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address)


def test_a_cluster_that_was_killed_is_not_waited_for(
    given: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        note(tmp_path, address)
        with caplog.at_level(logging.WARNING, "raysynth"):
            start_ray()
    assert given == ["local"] and f"names a cluster at {address} that is no more" in caplog.text


def test_a_cluster_that_lives_is_ray_s_to_find(given: list[Any], tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        note(tmp_path, f"127.0.0.1:{server.getsockname()[1]}")
        start_ray()
    assert given == [None]


def test_a_named_cluster_that_is_gone_is_an_error(given: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ClusterError, match="cannot reach the cluster at RAY_ADDRESS"):
            start_ray()
    assert given == []
