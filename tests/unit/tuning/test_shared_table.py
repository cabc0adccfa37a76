"""A table opened once for several fits: each learns what it would have learned alone, and nothing is computed twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.api import new_synthesizer
from raysynth.errors import ParameterError
from raysynth.fitting import persons
from raysynth.methods.base import Synthesizer
from raysynth.tuning.one_trial import SharedTable

METHODS: dict[str, dict[str, Any]] = {
    "copula": {},
    "bayesian_network": {},
    "tvae": {"epochs": 2},
    "ctgan": {"epochs": 1, "batch_size": 100},
    "conditional_gan": {"epochs": 1, "batch_size": 100, "conditional_columns": ["c"]},
    "autoregressive": {"epochs": 2},
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    return pd.DataFrame({"x": x, "y": np.where(x > 1, np.nan, x + 1), "c": np.where(x > 0, "yes", "no")})


def model(method: str, **options: Any) -> Synthesizer:
    return new_synthesizer(method, seed=3, verbose=False, **{**METHODS[method], **options})


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_from_the_shared_table_equals_one_of_its_own(table: pd.DataFrame, method: str) -> None:
    shared = SharedTable.of([model(m) for m in METHODS], table)
    assert shared is not None and len(shared.opened.encoded) == 5, "ctgan and tvae share their encoder"
    for encoded in shared.opened.encoded.values():  # as they come out of Ray's object store
        assert encoded.block is not None
        encoded.block.codes_NC.flags.writeable = encoded.block.values_NV.flags.writeable = False
    found, alone = shared.fit(model(method)), model(method).fit(table)
    pd.testing.assert_frame_equal(found.sample(200, seed=1), alone.sample(200, seed=1))


def test_statistics_are_collected_once_for_all_fits(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    collect = persons.collect

    def counted(rows: Any, label: str = "", **options: Any) -> Any:
        passes.append(label)
        return collect(rows, label=label, **options)

    monkeypatch.setattr(persons, "collect", counted)
    models = [model("copula"), model("bayesian_network"), model("bayesian_network", max_parents=1)]
    shared = SharedTable.of(models, table)
    assert shared is not None
    for each in models:
        shared.fit(each)
    assert passes == ["statistics"]


def test_a_fit_with_a_budget_shares_nothing(table: pd.DataFrame) -> None:
    private = model("copula", epsilon=1.0)
    assert SharedTable.of([private], table) is None
    shared = SharedTable.of([private, model("copula")], table)
    assert shared is not None and shared.serves(model("copula")) and not shared.serves(private)
    assert not shared.serves(model("copula", differential_privacy=True))


def test_a_fit_that_declares_other_kinds_is_not_served(table: pd.DataFrame) -> None:
    shared = SharedTable.of([model("copula")], table)
    assert shared is not None and not shared.serves(model("copula", categorical_columns=["x"]))


def test_a_form_that_was_not_foreseen_is_encoded_by_the_fit(table: pd.DataFrame) -> None:
    shared = SharedTable.of([model("copula")], table)
    assert shared is not None
    found = shared.fit(model("bayesian_network", n_bins=7))
    alone = model("bayesian_network", n_bins=7).fit(table)
    pd.testing.assert_frame_equal(found.sample(100, seed=1), alone.sample(100, seed=1))


def test_wrong_parameters_are_told_as_ever(table: pd.DataFrame) -> None:
    shared = SharedTable.of([model("copula")], table)
    assert shared is not None
    with pytest.raises(ParameterError, match="max_parents"):
        shared.fit(model("bayesian_network", max_parents=-1))
