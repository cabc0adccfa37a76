"""A private fit of a table without a schema: whole numbers come back, and what declaring would gain is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth import BayesianNetworkSynthesizer, load_synthetic_model
from raysynth.errors import SchemaError
from raysynth.schema import ColumnSchema, Kind, TableSchema

ROWS = 3000


def people(whole: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.integers(18, 90, ROWS)
    return pd.DataFrame(
        {"age": age if whole else age + 0.25, "share": rng.random(ROWS), "sex": rng.choice(["m", "f"], ROWS)}
    )


def fitted(data: pd.DataFrame, **given: object) -> BayesianNetworkSynthesizer:
    return BayesianNetworkSynthesizer(**{"seed": 0, "epsilon": 4.0, "delta": 1e-5, **given}).fit(data)


def test_whole_numbers_come_back_as_integers_within_the_budget(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """At so large an epsilon that it fails for one draw in some hundreds."""
    model = fitted(people())
    said = capsys.readouterr().out
    assert "NOT DECLARED: a range (bounds) of 'age', 'share'; a list of values (categories) of 'sex'" in said
    rows = model.sample(500, conditions={"age": (30, 50)}, seed=1)
    assert rows["age"].dtype == np.int64 and rows["age"].between(30, 50).all()
    assert rows["share"].dtype == np.float64
    spent = model.privacy_spent_
    assert spent is not None and spent.epsilon <= 4.0
    assert sum(e.released.startswith("digits of") for e in spent.ledger) == 2
    model.save(f"{tmp_path}/model.zip")
    again = load_synthetic_model(f"{tmp_path}/model.zip")
    assert again.sample(50, seed=2)["age"].dtype == np.int64
    with pytest.raises(SchemaError, match="'age': dtype, decimals were released with noise by a fit"):
        fitted(people(), schema=model.schema_)


def test_the_line_does_not_depend_on_rows(capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for data in (people(), people(whole=False).assign(sex="m")):
        fitted(data)
        lines.append([x for x in capsys.readouterr().out.splitlines() if x.startswith("NOT DECLARED")])
    assert lines[0] == lines[1] and len(lines[0]) == 1


def test_a_declared_double_stays_one_and_pays_for_no_digits() -> None:
    schema = TableSchema((ColumnSchema("age", Kind.CONTINUOUS, "double"),))
    model = fitted(people(), schema=schema, verbose=False)
    assert model.sample(20, seed=0)["age"].dtype == np.float64
    assert model.privacy_spent_ is not None
    assert [e.released for e in model.privacy_spent_.ledger if e.released.startswith("digits")] == ["digits of 'share'"]
