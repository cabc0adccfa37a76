"""Intervals of similarity scores cover the true score; fresh rows score what is expected of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.comparison.coding import coarse_category_coder, quantile_coder
from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation.evaluate import compare_tables
from raysynth.evaluation.measures import (
    contingency_similarity,
    correlation_half_width,
    correlation_similarity,
    expected_complement,
    ks_complement,
    ks_half_width,
    mean_around,
    tv_half_width,
)
from raysynth.statistics.released import CategoryCounts, NumericDistribution

DRAWS, FEWEST = 300, 270  # at 95 % coverage fewer than 270 of 300 have a probability below 0.001


def atoms(values: np.ndarray) -> NumericDistribution:
    found, counts = np.unique(values, return_counts=True)
    mean, std = float(values.mean()), float(values.std())
    return NumericDistribution(found, found, counts.astype(float), 0.0, mean, std, None, True, 0.0)


def test_intervals_of_total_variation_cover_the_true_distance() -> None:
    rng, p, q = np.random.default_rng(0), np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.3, 0.3, 0.3, 0.1])
    covered = 0
    for _ in range(DRAWS):
        real, synthetic = rng.multinomial(800, p).astype(float), rng.multinomial(500, q).astype(float)
        covered += abs(contingency_similarity(real, synthetic) - 0.8) <= tv_half_width(real, synthetic)
    assert FEWEST <= covered < DRAWS


def test_intervals_of_ks_cover_the_true_distance() -> None:
    rng, covered = np.random.default_rng(0), 0
    true = math.erf(0.5 / math.sqrt(2))  # N(0, 1) against N(1, 1): 2 Phi(1/2) - 1, where the densities cross
    for _ in range(DRAWS):
        real, synthetic = atoms(rng.normal(size=500)), atoms(rng.normal(1, 1, 400))
        covered += abs(1 - ks_complement(real, synthetic) - true) <= ks_half_width(real, synthetic)
    assert FEWEST <= covered < DRAWS


def test_intervals_of_correlations_cover_the_true_score() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        r, q = (
            float(np.corrcoef(rng.multivariate_normal([0, 0], [[1, c], [c, 1]], n).T)[0, 1])
            for c, n in ((0.8, 400), (0.3, 300))
        )
        covered += abs(correlation_similarity(r, q) - 0.75) <= correlation_half_width(r, q, 400, 300)
    assert FEWEST <= covered < DRAWS


def test_fresh_rows_score_what_is_expected() -> None:
    rng, p = np.random.default_rng(0), np.array([0.4, 0.3, 0.2, 0.07, 0.03])
    scores = [
        contingency_similarity(rng.multinomial(300, p).astype(float), rng.multinomial(200, p).astype(float))
        for _ in range(400)
    ]
    assert expected_complement(300 * p, 200) == pytest.approx(np.mean(scores), abs=0.003)


def test_fresh_halves_of_a_real_table_are_as_accurate_as_expected(halves: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    for value, fresh in compare_tables(pair_tables(*halves)).accuracies.values():
        assert value == pytest.approx(fresh, abs=0.01)


def test_means_leave_undefined_scores_out_and_keep_their_interval_in_the_unit_interval() -> None:
    found = mean_around([(0.9, 0.1), (math.nan, math.nan), (1.0, 0.3)])
    assert (found.value, found.low, found.high) == (pytest.approx(0.95), pytest.approx(0.75), 1.0)
    assert math.isnan(mean_around([]).value)


def test_cells_are_tenths_of_the_real_table_however_often_a_value_repeats() -> None:
    rng = np.random.default_rng(0)
    even = quantile_coder("x", atoms(rng.normal(size=5000)))
    assert 9 <= len(even.cuts) <= 11
    mostly_zero = np.where(rng.random(5000) < 0.9, 0.0, np.round(rng.exponential(1000, 5000)) + 1)
    coder = quantile_coder("x", atoms(mostly_zero))
    assert coder.cuts[0] > 0 and len(coder.cuts) >= 9  # the tail is cut too, not the zeros alone
    few = quantile_coder("x", atoms(np.array([1.0, 2.0, 2.0, 7.0])))
    assert few.cuts == (2.0, 7.0)


def test_a_cell_of_its_own_for_missing_numbers_and_none_for_rare_categories() -> None:
    coder = quantile_coder("x", atoms(np.array([1.0, 2.0, 3.0])))
    assert coder.codes(pa.array([0.0, 1.0, 2.5, 3.0, 99.0, None])).tolist() == [0, 0, 1, 2, 2, 3]
    counts = CategoryCounts(("a", "b", "c"), np.array([9.0, 5.0, 4.0]), 0.0, 3)
    assert coarse_category_coder("c", counts).texts == ("a", "b")
