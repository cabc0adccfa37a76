"""What every method for sequences takes and gives: arrays, long tables, conditions, seeds, files, bad input."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import (
    AutoregressiveSequences,
    TimeSeriesGAN,
    TreeSequences,
    generate_synthetic_data,
    load_synthetic_model,
)
from raysynth.errors import (
    ConditionError,
    DataError,
    ModelFileError,
    NotFittedError,
    ParameterError,
    RaysynthError,
    SchemaError,
    StorageError,
)
from raysynth.files.model_file import read_model, write_model
from raysynth.methods.sequences import rows
from raysynth.methods.sequences.synthesizer import SequenceSynthesizer
from raysynth.training.checkpoints import CurveFolder


@dataclass(frozen=True)
class Method:
    """A class with parameters by which it is quick, and the share of missing pressures that it may come to."""

    cls: type[SequenceSynthesizer]
    quick: dict[str, Any]
    missing: tuple[float, float]

    def __call__(self, **parameters: Any) -> SequenceSynthesizer:
        return self.cls(**{"seed": 3, "verbose": False, **self.quick, **parameters})


METHODS = {
    "timegan": Method(TimeSeriesGAN, {"hidden_dim": 12, "epochs": 4}, (0.0, 0.6)),
    "tree_sequences": Method(TreeSequences, {"n_trees": 2}, (0.05, 0.5)),
    "autoregressive_sequences": Method(
        AutoregressiveSequences, {"epochs": 3, "units": 16, "width": 16, "hidden": 8}, (0.05, 0.5)
    ),
}
OF_VISITS = {"sequence_key": "patient", "time_column": "day"}


@pytest.fixture(scope="module", params=list(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def method(name: str) -> Method:
    return METHODS[name]


@pytest.fixture(scope="module")
def of_visits(method: Method, visits: pd.DataFrame) -> SequenceSynthesizer:
    return method(**OF_VISITS).fit(visits)


@pytest.fixture(scope="module")
def of_waves(method: Method, waves: np.ndarray) -> SequenceSynthesizer:
    return method().fit(waves)


def test_a_long_table_comes_back_as_one(method: Method, of_visits: SequenceSynthesizer, visits: pd.DataFrame) -> None:
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
    assert set(by_patient["day"].diff().dropna().dt.days) <= {1, 7, 30}
    assert set(made["drug"].dropna()) <= {"none", "a", "b"} and made["drug"].notna().all()
    low, high = method.missing
    assert low < made["pressure"].isna().mean() < high
    assert made["pressure"].dropna().round(1).equals(made["pressure"].dropna())
    inside = made["pressure"].between(visits["pressure"].min(), visits["pressure"].max())
    assert inside.sum() == made["pressure"].count()


def test_as_many_rows_as_were_learned_from(
    name: str, method: Method, of_visits: SequenceSynthesizer, visits: pd.DataFrame
) -> None:
    assert of_visits.n_rows_ == 90
    assert of_visits.sample()["patient"].nunique() == 90
    made = generate_synthetic_data(visits, method=name, seed=3, verbose=False, **OF_VISITS, **method.quick)
    assert list(made.columns) == list(visits.columns) and made["patient"].nunique() == 90


def test_conditions_on_static_columns_hold(of_visits: SequenceSynthesizer) -> None:
    made = of_visits.sample(25, conditions={"clinic": "south", "born": (1950, 1970)})
    assert made["patient"].nunique() == 25
    assert set(made["clinic"]) == {"south"} and made["born"].between(1950, 1970).all()
    quotas = of_visits.sample(conditions=[({"clinic": "south"}, 3), ({"clinic": "north"}, 5)])
    assert quotas.groupby("patient")["clinic"].first().value_counts().to_dict() == {"north": 5, "south": 3}
    contexts = pd.DataFrame({"clinic": ["north", "south", "south"], "born": [1950, None, None]})
    for number in (None, 3):
        given = of_visits.sample(number, conditions=contexts).groupby("patient", sort=False).first()
        assert given["clinic"].tolist() == ["north", "south", "south"] and given["born"].iloc[0] == 1950
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
def test_other_conditions_are_refused(of_visits: SequenceSynthesizer, conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        of_visits.sample(5, conditions=conditions)


def test_an_array_has_no_columns_to_ask_for(of_waves: SequenceSynthesizer) -> None:
    with pytest.raises(ConditionError, match="an array has no columns.*sequence_key"):
        of_waves.sample(3, conditions={"feature 1": 2})
    with pytest.raises(ParameterError, match="n_sequences must be a whole number"):
        of_waves.sample(-1)
    assert of_waves.sample(0).shape == (0, 12, 2)


def test_seeds_reproduce(name: str, method: Method, of_visits: SequenceSynthesizer, visits: pd.DataFrame) -> None:
    parameters = {"seed": 3, "verbose": False, **OF_VISITS, **method.quick}
    again = generate_synthetic_data(visits, method=name, n_samples=20, **parameters)
    pd.testing.assert_frame_equal(again, of_visits.sample(20))
    pd.testing.assert_frame_equal(of_visits.sample(20, seed=8), of_visits.sample(20, seed=8))
    assert not of_visits.sample(20, seed=8).equals(of_visits.sample(20, seed=9))


def test_a_model_file_gives_the_same_sequences(
    method: Method, of_visits: SequenceSynthesizer, of_waves: SequenceSynthesizer, tmp_path: Path
) -> None:
    for model in (of_visits, of_waves):
        model.save(tmp_path / "model.pkl")
        loaded = load_synthetic_model(tmp_path / "model.pkl")
        assert type(loaded) is method.cls and loaded.history_ == model.history_
        wanted, found = model.sample(20, seed=1), loaded.sample(20, seed=1)
        assert found.equals(wanted) if isinstance(found, pd.DataFrame) else np.array_equal(found, wanted)


def test_parts_of_other_models_do_not_load(
    of_visits: SequenceSynthesizer, of_waves: SequenceSynthesizer, tmp_path: Path
) -> None:
    path, other = tmp_path / "visits", tmp_path / "waves"
    of_visits.save(path)
    of_waves.save(other)
    content, foreign = read_model(path), read_model(other)
    content.meta["model"]["network"] = foreign.meta["model"]["network"]
    arrays = {k: v for k, v in content.arrays.items() if not k.startswith("model.network.")}
    arrays |= {k: v for k, v in foreign.arrays.items() if k.startswith("model.network.")}
    content.arrays.clear()
    content.arrays.update(arrays)
    write_model(path, content)
    with pytest.raises(ModelFileError, match="do not belong together|inconsistent"):
        load_synthetic_model(path)


def test_long_entities_are_learned_in_windows(method: Method, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    walks = [
        pd.DataFrame({"share": s, "close": 50 + rng.normal(size=n).cumsum(), "up": rng.choice(["y", "n"], n)})
        for s, n in (("AA", 60), ("BB", 35))
    ]
    frame = pd.concat(walks, ignore_index=True)
    model = method(sequence_key="share", sequence_length=10, verbose=True).fit(frame)
    assert "2 sequences, 95 rows, learned in 77 windows of 10 rows" in capsys.readouterr().out
    made = model.sample()
    assert len(made) == 100 and made.groupby("share").size().tolist() == [10] * 10


def test_one_long_series_is_learned_in_windows(method: Method, capsys: pytest.CaptureFixture[str]) -> None:
    day = np.datetime64("2024-01-01") + np.arange(300)
    frame = pd.DataFrame({"sensor": "S1", "day": day, "level": np.sin(np.arange(300) / 9), "site": "roof"})
    model = method(sequence_key="sensor", time_column="day", verbose=True).fit(frame)
    assert "1 sequences, 300 rows, learned in 277 windows of 24 rows" in capsys.readouterr().out
    made = model.sample(3)
    assert len(made) == 72 and made["sensor"].nunique() == 3 and set(made["site"]) == {"roof"}
    assert not made["level"].isna().any() and made["level"].between(-1, 1).all()
    with pytest.raises(DataError, match="one sequence of 300 rows.*windows of 500.*smaller sequence_length"):
        method(sequence_key="sensor", time_column="day", sequence_length=500).fit(frame)


BOTH, GAN, OWN, TREES = tuple(METHODS), ("timegan",), ("autoregressive_sequences",), ("tree_sequences",)
NETWORKS = (*GAN, *OWN)
KEY = {"sequence_key": "patient"}
SPREAD, SPREAD_WIDE = SimpleNamespace(num_workers=2), SimpleNamespace(num_workers=201)
BAD: list[tuple[tuple[str, ...], dict[str, Any], str, type[RaysynthError], str]] = [
    (BOTH, {}, "visits", ParameterError, "sequence_key is missing"),
    (BOTH, {**KEY, "features": 3}, "visits", ParameterError, "features belongs to an array"),
    (BOTH, {**KEY, "categorical_columns": ["drugs"]}, "visits", SchemaError, "no column 'drugs'"),
    (BOTH, {**KEY, "static_columns": "clinic"}, "visits", ParameterError, "must be a list of names"),
    (BOTH, KEY, "waves", ParameterError, "sequence_key belongs to a long table"),
    (BOTH, {"sequence_length": 24}, "waves", DataError, "sequence_length is 24, but the array has 12 steps"),
    (BOTH, {"keep_shards": "kept"}, "waves", ParameterError, "keeps no encoded rows for a second fit"),
    (
        NETWORKS,
        {"scaling_config": SPREAD, "epsilon": 1.0},
        "visits",
        ParameterError,
        "under a privacy budget.*this process",
    ),
    (NETWORKS, {"scaling_config": SPREAD_WIDE}, "waves", ParameterError, "201 workers but only 200 sequences"),
    (GAN, {"hidden_dim": 0}, "waves", ParameterError, "hidden_dim must be a whole number"),
    (GAN, {"learning_rate": 2.0}, "waves", ParameterError, "learning_rate must be a number between 0 and 1"),
    (GAN, {"schedule": "step"}, "waves", ParameterError, "schedule must be 'constant' or 'cosine'"),
    (NETWORKS, {**KEY, "epsilon": 3.0}, "visits", ParameterError, "sequence_length is missing: under a privacy budget"),
    (NETWORKS, {"privacy_unit": "patient", "epsilon": 3.0}, "waves", ParameterError, "protects whole sequences"),
    (TREES, {"epsilon": 3.0}, "waves", ParameterError, "not in this version of TreeSequences.*'timegan' or"),
    (TREES, {"leaf_rows": 0}, "waves", ParameterError, "leaf_rows must be a whole number"),
    (OWN, {"units": 0}, "waves", ParameterError, "units must be a whole number"),
    (OWN, {"learning_rate": 2.0}, "waves", ParameterError, "learning_rate must be a number above 0 and at most 1"),
    (OWN, {"dropout": 1.0}, "waves", ParameterError, "dropout must be a number from 0 to 0.95"),
]
CASES = [(name, *case[1:]) for case in BAD for name in case[0]]


@pytest.mark.parametrize(
    ("of_method", "parameters", "data", "error", "message"), CASES, ids=[f"{c[0]}-{c[4][:30]}" for c in CASES]
)
def test_bad_input_is_refused_before_training(
    of_method: str,
    parameters: dict[str, Any],
    data: str,
    error: type[RaysynthError],
    message: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = METHODS[of_method]
    for training in ("train_here", "train_on_workers"):
        monkeypatch.setattr(f"raysynth.methods.sequences.training.{training}", lambda *_: pytest.fail("it began"))
    model = method(**parameters)
    with pytest.raises(error, match=message):
        model.fit(request.getfixturevalue(data))
    with pytest.raises(NotFittedError):
        model.sample(3)


class Lost(Exception):
    """The end of a run that is gone on from."""


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.cls.can_resume], indirect=True)
def test_a_lost_run_goes_on_and_equals_one_that_was_not(
    method: Method,
    of_visits: SequenceSynthesizer,
    visits: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ends after the second epoch, which has a checkpoint; in another folder the rest is learned."""

    def write(folder: CurveFolder, entry: Mapping[str, float]) -> None:
        if entry["epoch"] == 3:
            raise Lost

    run_config = SimpleNamespace(storage_path=str(tmp_path), name="run")
    with monkeypatch.context() as patch, pytest.raises(Lost):
        patch.setattr(CurveFolder, "write", write)
        method(**OF_VISITS, run_config=run_config, checkpoint_every=2).fit(visits)
    resumed = method(**OF_VISITS, checkpoint_every=3).fit(visits, resume=tmp_path / "run")
    assert [e["epoch"] for e in resumed.history_] == [e["epoch"] for e in of_visits.history_]
    pd.testing.assert_frame_equal(resumed.sample(20), of_visits.sample(20))


def test_a_table_without_anything_that_varies_is_refused(method: Method, visits: pd.DataFrame) -> None:
    frame = visits[["patient", "clinic", "born"]]
    with pytest.raises(DataError, match="no column varies along the sequences"):
        method(sequence_key="patient").fit(frame)


def test_a_folder_holds_the_rows_of_a_sample_and_is_completed(
    of_visits: SequenceSynthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CHUNK_SEQUENCES", 16)
    folder = tmp_path / "folder"
    written = of_visits.sample_to(folder, 50, seed=4, where="local")
    made = of_visits.sample(50, seed=4)
    assert len(written.files) == 4 and written.rows == len(made)
    lost = folder / written.files[2].name
    whole = lost.read_bytes()
    lost.unlink()
    kept = (folder / written.files[0].name).stat().st_mtime_ns
    assert of_visits.sample_to(folder, 50, seed=4, where="local") == written and lost.read_bytes() == whole
    assert (folder / written.files[0].name).stat().st_mtime_ns == kept
    read = pd.concat([pd.read_parquet(folder / f.name) for f in written.files], ignore_index=True)
    pd.testing.assert_frame_equal(read.astype(made.dtypes), made)
    with pytest.raises(StorageError, match="holds another"):
        of_visits.sample_to(folder, 51, seed=4)


def test_a_folder_of_an_array_has_its_sequences_one_after_the_other(
    of_waves: SequenceSynthesizer, tmp_path: Path
) -> None:
    written = of_waves.sample_to(tmp_path / "f", 12, seed=2, where="local")
    made = of_waves.sample(12, seed=2)
    rows_of = pd.concat([pd.read_parquet(tmp_path / "f" / f.name) for f in written.files])
    np.testing.assert_array_equal(rows_of.to_numpy().reshape(made.shape), made)
    with pytest.raises(ParameterError, match="n_sequences must be"):
        of_waves.sample_to(tmp_path / "g", -1)


def test_a_folder_is_divided_by_a_static_column_and_holds_what_is_asked_for(
    of_visits: SequenceSynthesizer, tmp_path: Path
) -> None:
    asked = [({"clinic": "south"}, 5), ({"clinic": "north"}, 9)]
    written = of_visits.sample_to(tmp_path / "f", conditions=asked, seed=1, partition_by="clinic", where="local")
    found = {f.name.split("/")[0]: pd.read_parquet(tmp_path / "f" / f.name)["patient"].nunique() for f in written.files}
    assert found == {f"clinic={c['clinic']}": n for c, n in asked}
    with pytest.raises(ParameterError, match="must be a whole number >= 0; found -1"):
        of_visits.sample_to(tmp_path / "g", -1)
    with pytest.raises(ConditionError, match="made along each sequence"):
        of_visits.sample_to(tmp_path / "g", 5, {"pressure": 100.0})
    assert not (tmp_path / "g").exists()


def test_methods_take_the_same() -> None:
    shared = {"sequence_key", "time_column", "static_columns", "sequence_length", "features", "window_step"}
    for method in METHODS.values():
        assert shared <= set(method.cls._parameter_names())


def visits_of_many(n: int, length: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A long table of shuffled rows, `length` of each user, and parameters by which it is quick."""
    rng = np.random.default_rng(n)
    keys = np.repeat([f"u{k}" for k in rng.permutation(n)], length)
    table = pd.DataFrame({"user": keys, "day": np.tile(np.arange(length), n), "x": rng.normal(size=n * length)})
    quick = {"epochs": 1, "units": 8, "width": 8, "hidden": 4, "seed": 0}
    return table.sample(frac=1, random_state=0, ignore_index=True), {
        "sequence_key": "user",
        "time_column": "day",
        **quick,
    }


def test_of_a_large_table_whole_sequences_are_drawn_and_as_many_are_made_as_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, asked = visits_of_many(1_500, 4)
    table.to_parquet(tmp_path / "long.parquet", row_group_size=1000)
    said = []
    for data in (table, tmp_path / "long.parquet"):
        model = AutoregressiveSequences(max_rows=2_400, **asked).fit(data)
        said.append(capsys.readouterr().out.splitlines()[0])
        assert model.sequence_length_ == 4 and model.n_rows_ == 1_500
        assert (model.sample(200).groupby("user").size() == 4).all()  # parts of sequences would have shown fewer rows
    found = re.match(r"\d+ sequences, ([\d,]+) rows, drawn from 6,000", said[0])
    assert said[0] == said[1] and found and 2_000 < int(found[1].replace(",", "")) < 2_800
    table.loc[[1, 3_000, 5_999], "day"] = np.nan
    with pytest.raises(DataError, match="time_column 'day' is missing in 3 rows"):
        AutoregressiveSequences(max_rows=2_400, **asked).fit(table)


def test_of_few_sequences_none_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    table, asked = visits_of_many(600, 4)
    model = AutoregressiveSequences(max_rows=1_000, **asked).fit(table)
    assert "drawn" not in capsys.readouterr().out and model.n_rows_ == 600
