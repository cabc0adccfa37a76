"""Fits under a privacy budget: each rule of 'One door to the private data'."""

from __future__ import annotations

import io
import json
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import load_synthetic_model
from raysynth.api import generate_synthetic_data, new_synthesizer
from raysynth.constraints import Inequality
from raysynth.dp import InsecureSeededNoise
from raysynth.errors import DataError, ParameterError
from raysynth.fitting.opening import privacy_scope
from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.schema import ColumnSchema, Kind, TableSchema

COUNTED = ("bayesian_network", "copula")  # private methods without SGD
ROWS = 1500


def people(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    job = rng.choice(["nurse", "baker", "clerk"], rows, p=[0.6, 0.3, 0.1])
    income = np.round(20_000 + 300 * age + 10_000 * (job == "clerk") + rng.normal(0, 5000, rows))
    return pd.DataFrame({"age": age, "job": job, "income": income, "rich": income > 42_000})


SCHEMA = TableSchema(
    (
        ColumnSchema("age", Kind.CONTINUOUS, "int64", bounds=(18, 90), nullable=False),
        ColumnSchema("job", Kind.CATEGORICAL, "string", categories=("nurse", "baker", "clerk"), nullable=False),
        ColumnSchema("income", Kind.CONTINUOUS, "double", bounds=(0, 100_000), decimals=0, nullable=False),
    )
)


def fitted(method: str, data: pd.DataFrame, **parameters: Any) -> Synthesizer:
    parameters = {"epsilon": 3.0, "delta": 1e-4, "schema": SCHEMA, "verbose": False, **parameters}
    return new_synthesizer(method, **parameters).fit(data)


@pytest.mark.parametrize("method", COUNTED)
def test_synthetic_rows_resemble_the_real_ones(method: str) -> None:
    data = people()
    synthetic = fitted(method, data, epsilon=10.0).sample(ROWS, seed=0)
    assert list(synthetic) == list(data) and synthetic["age"].dtype.kind in "iu"
    assert synthetic["age"].mean() == pytest.approx(data["age"].mean(), abs=4)
    assert synthetic["age"].corr(synthetic["income"]) > 0.4
    assert set(synthetic["job"]) <= {"nurse", "baker", "clerk"}


@pytest.mark.parametrize("method", COUNTED)
def test_a_model_file_carries_the_ledger_and_conditions_work(method: str, tmp_path: Path) -> None:
    model = fitted(method, people(), secure_mode=True)
    model.save(tmp_path / "m.raysynth")
    loaded = load_synthetic_model(tmp_path / "m.raysynth")
    assert model.privacy_spent_ is not None and loaded.privacy_spent_ is not None
    assert loaded.privacy_spent_.to_dict() == model.privacy_spent_.to_dict()
    assert loaded.n_rows_ == model.n_rows_
    rows = loaded.sample(50, conditions={"job": "clerk"}, seed=1)
    assert set(rows["job"]) == {"clerk"}


@pytest.mark.parametrize("method", COUNTED)
def test_noise_does_not_come_from_the_seed(method: str) -> None:
    """Who knows a published seed learns nothing: two fits with one seed differ in all that they release."""
    first, second = (fitted(method, people(), seed=7)._content() for _ in range(2))
    assert first.digest() != second.digest()
    both = first.arrays.keys() & second.arrays.keys()  # a tail of categories is there or not, as the noise has it
    shares = [name for name in both if name.startswith("encoder.") and "share" in name]
    assert shares and all(not np.array_equal(first.arrays[k], second.arrays[k]) for k in shares)


def test_seeded_noise_says_that_it_guarantees_nothing() -> None:
    model = new_synthesizer("copula", epsilon=1.0, delta=1e-4, schema=SCHEMA, verbose=False)
    model._noise = InsecureSeededNoise(0)
    spent = model.fit(people()).privacy_spent_
    assert spent is not None and not spent.guarantee
    assert str(spent).startswith("no guarantee") and spent.to_dict()["guarantee"] is False


# ---- no error, schema or message depends on a row ------------------------------------------------------------------


AWKWARD = {
    "infinite": {"income": np.inf},
    "missing": {"income": np.nan},
    "outside the bounds": {"income": -1e12, "age": 5000},
    "an unknown category": {"job": "astronaut"},
    "no category": {"job": None},
}


@pytest.mark.parametrize("change", AWKWARD.values(), ids=AWKWARD.keys())
@pytest.mark.parametrize("method", COUNTED)
def test_no_row_raises_and_none_shows(method: str, change: dict[str, Any]) -> None:
    data = people().astype({"income": float, "job": object})
    for column, value in change.items():
        data.loc[3, column] = value
    model = fitted(method, data)
    synthetic = model.sample(500, seed=0)
    assert synthetic["income"].between(0, 100_000).all() and synthetic["age"].between(18, 90).all()
    assert set(synthetic["job"]) <= {"nurse", "baker", "clerk"}
    assert "astronaut" not in json.dumps(model._content().meta)


def test_the_same_rows_are_refused_by_validate_which_is_private() -> None:
    data = people().astype({"income": float})
    data.loc[3, "income"] = np.inf
    model = new_synthesizer("copula", epsilon=1.0, schema=SCHEMA, verbose=False)
    with pytest.raises(DataError, match="infinite"):
        model.validate(data)
    assert model.validate(people())["age"].kind is Kind.CONTINUOUS


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_few_rows_are_no_error(rows: int) -> None:
    data = people(rows=max(rows, 1)).iloc[:rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(fitted("bayesian_network", data, epsilon=1.0).sample(20, seed=0)) == 20


def test_the_schema_of_neighbours_is_the_same() -> None:
    """One row turns whole numbers into floats with NaN, and a list of values into a longer one: nothing shows."""
    data = people()
    neighbour = data.copy()
    neighbour.loc[len(data)] = [np.nan, "astronaut", np.nan, None]
    schemas = [
        new_synthesizer("copula", epsilon=1.0, delta=1e-4, verbose=False).fit(d.drop(columns="rich")).schema_
        for d in (data, neighbour)
    ]
    assert schemas[0].to_dict() == schemas[1].to_dict()


def test_what_is_printed_holds_no_exact_figure() -> None:
    shown = io.StringIO()
    with redirect_stdout(shown):
        model = fitted("bayesian_network", people(), verbose=True, epsilon=0.5)
    assert f"about {model.n_rows_:,} rows" in shown.getvalue()
    assert f"{ROWS:,}" not in shown.getvalue() or model.n_rows_ == ROWS


def test_what_is_declared_constant_needs_no_statistics() -> None:
    data = people().assign(country="here")
    columns = (*SCHEMA.columns, ColumnSchema("country", Kind.CONSTANT, "string", value="here", nullable=False))
    model = fitted("copula", data, schema=replace(SCHEMA, columns=columns))
    assert set(model.sample(20, seed=0)["country"]) == {"here"}


def test_constraints_hold_in_samples_and_are_not_checked_against_rows() -> None:
    data = people()
    data["paid"] = data["income"] / 2
    data.loc[0, "paid"] = 99_000.0  # breaks the rule
    columns = (*SCHEMA.columns, ColumnSchema("paid", Kind.CONTINUOUS, "double", bounds=(0, 100_000), nullable=False))
    schema = TableSchema(columns, constraints=(Inequality("paid", "income"),))
    model = fitted("bayesian_network", data, schema=schema)
    synthetic = model.sample(300, seed=0)
    assert (synthetic["paid"] <= synthetic["income"]).all()


def test_a_delta_above_one_over_n_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="delta = 0.01 exceeds one over"):
        fitted("copula", people(), delta=0.01)


# ---- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"epsilon": 0}, "epsilon must be a number > 0"),
        ({"epsilon": -1.0}, "epsilon must be a number > 0"),
        ({"epsilon": 1.0, "delta": 1}, "delta must be a number between 0 and 1"),
        ({"epsilon": 1.0, "statistics_share": 1.0}, "statistics_share must be a number between 0 and 1"),
        ({"epsilon": 1.0, "about_rows": -5}, "about_rows"),
        ({"delta": 1e-5}, "give epsilon, too"),
        ({"secure_mode": True}, "give epsilon, too"),
    ],
)
def test_parameters_out_of_range_are_refused_before_any_row_is_read(parameters: dict, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        new_synthesizer("copula", **parameters).fit("no-such-file.csv")


def test_methods_without_differential_privacy_refuse_it() -> None:
    class Plain(synthesizer_class("copula")):  # type: ignore[misc]
        has_differential_privacy = False

    for parameters in ({"epsilon": 1.0}, {"differential_privacy": True}):
        with pytest.raises(ParameterError, match="differential privacy is not in this version of Plain"):
            Plain(**parameters).fit("no-such-file.csv")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_spends_a_ledger_or_refuses(method: str) -> None:
    model = new_synthesizer(method, epsilon=-1.0)
    says = "epsilon must be" if model.has_differential_privacy else "not in this version"
    with pytest.raises(ParameterError, match=says):
        privacy_scope(model)


def test_privacy_protection_is_differential_privacy_with_the_documented_default() -> None:
    synthetic = generate_synthetic_data(
        people(), "bayesian_network", ["job"], ["age", "income"], privacy_protection=True, seed=0, verbose=False
    )
    assert abs(len(synthetic) - ROWS) < 1000, "about as many rows: noise of scale 50"
    model = new_synthesizer("copula", differential_privacy=True, verbose=False).fit(people())
    assert model.privacy_spent_ is not None and model.privacy_spent_.budget.epsilon == 1.0


def test_without_a_budget_there_is_no_ledger() -> None:
    assert new_synthesizer("copula", verbose=False).fit(people()).privacy_spent_ is None
