"""A driver of Ray Train that is stopped in the middle of a training: no encoded row stays, and the next one goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from faults import checkpoints, fit_here, fit_on_ray, stopped_driver

from raysynth import load_synthetic_model
from raysynth.files.private_folder import PREFIX

# two fits of three processes each; `test_campaign_ray.py` loses a driver each time, `test_training_ray.py` resumes, and
# `test_private_folder.py` deletes what a stopped process left
pytestmark = pytest.mark.slow
EPOCHS = 5


def rows_in(storage: Path) -> list[Path]:
    return sorted(storage.rglob("*.npy"))


def test_a_killed_driver_s_rows_are_deleted_and_its_training_is_gone_on_with(two_cpus: None, tmp_path: Path) -> None:
    storage, run = tmp_path / "storage", tmp_path / "storage" / "run"
    command = fit_on_ray(storage, EPOCHS, run=tmp_path / "model")
    assert stopped_driver(command, lambda: len(checkpoints(run)) >= 2) == -signal.SIGKILL
    left = rows_in(storage)
    assert left and all(path.parent.name.startswith(PREFIX) for path in left)
    fit_here(command)
    assert rows_in(storage) == [] and list(storage.rglob(f"{PREFIX}*")) == []
    resumed = load_synthetic_model(tmp_path / "model")
    assert [entry["epoch"] for entry in resumed.history_] == list(range(1, EPOCHS + 1))


def test_ctrl_c_deletes_the_rows_at_once(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    command = fit_on_ray(storage, 200, run=tmp_path / "model")
    code = stopped_driver(command, lambda: len(checkpoints(storage / "run")) >= 2, signal.SIGINT)
    assert code != 0 and not (tmp_path / "model").exists()
    assert rows_in(storage) == [] and list(storage.rglob(f"{PREFIX}*")) == []
