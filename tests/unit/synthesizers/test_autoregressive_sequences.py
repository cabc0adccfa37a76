"""AutoregressiveSequences: dependencies in time recovered, arrays and tables, conditions, seeds, files, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import AutoregressiveSequences, TimeSeriesGAN, generate_synthetic_data, load_synthetic_model
from raysynth.errors import (
    ConditionError,
    DataError,
    ModelFileError,
    NotFittedError,
    ParameterError,
    RaysynthError,
    SchemaError,
)
from raysynth.model_file import read_model, write_model

QUICK: dict[str, Any] = {"epochs": 3, "units": 16, "width": 16, "hidden": 8, "seed": 3, "verbose": False}
SMALL: dict[str, Any] = {"units": 24, "width": 24, "hidden": 12, "dropout": 0.1, "seed": 0, "verbose": False}


@pytest.fixture(scope="module")
def of_visits(visits: pd.DataFrame) -> AutoregressiveSequences:
    return AutoregressiveSequences(sequence_key="patient", time_column="day", **QUICK).fit(visits)


def test_autocorrelation_of_a_series_is_recovered() -> None:
    """x_t = 0.8 x_{t-1} + e_t from its stationary law: autocorrelation 0.8^k at every lag, variance 1 / (1 - 0.64).

    600 real and 1,500 made series of 20 steps: the standard error of a lag's correlation is 0.02, the bound 4 of them.
    """
    rng = np.random.default_rng(0)
    x = np.empty((600, 20, 1))
    x[:, 0] = rng.normal(0, 1 / 0.6, (600, 1))
    for t in range(1, 20):
        x[:, t] = 0.8 * x[:, t - 1] + rng.normal(0, 1, (600, 1))
    made = AutoregressiveSequences(epochs=6, **SMALL).fit(x).sample(1500)
    assert abs(made.mean()) < 0.25 and abs(made.std() * 0.6 - 1) < 0.1
    for lag in (1, 2, 5):
        found = np.corrcoef(made[:, lag:].ravel(), made[:, :-lag].ravel())[0, 1]
        assert abs(found - 0.8**lag) < 0.08
    assert abs(made[:, 0].std() * 0.6 - 1) < 0.15  # the first step has the stationary law too


def test_transitions_of_a_chain_are_recovered() -> None:
    """States that follow one another by a matrix that depends on the entity's group, in sequences of 3 to 14 rows.

    About 8,500 real transitions, 550 or more from each state and group: standard errors below 0.022, the bound 5.
    """
    rng = np.random.default_rng(1)
    matrices = {
        "calm": np.array([[0.8, 0.15, 0.05], [0.3, 0.6, 0.1], [0.2, 0.4, 0.4]]),
        "wild": np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]]),
    }
    rows = []
    for entity in range(1100):
        group, state = str(rng.choice(["calm", "wild"])), int(rng.integers(0, 3))
        for t in range(int(rng.integers(3, 15))):
            rows.append((entity, group, t, "abc"[state]))
            state = int(rng.choice(3, p=matrices[group][state]))
    table = pd.DataFrame(rows, columns=["id", "group", "t", "state"])
    model = AutoregressiveSequences(sequence_key="id", time_column="t", epochs=12, **SMALL).fit(table)
    for group, wanted in matrices.items():
        made = model.sample(1000, conditions={"group": group})
        assert set(made["group"]) == {group}
        followed = made.groupby("id")["state"].shift(-1)
        found = pd.crosstab(made["state"], followed, normalize="index").to_numpy()
        assert np.abs(found - wanted).max() < 0.11
    lengths = model.sample(2000).groupby("id").size()
    assert lengths.between(3, 14).all() and abs(lengths.mean() - 8.5) < 0.5


def test_numbers_keep_their_distance_from_each_other() -> None:
    """Walks over a wide range whose second number is a little above the first: bins of the level would lose that."""
    rng = np.random.default_rng(2)
    low = 100 + rng.normal(0, 30, (300, 1)) + rng.normal(0, 0.5, (300, 15)).cumsum(1)
    bars = np.stack([low, low + rng.uniform(0.1, 0.6, low.shape)], 2)
    made = AutoregressiveSequences(epochs=10, **SMALL).fit(bars).sample(300)
    gap = np.diff(made, axis=2)
    assert (gap > 0).mean() > 0.97 and abs(gap.mean() - 0.35) < 0.05
    assert 0.8 < np.diff(made, axis=1).std() / np.diff(bars, axis=1).std() < 1.25
    assert 0.85 < made.std() / bars.std() < 1.15


def test_a_long_table_comes_back_as_one(of_visits: AutoregressiveSequences, visits: pd.DataFrame) -> None:
    made = of_visits.sample(60)
    assert of_visits.static_columns_ == ("clinic", "born") and of_visits.sequence_length_ == 9
    pd.testing.assert_series_equal(made.dtypes, visits.dtypes)
    by_patient = made.groupby("patient", sort=False)
    assert by_patient.ngroups == 60 and not set(made["patient"]) & set(visits["patient"])
    assert (by_patient[["clinic", "born"]].nunique() == 1).all(axis=None)
    lengths = by_patient.size()
    assert lengths.min() >= 1 and lengths.max() <= 9 and lengths.nunique() > 4
    assert by_patient["day"].apply(lambda d: d.is_monotonic_increasing).all()
    assert set(by_patient["day"].diff().dropna().dt.days) <= {1, 7, 30}
    assert set(made["drug"].dropna()) <= {"none", "a", "b"} and made["drug"].notna().all()
    assert 0.05 < made["pressure"].isna().mean() < 0.5
    assert made["pressure"].dropna().round(1).equals(made["pressure"].dropna())
    assert (
        made["pressure"].between(visits["pressure"].min(), visits["pressure"].max()).sum() == made["pressure"].count()
    )


def test_conditions_on_static_columns_hold(of_visits: AutoregressiveSequences) -> None:
    made = of_visits.sample(25, conditions={"clinic": "south", "born": (1950, 1970)})
    assert made["patient"].nunique() == 25
    assert set(made["clinic"]) == {"south"} and made["born"].between(1950, 1970).all()
    quotas = of_visits.sample(conditions=[({"clinic": "south"}, 3), ({"clinic": "north"}, 5)])
    assert quotas.groupby("patient")["clinic"].first().value_counts().to_dict() == {"north": 5, "south": 3}
    long = of_visits.sample(10, conditions={"sequence length": (7, 9)})
    assert long.groupby("patient").size().between(7, 9).all()
    with pytest.raises(ConditionError, match="'pressure': the column is made along each sequence.*clinic, born"):
        of_visits.sample(5, conditions={"pressure": (100, 120)})


def test_seeds_reproduce(of_visits: AutoregressiveSequences, visits: pd.DataFrame) -> None:
    parameters = {"sequence_key": "patient", "time_column": "day", **QUICK}
    again = generate_synthetic_data(visits, method="autoregressive_sequences", n_samples=20, **parameters)
    pd.testing.assert_frame_equal(again, of_visits.sample(20))
    pd.testing.assert_frame_equal(of_visits.sample(20, seed=8), of_visits.sample(20, seed=8))
    assert not of_visits.sample(20, seed=8).equals(of_visits.sample(20, seed=9))


def test_a_model_file_gives_the_same_sequences(
    of_visits: AutoregressiveSequences, waves: np.ndarray, tmp_path: Path
) -> None:
    of_waves = AutoregressiveSequences(**QUICK).fit(waves)
    for model in (of_visits, of_waves):
        model.save(tmp_path / "model")
        loaded = load_synthetic_model(tmp_path / "model")
        assert type(loaded) is AutoregressiveSequences and loaded.history_ == model.history_
        wanted, found = model.sample(20, seed=1), loaded.sample(20, seed=1)
        assert found.equals(wanted) if isinstance(found, pd.DataFrame) else np.array_equal(found, wanted)
    assert of_waves.sample(0).shape == (0, 12, 2)


def test_parts_of_other_models_do_not_load(
    of_visits: AutoregressiveSequences, waves: np.ndarray, tmp_path: Path
) -> None:
    path, other = tmp_path / "visits", tmp_path / "waves"
    of_visits.save(path)
    AutoregressiveSequences(**QUICK).fit(waves).save(other)
    content, foreign = read_model(path), read_model(other)
    content.meta["model"]["network"] = foreign.meta["model"]["network"]
    arrays = {k: v for k, v in content.arrays.items() if not k.startswith("model.network.")}
    arrays |= {k: v for k, v in foreign.arrays.items() if k.startswith("model.network.")}
    content.arrays.clear()
    content.arrays.update(arrays)
    write_model(path, content)
    with pytest.raises(ModelFileError, match="do not belong together"):
        load_synthetic_model(path)


def test_whole_entities_are_held_back_and_training_ends_early() -> None:
    rng = np.random.default_rng(4)
    walks = [
        pd.DataFrame({"share": f"S{i}", "close": rng.normal(size=40).cumsum(), "up": rng.choice(["y", "n"], 40)})
        for i in range(30)
    ]
    frame = pd.concat(walks, ignore_index=True)
    parameters = {**QUICK, "epochs": 60, "patience": 1, "validation_share": 0.2, "learning_rate": 0.1}
    model = AutoregressiveSequences(sequence_key="share", sequence_length=10, **parameters).fit(frame)
    assert len(model.history_) < 60 and all("validation" in entry for entry in model.history_)
    made = model.sample()
    assert (made.groupby("share").size() == 10).all()


def test_temperature_makes_rows_more_typical(of_visits: AutoregressiveSequences) -> None:
    usual = of_visits.sample(200, seed=1)["drug"].value_counts(normalize=True)
    of_visits.temperature = 0.05
    try:
        typical = of_visits.sample(200, seed=1)["drug"].value_counts(normalize=True)
    finally:
        of_visits.temperature = 1.0
    assert typical.max() > usual.max() + 0.1
    pd.testing.assert_series_equal(of_visits.sample(200, seed=1)["drug"].value_counts(normalize=True), usual)


def test_sequences_of_one_row(visits: pd.DataFrame) -> None:
    frame = visits.drop_duplicates("patient")
    made = AutoregressiveSequences(sequence_key="patient", **QUICK).fit(frame).sample(30)
    assert len(made) == 30 and made["patient"].nunique() == 30


BAD: list[tuple[dict[str, Any], str, type[RaysynthError], str]] = [
    ({}, "visits", ParameterError, "sequence_key is missing"),
    ({"sequence_key": "patient", "features": 3}, "visits", ParameterError, "features belongs to an array"),
    ({"sequence_key": "patient", "categorical_columns": ["drugs"]}, "visits", SchemaError, "no column 'drugs'"),
    ({"sequence_key": "patient", "static_columns": "clinic"}, "visits", ParameterError, "must be a list of names"),
    ({"sequence_key": "patient", "epsilon": 3.0}, "visits", ParameterError, "no differential privacy.*DPTabularVAE"),
    ({"differential_privacy": True}, "waves", ParameterError, "no differential privacy.*one row of each entity"),
    ({"sequence_key": "patient"}, "waves", ParameterError, "sequence_key belongs to a long table"),
    ({"sequence_length": 24}, "waves", DataError, "sequence_length is 24, but the array has 12 steps"),
    ({"scaling_config": object()}, "waves", ParameterError, "AutoregressiveSequences trains in this process only"),
    ({"units": 0}, "waves", ParameterError, "units must be a whole number"),
    ({"learning_rate": 2.0}, "waves", ParameterError, "learning_rate must be above 0 and at most 1"),
    ({"dropout": 1.0}, "waves", ParameterError, "dropout must be from 0 to 0.95"),
]


@pytest.mark.parametrize(("parameters", "data", "error", "message"), BAD, ids=[b[3][:30] for b in BAD])
def test_bad_input_is_refused_before_training(
    parameters: dict[str, Any],
    data: str,
    error: type[RaysynthError],
    message: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AutoregressiveSequences, "_train", lambda *_: pytest.fail("training began"))
    model = AutoregressiveSequences(**{**QUICK, **parameters})
    with pytest.raises(error, match=message):
        model.fit(request.getfixturevalue(data))
    with pytest.raises(NotFittedError):
        model.sample(3)


def test_both_methods_take_and_give_the_same(of_visits: AutoregressiveSequences, tmp_path: Path) -> None:
    own, other = (set(cls._parameter_names()) for cls in (AutoregressiveSequences, TimeSeriesGAN))
    assert {
        "sequence_key",
        "time_column",
        "static_columns",
        "sequence_length",
        "features",
        "window_step",
    } <= own & other
    with pytest.raises(ParameterError, match="not written as a folder; use sample"):
        of_visits.sample_to(tmp_path / "folder", 10)
