"""Conditions: elimination gives the posterior exactly; the fallback comes near it; impossible ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.methods.bayesian_network.sampler import (
    CANDIDATES_PER_ROW,
    ImpossibleError,
    TooLargeError,
    conditioned_steps,
    draw,
    eliminate,
    importance_rows,
    network_steps,
)


def weighted(p, weights):
    """p(row) * prod weights, not normalised, from the whole joint."""
    result = p.copy()
    for column, weight in weights.items():
        shape = [1] * p.ndim
        shape[column] = -1
        result *= np.asarray(weight, float).reshape(shape)
    return result


def posterior_of(elimination, network):
    """The joint that the elimination's tables stand for, over the columns it reached."""
    reached = [f.columns[-1] for f in elimination.factors]
    result = np.ones([len(elimination.supports[c]) if c in reached else 1 for c in range(len(network))])
    for factor in elimination.factors:
        order = np.argsort(factor.columns)
        shape = [len(elimination.supports[c]) if c in factor.columns else 1 for c in range(len(network))]
        result = result * factor.values.transpose(order).reshape(shape)
    return result


@pytest.mark.parametrize("seed", range(12))
def test_elimination_is_the_posterior(random_network, joint, seed):
    network = random_network(6, seed)
    rng = np.random.default_rng(seed)
    weights = {}
    for column in rng.choice(6, size=3, replace=False).tolist():
        weights[column] = rng.random(network.cardinalities[column]) * (rng.random(network.cardinalities[column]) < 0.7)
    target = weighted(joint(network), weights)
    if target.sum() == 0:
        with pytest.raises(ImpossibleError):
            eliminate(network, weights)
        return
    elimination = eliminate(network, weights)
    assert elimination.log_probability == pytest.approx(np.log(target.sum()), abs=1e-9)
    reached = [f.columns[-1] for f in elimination.factors]
    others = tuple(c for c in range(6) if c not in reached)
    expected = (target / target.sum()).sum(axis=others, keepdims=True)
    expected = expected[np.ix_(*(elimination.supports[c] if c in reached else [0] for c in range(6)))]
    np.testing.assert_allclose(posterior_of(elimination, network), expected, atol=1e-12)


def test_rows_under_conditions_follow_the_posterior(random_network, joint):
    network = random_network(5, 3)
    weights = {4: np.linspace(0, 1, network.cardinalities[4]), 1: np.linspace(1, 0.2, network.cardinalities[1])}
    target = weighted(joint(network), weights)
    target /= target.sum()
    n = 300_000
    codes = draw(conditioned_steps(network, weights, network_steps(network)), n, 5, np.random.default_rng(0))
    observed = np.zeros(target.shape)
    np.add.at(observed, tuple(codes.T), 1)
    assert (observed[target == 0] == 0).all()
    cells = target > 0
    chi2 = ((observed - n * target)[cells] ** 2 / (n * target)[cells]).sum()
    freedom = cells.sum() - 1
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)  # one false alarm in 10^6


@pytest.mark.statistical
def test_a_rare_condition_costs_no_rejection(asia):
    weights = {0: np.array([1.0, 0.0]), 1: np.array([1.0, 0.0]), 3: np.array([1.0, 0.0])}  # 1 row in 37,000
    codes = draw(conditioned_steps(asia, weights, network_steps(asia)), 1000, 8, np.random.default_rng(0))
    assert (codes[:, [0, 1, 3, 5]] == 0).all()
    # p(smoke | lung cancer) = 0.5 * 0.1 / 0.055; 5 standard errors of 1,000 rows
    assert (codes[:, 2] == 0).mean() == pytest.approx(10 / 11, abs=5 * np.sqrt(10 / 121 / 1000))


def test_impossible_conditions_are_refused(asia):
    weights = {5: np.array([0.0, 1.0]), 3: np.array([1.0, 0.0])}  # lung cancer, yet neither tuberculosis nor cancer
    with pytest.raises(ImpossibleError):
        eliminate(asia, weights)
    with pytest.raises(ImpossibleError):
        importance_rows(asia, weights, network_steps(asia), 10, np.random.default_rng(0))
    with pytest.raises(ImpossibleError):
        eliminate(asia, {0: np.zeros(2)})


def test_too_large_tables_are_refused_before_they_are_made(random_network):
    network = random_network(12, 0)
    with pytest.raises(TooLargeError):
        eliminate(network, {c: np.full(network.cardinalities[c], 0.5) for c in range(12)}, max_cells=8)


def test_importance_resampling_comes_near_the_posterior(random_network, joint):
    network = random_network(5, 3)
    weights = {4: np.linspace(0, 1, network.cardinalities[4])}
    target = weighted(joint(network), weights)
    target /= target.sum()
    codes = importance_rows(network, weights, network_steps(network), 50_000, np.random.default_rng(1))
    for column in range(5):
        expected = target.sum(axis=tuple(c for c in range(5) if c != column))
        observed = np.bincount(codes[:, column], minlength=network.cardinalities[column]) / len(codes)
        assert np.abs(observed - expected).max() < 0.015
    assert CANDIDATES_PER_ROW >= 10
