"""Smoothed conditional probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import SetCounts
from raysynth.methods.bayesian_network.network import back_off_levels, conditional_table, estimate


def test_without_smoothing_probabilities_are_shares():
    counts = np.array([[8.0, 2.0], [1.0, 3.0]])
    np.testing.assert_allclose(conditional_table(counts, smoothing=0), [[0.8, 0.2], [0.25, 0.75]])


def test_a_configuration_without_rows_takes_the_smaller_family():
    counts = np.array([[30.0, 10.0], [0.0, 0.0], [10.0, 30.0]])
    table = conditional_table(counts, smoothing=0)
    np.testing.assert_allclose(table[1], [0.5, 0.5])


def test_smoothing_by_hand():
    counts = np.array([[3.0, 1.0], [0.0, 4.0]])  # shares of the column: 3/8, 5/8
    expected = (counts + 2 * np.array([3 / 8, 5 / 8])) / (4 + 2)
    np.testing.assert_allclose(conditional_table(counts, smoothing=2), expected)


def test_a_code_without_rows_keeps_probability_zero():
    table = conditional_table(np.array([[5.0, 0.0, 1.0], [2.0, 0.0, 9.0]]))
    assert (table[:, 1] == 0).all() and (table[:, [0, 2]] > 0).all()
    np.testing.assert_allclose(table.sum(axis=1), 1)


def test_the_weakest_parent_is_left_out_first():
    rng = np.random.default_rng(0)
    strong, weak = rng.integers(0, 3, size=(2, 5000))
    child = np.where(rng.random(5000) < 0.8, strong, rng.integers(0, 3, size=5000))
    counts = np.zeros((3, 3, 3))
    np.add.at(counts, (weak, strong, child), 1)
    levels = back_off_levels(counts)
    assert [level.shape for level in levels] == [(1, 1, 3), (1, 3, 3), (3, 3, 3)]


def test_chosen_smoothing_predicts_new_rows_better_than_none_or_much():
    rng = np.random.default_rng(1)
    truth = rng.dirichlet(np.full(6, 2.0), size=40)
    held_out = np.zeros(3)
    for repeat in range(5):
        generator = np.random.default_rng(repeat)
        counts = np.array([generator.multinomial(15, p) for p in truth], dtype=float)
        for k, smoothing in enumerate((None, 0.01, 1000.0)):
            held_out[k] += (truth * np.log(np.maximum(conditional_table(counts, smoothing), 1e-9))).sum()
    assert held_out[0] > held_out[1] and held_out[0] > held_out[2]


@pytest.mark.statistical
def test_estimate_recovers_the_probabilities(random_network, rows_of, count_of):
    network = random_network(5, 2)
    codes = rows_of(network, 200_000, 2)
    counts = SetCounts(count_of(codes, network.cardinalities), network.cardinalities, len(codes))
    found = estimate(counts, network.parents)
    assert counts.n_passes == 1
    assert found.parents == network.parents
    for column, (a, b) in enumerate(zip(found.tables, network.tables, strict=True)):
        rows = np.bincount(network.configuration(column, codes), minlength=len(a))
        seen = rows > 1000  # a share of 1,000 rows errs by 0.016; 5 standard errors over all cells: one in 10^5
        assert np.abs(a - b)[seen].max() < 0.08


def test_negative_smoothing_is_refused(count_of):
    with pytest.raises(ParameterError, match="smoothing"):
        estimate(SetCounts(count_of(np.zeros((1, 1), int), [1]), [1], 1), [()], -1.0)
