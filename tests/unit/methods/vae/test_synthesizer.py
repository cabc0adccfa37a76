"""TabularVAE end to end on a small table; DPTabularVAE (see test_private_training.py) needs a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import DPTabularVAE, TabularVAE, generate_synthetic_data, load_synthetic_model
from raysynth.errors import ModelFileError, ParameterError
from raysynth.files.model_file import read_model, write_model
from raysynth.methods.vae.synthesizer import default_batch_size, default_epochs


def people(n: int = 2000) -> pd.DataFrame:
    """Income grows with age; the job decides who owns a car; every fourth height is missing."""
    rng = np.random.default_rng(0)
    age, job = rng.integers(18, 80, n), rng.choice(["cook", "driver", "nurse"], n, p=[0.5, 0.3, 0.2])
    return pd.DataFrame(
        {
            "age": age,
            "income": np.round(age * 500 + rng.normal(0, 2000, n), 2),
            "job": job,
            "car": np.where(job == "driver", "yes", "no"),
            "height": np.where(rng.random(n) < 0.25, np.nan, rng.normal(170, 10, n)),
        }
    )


@pytest.fixture(scope="module")
def model() -> TabularVAE:
    sizes = {"latent_dim": 8, "prior_components": 32, "encoder_layers": (64,), "decoder_layers": (64,)}
    return TabularVAE(epochs=50, learning_rate=5e-3, seed=1, verbose=False, **sizes).fit(people(1500))


def test_marginals_and_dependences_are_learned(model: TabularVAE) -> None:
    rows = model.sample(4000, seed=0)
    assert list(rows) == list(people())
    assert (rows["job"] == "cook").mean() == pytest.approx((people()["job"] == "cook").mean(), abs=0.04)
    assert ((rows["job"] == "driver") == (rows["car"] == "yes")).mean() > 0.95
    assert rows["age"].corr(rows["income"]) > 0.85  # the data: 0.98
    assert rows["height"].isna().mean() == pytest.approx(0.25, abs=0.03)


def test_a_file_gives_the_same_rows_and_holds_no_encoder_of_rows(model: TabularVAE, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = load_synthetic_model(tmp_path / "m")
    assert isinstance(loaded, TabularVAE)
    assert loaded.sample(200, seed=5).equals(model.sample(200, seed=5))
    assert loaded.history_ == model.history_
    assert {k for k in read_model(tmp_path / "m").arrays if k.startswith("model.weight")} == {
        f"model.weight.{i}" for i in range(2)
    }


def test_a_file_with_another_decoder_is_refused(model: TabularVAE, tmp_path: Path) -> None:
    content = model._content()
    content.arrays["model.bias.0"] = content.arrays["model.bias.0"][:-1]
    write_model(tmp_path / "m", content)
    with pytest.raises(ModelFileError, match="weight"):
        load_synthetic_model(tmp_path / "m")


@pytest.mark.parametrize(
    "conditions", [{"job": "nurse", "age": (30, 40)}, {"job": ["cook", "nurse"], "height": None}, {"age": 50}]
)
def test_conditions_hold_in_every_row(model: TabularVAE, conditions: dict[str, Any]) -> None:
    rows = model.sample(100, conditions, seed=0)
    assert len(rows) == 100
    for column, wanted in conditions.items():
        if wanted is None:
            assert rows[column].isna().all()
        elif isinstance(wanted, tuple):
            assert rows[column].between(*wanted).all()
        else:
            assert rows[column].isin(wanted if isinstance(wanted, list) else [wanted]).all()


def test_the_papers_prior_and_a_validation_loss() -> None:
    made = TabularVAE(epochs=3, prior_components=0, validation_share=0.1, patience=2, seed=1, verbose=False)
    rows = made.fit(people(300)).sample(50, seed=0)
    assert len(rows) == 50
    assert all(np.isfinite(e["validation"]) for e in made.history_)


def test_a_table_without_numbers() -> None:
    rows = TabularVAE(epochs=2, seed=1, verbose=False).fit(people(300)[["job", "car"]]).sample(20, seed=0)
    assert rows["job"].isin(["cook", "driver", "nurse"]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"encoder_layers": ()}, "encoder_layers"),
        ({"warm_up": 2}, "warm_up"),
        ({"loss_factor": 0}, "loss_factor"),
        ({"patience": 3}, "validation_share"),
        ({"schedule": "steps"}, "schedule"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        TabularVAE(verbose=False, **wrong).fit(people(50))


def test_defaults_by_the_size_of_the_table() -> None:
    assert [default_epochs(n) for n in (10, 26_049, 10**7)] == [(600, None), (39, None), (17, 333_333)]
    assert [default_batch_size(n) for n in (10, 5000, 26_049, 10**8)] == [32, 100, 250, 250]


def test_one_call() -> None:
    rows = generate_synthetic_data(people(300), method="tvae", epochs=2, seed=1, n_samples=10)
    assert list(rows) == list(people(5))


def test_without_its_guarantee_the_private_one_does_not_train() -> None:
    made = DPTabularVAE(epsilon=None, latent_dim=50)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="within a budget only"):
        made.fit(people(50))
