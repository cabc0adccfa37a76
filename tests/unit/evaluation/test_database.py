"""Evaluation of a database: figures that are known, faults that are found, and what a reader gets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth.comparison.intervals import Estimate
from raysynth.data.database import read_database, split_database
from raysynth.data.key_inference import as_database_schema
from raysynth.errors import DataError, ParameterError
from raysynth.evaluation.database import evaluate_synthetic_database
from raysynth.evaluation.database_joins import choose_aggregates
from raysynth.evaluation.database_results import DatabaseEvaluation
from raysynth.evaluation.privacy import Judged, membership_check, share_check

SCHEMA = as_database_schema(["visits.patient -> patients.id"], {"patients": 0, "visits": 0})


def clinic(seed: int = 0, patients: int = 1000) -> dict[str, pd.DataFrame]:
    """Patients whose group decides how many visits they have and how high what is measured there is."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, patients)
    each = rng.poisson(np.where(group, 4.0, 1.0))
    of = np.repeat(np.arange(patients), each)
    return {
        "patients": pd.DataFrame({"id": np.arange(patients) + 1, "group": np.where(group, "old", "young")}),
        "visits": pd.DataFrame(
            {"patient": of + 1, "value": rng.normal(3.0 * group[of]), "ward": rng.choice(["a", "b"], len(of))}
        ),
    }


def without_dependence(tables: dict[str, pd.DataFrame], seed: int = 0) -> dict[str, pd.DataFrame]:
    """The same tables with visits dealt to patients at random, 20 of them to nobody that is there."""
    rng = np.random.default_rng(seed)
    visits = tables["visits"].assign(patient=rng.choice(tables["patients"]["id"], len(tables["visits"])))
    visits.loc[:19, "patient"] = 10**6
    return tables | {"visits": visits}


@pytest.fixture(scope="module")
def found() -> DatabaseEvaluation:
    real, held = split_database(clinic(), SCHEMA)
    return evaluate_synthetic_database(real, without_dependence(real), SCHEMA, held)


def test_aggregates_are_those_of_pandas() -> None:
    tables = clinic(patients=200)
    database = read_database(tables, SCHEMA)
    aggregates = choose_aggregates(database, "patients")
    assert aggregates is not None and choose_aggregates(database, "visits") is None
    table, names = aggregates.of(database)
    grouped = tables["visits"].groupby("patient")
    expected = {
        "rows": grouped.size().reindex(tables["patients"]["id"], fill_value=0),
        "value_mean": grouped["value"].mean().reindex(tables["patients"]["id"]),
        "value_max": grouped["value"].max().reindex(tables["patients"]["id"]),
        "ward is a_mean": grouped["ward"].agg(lambda w: (w == "a").mean()).reindex(tables["patients"]["id"]),
    }
    for name, values in expected.items():
        got = table[f"visits by patient: {name}"].to_pandas()
        np.testing.assert_allclose(got.astype(float), values.to_numpy(float))
        assert f"visits by patient: {name}" in names


def test_what_was_broken_is_found_and_held_back_rows_are_not_told(found: DatabaseEvaluation) -> None:
    """Fixed seed; the held-back AUC of 500 entities has a standard error of .018, so .08 is over four of them."""
    key = found.relations[0]
    n = round(20 / (1 - key.integrity))
    assert found.integrity == key.integrity == 1 - 20 / n
    assert key.ks.value < 0.9 < 0.92 < key.ks.fresh  # the two groups of patients are gone from their number
    assert key.tv.value < key.tv.fresh
    auc, fresh = found.aggregated["patients"]
    assert auc.value > 0.7 and abs(fresh.value - 0.5) < 0.08
    along = found.hops[0]
    assert (along.hops, along.n_pairs) == (1, 2)
    assert along.correlation.value < 0.85 < 0.93 < along.correlation.fresh
    assert along.told.value > 0.6 and abs(along.told_fresh.value - 0.5) < 0.08
    assert all(t.shapes.value > 0.95 for t in found.tables)  # each table by itself is unharmed
    assert found.tables[0].unique_keys == 1
    assert found.efficacy is not None and found.efficacy.target == "group"  # told by how many visits, how high
    model = found.efficacy.models[0]
    assert model.real.value > 0.9 > 0.7 > model.synthetic.value


def test_copied_entities_are_found() -> None:
    """Fixed seed; of held-back entities some equal one of the fit: young ones without a visit."""
    real, held = split_database(clinic(), SCHEMA)
    copied = evaluate_synthetic_database(real, real, SCHEMA, held).copying
    assert copied is not None
    assert copied.copies.figure.value == 1 > 0.5 > copied.copies.baseline
    assert copied.closer.figure.value > 0.7
    assert copied.membership.figure.value > 0.7
    assert copied.membership.in_words == copied.copies.in_words == "fail"


@pytest.mark.parametrize(
    ("low", "words", "answer"), [(0.56, "fail", "Real entities may be recognised"), (0.52, "not decided", "Too few")]
)
def test_sharing_is_refused_only_where_the_corrected_interval_lies_beyond_what_is_allowed(
    found: DatabaseEvaluation, tmp_path: Path, low: float, words: str, answer: str
) -> None:
    """As in the report of one table; the interval that is shown lies beyond it in both cases."""
    assert found.copying is not None
    nothing = share_check("closer_to_training", "Nearer", Judged(Estimate(0.5, 0.48, 0.52), Estimate(0.5, 0.47, 0.53)))
    told = membership_check(Judged(Estimate(0.62, 0.57, 0.67), Estimate(0.62, low, 0.7)))
    judged = replace(found, copying=replace(found.copying, closer=nothing, membership=told, copies=nothing))
    assert words in judged.summary() and json.loads(judged.to_json())["copying"]["membership"]["passed"] is (low < 0.53)
    judged.write_report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert answer in page
    assert ("times as many rows" in page) is ("times as many rows" in judged.summary()) is (words == "not decided")


def test_a_reader_gets_words_json_and_a_page(found: DatabaseEvaluation, tmp_path: Path) -> None:
    text = found.summary()
    assert "Keys that point somewhere" in text and "held-back rows" in text and "visits.patient -> patients.id" in text
    content = json.loads(found.to_json())
    assert content["cardinality"]["value"] == pytest.approx(found.cardinality.value)
    assert content["tables"][1]["similarity"]["columns"][0]["column"] == "value"
    found.write_report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for words in ("Told from real", "visits.patient -&gt; patients.id", "with aggregates of its children", "<svg"):
        assert words in page


def test_targets_and_tables_of_few_rows(found: DatabaseEvaluation) -> None:
    real = clinic(patients=12)
    few = evaluate_synthetic_database(real, real, SCHEMA)
    assert np.isnan(few.aggregated["patients"][0].value) and few.copying is None
    assert "give holdout=" in few.summary()
    with pytest.raises(ParameterError, match="target 'ward' is no column of 'patients'"):
        evaluate_synthetic_database(real, real, SCHEMA, target="ward")


def test_a_table_or_column_that_is_not_there_is_named() -> None:
    real = clinic(patients=20)
    column = next(c for c in real["visits"].columns if c not in ("id", "patient"))
    for lacking, said in (
        (real["visits"].drop(columns=column), f"the synthetic database: table 'visits' has no column '{column}'"),
        (real["visits"][:0], "the synthetic database: table 'visits' has no rows"),
    ):
        with pytest.raises(DataError, match=said):
            evaluate_synthetic_database(real, {**real, "visits": lacking}, SCHEMA)
    with pytest.raises(DataError, match="the synthetic database has no table 'visits'; it has: patients"):
        evaluate_synthetic_database(real, {"patients": real["patients"]}, SCHEMA)


def test_tables_of_one_row_are_named_and_not_compared(tmp_path: Path) -> None:
    real = clinic(patients=60)
    few = {
        "settings": pd.DataFrame({"version": [3]}),
        "notes": pd.DataFrame({"patient": np.empty(0, "int64"), "text": np.empty(0, "str")}),
    }
    keys = ["visits.patient -> patients.id", "notes.patient -> patients.id"]
    schema = as_database_schema(keys, {**real, **few})
    made = {**real, "settings": few["settings"][:0], "notes": few["notes"]}
    found = evaluate_synthetic_database({**real, **few}, made, schema)
    assert found.left_out == ("settings", "notes") and found.to_dict()["left_out"] == ["settings", "notes"]
    found.write_report(tmp_path / "page.html")
    for text in (found.summary(), (tmp_path / "page.html").read_text()):
        assert "one row or none: settings, notes" in text
    assert [r.relation for r in found.relations] == ["visits.patient -> patients.id"]
    with pytest.raises(DataError, match="no table has the 2 rows"):
        evaluate_synthetic_database(few, few, as_database_schema([], few))
