"""What a sweep refuses before any work: each time with the name and the cure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import DataError, ParameterError, StorageError
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.tuning import sweep
from raysynth.tuning.on_ray import _at_once

FEW = pd.DataFrame({"x": np.arange(60.0) % 7, "c": ["a", "b", "c"] * 20})
WITHOUT_EPSILON = [m for m in METHODS if not getattr(synthesizer_class(m), "has_differential_privacy", False)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["magic"]}, "unknown method 'magic'"),
        ({"objective": "beauty"}, "objective must be one of utility"),
        ({"selection": "beauty"}, "selection must be one of internal, proxy, private"),
        ({"epsilons": []}, "epsilons must be numbers > 0"),
        ({"epsilons": [-1.0]}, "epsilons must be numbers > 0"),
        ({"epsilons": [math.nan]}, "epsilons must be numbers > 0"),
        ({"n_seeds": 0}, "n_seeds must be a whole number"),
        ({"holdout_share": 1.0}, "holdout_share must be between"),
        ({"parameters": {"n_bins": -1}}, "n_bins must be"),
        ({"proxy_data": FEW}, "proxy_data belongs to selection='proxy'"),
        ({"target_columns": "height"}, "'height' is not compared"),
    ],
    ids=lambda o: str(o)[:30],
)
def test_bad_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        sweep(FEW, **{"methods": ["copula"], "out": tmp_path / "s", **options})


@pytest.mark.skipif(not WITHOUT_EPSILON, reason="every method takes an epsilon")
def test_a_method_without_epsilon_is_refused_for_a_finite_one(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=f"'{WITHOUT_EPSILON[0]}' takes no epsilon in this version"):
        sweep(FEW, WITHOUT_EPSILON[:1], [1.0, math.inf], out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 40 rows"):
        sweep(FEW[:30], ["copula"], out=tmp_path / "s")


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text("{}")
    with pytest.raises(StorageError, match="holds another sweep"):
        sweep(FEW, ["copula"], out=tmp_path / "s")


def test_as_many_trials_at_a_time_as_have_their_processors() -> None:
    from ray.train import ScalingConfig

    assert _at_once({"CPU": 2.0}, 1.0, None) == 2
    assert _at_once({"CPU": 2.0}, 0.25, None) == 8
    wide = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5})
    assert _at_once({"CPU": 2.0}, 1.0, wide) == 2
    with pytest.raises(ParameterError, match="one trial needs 4 CPU of 2"):
        _at_once({"CPU": 2.0}, 4.0, None)
