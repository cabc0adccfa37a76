"""Sampling: alias tables are exact, rows follow the joint distribution and depend on the random stream alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.methods.bayesian_network.sampler import BLOCK_ROWS, alias_table, draw, network_steps


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10_000), st.floats(0.02, 5.0))
def test_alias_tables_hold_the_distribution_exactly(n_codes, seed, concentration):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n_codes, concentration), size=20)
    p[(p < 0.01) & (p < p.max(axis=1, keepdims=True))] = 0.0
    p /= p.sum(axis=1, keepdims=True)
    table = alias_table(p)
    share = table.threshold.reshape(p.shape) / 2.0**32 / n_codes
    alias = table.alias.reshape(p.shape)
    held = share.copy()
    for code in range(n_codes):
        np.add.at(held, (np.arange(len(p)), alias[:, code]), 1 / n_codes - share[:, code])
    np.testing.assert_allclose(held, p, atol=1e-8)
    assert (share[p == 0] == 0).all()


def test_codes_of_probability_zero_are_never_drawn():
    p = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    table = alias_table(p)
    reached = {int(c) for c in table.alias[:3]} | {c for c in range(3) if table.threshold[c]}
    assert reached == {0, 2}


def test_rows_follow_the_joint_distribution(random_network, joint, rows_of):
    network = random_network(5, 7)
    p = joint(network)
    n = 400_000
    codes = rows_of(network, n, 0)
    observed = np.zeros(p.shape)
    np.add.at(observed, tuple(codes.T), 1)
    assert (observed[p == 0] == 0).all()
    cells = p > 0
    chi2 = ((observed - n * p)[cells] ** 2 / (n * p)[cells]).sum()
    freedom = cells.sum() - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)  # about 5 standard deviations: one false alarm in 10^6


def test_rows_depend_on_the_stream_alone(asia):
    steps = network_steps(asia)
    n = 2 * BLOCK_ROWS + 17
    first = draw(steps, n, 8, np.random.default_rng(5))
    np.testing.assert_array_equal(first, draw(network_steps(asia), n, 8, np.random.default_rng(5)))
    assert (first != draw(steps, n, 8, np.random.default_rng(6))).any()
    assert first.dtype == np.uint16 and first.shape == (n, 8)


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(asia, n):
    assert draw(network_steps(asia), n, 8, np.random.default_rng(0)).shape == (n, 8)
