"""Similarity figures: known values, agreement with independent computations, invariance, sanity on real tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from scipy.stats import wasserstein_distance as scipy_wasserstein
from scipy.stats.contingency import association

from raysynth.comparison.coding import text_of
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation import evaluate_synthetic_data, statistical_similarity_score
from raysynth.evaluation.counting import PassSummary, aligned
from raysynth.evaluation.evaluate import compare_tables
from raysynth.evaluation.measures import cdf, ks_complement, tv_complement, wasserstein_distance
from raysynth.evaluation.similarity import Similarity, cramers_v, plan_pass
from raysynth.statistics.released import CategoryCounts, NumericDistribution


def atoms(values: np.ndarray) -> NumericDistribution:
    found, counts = np.unique(values, return_counts=True)
    mean, std = float(values.mean()), float(values.std())
    return NumericDistribution(found, found, counts.astype(float), 0.0, mean, std, None, True, 0.0)


def compare(real: pd.DataFrame, synthetic: pd.DataFrame) -> Similarity:
    return compare_tables(pair_tables(real, synthetic))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    st.lists(st.integers(-20, 20), min_size=1, max_size=60),
)
def test_distances_of_numbers_are_those_of_scipy(a: list[int], b: list[int]) -> None:
    x, y = np.array(a, dtype=float), np.array(b, dtype=float)
    assert ks_complement(atoms(x), atoms(y)) == pytest.approx(1 - ks_2samp(x, y).statistic)
    assert wasserstein_distance(atoms(x), atoms(y)) * (x.std() or 1.0) == pytest.approx(scipy_wasserstein(x, y))


def test_distribution_function_is_linear_in_cells_and_steps_at_atoms() -> None:
    d = NumericDistribution(
        np.array([0.0, 2.0]), np.array([1.0, 2.0]), np.array([3.0, 1.0]), 0.0, 0.0, 1.0, None, False, 0.75
    )
    x = np.array([-1, 0, 0.5, 1, 1.5, 2, 9])
    assert cdf(d, x).tolist() == [0, 0, 0.375, 0.75, 0.75, 1, 1]
    assert cdf(d, x, left=True).tolist() == [0, 0, 0.375, 0.75, 0.75, 0.75, 1]


def test_total_variation_counts_unseen_categories_and_one_text_for_one_value() -> None:
    real = CategoryCounts((1, 2), np.array([3.0, 1.0]), 5.0, 2)
    synthetic = CategoryCounts((1.0, "x"), np.array([1.0, 1.0]), 0.0, 2)
    assert tv_complement(real, synthetic) == pytest.approx(1 - (0.25 + 0.25 + 0.5) / 2)
    assert [text_of(v) for v in (True, 2.0, 2.5, "a")] == ["true", "2", "2.5", "a"]


def test_cramers_v_is_that_of_scipy() -> None:
    table = np.array([[30, 5, 0], [4, 20, 7]])
    assert cramers_v(table.astype(float).ravel(), 3) == pytest.approx(association(table, method="cramer"))


def test_correlations_ignore_rows_with_a_missing_value(health: pd.DataFrame) -> None:
    similarity = compare(health, health)
    expected = health[["mdvis", "ndisease"]].dropna().corr().iloc[0, 1]
    pair = next(p for p in similarity.pairs if {p.first, p.second} == {"mdvis", "ndisease"})
    assert pair.real == pytest.approx(expected)


def test_second_pass_does_not_depend_on_the_blocks(health: pd.DataFrame) -> None:
    tables = pair_tables(health, health)
    plan, _ = plan_pass(tables.marginals(), seed=0)
    rows = tables.real.to_arrow()
    whole, parts = PassSummary(plan), [PassSummary(plan) for _ in range(3)]
    for batch in rows.combine_chunks().to_batches():
        whole.update(batch)
    for i, batch in enumerate(rows.to_batches(max_chunksize=700)):
        parts[i % 3].update(batch)
    for other in parts[1:]:
        parts[0].merge(other)
    for a, b in zip(whole.counts, parts[0].counts, strict=True):
        first, second = aligned(a, b)
        assert (first == second).all()
    assert whole.correlations() == pytest.approx(parts[0].correlations(), nan_ok=True)


def test_pairs_of_many_categories_are_counted_sparsely_and_exactly() -> None:
    rng = np.random.default_rng(0)
    a, b = (pd.DataFrame({c: rng.integers(0, 1500, 4000).astype(str) for c in "xy"}) for _ in range(2))
    shares = [t.value_counts(normalize=True) for t in (a, b)]
    expected = 1 - shares[0].sub(shares[1], fill_value=0).abs().sum() / 2
    similarity = compare_tables(pair_tables(a, b, categorical_columns=["x", "y"]))
    assert similarity.pairs[0].score == pytest.approx(expected)


def test_a_holdout_sample_scores_high(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    assert compare(*halves).quality >= 0.97


def test_a_copy_scores_one(health: pd.DataFrame) -> None:
    similarity = compare(health, health.sample(frac=1, random_state=0))
    assert similarity.quality == pytest.approx(1)
    assert similarity.all_pair_trends == pytest.approx(1)
    assert similarity.triple_trends == pytest.approx(1)
    assert all(c.wasserstein == pytest.approx(0) for c in similarity.columns if c.metric == "KSComplement")


def test_permuted_columns_score_high_on_columns_and_low_on_pairs(health: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    similarity = compare(health, health.apply(lambda c: rng.permutation(c.to_numpy())))
    assert similarity.column_shapes == pytest.approx(1)
    assert similarity.column_pair_trends < 0.8


def test_noise_scores_near_zero() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000)
    real = pd.DataFrame({"x": x, "y": x + 0.1 * rng.normal(size=2000), "c": np.where(x > 0, "a", "b")})
    noise = pd.DataFrame({"x": rng.uniform(900, 999, 2000), "y": rng.uniform(-999, -900, 2000), "c": ["z"] * 2000})
    similarity = compare(real, noise)
    assert similarity.column_shapes == pytest.approx(0, abs=1e-9)
    assert similarity.quality < 0.2


def test_missing_values_are_compared_and_left_out_of_shapes(health: pd.DataFrame) -> None:
    full = health.assign(ndisease=health["ndisease"].fillna(health["ndisease"].mean()))
    column = next(c for c in compare(health, full).columns if c.name == "ndisease")
    assert column.missing_real == pytest.approx(0.1, abs=0.02)
    assert column.missing_synthetic == 0
    assert column.missing_score == pytest.approx(1 - column.missing_real)


def test_datetimes_of_different_units_are_the_same_moments() -> None:
    days = pd.date_range("2020-01-01", periods=300, freq="D")
    real = pa.table({"when": pa.array(days.astype("datetime64[s]")), "x": np.arange(300.0)})
    synthetic = pa.table({"when": pa.array(days.astype("datetime64[ns]")), "x": np.arange(300.0)})
    similarity = compare_tables(pair_tables(real, synthetic))
    assert similarity.quality == pytest.approx(1)


def test_the_call_of_the_contract_gives_a_number(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    real, synthetic = halves
    score = statistical_similarity_score(
        real_data=real,
        synthetic_data=synthetic,
        categorical_columns=["health", "plan"],
        continuous_columns=["mdvis", "lpi"],
    )
    results = evaluate_synthetic_data(
        real,
        synthetic,
        categorical_columns=["health", "plan"],
        continuous_columns=["mdvis", "lpi"],
        metrics=["statistical_similarity"],
    )
    assert results.similarity is not None
    assert score == results.similarity.quality
