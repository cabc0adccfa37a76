"""fit(resume=...): a lost run goes on from its latest checkpoint and equals one that was not lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import GaussianCopula, TabularGAN
from raysynth.errors import ParameterError
from raysynth.training.checkpoints import FILE_NAME


def rows(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.choice(list("xyz"), n), "b": rng.normal(size=n)})


def gan(epochs: int, folder: Path | None = None, **parameters: Any) -> TabularGAN:
    run_config = None if folder is None else SimpleNamespace(storage_path=str(folder), name="run")
    given = {"batch_size": 50, "generator_dim": (16,), "discriminator_dim": (16,), "seed": 3, **parameters}
    return TabularGAN(epochs=epochs, run_config=run_config, verbose=False, **given)  # type: ignore[arg-type]


def test_it_equals_a_run_that_was_not_lost(tmp_path: Path) -> None:
    whole = gan(4).fit(rows())
    gan(2, tmp_path).fit(rows())
    resumed = gan(4).fit(rows(), resume=tmp_path / "run")
    assert [e["epoch"] for e in resumed.history_] == [1, 2, 3, 4]
    assert resumed.sample(100, seed=0).equals(whole.sample(100, seed=0))
    assert (tmp_path / "run" / "tensorboard").is_dir()


def test_the_folders_of_ray_train_and_another_storage_path(tmp_path: Path) -> None:
    """The last of Ray's checkpoints counts; the new run keeps its own checkpoints where its run_config says."""
    gan(2, tmp_path / "old").fit(rows())
    for name in ("checkpoint_2026-01-01_10-00-00.1", "checkpoint_2026-01-01_10-00-05.2"):
        (tmp_path / "ray" / name).mkdir(parents=True)
    (tmp_path / "ray" / "checkpoint_2026-01-01_10-00-00.1" / FILE_NAME).write_bytes(b"an older one, not looked at")
    newest = tmp_path / "ray" / "checkpoint_2026-01-01_10-00-05.2"
    shutil.move(tmp_path / "old" / "run" / FILE_NAME, newest / FILE_NAME)
    resumed = gan(3, tmp_path / "new").fit(rows(), resume=tmp_path / "ray")
    assert len(resumed.history_) == 3
    assert (tmp_path / "new" / "run" / FILE_NAME).exists()


def test_what_cannot_go_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no checkpoint in"):
        gan(1).fit(rows(), resume=tmp_path)
    with pytest.raises(ParameterError, match="keeps no checkpoints"):
        GaussianCopula(verbose=False).fit(rows(), resume=tmp_path)
    with pytest.raises(ParameterError, match="needs the seed"):
        gan(1, seed=None).fit(rows(), resume=tmp_path)
    gan(1, tmp_path).fit(rows())
    with pytest.raises(ParameterError, match="another seed"):
        gan(2, seed=4).fit(rows(), resume=tmp_path / "run")
