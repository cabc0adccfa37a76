"""What columns of a CSV file spell under a budget: the cell of a text, what the noise shows, and what a fit does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of
from tiny import TINY

from raysynth import BayesianNetworkSynthesizer, ColumnSchema, DPTabularVAE, Kind, TableSchema, infer_schema
from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.statistics.families import FamilyCells, family_shown, found_columns, released_columns
from raysynth.statistics.public_schema import public_schema

NUMBER, DAY, TIME, OTHER, MISSING = range(5)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *((t, NUMBER) for t in ("1", "-2.50", "1e-3", " 7 ", "0", "0.5", "-0", "2016", "20160131", ".5")),
        *((t, OTHER) for t in ("00123", "-07", "007.5", "12345678901234567890", "1.0000000000000001", "1,5", "$3")),
        *((t, DAY) for t in ("2016-01-31", "1999-12-01")),
        *((t, TIME) for t in ("2016-01-31 10:00", "2016-01-31T10:00:00.123456789", "2016-01-31T10:00:00+02:00")),
        *((t, OTHER) for t in ("31/01/2016", "2016-13-01", "a", "nan", "inf", "true")),
        *((t, MISSING) for t in (None, "", "  ")),
    ],
)
def test_a_text_is_in_one_cell(text: str | None, cell: int) -> None:
    texts = pa.array([text, "x", None], pa.string())
    for array in (texts, texts.dictionary_encode()):
        assert FamilyCells().index(array).tolist() == [cell, OTHER, MISSING]


@pytest.mark.parametrize(
    ("counts", "sigma", "shown"),
    [
        ([1000, 0, 0, 0, 50], 20, NUMBER),
        ([1000, 3, -4, 40, 0], 20, NUMBER),  # 4 % spell no number, and are missing then
        ([1000, 0, 0, 200, 0], 20, None),  # 17 % would be lost
        ([50, 0, 0, 0, 0], 20, None),  # below three standard deviations: noise alone could show so many
        ([0, 900, 20, 0, 0], 20, DAY),
        ([0, 400, 500, 0, 0], 20, TIME),
        ([0, 0, 0, 900, 0], 20, None),
        ([-5, 3, 8, -2, 4], 20, None),
    ],
)
def test_a_family_is_shown_where_nearly_all_cells_spell_it(counts: list[int], sigma: float, shown: int | None) -> None:
    assert family_shown(np.array(counts, float), sigma) == shown


def messy(n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.integers(18, 90, n).astype(str)
    age[: n // 100] = "unknown"
    return pd.DataFrame(
        {
            "age": age,
            "pay": rng.lognormal(3, 1, n).round(2),
            "since": (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")).strftime("%F"),
            "plan": rng.choice(["free", "paid"], n),
            "postal": [f"{x:05d}" for x in rng.integers(0, 20, n) * 137],
            "user_id": np.arange(n),
        }
    )


def test_a_private_fit_of_a_csv_file_learns_numbers_as_numbers_and_days_as_days(tmp_path: Path) -> None:
    """4,000 rows and epsilon 2: families lie over 20 standard deviations of their noise above it; never missed."""
    messy().to_csv(tmp_path / "rows.csv", index=False)
    model = value_of(
        lambda: BayesianNetworkSynthesizer(epsilon=2.0, delta=1e-5, verbose=False, seed=0).fit(tmp_path / "rows.csv")
    )
    schema = model.schema_
    kinds = {c.name: c.kind for c in schema.columns}
    assert kinds["age"] is kinds["pay"] is Kind.CONTINUOUS and kinds["since"] is Kind.DATETIME
    assert kinds["plan"] is kinds["postal"] is Kind.CATEGORICAL and kinds["user_id"] is Kind.IDENTIFIER
    made = model.sample(500, seed=0)
    assert made["age"].dropna().between(0, 130).all() and pd.api.types.is_integer_dtype(made["age"].dtype)
    assert pd.to_datetime(made["since"]).dt.year.between(2019, 2023).mean() > 0.9
    assert set(made["postal"]) <= {*messy()["postal"], "(rare)"}
    spent = model.privacy_spent_
    released = [e.released for e in spent.ledger if "spells" in e.released]
    assert released == [f"what '{n}' spells" for n in ("age", "pay", "since", "plan", "postal")]
    assert spent.epsilon <= 2.0
    with pytest.raises(Exception, match="released with noise by a fit"):  # another fit cannot have it for nothing
        BayesianNetworkSynthesizer(epsilon=1.0, schema=schema, verbose=False).fit(messy())


def test_a_released_schema_has_the_kinds_and_pays_for_them(tmp_path: Path) -> None:
    messy().to_csv(tmp_path / "rows.csv", index=False)
    schema = value_of(lambda: infer_schema(tmp_path / "rows.csv", epsilon=2.0))
    assert [schema[n].kind for n in ("age", "since", "postal")] == [Kind.CONTINUOUS, Kind.DATETIME, Kind.CATEGORICAL]
    assert "kind" in schema["age"].released
    assert sum("spells" in e["released"] for e in schema.releases["ledger"]["events"]) == 5


def test_a_fit_that_shares_its_releases_says_that_it_reads_text_and_the_cure_works(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    messy().to_csv(path, index=False)
    tiny: dict[str, Any] = {**TINY["dp_tvae"], "epochs": 1, "keep_shards": tmp_path / "kept", "verbose": False}
    model = DPTabularVAE(epsilon=8.0, seed=0, **tiny)
    with pytest.warns(UserWarning, match=r"as TEXT, numbers and dates too.*'age', 'pay', 'since'.*infer_schema"):
        model.fit(path)
    assert model.schema_["age"].kind is Kind.CATEGORICAL
    cured = infer_schema(path, epsilon=0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*as TEXT.*")
        again = value_of(lambda: DPTabularVAE(epsilon=8.0, schema=cured, seed=0, **tiny).fit(path))
    assert again.schema_["age"].kind is Kind.CONTINUOUS and again.schema_["since"].kind is Kind.DATETIME


def test_what_is_declared_or_listed_is_not_looked_at_and_a_frame_is_as_it_is(tmp_path: Path) -> None:
    messy().to_csv(tmp_path / "rows.csv", index=False)
    declared = TableSchema((ColumnSchema("age", Kind.CATEGORICAL, "string"),))
    scope = PrivacyScope(PrivacyBudget(2.0, 1e-5))
    table = as_table(tmp_path / "rows.csv", min_rows=0, private=True)
    found = found_columns(table, declared, {Kind.CATEGORICAL: ["pay"]}, scope)
    assert [c.name for c in found] == ["since"] and len(scope.ledger) == 3
    free = PrivacyScope(PrivacyBudget(2.0, 1e-5))
    assert found_columns(as_table(messy(), min_rows=0, private=True), None, {}, free) == () and not len(free.ledger)
    schema = public_schema(table, declared, {}, found=found)
    assert released_columns(schema) == found  # what a resumed fit opens its table with
