"""CPUs that a process may use: its affinity and the quota of a container, of control groups version 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raysynth.running import local
from raysynth.running.local import cgroup_quota, cpu_count


def files(root: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("groups", "content", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "max 100000\n"}, 2.0),
        ("0::/job\n", {"job/cpu.max": "400000 100000\n", "cpu.max": "100000 100000\n"}, 1.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        (
            "4:cpu,cpuacct:/docker/a\n2:memory:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_quota_of_a_container(tmp_path: Path, groups: str, content: dict[str, str], expected: float | None) -> None:
    files(tmp_path, {"groups": groups, **{f"cgroup/{name}": text for name, text in content.items()}})
    assert cgroup_quota(tmp_path / "groups", tmp_path / "cgroup") == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 3), (0.2, 1), (1.5, 2), (64.0, 3)])
def test_the_smaller_of_affinity_and_quota_counts(
    quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 4, 5}, raising=False)
    monkeypatch.setattr(local, "cgroup_quota", lambda: quota)
    assert cpu_count() == expected
