"""Keys whose order tells of other columns: which are found, and that made ones lie where those of like rows do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth import BayesianNetworkSynthesizer, SequentialTrees, infer_schema
from raysynth.errors import SchemaError
from raysynth.evaluation import evaluate_synthetic_data
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.key_order import _may_be

N = 1500


def table(seed: int = 0, first: int = 1, step: int = 3) -> pd.DataFrame:
    """Row numbers, with gaps, of a table in order of time, and a column that knows nothing of it."""
    rng = np.random.default_rng(seed)
    number = first + np.sort(rng.choice(step * N, N, replace=False))
    year = 2001 + (number - first) // (step * N // 5)
    return pd.DataFrame({"number_id": number, "year": year, "x": rng.normal(size=N).round(2)}).sample(
        frac=1, random_state=seed, ignore_index=True
    )


def trees(real: pd.DataFrame, **given: object) -> SequentialTrees:
    return value_of(lambda: SequentialTrees(seed=0, verbose=False, weighted=False, **given).fit(real))


@pytest.fixture(scope="module")
def fitted() -> SequentialTrees:
    return trees(table())


def test_made_keys_lie_where_those_of_like_rows_do(fitted: SequentialTrees) -> None:
    made, real = fitted.sample(1200, seed=1), table()
    assert made["number_id"].is_unique
    ends = real.groupby("year")["number_id"].agg(["min", "max"])
    off = [made.number_id - made.year.map(ends["max"]), made.year.map(ends["min"]) - made.number_id]
    assert (np.maximum(*off) > 60).mean() < 0.02  # a cell of about 20 rows and the next free key beyond it
    assert np.corrcoef(made.number_id, made.year)[0, 1] > 0.95


def test_the_keys_of_a_second_seed_and_of_a_file_are_no_repeats(fitted: SequentialTrees, tmp_path: object) -> None:
    from raysynth import load_synthetic_model

    fitted.save(tmp_path / "model")  # type: ignore[operator]
    again = load_synthetic_model(tmp_path / "model")  # type: ignore[operator]
    pd.testing.assert_frame_equal(again.sample(300, seed=5), fitted.sample(300, seed=5))


def test_more_rows_than_there_are_keys_and_several_chunks_stay_unique(fitted: SequentialTrees) -> None:
    made = fitted.sample(66_500, seed=2)
    assert made["number_id"].is_unique
    assert made["number_id"].dtype == table()["number_id"].dtype


def test_under_conditions_keys_follow(fitted: SequentialTrees) -> None:
    made = fitted.sample(200, conditions={"year": 2003}, seed=3)
    ends = table().groupby("year")["number_id"].agg(["min", "max"]).loc[2003]
    assert made.number_id.between(ends["min"] - 60, ends["max"] + 60).mean() > 0.98
    assert made.number_id.is_unique


@pytest.mark.parametrize("first", [1, 40_000])
def test_a_wide_range_keeps_leading_digits_and_no_real_key(first: int) -> None:
    rng = np.random.default_rng(first)
    district = rng.integers(1, 9, N)
    real = pd.DataFrame(
        {"parcel_id": district * 10**9 + rng.integers(0, 10**8, N), "price": district * 10 + rng.normal(size=N)}
    )
    made = trees(real).sample(1000, seed=1)
    assert made["parcel_id"].is_unique
    assert not set(made["parcel_id"]) & set(real["parcel_id"])
    assert np.corrcoef(made["parcel_id"], made["price"])[0, 1] > 0.98


def test_keys_that_tell_nothing_are_not_learned_whatever_they_are() -> None:
    real = table()
    real["number_id"] = np.random.default_rng(1).permutation(9 * 10**5)[:N] + 10**5
    other = real.assign(number_id=np.random.default_rng(2).permutation(9 * 10**5)[:N] + 10**5)
    first, second = trees(real), trees(other)
    assert not first.schema_["number_id"].in_order
    pd.testing.assert_frame_equal(first.sample(100, seed=0), second.sample(100, seed=0))


@pytest.mark.parametrize(
    ("change", "may_be"),
    [
        ({}, True),
        ({"kind": Kind.CONTINUOUS}, False),
        ({"dtype": "string"}, False),
        ({"within": "person"}, False),
    ],
)
def test_keys_of_whole_numbers_that_no_row_lacks_may_stand_in_order(change: dict[str, Any], may_be: bool) -> None:
    column = replace(ColumnSchema("id", Kind.IDENTIFIER, "int64"), **change)

    def asked(missing: int, all_unique: bool) -> bool:
        seen = SimpleNamespace(missing=missing, n_distinct=1000, summary=SimpleNamespace(all_unique=all_unique))
        statistics: Any = SimpleNamespace(columns={"id": seen})
        return value_of(lambda: _may_be(column, TableSchema((column,)), statistics))

    assert asked(0, True) == may_be
    assert not asked(1, True) and not asked(0, False)


def test_a_schema_says_no_or_yes() -> None:
    real = table()
    schema = infer_schema(real).with_column("number_id", in_order=False)
    made = trees(real, schema=schema).sample(1000, seed=1)
    assert abs(np.corrcoef(made["number_id"], made["year"])[0, 1]) < 0.15
    with pytest.raises(SchemaError, match="'x': in_order is for keys of whole numbers"):
        infer_schema(real).with_column("x", in_order=True)


def test_under_a_budget_nothing_of_keys_is_learned() -> None:
    real = table()
    schema = infer_schema(real, epsilon=0.5, delta=1e-6).with_column("number_id", in_order=True)
    model = value_of(
        lambda: BayesianNetworkSynthesizer(epsilon=2.0, delta=1e-6, seed=0, verbose=False, schema=schema).fit(real)
    )
    assert "number_id" not in model.encoder_.names
    made = model.sample(1000, seed=1)
    assert abs(np.corrcoef(made["number_id"], made["year"])[0, 1]) < 0.15


def test_a_fit_says_so_and_how_near(capsys: pytest.CaptureFixture[str]) -> None:
    SequentialTrees(seed=0, weighted=False).fit(table())
    assert "made near the keys of like rows" in (out := capsys.readouterr().out)
    assert "by chance" in out and "one number in" not in out  # row numbers: it was said how many are real ones
    SequentialTrees(seed=0, weighted=False).fit(table(step=9))
    assert "one number in 9 is a real key" in capsys.readouterr().out


def test_made_keys_among_dense_ones_are_no_copies_and_copies_are() -> None:
    """Numbers of two dense runs far apart: made ones fall among them, as often as any number there is taken."""
    rng = np.random.default_rng(0)
    half = N // 2
    number = np.concatenate([1 + rng.permutation(2 * half)[:half], 80_000 + rng.permutation(2 * half)[:half]])
    real = pd.DataFrame({"number_id": number, "year": np.repeat([1999, 2020], half), "x": rng.normal(size=N).round(2)})
    model = trees(real)
    assert model.schema_["number_id"].in_order
    for made, is_copied in ((model.sample(N, seed=1), False), (real.sample(frac=1, random_state=0), True)):
        results = evaluate_synthetic_data(real, made, metrics="statistical_similarity")
        found = next(d for d in results.diagnostics if d.name == "Keys not copied")
        assert found.passed is not is_copied, found.detail


def test_gaps_of_a_key_stay() -> None:
    real = table()
    real["case_id"] = [f"C-{i:06d}" for i in np.random.default_rng(3).permutation(N)]
    real.loc[real.year < 2004, "case_id"] = None
    made = trees(real).sample(1000, seed=1)
    assert (made["case_id"].isna() == (made.year < 2004)).mean() > 0.98
    assert made["case_id"].dropna().is_unique


def test_keys_of_persons_lie_where_those_of_like_persons_do_over_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clinics number their patients in turn; made persons may begin in one chunk and end in the next."""
    rng = np.random.default_rng(5)
    n = 400
    patient = np.sort(rng.choice(4_000, n, replace=False)) + 1_000
    each = rng.integers(1, 6, n)
    rows = pd.DataFrame({"patient_id": patient, "clinic": (patient - 1_000) // 1_000}).loc[
        np.repeat(np.arange(n), each)
    ]
    rows = rows.assign(x=rng.normal(size=len(rows)).round(2)).reset_index(drop=True)
    model = trees(rows)
    assert model.schema_["patient_id"].in_order
    monkeypatch.setattr("raysynth.sampling.chunks.CHUNK_ROWS", 256)
    made = model.sample(2_000, seed=1)
    assert (made.groupby("patient_id")["clinic"].nunique() == 1).all()
    rows_each = made.groupby("patient_id", sort=False).size()
    assert rows_each.max() <= 5  # no two persons have one key, whatever chunks they begin in
    assert np.corrcoef(made.patient_id, made.clinic)[0, 1] > 0.9
    assert (made.patient_id.ne(made.patient_id.shift()).cumsum().nunique()) == made.patient_id.nunique()


def test_other_keys_of_persons_that_tell_nothing_leave_rows_as_they_are() -> None:
    rng = np.random.default_rng(6)
    rows = pd.DataFrame({"patient_id": np.repeat(np.arange(300) + 50_000, 4), "x": rng.normal(size=1_200).round(2)})
    other = rows.assign(patient_id=np.repeat(np.sort(rng.choice(40_000, 300, replace=False)) + 50_000, 4))
    pd.testing.assert_frame_equal(trees(rows).sample(200, seed=0), trees(other).sample(200, seed=0))


def test_keys_on_a_grid_are_not_made_on_it_and_gaps_are_no_repeats() -> None:
    """Even numbers alone: half of the numbers beside them are real keys, and so are half of the made ones."""
    real = table(step=2).assign(number_id=lambda t: 7_000 + 2 * t.number_id.rank().astype(int))
    real["case_id"] = [f"C-{i:06d}" if i % 3 else None for i in range(N)]
    model = trees(real)
    assert model.schema_["number_id"].in_order
    made = model.sample(400, seed=1)
    assert 0.35 < made.number_id.isin(real.number_id).mean() < 0.65
    found = evaluate_synthetic_data(real, made, metrics="statistical_similarity").diagnostics
    assert {d.name: d.passed for d in found if d.name.startswith("Keys")} == {
        "Keys unique": True,
        "Keys not copied": True,
    }


@pytest.mark.parametrize(("first", "most"), [(0, 700), (1, 700), (100_000, 999_999)])
def test_persons_that_are_counted_through_keep_the_range_and_other_numbers_do_not(first: int, most: int) -> None:
    rng = np.random.default_rng(8)
    person = np.repeat(np.sort(rng.choice(700, 600, replace=False)), 3)
    rows = pd.DataFrame({"person_id": person + first, "x": rng.normal(size=len(person)).round(2)})
    made = trees(rows).sample(len(rows), seed=0).person_id
    assert most * 0.9 < made.max() <= most * 1.02
    assert made.nunique() == pytest.approx(600, rel=0.02)


def test_row_numbers_beside_keys_of_persons_are_near_like_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Persons whose key tells nothing are made row by row; the rows' own keys still lie where those of like rows do."""
    rng = np.random.default_rng(9)
    real = table(step=40)
    real["patient_id"] = rng.permutation(np.repeat(rng.choice(90_000, N // 4, replace=False) + 10_000, 4))
    made = trees(real).sample(N, seed=1)
    assert made.number_id.max() < 1.1 * real.number_id.max()
    assert np.corrcoef(made.number_id, made.year)[0, 1] > 0.9
    assert made.number_id.is_unique


def test_a_table_whose_persons_are_numbered_in_turn_is_evaluated_with_all_attacks() -> None:
    """Their key is one of persons and one in order: it was read twice."""
    rng = np.random.default_rng(10)
    person = np.repeat(np.arange(900), rng.integers(1, 4, 900))
    rows = pd.DataFrame({"patient_id": person + 1, "clinic": person // 100, "x": rng.normal(size=len(person)).round(2)})
    real, holdout = rows[rows.patient_id % 3 > 0], rows[rows.patient_id % 3 == 0]
    model = trees(real.reset_index(drop=True))
    assert model.schema_["patient_id"].in_order and model.schema_.entity == "patient_id"
    found = evaluate_synthetic_data(real, model.sample(1_000, seed=1), holdout_data=holdout, entity="patient_id")
    assert found.privacy is not None and found.privacy.checks
