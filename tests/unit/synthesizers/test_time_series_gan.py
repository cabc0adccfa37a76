"""TimeSeriesGAN: arrays and long tables in and out, conditions, seeds, files, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import TimeSeriesGAN, generate_synthetic_data, load_synthetic_model
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

QUICK: dict[str, Any] = {"hidden_dim": 12, "epochs": 4, "seed": 3, "verbose": False}


@pytest.fixture(scope="module")
def of_visits(visits: pd.DataFrame) -> TimeSeriesGAN:
    return TimeSeriesGAN(sequence_key="patient", time_column="day", **QUICK).fit(visits)


def test_the_documented_snippet(waves: np.ndarray) -> None:
    original_timeseries = waves
    ts_gan = TimeSeriesGAN(sequence_length=12, features=original_timeseries.shape[2], hidden_dim=100, epochs=2)
    ts_gan.fit(original_timeseries)
    synthetic_timeseries = ts_gan.sample(n_sequences=30)
    assert synthetic_timeseries.shape == (30, 12, 2)
    assert np.isfinite(synthetic_timeseries).all()
    assert synthetic_timeseries.min() >= waves.min() and synthetic_timeseries.max() <= waves.max()


def test_it_learns_level_spread_and_smoothness(waves: np.ndarray) -> None:
    model = TimeSeriesGAN(hidden_dim=16, epochs=150, batch_size=50, seed=0, verbose=False).fit(waves)
    made = model.sample(400)
    assert abs(made.mean() - waves.mean()) < 0.1
    assert 0.75 < made.std() / waves.std() < 1.25
    steps = [np.diff(x, axis=1).std() for x in (waves, made)]
    assert 0.75 < steps[1] / steps[0] < 1.25  # shuffled steps would give 3
    assert np.corrcoef(made[:, :, 0].ravel(), made[:, :, 1].ravel())[0, 1] > 0.8  # as the real features: 0.96


def test_a_long_table_comes_back_as_one(of_visits: TimeSeriesGAN, visits: pd.DataFrame) -> None:
    made = of_visits.sample(60)
    assert of_visits.static_columns_ == ("clinic", "born") and of_visits.sequence_length_ == 9
    pd.testing.assert_series_equal(made.dtypes, visits.dtypes)
    by_patient = made.groupby("patient", sort=False)
    assert by_patient.ngroups == 60 and not set(made["patient"]) & set(visits["patient"])
    assert made["patient"].str.fullmatch(r"P-\d{5}").all()
    assert (by_patient[["clinic", "born"]].nunique() == 1).all(axis=None)
    lengths = by_patient.size()
    assert lengths.min() >= 1 and lengths.max() <= 9 and lengths.nunique() > 4
    assert by_patient["day"].apply(lambda d: d.is_monotonic_increasing).all()
    gaps = by_patient["day"].diff().dropna().dt.days
    assert set(gaps) <= {1, 7, 30}
    assert set(made["drug"].dropna()) <= {"none", "a", "b"} and made["drug"].notna().all()
    assert 0 < made["pressure"].isna().mean() < 0.6
    assert made["pressure"].dropna().round(1).equals(made["pressure"].dropna())


def test_as_many_rows_as_were_learned_from(of_visits: TimeSeriesGAN, visits: pd.DataFrame) -> None:
    assert of_visits.n_rows_ == 90
    assert of_visits.sample()["patient"].nunique() == 90
    made = generate_synthetic_data(visits, method="timegan", sequence_key="patient", time_column="day", **QUICK)
    assert list(made.columns) == list(visits.columns) and made["patient"].nunique() == 90


def test_conditions_on_static_columns_hold(of_visits: TimeSeriesGAN) -> None:
    made = of_visits.sample(25, conditions={"clinic": "south", "born": (1950, 1970)})
    assert made["patient"].nunique() == 25
    assert set(made["clinic"]) == {"south"} and made["born"].between(1950, 1970).all()
    quotas = of_visits.sample(conditions=[({"clinic": "south"}, 3), ({"clinic": "north"}, 5)])
    assert quotas.groupby("patient")["clinic"].first().value_counts().to_dict() == {"north": 5, "south": 3}
    long = of_visits.sample(10, conditions={"sequence length": (7, 9)})
    assert long.groupby("patient").size().between(7, 9).all()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"pressure": (100, 120)}, "'pressure': the column is made along each sequence.*clinic, born"),
        ({"clinik": "south"}, "'clinik': no such column.*did you mean 'clinic'"),
        ({"clinic": "east"}, "no row of the model can have 'east'"),
    ],
)
def test_other_conditions_are_refused(of_visits: TimeSeriesGAN, conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        of_visits.sample(5, conditions=conditions)


def test_an_array_has_no_columns_to_ask_for(waves: np.ndarray) -> None:
    model = TimeSeriesGAN(**QUICK).fit(waves)
    with pytest.raises(ConditionError, match="an array has no columns.*sequence_key"):
        model.sample(3, conditions={"feature 1": 2})
    with pytest.raises(ParameterError, match="n_sequences must be a whole number"):
        model.sample(-1)
    assert model.sample(0).shape == (0, 12, 2)


def test_seeds_reproduce(of_visits: TimeSeriesGAN, visits: pd.DataFrame) -> None:
    again = TimeSeriesGAN(sequence_key="patient", time_column="day", **QUICK).fit(visits)
    pd.testing.assert_frame_equal(again.sample(20), of_visits.sample(20))
    pd.testing.assert_frame_equal(of_visits.sample(20, seed=8), of_visits.sample(20, seed=8))
    assert not of_visits.sample(20, seed=8).equals(of_visits.sample(20, seed=9))


def test_a_model_file_gives_the_same_sequences(of_visits: TimeSeriesGAN, waves: np.ndarray, tmp_path: Path) -> None:
    of_waves = TimeSeriesGAN(**QUICK).fit(waves)
    for model in (of_visits, of_waves):
        model.save(tmp_path / "model.pkl")
        loaded = load_synthetic_model(tmp_path / "model.pkl")
        assert type(loaded) is TimeSeriesGAN and loaded.history_ == model.history_
        wanted, found = model.sample(20, seed=1), loaded.sample(20, seed=1)
        assert found.equals(wanted) if isinstance(found, pd.DataFrame) else np.array_equal(found, wanted)


def test_parts_of_other_models_do_not_load(of_visits: TimeSeriesGAN, waves: np.ndarray, tmp_path: Path) -> None:
    path, other = tmp_path / "visits", tmp_path / "waves"
    of_visits.save(path)
    TimeSeriesGAN(**QUICK).fit(waves).save(other)
    content, foreign = read_model(path), read_model(other)
    content.meta["model"]["network"] = foreign.meta["model"]["network"]
    arrays = {k: v for k, v in content.arrays.items() if not k.startswith("model.network.")}
    arrays |= {k: v for k, v in foreign.arrays.items() if k.startswith("model.network.")}
    content.arrays.clear()
    content.arrays.update(arrays)
    write_model(path, content)
    with pytest.raises(ModelFileError, match="do not belong together"):
        load_synthetic_model(path)


def test_long_entities_are_learned_in_windows(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    walks = [
        pd.DataFrame({"share": s, "close": 50 + rng.normal(size=n).cumsum(), "up": rng.choice(["y", "n"], n)})
        for s, n in (("AA", 60), ("BB", 35))
    ]
    frame = pd.concat(walks, ignore_index=True)
    model = TimeSeriesGAN(sequence_key="share", sequence_length=10, **{**QUICK, "verbose": True}).fit(frame)
    assert "2 sequences, 95 rows, learned in 77 windows of 10 rows" in capsys.readouterr().out
    made = model.sample()
    assert len(made) == 100 and made.groupby("share").size().tolist() == [10] * 10


BAD: list[tuple[dict[str, Any], str, type[RaysynthError], str]] = [
    ({}, "visits", ParameterError, "sequence_key is missing"),
    ({"sequence_key": "patient", "features": 3}, "visits", ParameterError, "features belongs to an array"),
    ({"sequence_key": "patient", "categorical_columns": ["drugs"]}, "visits", SchemaError, "no column 'drugs'"),
    ({"sequence_key": "patient", "static_columns": "clinic"}, "visits", ParameterError, "must be a list of names"),
    ({"sequence_key": "patient", "differential_privacy": True}, "visits", ParameterError, "differential privacy"),
    ({"sequence_key": "patient"}, "waves", ParameterError, "sequence_key belongs to a long table"),
    ({"sequence_length": 24}, "waves", DataError, "sequence_length is 24, but the array has 12 steps"),
    ({"hidden_dim": 0}, "waves", ParameterError, "hidden_dim must be a whole number"),
    ({"learning_rate": 2.0}, "waves", ParameterError, "learning_rate must be between 0 and 1"),
    ({"schedule": "step"}, "waves", ParameterError, "schedule must be"),
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
    monkeypatch.setattr(TimeSeriesGAN, "_train", lambda *_: pytest.fail("training began"))
    model = TimeSeriesGAN(**{**QUICK, **parameters})
    with pytest.raises(error, match=message):
        model.fit(request.getfixturevalue(data))
    with pytest.raises(NotFittedError):
        model.sample(3)


def test_a_table_without_anything_that_varies_is_refused(visits: pd.DataFrame) -> None:
    frame = visits[["patient", "clinic", "born"]]
    with pytest.raises(DataError, match="no column varies along the sequences"):
        TimeSeriesGAN(sequence_key="patient", **QUICK).fit(frame)


def test_a_folder_is_refused_with_the_cure(of_visits: TimeSeriesGAN, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="not written as a folder; use sample"):
        of_visits.sample_to(tmp_path / "folder", 10)
