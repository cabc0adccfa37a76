"""Columns without a value, with one value, or constant, on either side: every metric and attack copes with them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from raysynth.attacks.registry import FAMILIES
from raysynth.errors import DataError, ParameterError
from raysynth.evaluation import evaluate_synthetic_data, machine_learning_efficacy
from raysynth.privacy import run_privacy_attacks

NAMES = ("number", "text", "whole", "moment", "flag")


def table(seed: int, n: int = 60) -> pd.DataFrame:
    """Five kinds of columns, and three more so that something is left to compare."""
    rng = np.random.default_rng(seed)
    moment = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 9999, n), unit="h")
    odd = [
        rng.normal(size=n),
        rng.choice(list("xyz"), n),
        rng.integers(0, 9, n).astype(float),
        moment,
        rng.random(n) < 0.4,
    ]
    return pd.DataFrame(dict(zip(NAMES, odd, strict=True))).assign(
        score=rng.normal(size=n), group=rng.choice(list("ab"), n), rate=rng.random(n)
    )


def empty(column: pd.Series) -> pd.Series:
    return (column.astype(object) if column.name == "flag" else column).where(pd.Series(False, column.index))


def constant(column: pd.Series) -> pd.Series:
    return pd.Series([column.iloc[0]] * len(column), name=column.name)


def one_valued(column: pd.Series) -> pd.Series:
    kept = pd.Series(np.arange(len(column)) == 0)
    return (column.astype(object) if column.name == "flag" else column).where(kept)


def spoilt(seed: int, change: Callable[[pd.Series], pd.Series] | None, names: tuple[str, ...] = NAMES) -> pd.DataFrame:
    found = table(seed)
    return found if change is None else found.assign(**{name: change(found[name]) for name in names})


# every change and every side once; the other pairs are `slow`
CHANGED = [
    pytest.param(change, side, marks=() if i == side else pytest.mark.slow)
    for i, change in enumerate((one_valued, empty, constant))
    for side in range(3)
]


@pytest.mark.parametrize(("change", "side"), CHANGED)
def test_every_attack_copes(change: Callable[[pd.Series], pd.Series], side: int) -> None:
    tables = [spoilt(i, change if i == side else None) for i in range(3)]
    results = run_privacy_attacks(*tables[:2], list(FAMILIES), 2, tables[2])
    assert set(results) == set(FAMILIES) and "nan" not in results.summary()


@pytest.mark.parametrize("changes", [(empty, None), (None, empty), (one_valued, constant)])
def test_every_metric_copes(changes: tuple[Callable[[pd.Series], pd.Series] | None, ...]) -> None:
    real, synthetic = (spoilt(i, change) for i, change in enumerate(changes))
    results = evaluate_synthetic_data(real, synthetic, holdout_data=table(2), attack_types=[])
    assert results.similarity is not None and results.realism is not None and results.privacy is not None
    assert results.target in results.summary() and results.to_json()


def test_synthetic_rows_without_the_target_are_of_no_use() -> None:
    real, synthetic = table(0).assign(label=lambda t: t["score"] > 0), table(1).assign(label=np.nan)
    assert machine_learning_efficacy(real, synthetic, "label") == 0
    with pytest.raises(DataError, match="'label' has 0 values in the real table"):
        machine_learning_efficacy(synthetic, real, "label", categorical_columns=["label"])


def test_a_table_without_any_value_is_evaluated_all_the_same() -> None:
    real = table(0)
    nothing = spoilt(1, empty, tuple(real.columns))
    results = evaluate_synthetic_data(real, nothing, holdout_data=table(2))
    assert results.attacks is not None and results.ml_efficacy == 0
    back = evaluate_synthetic_data(nothing, real, attack_types=[])
    assert any("no column can serve as a target" in note for note in back.notes)


def test_keys_alone_cannot_be_attacked_and_one_column_in_part() -> None:
    keys = [pd.DataFrame({"id": np.arange(60) + k, "code": [f"AB{i + k:06d}" for i in range(60)]}) for k in (0, 1000)]
    assert evaluate_synthetic_data(*keys).privacy is None
    with pytest.raises(DataError, match="no column can be attacked"):
        run_privacy_attacks(*keys)
    alone = [table(i)[["score"]] for i in range(3)]
    results = run_privacy_attacks(*alone[:2], holdout_data=alone[2])
    assert "attribute_inference" not in results and any("needs 2 columns" in note for note in results.notes)
    with pytest.raises(ParameterError, match="'linkability' needs 2 columns"):
        run_privacy_attacks(*alone[:2], ["linkability"], holdout_data=alone[2])
    assert math.isnan(evaluate_synthetic_data(*alone[:2], attack_types=[]).ml_efficacy)


def test_columns_named_by_numbers_are_compared_under_their_text() -> None:
    real, synthetic = (table(i).rename(columns=dict(zip(table(i), range(8), strict=True))) for i in range(2))
    results = evaluate_synthetic_data(real, synthetic, categorical_columns=[2], target_columns="6", attack_types=[])  # type: ignore[list-item]
    assert str(results.kinds["2"]) == "categorical" and results.target == "'6'"


def test_the_report_s_headline_names_what_usefulness_predicts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    results = evaluate_synthetic_data(table(0), table(1), target_columns="group", attack_types=[])
    results.generate_report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Usefulness for predicting &#39;group&#39;" in page
    assert "about &#39;group&#39;" in page
