"""Bad input to an evaluation: each a clear error that names the column, or a stated treatment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth.api import infer_schema
from raysynth.errors import DataError, ParameterError
from raysynth.evaluation import (
    evaluate_synthetic_data,
    machine_learning_efficacy,
    privacy_risk_score,
    statistical_similarity_score,
)
from raysynth.kinds.identifier.making import IdentifierEncoder

FEW = pd.DataFrame({"age": np.arange(60.0) % 17, "town": ["a", "b", "c"] * 20})


def test_columns_that_differ_are_named() -> None:
    with pytest.raises(DataError, match="synthetic table lacks 'town' and has 'city'"):
        statistical_similarity_score(FEW, FEW.rename(columns={"town": "city"}))


def test_order_of_columns_does_not_matter() -> None:
    assert statistical_similarity_score(FEW, FEW[["town", "age"]]) == pytest.approx(1)


def test_kinds_that_disagree_are_named() -> None:
    with pytest.raises(DataError, match="column 'age' is continuous in the real table but text in the synthetic"):
        statistical_similarity_score(FEW, FEW.assign(age="old"))


def test_an_empty_synthetic_table() -> None:
    with pytest.raises(DataError, match="the synthetic table has no rows"):
        statistical_similarity_score(FEW, FEW[:0])


def test_a_target_with_one_class() -> None:
    real = FEW.assign(town="a")
    with pytest.raises(DataError, match="target column 'town' has one class"):
        machine_learning_efficacy(real, FEW, "town", categorical_columns=["town"])


def test_a_synthetic_target_with_one_class_is_as_good_as_guessing() -> None:
    real = pd.concat([FEW.assign(town=np.where(FEW["age"] > 8, "a", "b"))] * 10)
    assert machine_learning_efficacy(real, real.assign(town="a"), "town", "classification") == 0


def test_unseen_categories_lower_the_score_and_fail_the_diagnostics() -> None:
    results = evaluate_synthetic_data(FEW, FEW.replace("c", "z"), metrics="statistical_similarity")
    assert results.similarity is not None
    assert next(c for c in results.similarity.columns if c.name == "town").score == pytest.approx(2 / 3)
    failed = [d for d in results.diagnostics if not d.passed]
    assert [d.name for d in failed] == ["Categories known"]
    assert "'town' (33.33%)" in failed[0].detail


def test_numbers_out_of_range_and_new_missing_values_fail_the_diagnostics() -> None:
    synthetic = FEW.assign(age=FEW["age"] + 5, town=[*[None] * 20, *FEW["town"][20:]])
    failed = {
        d.name
        for d in evaluate_synthetic_data(FEW, synthetic, metrics="statistical_similarity").diagnostics
        if not d.passed
    }
    assert failed == {"Numbers within their range", "Missing values only where allowed"}


def test_a_few_missing_values_of_a_column_that_rarely_lacks_one_are_no_fault() -> None:
    """Of 60 fresh rows each two lack a value and none of the real ones do in one of four tables."""
    found = evaluate_synthetic_data(FEW, FEW.assign(town=[None, None, *FEW["town"][2:]]), metrics="realism")
    missing = next(d for d in found.diagnostics if d.name.startswith("Missing"))
    assert missing.passed and "than fresh rows have: 'town' (3.33%)" in missing.detail


def test_fresh_rows_of_one_law_are_a_valid_table() -> None:
    """Of 40 columns some largest and smallest values, and some rare words, are the fresh rows' alone: chance, no fault.
    A check fails by chance in less than one of 100 such tables."""
    rng = np.random.default_rng(0)
    words = np.array([f"word {i}" for i in range(2_000)])

    def rows(n: int) -> pd.DataFrame:
        numbers = pd.DataFrame(rng.lognormal(sigma=2.0, size=(n, 40))).add_prefix("x")
        return numbers.assign(word=words[np.minimum(rng.zipf(1.4, n), 2_000) - 1], group=rng.choice(list("ab"), n))

    real, fresh = rows(900), rows(700)
    found = {d.name: d for d in evaluate_synthetic_data(real, fresh, metrics="statistical_similarity").diagnostics}
    assert all(d.passed for d in found.values())
    assert "no more than fresh rows have: 'x" in found["Numbers within their range"].detail
    assert "no more than fresh rows have: 'word'" in found["Categories known"].detail
    wrong = fresh.assign(x0=fresh["x0"].where(np.arange(700) >= 20, -1.0), group=["c", *fresh["group"][1:]])
    results = evaluate_synthetic_data(real, wrong, metrics="statistical_similarity")
    details = [d.detail for d in results.diagnostics if not d.passed]
    assert len(details) == 2 and "range: 'x0'" in details[0] and "have: 'group' (0.14%)" in details[1]


def test_outside_declared_bounds_and_categories_no_value_is_chance() -> None:
    fresh = FEW.assign(age=[17.0, *FEW["age"][1:]], town=["d", *FEW["town"][1:]])
    real = pd.concat([FEW, pd.DataFrame({"age": [3.0], "town": ["e"]})])  # 'e' is alone: new words are no surprise
    declared = infer_schema(real).with_column("age", bounds=(0, 16)).with_column("town", categories=tuple("abce"))
    for schema, names in ((None, set()), (declared, {"Numbers within their range", "Categories known"})):
        found = evaluate_synthetic_data(real, fresh, metrics="statistical_similarity", schema=schema).diagnostics
        assert {d.name for d in found if not d.passed} == names


def test_repeated_and_copied_keys_fail_the_diagnostics() -> None:
    rng = np.random.default_rng(0)
    keys = [f"K{i:08x}" for i in rng.permutation(10**6)[:60]]
    results = evaluate_synthetic_data(
        FEW.assign(key=keys), FEW.assign(key=keys[:1] * 60), metrics="statistical_similarity"
    )
    assert {d.name for d in results.diagnostics if not d.passed} == {"Keys unique", "Keys not copied"}
    assert any("key" in note for note in results.notes)


def test_copied_keys_are_found_in_any_number_of_keys() -> None:
    """More distinct keys than statistics count one by one."""
    real = pd.DataFrame({"key": [f"K{i:09x}" for i in np.random.default_rng(0).choice(10**8, 300_000, replace=False)]})
    fresh = pd.DataFrame({"key": [f"Z{i:09x}" for i in range(3_000)]})
    copied = pd.concat([fresh, real[-1_000:]], ignore_index=True)
    details = {}
    for name, keys in (("fresh", fresh), ("copied", copied)):
        tables = [t.assign(x=np.arange(len(t)) % 7) for t in (real, keys)]
        results = evaluate_synthetic_data(*tables, metrics="statistical_similarity")
        details[name] = next(d for d in results.diagnostics if d.name == "Keys not copied")
    assert details["fresh"].passed
    assert not details["copied"].passed and "25.00%" in details["copied"].detail


def test_the_label_of_protected_values_is_known_and_said() -> None:
    synthetic = FEW.assign(town=["a", "b", "(rare)"] * 20)
    results = evaluate_synthetic_data(FEW, synthetic, metrics="statistical_similarity")
    known = next(d for d in results.diagnostics if d.name == "Categories known")
    assert known.passed and "'(rare)' stands for protected ones in 'town'" in known.detail


_CODES = np.random.default_rng(1).permutation(9000)[:360]


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("keys", "are_row_numbers"),
    [
        ([f"P{i:03d}" for i in np.random.default_rng(1).permutation(1000)[:360]], False),  # 36 % of all such codes
        (np.arange(1.0, 361.0).tolist(), True),
        (list(range(1, 361)), True),
        ((_CODES + 1000).tolist(), False),
        ([f"{i + 1000}" for i in _CODES], False),
    ],
)
def test_keys_made_anew_in_a_short_space_are_not_taken_for_copies(keys: list[object], are_row_numbers: bool) -> None:
    """False alarm of each case: one in 1,000; the keys are seeded."""
    real = pd.DataFrame({"patient_id": keys, "x": np.arange(len(keys)) % 7, "g": list("abcd") * (len(keys) // 4)})
    made = IdentifierEncoder.from_schema(infer_schema(real)["patient_id"]).values(0, len(keys), 5)
    synthetic = real.assign(patient_id=made.to_pylist())
    for table, is_fine in ((synthetic, True), (real, are_row_numbers)):  # those of row numbers are no secret
        results = evaluate_synthetic_data(real, table, metrics="statistical_similarity")
        found = next(d for d in results.diagnostics if d.name == "Keys not copied")
        assert found.passed == is_fine, found.detail
        assert "by chance" in found.detail


def test_unknown_metrics_columns_targets_tasks_and_models() -> None:
    with pytest.raises(ParameterError, match="unknown metrics"):
        evaluate_synthetic_data(FEW, FEW, metrics=["beauty"])
    with pytest.raises(ParameterError, match="'height' is listed"):
        statistical_similarity_score(FEW, FEW, continuous_columns=["height"])
    with pytest.raises(ParameterError, match="'height' is not compared"):
        machine_learning_efficacy(FEW, FEW, "height")
    with pytest.raises(ParameterError, match="task_type must be one of"):
        machine_learning_efficacy(FEW, FEW, "age", "clustering")
    with pytest.raises(ParameterError, match="unknown models"):
        machine_learning_efficacy(FEW, FEW, "age", models=["oracle"])


def test_a_risk_that_needs_holdout_rows_says_so() -> None:
    with pytest.raises(ParameterError, match="give holdout_data"):
        privacy_risk_score(FEW, FEW, metrics=["closer_to_training"])
    with pytest.warns(UserWarning, match="closer_to_training: not defined"):
        assert 0 <= privacy_risk_score(FEW, FEW, metrics=["closer_to_training", "exact_copies"]) <= 1


def test_membership_without_holdout_rows_is_named_proximity() -> None:
    with pytest.warns(UserWarning, match="'proximity' to the real rows took its place"):
        score = privacy_risk_score(FEW, FEW, metrics=["membership_inference"])
    assert "Proximity (no holdout" in score.parts["proximity"].title
    assert np.isnan(score.parts["membership_inference"].risk)
    assert "attack_membership_inference" not in score.parts


def test_unknown_attacks_are_refused_before_the_tables_are_read() -> None:
    with pytest.raises(ParameterError, match="unknown attack 'magic'"):
        evaluate_synthetic_data(None, None, attack_types=["magic"])


def test_tables_too_small_to_be_attacked_are_evaluated_all_the_same() -> None:
    results = evaluate_synthetic_data(FEW[:15], FEW[15:], metrics="privacy_metrics")
    assert results.attacks is None and results.privacy is not None
    assert any("no attack was run: the real table has fewer than 20 rows" in note for note in results.notes)


def test_of_a_table_of_one_column_only_what_needs_several_is_left_out() -> None:
    results = evaluate_synthetic_data(FEW[["age"]], FEW[["age"]], metrics="privacy_metrics")
    assert results.attacks is not None and set(results.attacks) == {"membership_inference", "model_inversion"}


def test_an_empty_holdout_and_one_of_other_columns_are_named() -> None:
    with pytest.raises(DataError, match="the holdout table has no rows"):
        evaluate_synthetic_data(FEW, FEW, holdout_data=FEW[:0])
    with pytest.raises(DataError, match="the holdout table lacks 'town'"):
        evaluate_synthetic_data(FEW, FEW, holdout_data=FEW[["age"]])


def test_model_info_must_tell_something() -> None:
    with pytest.raises(ParameterError, match="model_info must be a fitted synthesizer or a mapping"):
        evaluate_synthetic_data(FEW, FEW, model_info="ctgan")  # type: ignore[arg-type]


def test_a_column_without_any_value_is_left_out_of_the_scores() -> None:
    empty = FEW.assign(nothing=np.nan)
    assert statistical_similarity_score(empty, empty) == pytest.approx(1)


def test_constant_columns_have_no_correlation_and_do_not_count() -> None:
    constant = FEW.assign(same=1.0)
    results = evaluate_synthetic_data(constant, constant, metrics="statistical_similarity")
    assert results.similarity is not None
    assert results.similarity.quality == pytest.approx(1)
