"""The copula as a user meets it: what it keeps of real tables, and what never leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.special import ndtr
from statsmodels.api import datasets

from raysynth import GaussianCopula, TableSchema, load_synthetic_model
from raysynth.data.table import as_table
from raysynth.errors import ParameterError
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import collect


def fitted(data: Any, **parameters: Any) -> GaussianCopula:
    return GaussianCopula(**{"seed": 1, "verbose": False, **parameters}).fit(data)


@pytest.fixture(scope="module")
def randhie() -> pd.DataFrame:
    """20,190 person-years of the RAND health insurance experiment."""
    return datasets.randhie.load_pandas().data


@pytest.fixture(scope="module")
def samples(randhie: pd.DataFrame) -> pd.DataFrame:
    return fitted(randhie).sample(20_000, seed=2)


def test_marginals_of_a_real_table(randhie: pd.DataFrame, samples: pd.DataFrame) -> None:
    """Kolmogorov distance of 20,000 rows to 20,190: by chance over 0.025 with 1e-5 for each of the 10 columns."""
    for name in randhie:
        grid = np.unique(randhie[name])
        real, synthetic = (np.searchsorted(np.sort(t[name]), grid, side="right") / len(t) for t in (randhie, samples))
        assert np.abs(real - synthetic).max() < 0.025, name


def test_rank_correlations_of_a_real_table(randhie: pd.DataFrame) -> None:
    """Without the three exclusive dummies of health. The largest miss, 0.13, is a relation that is not monotone."""
    real = randhie.drop(columns=["hlthf", "hlthp"])
    rows = fitted(real).sample(20_000, seed=2)
    difference = (real.corr("spearman") - rows.corr("spearman")).abs()
    assert difference.to_numpy().max() < 0.15
    assert difference.to_numpy().mean() < 0.02


def test_whole_numbers_and_decimals_stay(randhie: pd.DataFrame, samples: pd.DataFrame) -> None:
    assert samples.dtypes.to_dict() == randhie.dtypes.to_dict()
    for name in randhie:
        if (randhie[name] % 1 == 0).all():
            assert (samples[name] % 1 == 0).all(), name


def test_missingness_depends_on_the_other_columns() -> None:
    """Missing for 60 % of the young and 10 % of the old, and missing together.

    A normal latent makes a slope of the step: 52 and 19 % is the best it can do. Joint shares are within 0.05.
    """
    rng = np.random.default_rng(1)
    age = rng.integers(20, 80, 10_000)
    gone = rng.random(10_000) < np.where(age < 50, 0.6, 0.1)
    a = np.where(gone, np.nan, age + rng.normal(0, 5, 10_000))
    b = np.where(gone ^ (rng.random(10_000) < 0.02), np.nan, rng.normal(size=10_000))
    town = pd.Series(rng.choice(["x", "y"], 10_000)).where(~gone)
    real = pd.DataFrame({"age": age, "a": a, "b": b, "town": town})
    rows = fitted(real).sample(10_000, seed=3)
    assert rows.a.isna().mean() == pytest.approx(gone.mean(), abs=0.02)
    for t in (rows, real):
        t["young"] = t.age < 50
    found, expected = (t.a.isna().groupby(t.young).mean() for t in (rows, real))
    assert expected[True] - expected[False] == pytest.approx(0.5, abs=0.03)
    assert found[True] == pytest.approx(0.52, abs=0.03) and found[False] == pytest.approx(0.18, abs=0.03)
    assert (rows.a.isna() & rows.b.isna()).mean() == pytest.approx((real.a.isna() & real.b.isna()).mean(), abs=0.05)
    assert (rows.a.isna() & rows.town.isna()).mean() == pytest.approx(gone.mean(), abs=0.05)


@pytest.mark.statistical
@pytest.mark.parametrize("gaps", ["high", "low"])
def test_a_column_keeps_its_distribution_whatever_its_gaps_go_along_with(gaps: str) -> None:
    """Income follows a score, and so does whether it is known; 40,000 rows: quantiles are within 4 standard errors."""
    rng = np.random.default_rng(5)
    n = 8_000
    score = rng.normal(size=n)
    income = np.exp(10 + 0.8 * score + 0.4 * rng.normal(size=n)).round()
    known = rng.random(n) < ndtr(-1.5 * score if gaps == "high" else 1.5 * score)
    data = pd.DataFrame({"score": score, "income": np.where(known, income, np.nan)})
    made = GaussianCopula(seed=0, verbose=False).fit(data).sample(40_000, seed=1)
    ranks = data.income.rank(pct=True)
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert (made.income.dropna() <= data.income[ranks <= q].max()).mean() == pytest.approx(q, abs=0.015)
    assert made.income.isna().mean() == pytest.approx(data.income.isna().mean(), abs=0.015)
    few = GaussianCopula(seed=0, verbose=False).fit(data).sample(4_000, conditions={"income": 20_000.0}, seed=2)
    assert (few.income == 20_000).all()


def test_columns_that_are_missing_in_the_same_rows_stay_so(tmp_path: Path) -> None:
    """Numbers, times and categories; under conditions, and from a file. Shares: four standard errors."""
    rng = np.random.default_rng(1)
    n = 4000
    real = pd.DataFrame(
        {
            "age": rng.integers(20, 80, n),
            "first": rng.normal(5, 1, n).round(2),
            "second": rng.choice(["pos", "neg", "unclear"], n),
            "third": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
        }
    )
    group = ["first", "second", "third"]
    gone = rng.random(n) < np.where(real.age < 50, 0.6, 0.3)
    real.loc[gone, group] = None
    model = fitted(real)
    model.save(tmp_path / "model")
    for found in (model, load_synthetic_model(tmp_path / "model")):
        made = found.sample(n, seed=3)
        absent = made[group].isna()
        assert (absent.any(axis=1) == absent.all(axis=1)).all()
        assert absent["first"].mean() == pytest.approx(gone.mean(), abs=4 * (0.5 / n) ** 0.5)
        shares, expected = (t["second"].value_counts(normalize=True) for t in (made, real))
        assert (shares - expected).abs().max() < 0.08
    assert model.sample(200, {"second": "pos"}, seed=1)[group].notna().all(axis=None)
    assert model.sample(200, {"third": [None]}, seed=1)[group].isna().all(axis=None)
    either = model.sample(4000, {"second": [None, "pos"]}, seed=1)["second"].isna().mean()
    assert either == pytest.approx(gone.mean() / (gone.mean() + (real["second"] == "pos").mean()), abs=0.05)


def test_categories_follow_a_number_in_any_order_of_names() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=8000)
    names = np.array(["q", "c", "z", "a", "m"])
    grade = names[np.clip(np.searchsorted([-1, -0.3, 0.3, 1], x + rng.normal(0, 0.4, 8000)), 0, 4)]
    rows = fitted(pd.DataFrame({"x": x, "grade": grade})).sample(8000, seed=1)
    real_means = pd.Series(x).groupby(grade).mean()
    means = rows.x.groupby(rows.grade).mean()
    assert (means - real_means).abs().max() < 0.1


def secrets(n: int = 4000) -> tuple[pd.DataFrame, dict[str, set[Any]]]:
    """A table with planted markers that stand in fewer than five rows each."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "income": rng.gamma(3, 10_000, n),
            "heaped": rng.choice([0.0, 100.0, 250.0, 1000.0], n),
            "town": rng.choice(["Aachen", "Bonn", "Celle"], n),
            "code": rng.choice([10, 20, 30], n),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D"),
            "x": rng.normal(size=n),
        }
    )
    markers: dict[str, set[Any]] = {"income": set(frame.income), "x": set(frame.x)}
    frame.loc[:3, "heaped"] = 177.125
    frame.loc[4:6, "heaped"] = 999_999.5
    frame.loc[:3, "town"] = "Secretville"
    frame.loc[4, "town"] = "(only here)"
    frame.loc[:2, "code"] = 25
    frame.loc[3, "code"] = 99
    frame.loc[:2, "since"] = pd.Timestamp("1871-02-03")
    markers |= {
        "heaped": {177.125, 999_999.5},
        "town": {"Secretville", "(only here)"},
        "code": {25, 99},
        "since": {pd.Timestamp("1871-02-03")},
    }
    return frame, markers


@pytest.mark.parametrize("marginals", ["empirical", "parametric"])
def test_rare_values_and_extremes_are_not_reproduced(marginals: str, tmp_path: Any) -> None:
    """100,000 rows: no marker; of the 4,000 numbers of full precision none comes back (chance: below 1e-6)."""
    frame, markers = secrets()
    model = fitted(frame, categorical_columns=["code"], marginals=marginals)
    rows = model.sample(100_000, seed=1)
    for name, planted in markers.items():
        assert not set(rows[name]) & planted, name
    for name in ("income", "x"):
        ordered = np.sort(frame[name])
        assert ordered[4] < rows[name].min() and rows[name].max() < ordered[-5]
    model.save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    assert b"Secretville" not in content and b"only here" not in content
    for value in (177.125, 999_999.5, *np.sort(frame.income)[[0, 1, 4, -5, -1]]):
        assert np.float64(value).tobytes() not in content


def test_threshold_of_one_switches_the_protection_off() -> None:
    frame, markers = secrets()
    table = as_table(frame)
    schema = TableSchema(infer_schema(table, collect(table)).columns, rare_threshold=1)
    rows = fitted(frame, schema=schema, categorical_columns=["code"]).sample(100_000, seed=1)
    for name in ("heaped", "town", "code", "since"):
        assert set(rows[name]) >= markers[name], name


@pytest.mark.parametrize("width", [1, 2])
def test_narrow_tables(width: int) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"a": rng.choice(["x", "y", "z"], 900, p=[0.6, 0.3, 0.1]), "n": rng.normal(size=900)})
    rows = fitted(frame.iloc[:, :width]).sample(3000, seed=1)
    assert rows.shape == (3000, width)
    assert rows.a.value_counts(normalize=True)["x"] == pytest.approx(0.6, abs=0.06)
    assert fitted(frame[["n"]]).sample(10, {"n": (0, 1)}, seed=1).n.between(0, 1).all()


@pytest.mark.parametrize("n", [2, 3, 9, 30])
def test_tables_of_few_rows(n: int) -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"a": rng.choice(["x", "y"], n), "n": rng.normal(size=n), "m": rng.integers(0, 9, n)})
    rows = fitted(frame).sample(50, seed=1)
    assert rows.shape == (50, 3)
    assert rows.n.between(frame.n.min(), frame.n.max()).all()


def test_one_fit_for_every_kind_of_source(tmp_path: Any) -> None:
    """DataFrame, Arrow table, Parquet, CSV: the same model, byte for byte, but for the dtypes of pandas."""
    frame = pd.DataFrame({"a": ["x", "y", "z"] * 200, "n": np.arange(600) % 50, "f": np.arange(600) / 8})
    pa_table = pa.Table.from_pandas(frame, preserve_index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    samples = [
        fitted(source).sample_arrow(300, seed=1).to_pylist()
        for source in (frame, pa_table, tmp_path / "t.parquet", str(tmp_path / "t.csv"))
    ]
    assert all(s == samples[0] for s in samples)


@pytest.mark.parametrize("parameters", [{"n_bins": 3}, {"n_bins": 201}, {"n_bins": 9.5}, {"marginals": "normal"}])
def test_parameters_are_checked(parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="n_bins|marginals"):
        fitted(pd.DataFrame({"a": [1, 2]}), **parameters)


def test_a_file_of_before_gives_the_rows_that_it_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages are missing where the class is low, which they follow: only new files are cut where a value is present."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, 900)
    age = (20 + 15 * level + rng.normal(0, 3, 900)).round()
    age[rng.random(900) < 0.6 * (level == 0)] = np.nan
    model = GaussianCopula(seed=0, verbose=False).fit(pd.DataFrame({"level": level.astype(str), "age": age}))
    state = GaussianCopula._model_state
    monkeypatch.setattr(
        GaussianCopula,
        "_model_state",
        lambda self: ({k: v for k, v in state(self)[0].items() if k != "cut_where_present"}, state(self)[1]),
    )
    before, now = tmp_path / "before", tmp_path / "now"
    model.save(before)
    monkeypatch.undo()
    model.save(now)
    old, new = (load_synthetic_model(p).copula_ for p in (before, now))
    np.testing.assert_array_equal(new.thresholds[1], model.copula_.thresholds[1])
    np.testing.assert_array_equal(old.thresholds[1], old.margins[1].thresholds)
    assert np.abs(old.thresholds[1] - new.thresholds[1]).min() > 0.005
