"""Where each field of a schema comes from: read from rows it is refused under a budget, released it is paid for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth import BayesianNetworkSynthesizer, TableSchema, infer_schema
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.errors import ParameterError, SchemaError

ROWS = 20_000  # of 4,000 the noise changed what is said of 3 tables in a hundred


def people(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, ROWS),
            "dose": np.round(rng.gamma(2, 3, ROWS), 1),
            "job": rng.choice(["nurse", "baker"], ROWS),
            "score": np.where(rng.random(ROWS) < 0.2, np.nan, rng.normal(size=ROWS)),
            "when": pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 300, ROWS), unit="D"),
        }
    )


def bayes(schema: TableSchema | str, **given: object) -> BayesianNetworkSynthesizer:
    return BayesianNetworkSynthesizer(**{"epsilon": 3.0, "verbose": False, "schema": schema, "seed": 0, **given})


@pytest.fixture(scope="module")
def released() -> TableSchema:
    """At so large an epsilon that all of this holds but for one table in a thousand."""
    return infer_schema(people(), epsilon=2.0)


def test_what_was_read_from_rows_is_marked_and_refused_under_a_budget(tmp_path: Path) -> None:
    schema = infer_schema(people())
    assert schema["age"].inferred == ("kind", "dtype", "pandas_dtype", "nullable", "decimals")
    schema.save(tmp_path / "schema.json")
    for given in (schema, str(tmp_path / "schema.json")):
        with pytest.raises(SchemaError, match=r"'age': kind, dtype.* 4 other columns.*infer_schema\(data, epsilon"):
            bayes(given).fit(people())


def test_a_field_that_the_user_sets_is_declared() -> None:
    schema = infer_schema(people()).with_column("age", kind="continuous", dtype="int64", decimals=0)
    assert schema["age"].inferred == ("pandas_dtype", "nullable")
    lists = infer_schema(people(), categorical_columns=["age"])
    assert "kind" not in lists["age"].inferred and "kind" in lists["job"].inferred


def test_who_knows_the_facts_without_the_rows_declares_them_all() -> None:
    schema = infer_schema(people()).declared_public()
    model = value_of(lambda: bayes(schema).fit(people()))
    assert not any(c.inferred for c in model.schema_.columns)
    assert "distinct" not in json.dumps(model._content().meta["schema"]), "reasons count rows"


def test_a_released_schema_says_what_enough_rows_show(released: TableSchema) -> None:
    assert (released["age"].dtype, released["age"].decimals) == ("int64", 0)
    assert released["dose"].decimals == 1 and released["score"].decimals is None
    assert set(released["job"].categories or ()) == {"nurse", "baker"}
    assert not released["age"].nullable and released["score"].nullable
    low, high = released["age"].bounds or (0, 0)
    assert low <= 20 and high >= 85
    assert set(released["age"].released) == {"nullable", "decimals", "dtype", "bounds"}
    assert not any(c.inferred for c in released.columns)


def test_its_events_travel_with_it_and_every_fit_pays_for_them(released: TableSchema, tmp_path: Path) -> None:
    released.save(tmp_path / "schema.json")
    assert TableSchema.load(tmp_path / "schema.json") == released
    for _ in range(2):
        model = bayes(str(tmp_path / "schema.json")).fit(people(1))
        spent = model.privacy_spent_
        assert spent is not None and spent.guarantee and spent.epsilon <= 3.0 * (1 + 1e-6)
        names = [e.released for e in spent.ledger]
        assert {"digits of 'age'", "which values of 'job' occur", "range of 'dose'"} <= set(names)
        assert names.count("number of rows") == 1, "that of the schema"
        assert total_epsilon(spent.ledger.events, 1e-5) > 2.0
    assert model.sample(200, seed=1)["age"].dtype == np.int64


def test_a_budget_that_its_releases_use_up_is_refused(released: TableSchema) -> None:
    with pytest.raises(ParameterError, match="the schema's releases cost epsilon = .*raise it, or declare the schema"):
        bayes(released, epsilon=1.0).fit(people())


def test_so_is_another_privacy_unit(released: TableSchema) -> None:
    with pytest.raises(ParameterError, match="released for one row more or less, and this fit protects one value of"):
        bayes(released, privacy_unit="age").fit(people())
    own = infer_schema(people(), epsilon=2.0, privacy_unit="age", max_rows_per_unit=2)
    assert bayes(own, privacy_unit="age", max_rows_per_unit=2).fit(people()).privacy_spent_ is not None


def test_a_released_schema_stays_within_its_epsilon(released: TableSchema) -> None:
    from raysynth.fitting.released_schema import schema_events

    assert 1.0 < total_epsilon(schema_events(released)[0], 1e-5) <= 2.0
    damaged = replace(released, releases={"ledger": {"events": 3}})
    with pytest.raises(SchemaError, match="release it again"):
        bayes(damaged).fit(people())


def test_delta_without_epsilon_is_refused() -> None:
    with pytest.raises(ParameterError, match="give epsilon"):
        infer_schema(people(), delta=1e-6)
