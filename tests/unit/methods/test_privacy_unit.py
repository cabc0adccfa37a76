"""A guarantee by person: at most k of each one's rows count, and every release has k times the noise of one row."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth import infer_schema, load_synthetic_model
from raysynth.api import new_synthesizer
from raysynth.attacks.audit.results import AuditedAttack
from raysynth.attacks.audit.run import _game
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.errors import ParameterError, SchemaError
from raysynth.evaluation.provenance import ledger_section
from raysynth.fitting.opening import open_table, privacy_scope
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import units
from raysynth.statistics.noised import release_statistics

WITH_UNITS = ("bayesian_network", "copula")  # of several rows each; `test_privacy_unit_training.py` has the others
OF_SEQUENCES = ("timegan", "autoregressive_sequences")
K = 4


def visits(persons: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    who = rng.integers(0, persons, 4 * persons)
    ward = rng.choice(["a", "b", "c"], len(who))
    return pd.DataFrame({"person_id": who, "ward": ward, "days": rng.integers(1, 20, len(who))})


def model_of(method: str, **parameters: Any) -> Any:
    given = {"epsilon": 3.0, "delta": 1e-5, "privacy_unit": "person_id", "max_rows_per_unit": K, "verbose": False}
    return new_synthesizer(method, **{**given, **parameters})


@pytest.mark.parametrize("method", WITH_UNITS)
def test_the_unit_and_its_sensitivity_are_in_every_event(method: str, tmp_path: Any) -> None:
    model = model_of(method).fit(visits())
    spent = model.privacy_spent_
    says = f"value of 'person_id' with all its rows (at most {K} of which count)"
    assert {event.unit for event in spent.ledger} == {says}
    by_row = model_of(method, privacy_unit=None, max_rows_per_unit=1).fit(visits()).privacy_spent_
    pairs = list(zip(spent.ledger, by_row.ledger, strict=True))
    for own, one in pairs:
        assert own.released == one.released
        if own.mechanism != "approximate":
            assert own.sensitivity == pytest.approx(K * one.sensitivity)
    assert 0.9 * 3 < spent.epsilon <= 3
    assert f"for one {says} more or less" in str(spent)
    assert "person_id" in ledger_section(spent).body and "row more" not in str(by_row)
    model.save(tmp_path / "m")
    assert load_synthetic_model(tmp_path / "m").privacy_spent_.to_dict() == spent.to_dict()
    assert len(model.sample(50, seed=0)) == 50


def test_released_counts_have_k_times_the_noise_of_one_row() -> None:
    """Standard deviation over 150 releases; each estimate errs by 6 %, 30 % is five of these."""
    column = ColumnSchema("ward", Kind.CATEGORICAL, "string", categories=("a", "b"), nullable=False)
    table = as_table(pd.DataFrame({"ward": ["a", "b"] * 4000}))

    def spread(k: int) -> float:
        found = []
        for _ in range(150):
            scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), rows_per_unit=k)
            released = release_statistics(table, TableSchema((column,)), scope, share=0.1)
            counts = released.columns["ward"].categories().value.counts
            found.append(counts[0] - counts[1])
        return float(np.std(found))

    assert spread(6) / spread(1) == pytest.approx(6, rel=0.3)


def game(method: str) -> AuditedAttack:
    """The adversary of `audit_epsilon`, between tables that differ by all 2,000 rows of one person."""
    rng = np.random.default_rng(0)
    rows = pa.table({"person_id": np.arange(60), "ward": rng.choice(list("xy"), 60)})
    person = pa.table({"person_id": np.full(2000, 99), "ward": ["z"] * 2000})
    schema = TableSchema((ColumnSchema("ward", Kind.CATEGORICAL, "string", categories=("x", "y", "z")),))
    model = model_of(method, epsilon=0.5, max_rows_per_unit=2, schema=schema)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _game(model, (rows, pa.concat_tables([rows, person])), 120, 0.25, 1 - 1e-4, 1e-5, "local")


def test_a_person_of_many_rows_does_not_refute_the_claim() -> None:
    assert game("copula").lower_bound <= 0.5


def test_it_does_where_the_rows_of_a_person_are_not_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def unbounded(table: Table, *others: Sequence[Any]) -> Table:
        return table

    monkeypatch.setattr(units, "bounded", unbounded)
    assert game("copula").lower_bound > 0.5


def test_which_rows_of_a_person_count_is_drawn_in_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the operating system, whatever the seed of the user."""
    inner, kept = units.chosen_rows, []

    def noted(*args: Any) -> np.ndarray:
        kept.append(inner(*args))
        return kept[-1]

    monkeypatch.setattr(units, "chosen_rows", noted)
    data = visits()
    for _ in range(2):
        np.random.seed(0)
        model_of("copula", seed=7, max_rows_per_unit=1).fit(data)
    assert (kept[0] != kept[1]).any() and kept[0].sum() == kept[1].sum() == data["person_id"].nunique()


KEYS: dict[str, Any] = {  # real keys are told from made ones by eye: none of these patterns makes them
    "whole": lambda n: np.arange(n) + 7_000_000,
    "gaps": lambda n: np.where(np.arange(n) % 50 == 0, np.nan, np.arange(n) + 7_000_000.0),
    "text": lambda n: [f"P-{i:05d}" for i in range(n)],
    "uuid": lambda n: [str(uuid.UUID(int=i)) for i in range(n)],
}


@pytest.mark.parametrize("source", ["frame", "csv"])
@pytest.mark.parametrize("key", KEYS)
def test_the_unit_is_a_key_whatever_it_holds(key: str, source: str, tmp_path: Any) -> None:
    """Each made row has a fresh one, nothing is released of the real ones, and no budget goes to them."""
    n = 300
    data = pd.DataFrame({"visitor": KEYS[key](n), "ward": ["a", "b"] * (n // 2), "days": np.arange(n) % 19})
    given: Any = data
    if source == "csv":
        given = str(tmp_path / "visits.csv")
        data.to_csv(given, index=False)
    model = model_of("bayesian_network", privacy_unit="visitor", max_rows_per_unit=2).fit(given)
    assert not [e.released for e in model.privacy_spent_.ledger if "visitor" in e.released]
    assert "visitor" not in model.encoder_.names and model.schema_["visitor"].kind is Kind.IDENTIFIER
    made = model.sample(500, seed=1)["visitor"]
    assert made.is_unique and made.notna().all() and not set(map(str, made)) & set(map(str, data["visitor"]))


@pytest.mark.parametrize("method", [m for m in METHODS if synthesizer_class(m).has_privacy_unit])
def test_every_method_takes_the_unit_for_a_key(method: str) -> None:
    """Also where a schema declares it as numbers, and where its name speaks of personal data."""
    data = visits().rename(columns={"person_id": "email"})
    for frame, schema in (
        (visits().rename(columns={"person_id": "visitor"}), None),
        (data.assign(email=data["email"].map("{}@x.org".format)), None),
        (data, TableSchema((ColumnSchema("email", Kind.CONTINUOUS, "int32", bounds=(0, 400)),))),
    ):
        unit = frame.columns[0]
        model = model_of(method, privacy_unit=unit, schema=schema, max_rows_per_unit=1)
        scope = privacy_scope(model)
        opened = open_table(model, frame, scope, is_only=True)
        assert unit not in opened.statistics.columns and not opened.schema[unit].kind.is_modelled
        assert not [e.released for e in scope.ledger if unit in e.released]


def test_a_schema_within_a_budget_says_nothing_of_the_unit() -> None:
    own = infer_schema(visits(), epsilon=2.0, privacy_unit="person_id", max_rows_per_unit=K)["person_id"]
    assert own == ColumnSchema("person_id", Kind.IDENTIFIER, "int64", nullable=False, reason=own.reason)
    times = visits().assign(person_id=pd.Timestamp("2024-01-01"))
    with pytest.raises(SchemaError, match="privacy_unit 'person_id' holds datetime.* turn it into text"):
        infer_schema(times, epsilon=2.0, privacy_unit="person_id")


def test_every_method_of_tables_has_a_unit() -> None:
    without = {m for m in METHODS if not synthesizer_class(m).has_privacy_unit}
    assert without == {*OF_SEQUENCES, "trees", "tree_sequences"}  # trees have no privacy budget yet


@pytest.mark.parametrize("method", OF_SEQUENCES)
def test_methods_of_sequences_refuse_it(method: str) -> None:
    assert not synthesizer_class(method).has_privacy_unit
    with pytest.raises(
        ParameterError, match="not in this version of|no differential privacy yet|protects whole sequences"
    ):
        model_of(method).fit("no-such-file.csv")


def test_wrong_units_are_named() -> None:
    for parameters, says in (
        ({"max_rows_per_unit": 0}, "max_rows_per_unit"),
        ({"privacy_unit": None}, "name the column of persons"),
        ({"epsilon": None}, "privacy_unit belongs to differential privacy"),
    ):
        given = {"epsilon": None, "delta": None} if "epsilon" in parameters else parameters
        with pytest.raises(ParameterError, match=says):
            model_of("copula", **given).fit("no-such-file.csv")
    with pytest.raises(SchemaError, match="no column"):
        model_of("copula", privacy_unit="patient").fit(visits())
