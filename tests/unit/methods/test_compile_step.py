"""`compile_step`: the same quality, kept with the model, refused under a budget."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import CTGAN, AutoregressiveSynthesizer, TabularVAE, load_synthetic_model
from raysynth.errors import ParameterError
from raysynth.methods.base import Synthesizer
from raysynth.training import compiled

SMALL: dict[type[Synthesizer], dict[str, Any]] = {
    TabularVAE: {"epochs": 60, "batch_size": 100, "learning_rate": 1e-2, "latent_dim": 8, "prior_components": 32},
    AutoregressiveSynthesizer: {"epochs": 20, "width": 16, "hidden": 16},
    CTGAN: {"epochs": 2, "generator_dim": (16,), "discriminator_dim": (16,)},
}


def people(n: int = 1500) -> pd.DataFrame:
    """Income grows with age; the job decides who owns a car."""
    rng = np.random.default_rng(0)
    age, job = rng.integers(18, 80, n), rng.choice(["cook", "driver", "nurse"], n, p=[0.5, 0.3, 0.2])
    income = np.round(age * 500 + rng.normal(0, 2000, n), 2)
    return pd.DataFrame({"age": age, "income": income, "job": job, "car": np.where(job == "driver", "yes", "no")})


@pytest.mark.slow  # two whole fits of each; `test_compiled.py` compares every loss and gradient
@pytest.mark.parametrize("method", [TabularVAE, AutoregressiveSynthesizer])
def test_the_quality_is_that_of_a_plain_fit(method: type[Synthesizer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    scores: list[list[float]] = []
    for wanted in (False, True):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="compile_step")
            model = method(seed=1, verbose=False, compile_step=wanted, **SMALL[method]).fit(people())
        rows = model.sample(4000, seed=0)
        owns = ((rows["job"] == "driver") == (rows["car"] == "yes")).mean()
        scores.append([rows["age"].corr(rows["income"]), owns, *rows["job"].value_counts(normalize=True).sort_index()])
    assert scores[0][0] > 0.8 and scores[0][1] > 0.9
    assert scores[1] == pytest.approx(scores[0], abs=0.03)


@pytest.mark.parametrize("method", SMALL)
def test_it_is_off_by_default_and_a_parameter_like_others(method: type[Synthesizer], tmp_path: Path) -> None:
    assert method().get_params()["compile_step"] is False
    assert method(compile_step=True).get_params()["compile_step"] is True
    with pytest.raises(ParameterError, match="compile_step must be True or False"):
        method(compile_step="yes", verbose=False).fit(people(100))


def test_the_model_file_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    small = {**SMALL[AutoregressiveSynthesizer], "epochs": 1}
    AutoregressiveSynthesizer(seed=0, verbose=False, compile_step=True, **small).fit(people(300)).save(tmp_path / "m")
    assert load_synthetic_model(tmp_path / "m").get_params()["compile_step"] is True


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.parametrize("budget", [{"epsilon": 3.0}, {"differential_privacy": True, "epsilon": 3.0}])
def test_a_private_fit_refuses_it_before_anything_is_released(method: type[Synthesizer], budget: Any) -> None:
    with pytest.raises(ParameterError, match="compile_step=True does not go with a privacy budget"):
        method(compile_step=True, verbose=False, **budget).fit(people(300))
