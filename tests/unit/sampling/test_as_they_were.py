"""What comes back as it was: dtypes of a DataFrame, whole numbers with gaps, columns without values, keys alone."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcome import value_of
from tiny import TINY

import raysynth as rs
from raysynth.cli.sample import write_sample
from raysynth.errors import DataError, SchemaError
from raysynth.schema.columns import Kind
from raysynth.schema.table import TableSchema

N = 400
RNG = np.random.default_rng(7)
X = RNG.random(N)


def made(column: Any, n: int = 300, **others: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"c": column, "x": X, **others})
    return rs.GaussianCopula(seed=0, verbose=False).fit(frame).sample(n, seed=1)


@pytest.mark.parametrize("order", [["low", "mid", "high"], ["z", "a", "m", "b"], [3, 1, 2]], ids=str)
def test_ordered_categories_keep_their_order(order: list[Any]) -> None:
    column = pd.Categorical(RNG.choice(order, N), categories=order, ordered=True)
    result = made(column)["c"]
    assert result.dtype == column.dtype and (result >= order[1]).any()


def test_an_unused_level_stays_and_a_rare_one_does_not_leave(tmp_path: Path) -> None:
    column = pd.Categorical(["a"] * 200 + ["c"] * 198 + ["b"] * 2, categories=["a", "b", "c", "d"], ordered=True)
    frame = pd.DataFrame({"c": column, "x": X})
    rs.GaussianCopula(seed=0, verbose=False).fit(frame).save(tmp_path / "m")
    result = rs.load_synthetic_model(tmp_path / "m").sample(300, seed=0)["c"]
    assert list(result.dtype.categories[:3]) == ["a", "c", "d"] and result.dtype.ordered
    assert '"b"' not in str(rs.load_synthetic_model(tmp_path / "m").schema_.to_dict())


@pytest.mark.parametrize(
    ("dtype", "start"), [("period[M]", "2010-01"), ("period[Q-DEC]", "2010Q1"), ("period[D]", "2010-01-01")]
)
def test_periods_come_back(dtype: str, start: str) -> None:
    column = pd.Series(pd.period_range(start, periods=40, freq=dtype[7:-1])[RNG.integers(0, 40, N)])
    column[3] = pd.NaT
    result = made(column)["c"]
    assert str(result.dtype) == dtype and result.dropna().between(column.min(), column.max()).all()


@pytest.mark.parametrize(("held", "fill"), [("float64", 0.0), ("float64", np.nan), ("int64", 0), ("bool", False)])
def test_sparse_columns_come_back_and_are_written(held: str, fill: float, tmp_path: Path) -> None:
    few = np.where(np.arange(N) % 10, fill, np.arange(N) % 3).astype(held)
    column = pd.Series(pd.arrays.SparseArray(few, fill_value=fill))
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(pd.DataFrame({"c": column, "x": X})))
    result = model.sample(300, seed=1)["c"]
    assert result.dtype == column.dtype
    write_sample(model, str(tmp_path / "t.parquet"), 50, None, 1)
    assert str(pd.read_parquet(tmp_path / "t.parquet")["c"].dtype) == held


def test_an_index_that_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    for index, words in ((pd.date_range("2020", periods=N, name="day"), "'day'"), (list("ab") * (N // 2), "index (")):
        rs.GaussianCopula(seed=0).fit(pd.DataFrame({"x": X}, index=index))
        said = capsys.readouterr().out
        assert f"{words}" in said and "df.reset_index() makes it one" in said
    rs.GaussianCopula(seed=0).fit(pd.DataFrame({"x": X}).sample(frac=0.9, random_state=0))
    assert "reset_index" not in capsys.readouterr().out


def test_decimals_are_as_fine_as_their_values_or_refused() -> None:
    digits = pd.Series([Decimal(int(v)).scaleb(-2).quantize(Decimal("1e-10")) for v in RNG.integers(0, 9999, N)])
    assert all(v == v.quantize(Decimal("0.01")) for v in made(digits)["c"])
    for start in ("1234567890123456.12", "12345678901234567890.12"):
        with pytest.raises(SchemaError, match="'c' holds decimals of more digits than the 15"):
            made(pd.Series([Decimal(start) + i for i in range(N)]))
    for start in (10**25 + 7, 3 * 10**30):  # equal as doubles, so that they looked constant
        with pytest.raises(SchemaError, match="'c' holds decimals of more digits than the 15"):
            made(pd.Series([Decimal(start + i % 3) for i in range(N)]))


def test_what_a_fit_says_of_rare_values_is_at_most_some_lines(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({f"c{i}": [f"v{k}" for k in RNG.integers(0, 9_000, N)] for i in range(12)})
    rs.GaussianCopula(seed=0).fit(frame.assign(x=X))
    said = capsys.readouterr().out
    assert said.count("will be '(rare)'") == 8 and "and so will 4 more columns (c8, c9, c10, c11;" in said


NOON = dt.datetime(2020, 1, 1, 12)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([dt.date(2020, 1, 1), NOON] * (N // 2), "'c' mixes dates without and with a time of day.*pd.to_datetime"),
        ([NOON.replace(tzinfo=dt.UTC), NOON] * (N // 2), "'c' mixes time zones.*utc=True"),
        (
            [NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=h))) for h in (1, 5)] * (N // 2),
            r"'c' mixes time zones \(UTC\+01:00, UTC\+05:00\)",
        ),
        (pd.arrays.IntervalArray.from_breaks(range(N + 1)), r"'c' holds interval.*astype\(str\)"),
        (pd.cut(X, 4), r"'c' holds interval.*astype\(str\)"),
        (pd.period_range("2010", periods=N, freq="W"), r"'c' holds period\[W-SUN\].*dt.to_timestamp\(\)"),
    ],
    ids=["dates and times", "with and without zone", "offsets", "intervals", "cut", "weeks"],
)
def test_what_cannot_come_back_is_refused_with_a_cure(values: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        made(pd.Series(values))


def test_whole_numbers_with_gaps_stay_whole(tmp_path: Path) -> None:
    years = pd.Series(RNG.integers(1950, 2020, N).astype(float)).where(RNG.random(N) > 0.2)
    (tmp_path / "t.csv").write_text(
        "year,x\n" + "\n".join(f"{'' if np.isnan(y) else int(y)},{x}" for y, x in zip(years, X, strict=True))
    )
    from_csv = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(tmp_path / "t.csv"))
    assert str(from_csv.sample(200, seed=0)["year"].dtype) == "Int64"
    from_frame = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(pd.DataFrame({"year": years, "x": X})))
    assert str(from_frame.sample(200, seed=0)["year"].dtype) == "float64"
    for model in (from_csv, from_frame):
        write_sample(model, str(tmp_path / "s.csv"), 200, None, 0)
        cells = (tmp_path / "s.csv").read_text().splitlines()[1:]
        assert all(c.split(",")[0].isdigit() or c.startswith(",") for c in cells)
        assert any(c.startswith(",") for c in cells)


@pytest.mark.parametrize(
    "empty",
    [np.full(N, np.nan), [None] * N, pd.array([pd.NA] * N, "Int64"), pd.Series([None] * N, dtype="str"), [pd.NaT] * N],
    ids=["float", "object", "Int64", "str", "datetime"],
)
def test_a_column_without_values_is_kept(empty: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": empty, "x": X})
    model = value_of(lambda: rs.BayesianNetworkSynthesizer(seed=0, verbose=False).fit(frame))
    assert model.schema_["c"].kind is Kind.CONSTANT and "no value in any row" in model.schema_["c"].reason
    model.save(tmp_path / "m")
    result = rs.load_synthetic_model(tmp_path / "m").sample(50, seed=0)
    assert result["c"].isna().all() and result["c"].dtype == frame["c"].dtype
    again = value_of(lambda: rs.GaussianCopula(schema=rs.infer_schema(frame), seed=0, verbose=False).fit(frame))
    assert again.sample(5)["c"].isna().all()


@pytest.mark.parametrize("values", [[1.5, 2.5], ["a", "b"], [True, False], [3]], ids=str)
def test_fewer_values_than_are_protected_do_not_leave(values: list[Any]) -> None:
    column = pd.Series([*values, *[None] * (600 - len(values))], dtype=object)
    frame = pd.DataFrame({"c": column, "x": RNG.random(600)})
    model = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(frame))
    assert f"values in {len(values)} row" in model.schema_["c"].reason
    assert model.sample(300, seed=0)["c"].isna().all()
    assert all(repr(v) not in str(model.schema_["c"]) for v in values if not isinstance(v, bool))
    schema = TableSchema.from_dict(model.schema_.to_dict())
    assert rs.GaussianCopula(schema=schema, verbose=False, seed=0).fit(frame).sample(5)["c"].isna().all()


def test_two_rare_numbers_are_numbers() -> None:
    column = pd.Series([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, *[np.nan] * (N - 6)])
    assert rs.infer_schema(pd.DataFrame({"c": column, "x": X}))["c"].kind is Kind.CONTINUOUS


@pytest.mark.parametrize("method", ["copula", "bayesian_network", "autoregressive", "tvae"])
def test_a_table_of_keys_alone(method: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"customer_id": range(100, 400), "key": [f"K-{i:05d}" for i in range(300)]})
    small = {**TINY[method], "epochs": 1} if method in ("autoregressive", "tvae") else {}
    rs.generate_synthetic_data(frame, method, n_samples=2, seed=0, verbose=False, **small)
    result = rs.generate_synthetic_data(frame, method, n_samples=50, seed=0, verbose=False, **small)
    assert result.notna().all(axis=None) and result["key"].is_unique and result["customer_id"].is_unique


def test_columns_named_by_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({0: RNG.choice(list("ab"), N), 1: X, "two": X})
    rs.BayesianNetworkSynthesizer(seed=0, verbose=False, categorical_columns=[0]).fit(frame).save(tmp_path / "m")
    result = rs.load_synthetic_model(tmp_path / "m").sample(50, conditions={0: "a"}, seed=0)
    assert list(result.columns) == [0, 1, "two"] and result[0].eq("a").all()
    with pytest.raises(DataError, match="must be text or numbers.*'tuple'|tuple"):
        rs.infer_schema(frame.set_axis([("a", 1), ("b", 2), "c"], axis=1))
