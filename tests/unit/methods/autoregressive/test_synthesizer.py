"""Tests of the any-order synthesizer on a small table whose dependences are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import ConditionError, DataError, ModelFileError, NotFittedError, ParameterError
from raysynth.methods.autoregressive.synthesizer import AutoregressiveSynthesizer, default_batch_size, default_epochs
from raysynth.training.batches import Batches

CITIES = np.array(["Aachen", "Bonn", "Celle", "Dresden"])
COUNTRY = {"Aachen": "west", "Bonn": "west", "Celle": "north", "Dresden": "east"}


def people(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """City decides the country; income grows with age; a third of the weights are missing, only in the west."""
    rng = np.random.default_rng(seed)
    city = CITIES[rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])]
    age = rng.integers(18, 80, n)
    income = np.round(age * 500 + rng.normal(0, 2000, n) + 10_000, 2)
    country = pd.Series(city).map(COUNTRY).to_numpy()
    weight = np.where((country == "west") & (rng.random(n) < 0.5), np.nan, rng.normal(70, 10, n))
    return pd.DataFrame({"city": city, "country": country, "age": age, "income": income, "weight": weight})


def fitted(**parameters: Any) -> AutoregressiveSynthesizer:
    given = {"width": 32, "hidden": 32, "epochs": 40, "seed": 1, "verbose": False, **parameters}
    return AutoregressiveSynthesizer(**given).fit(people())


@pytest.fixture(scope="module")
def model() -> AutoregressiveSynthesizer:
    return AutoregressiveSynthesizer(width=32, hidden=32, epochs=40, n_bins=30, seed=1, verbose=False).fit(people(8000))


def test_marginals_and_dependences_are_learned(model: AutoregressiveSynthesizer) -> None:
    rows = model.sample(6000, seed=0)
    assert list(rows) == list(people())
    assert rows["city"].value_counts(normalize=True)["Aachen"] == pytest.approx(0.4, abs=0.04)
    assert (rows["city"].map(COUNTRY) == rows["country"]).mean() > 0.98
    assert rows["age"].corr(rows["income"]) > 0.95
    missing = rows["weight"].isna().groupby(rows["country"]).mean()
    assert missing["west"] == pytest.approx(0.5, abs=0.06)
    assert missing["north"] < 0.03


def test_the_same_seed_gives_the_same_model_and_rows(model: AutoregressiveSynthesizer) -> None:
    assert model.sample(50, seed=3).equals(model.sample(50, seed=3))
    assert not model.sample(50, seed=3).equals(model.sample(50, seed=4))
    short = {"epochs": 2}
    assert fitted(**short).sample(50, seed=3).equals(fitted(**short).sample(50, seed=3))


@pytest.mark.parametrize(
    "conditions",
    [
        {"city": "Dresden"},
        {"city": ["Bonn", "Celle"], "age": (30, 40)},
        {"income": (20_000, 25_000), "country": "east"},
        {"weight": None, "age": 50},
    ],
)
def test_conditions_hold_in_every_row(model: AutoregressiveSynthesizer, conditions: dict[str, Any]) -> None:
    rows = model.sample(300, conditions, seed=0)
    assert len(rows) == 300
    for column, wanted in conditions.items():
        if wanted is None:
            assert rows[column].isna().all()
        elif isinstance(wanted, tuple):
            assert rows[column].between(*wanted).all()
        else:
            assert rows[column].isin(wanted if isinstance(wanted, list) else [wanted]).all()


def test_the_other_columns_follow_the_condition(model: AutoregressiveSynthesizer) -> None:
    rows = model.sample(500, {"income": (45_000, 50_000)}, seed=0)
    assert rows["age"].mean() == pytest.approx(75, abs=3)


def test_an_impossible_condition_is_refused(model: AutoregressiveSynthesizer) -> None:
    with pytest.raises(ConditionError, match="city"):
        model.sample(10, {"city": "Paris"})


def test_likely_rows_have_a_higher_log_probability(model: AutoregressiveSynthesizer) -> None:
    held_out = people(300, seed=9)
    broken = held_out.assign(country=held_out["country"].to_numpy()[::-1])
    good, bad = model.log_prob(held_out), model.log_prob(broken)
    assert list(good) == ["log_prob", "spread"]
    assert good["log_prob"].mean() > bad["log_prob"].mean() + 1
    assert (model.log_prob(held_out, n_orders=1)["spread"] == 0).all()
    assert model.log_prob(held_out).equals(good)


@pytest.mark.parametrize("how", ["sample", "best"])
def test_gaps_are_filled_and_known_cells_kept(model: AutoregressiveSynthesizer, how: Any) -> None:
    rows = people(400, seed=5).drop(columns="weight")
    gaps = rows.mask(np.random.default_rng(0).random(rows.shape) < 0.3)
    gaps.index += 1000
    done = model.impute(gaps, how=how, seed=0)
    assert done.index.equals(gaps.index)
    assert not done[list(rows)].isna().any().any()
    kept = gaps.notna().to_numpy()
    assert (done[list(rows)].to_numpy()[kept] == rows.to_numpy()[kept]).all()
    gap = gaps["country"].isna() & gaps["city"].notna()
    assert (done["country"][gap] == gaps["city"][gap].map(COUNTRY)).mean() > 0.95
    assert not done["weight"].isna().any()  # a column that the rows lack is filled in


def test_the_best_guess_of_a_number_is_near_and_says_how_sure_it_is(model: AutoregressiveSynthesizer) -> None:
    rows = people(400, seed=6)
    done, sure = model.impute(rows.assign(income=np.nan, country=None), how="best", seed=0, confidence=True)
    error = (done["income"] - rows["income"]).abs().mean()
    assert error < 3500  # noise alone: 1,600; without knowing age: 7,800
    assert sure["city"].isna().all()
    assert sure["country"].between(0.9, 1.0001).mean() > 0.95
    assert sure["income"].between(0, 1).all()


def test_rebalancing_gives_a_column_the_wanted_shares(model: AutoregressiveSynthesizer) -> None:
    rows = model.sample_rebalanced(401, "city", {"Dresden": 3, "Aachen": 1}, seed=0)
    assert rows["city"].value_counts().to_dict() == {"Dresden": 301, "Aachen": 100}
    assert (rows["city"].map(COUNTRY) == rows["country"]).mean() > 0.97
    assert rows["city"].head(100).nunique() == 2
    with pytest.raises(ParameterError, match="shares"):
        model.sample_rebalanced(10, "city", {"Aachen": -1})


def test_temperature_can_be_changed_after_the_fit(model: AutoregressiveSynthesizer) -> None:
    cold = model.clone()
    cold._state = model._state
    cold.set_params(temperature=0.3)
    assert cold.sample(2000, seed=0)["city"].eq("Aachen").mean() > 0.5
    with pytest.raises(ParameterError, match="temperature"):
        cold.set_params(temperature=0.0).sample(5)


def test_a_saved_model_gives_the_same_rows(model: AutoregressiveSynthesizer, tmp_path: Path) -> None:
    from raysynth import load_synthetic_model
    from raysynth.files.model_file import read_model, write_model

    model.save(tmp_path / "model.raysynth")
    loaded = AutoregressiveSynthesizer._from_content(read_model(tmp_path / "model.raysynth"))
    assert loaded.sample(100, seed=2).equals(model.sample(100, seed=2))
    assert loaded.history_ == model.history_
    assert loaded.sample(600, seed=2).equals(model.sample(600, seed=2))  # several orders
    content = read_model(tmp_path / "model.raysynth")
    assert content.meta["model"].pop("order_rows") == 256
    earlier = AutoregressiveSynthesizer._from_content(content)
    assert earlier.sampler_.order_rows == 4096
    assert not earlier.sample(600, seed=2).equals(model.sample(600, seed=2))
    content.arrays["model.head"] = content.arrays["model.head"][:, :-1]
    write_model(tmp_path / "cut.raysynth", content)
    with pytest.raises(ModelFileError, match="head"):
        load_synthetic_model(tmp_path / "cut.raysynth")


def test_partial_rows_of_another_table_are_refused(model: AutoregressiveSynthesizer) -> None:
    with pytest.raises(DataError, match="shoe"):
        model.impute(pd.DataFrame({"shoe": [1]}))
    with pytest.raises(DataError, match="age"):
        model.impute(pd.DataFrame({"age": ["old"]}))
    with pytest.raises(NotFittedError):
        AutoregressiveSynthesizer().impute(people(5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"dropout": 1.0},
        {"temperature": -1.0},
        {"precision": "half"},
        {"differential_privacy": True, "epsilon": 0.0},
        {"epsilon": 1.0, "delta": 1.0},
        {"validation_share": 0.9},
        {"width": 2.5},
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        AutoregressiveSynthesizer(**wrong).fit("/no/such/file.csv")


def test_a_table_of_one_column_and_few_rows_can_be_learned() -> None:
    one = pd.DataFrame({"x": ["a", "b"] * 20})
    made = AutoregressiveSynthesizer(epochs=3, verbose=False, seed=0).fit(one)
    assert set(made.sample(50, seed=0)["x"]) == {"a", "b"}


def test_defaults_follow_the_size_of_the_table() -> None:
    assert [default_epochs(n) for n in (100, 13_000, 26_000, 233_333)] == [
        (172, None),
        (34, None),
        (27, None),
        (4, None),
    ]
    assert [default_epochs(n) for n in (300_000, 10**7, 10**8)] == [(4, 233_333), (20, 233_333), (63, 233_333)]
    assert [default_batch_size(n) for n in (100, 10_000, 10**8)] == [64, 200, 512]


def test_epochs_of_a_large_table_show_a_part_of_it_and_patience_can_act(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4,000 rows where 600 are to be seen: 14 epochs of 200 rows, not 3 of all; patience of 1 ends them earlier."""
    monkeypatch.setattr("raysynth.methods.autoregressive.synthesizer.ROWS_TO_SEE", 600)
    table = pd.DataFrame({"x": np.random.default_rng(0).integers(0, 3, 4_000), "y": ["a", "b"] * 2_000})
    whole = AutoregressiveSynthesizer(verbose=False, seed=0, batch_size=64, patience=0).fit(table)
    assert len(whole.history_) == 14 and whole.sampler_ is not None
    steps: list[int] = []
    epoch = Batches.epoch
    monkeypatch.setattr(Batches, "epoch", lambda self, number: steps.append(self.steps) or epoch(self, number))
    stopped = AutoregressiveSynthesizer(verbose=False, seed=0, batch_size=64, patience=1, learning_rate=1.0).fit(table)
    assert set(steps) == {3} and len(stopped.history_) < 14
