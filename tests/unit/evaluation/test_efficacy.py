"""Machine-learning efficacy and realism: what equal, useless and odd training tables must score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth import SequentialTrees
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation import evaluate_synthetic_data, machine_learning_efficacy
from raysynth.evaluation.evaluate import read_rows
from raysynth.evaluation.metrics.realism import two_sample_test


@pytest.fixture(scope="module")
def wines() -> pd.DataFrame:
    """1,000 rows drawn again from scikit-learn's wine table with a little noise: three classes that can be told."""
    from sklearn.datasets import load_wine

    data = load_wine(as_frame=True).frame.rename(columns={"target": "cultivar"})
    data = data.sample(1000, replace=True, random_state=0).reset_index(drop=True)
    rng = np.random.default_rng(0)
    numbers = data.columns[:-1]
    data[numbers] += rng.normal(size=(1000, len(numbers))) * data[numbers].std().to_numpy() * 0.7
    data["cultivar"] = "c" + data["cultivar"].astype(str)
    return data[["alcohol", "malic_acid", "color_intensity", "proline", "cultivar"]]


def test_a_fresh_sample_is_as_useful_for_several_classes(wines: pd.DataFrame) -> None:
    score = machine_learning_efficacy(
        wines[:400], wines[400:800], "cultivar", "classification", wines[800:], models=["gradient boosting", "linear"]
    )
    assert score > 0.93


def test_shuffled_targets_teach_nothing(wines: pd.DataFrame) -> None:
    """The mean over shuffles: one alone may point the right way by chance, since the classes are easily told."""
    scores = []
    for seed in range(8):
        shuffled = wines["cultivar"][400:800].sample(frac=1, random_state=seed).to_numpy()
        useless = wines[400:800].assign(cultivar=shuffled)
        scores.append(machine_learning_efficacy(wines[:400], useless, "cultivar", models=["linear"]))
    assert np.mean(scores) < 0.45


def test_regression_by_the_call_of_the_contract(wines: pd.DataFrame) -> None:
    score = machine_learning_efficacy(
        real_data=wines[:500], synthetic_data=wines[500:], target_column="proline", task_type="regression"
    )
    assert score > 0.85


def test_every_target_asked_for_is_tested(wines: pd.DataFrame) -> None:
    results = evaluate_synthetic_data(
        wines[:300], wines[300:600], metrics="ml_efficacy", target_columns=["cultivar", "proline"]
    )
    assert [(t.target, t.task, t.measure) for t in results.efficacy] == [
        ("cultivar", "classification", "macro AUC"),
        ("proline", "regression", "R2"),
    ]
    assert results.ml_efficacy == pytest.approx(np.mean([t.score for t in results.efficacy]))


def test_results_name_the_chosen_target_and_whether_rows_were_seen(wines: pd.DataFrame) -> None:
    results = evaluate_synthetic_data(wines[:500], wines[500:], metrics=["ml_efficacy"])
    (target,) = results.efficacy
    assert (target.target, target.measure, target.held_out) == ("cultivar", "macro AUC", False)
    assert any("'cultivar' was chosen" in note for note in results.notes)
    assert any("may have seen" in note for note in results.notes)
    for model in target.models:
        assert model.real.low <= model.real.value <= model.real.high


def test_a_classifier_cannot_tell_a_fresh_sample_but_tells_noise(wines: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    noise = wines.apply(lambda c: rng.permutation(c.to_numpy()))
    fresh, told = (
        two_sample_test(*(read_rows(pair_tables(wines[:500], s), 0)[k] for k in ("real", "synthetic")))
        for s in (wines[500:], noise[500:])
    )
    assert fresh.auc.low < 0.55
    assert told.auc.value > 0.7
    assert told.score < fresh.score


def test_a_number_of_many_classes_by_the_models_schema_is_predicted_as_a_number(wines: pd.DataFrame) -> None:
    numbered = wines.assign(proline=(wines["proline"] // 20 * 20).astype(int)).drop(columns="cultivar")
    model = SequentialTrees(categorical_columns=["proline"], seed=0, verbose=False).fit(numbered[:500])
    assert model.schema_ is not None and model.schema_["proline"].kind == "categorical"
    found = evaluate_synthetic_data(
        numbered[:500],
        numbered[500:],
        metrics=["ml_efficacy"],
        target_columns="proline",
        schema=model.schema_,
        attack_types=[],
    )
    assert [(t.task, t.measure) for t in found.efficacy] == [("regression", "R2")] and found.efficacy[0].score > 0.5
    assert any("'proline' has more classes than can be tested" in note for note in found.notes)


def test_text_of_many_classes_and_a_constant_are_notes_and_the_other_targets_are_tested(wines: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    odd = wines.assign(postcode=[f"{i:05d}" for i in rng.integers(0, 120, 1000)], flag="no")
    found = evaluate_synthetic_data(
        odd[:500],
        odd[500:],
        metrics=["ml_efficacy"],
        target_columns=["postcode", "flag", "cultivar"],
        categorical_columns=["postcode", "flag"],
    )
    assert [t.target for t in found.efficacy] == ["cultivar"]
    notes = [n for n in found.notes if n.startswith("not tested:")]
    assert len(notes) == 2 and "classes; at most 50" in notes[0] and "'flag' has one class" in notes[1]
