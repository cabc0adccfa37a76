"""A driver of Ray Train that is stopped in the middle of a training: no encoded row stays, and the next one goes on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from faults import checkpoints, fit_on_ray, stopped_driver

from raysynth import load_synthetic_model
from raysynth.files.private_folder import PREFIX

# two fits of three processes each; `test_campaign_ray.py` loses a driver each time, `test_training_ray.py` resumes, and
# `test_private_folder.py` deletes what a stopped process left
pytestmark = pytest.mark.slow
EPOCHS = 5


def rows_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_a_killed_driver_s_rows_are_deleted_and_its_training_is_gone_on_with(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    command = fit_on_ray(storage, EPOCHS, run=tmp_path / "model")
    assert stopped_driver(command, lambda: len(checkpoints(storage / "run")) >= 2) == -signal.SIGKILL
    left = rows_in(tmp_path)
    assert left and rows_in(storage) == [], "on the workers' scratch disk alone"
    assert all(any(part.startswith(PREFIX) for part in path.parts) for path in left)
    subprocess.run(command, check=True)
    assert rows_in(tmp_path) == [] and list(tmp_path.rglob(f"{PREFIX}*")) == []
    resumed = load_synthetic_model(tmp_path / "model")
    assert [entry["epoch"] for entry in resumed.history_] == list(range(1, EPOCHS + 1))


def test_ctrl_c_deletes_the_rows_at_once(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    command = fit_on_ray(storage, 200, run=tmp_path / "model")
    code = stopped_driver(command, lambda: len(checkpoints(storage / "run")) >= 2, signal.SIGINT)
    assert code != 0 and not (tmp_path / "model").exists()
    assert rows_in(tmp_path) == [], "a checkpoint that was on its way goes with the next start"
