"""Estimates of the counts behind noised tables.

What a noised table tells beside what was expected of it is an empirical-Bayes estimate of its counts. Prior: a cell has
r times the rows that were expected, r drawn from a gamma distribution of mean 1 (a Poisson-gamma table, as behind
Dirichlet smoothing) whose shape maximises the likelihood of the noised table, sharpened by a few steps of the
nonparametric maximum likelihood (Kiefer and Wolfowitz 1956; Koenker and Mizera 2014). Where two columns settle each
other most cells are empty: counts cut off at zero keep half of the noise of each, and the relation is lost in it; this
prior has most of its mass at zero then.

Between two ordered columns one number says most: if the likelihood prefers it, the expected table is tilted first as a
Gaussian copula is, by exp(theta * score * score) with the margins held (a log-linear model of association; Goodman
1979), with theta from the noised sum of the products of scores, in which the noise of single cells cancels.

All of it is post-processing of released counts. Shapes: O configurations of the other parents, P codes of the new
parent, R codes of the child, K cells, G nodes of r.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import gammainc, ndtri

SHAPES = (1e4, 100.0, 30.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06)  # of the gamma distribution
SHARPENING = 6
NODES, LARGEST = 42, 60.0
STRONGEST = 0.99  # correlation of scores
HALVINGS, FITTING_ROUNDS = 10, 12
PREFERRED = 3.0  # log-likelihood that a tilt must gain

MARGIN_ROUNDS = 6


def shrunk(counts: np.ndarray, expected: np.ndarray, sigma: float) -> np.ndarray:
    """Counts between the measured and the expected ones, >= 0: empirical Bayes for one table.

    Where the truth differs from what was expected by a variance of a * expected, the best linear estimate takes the
    share a * expected / (a * expected + sigma^2) of the difference; a is the one whose total matches the differences.
    """
    gap = counts - expected
    excess = float((gap**2 - sigma**2).sum())
    a = max(excess, 0.0) / max(float(expected.sum()), 1e-9)
    variance = a * expected
    return np.maximum(expected + gap * variance / (variance + sigma**2), 0.0)


def estimated(
    noised_OPR: np.ndarray,
    expected_OPR: np.ndarray,
    sigma: float,
    scores: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> np.ndarray:
    """The posterior mean of a table, with the total that was expected.

    Args:
        noised_OPR: counts with noise of `sigma`.
        expected_OPR: rows expected before.
        scores: of the codes of P and R where these are ordered (`normal_scores`).
    """
    expected = [expected_OPR]
    if scores[0] is not None and scores[1] is not None:
        expected.append(_tilted(noised_OPR, expected_OPR, scores[0], scores[1]))
    fits = [_likelihoods(noised_OPR.reshape(-1), e.reshape(-1), sigma) for e in expected]
    best = max(range(len(fits)), key=lambda i: float(fits[i][1].max()) - PREFERRED * (i > 0))
    (likelihood_KG, evidence), e_K = fits[best], expected[best].reshape(-1)
    nodes, prior_GA = _priors()
    prior_G = prior_GA[:, int(evidence.argmax())]
    for _ in range(SHARPENING):
        prior_G = _posterior(likelihood_KG, prior_G).mean(axis=0)
    rows_K = e_K * (_posterior(likelihood_KG, prior_G) @ nodes)
    rows_K *= e_K.sum() / max(rows_K.sum(), 1e-300)
    return rows_K.reshape(noised_OPR.shape)


def with_margin(expected: np.ndarray, found: np.ndarray, absent: tuple[int, ...]) -> np.ndarray:
    """A table over parents and child (the last axis) with a new margin, and no further interaction beside it.

    Kept: the rows of each configuration of parents, and the expected margin of the child with the absent ones (Deming
    and Stephan 1940).

    Args:
        expected: rows in each cell.
        found: the new margin, of size 1 along the absent axes.
        absent: axes that are not in it.
    """
    others = tuple(i for i in range(expected.ndim - 1) if i not in absent)
    fitted = expected + 1e-9
    targets = [(fitted.sum(axis=a, keepdims=True), a) for a in (others, (expected.ndim - 1,))]
    for _ in range(MARGIN_ROUNDS):
        for rows, axes in (targets[0], targets[1], (found, absent)):
            fitted = fitted * (rows / np.maximum(fitted.sum(axis=axes, keepdims=True), 1e-300))
    return fitted


def normal_scores(shares: np.ndarray) -> np.ndarray:
    """A score for each code of an ordered column: the normal quantile of its middle rank; 0 for 'missing', the last."""
    own = np.maximum(shares[:-1], 0.0)
    middle = (np.cumsum(own) - own / 2) / max(own.sum(), 1e-300)
    return np.append(ndtri(np.clip(middle, 1e-4, 1 - 1e-4)), 0.0)


@cache
def _priors() -> tuple[np.ndarray, np.ndarray]:
    """Nodes of r (G,), and the weight of each under each shape (G, A)."""
    edges = np.append(0.0, np.geomspace(0.02, LARGEST, NODES))
    nodes = np.append(0.005, np.sqrt(edges[1:-1] * edges[2:]))
    weights = np.stack([np.diff(gammainc(a, a * edges)) for a in SHAPES], axis=1)
    return nodes, weights / weights.sum(axis=0)


def _likelihoods(noised_K: np.ndarray, expected_K: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Likelihood of each cell at each node (K, G), and the log-likelihood of the table under each shape (A,)."""
    nodes, prior_GA = _priors()
    z_KG = (noised_K[:, None] - expected_K[:, None] * nodes) / sigma
    likelihood_KG = np.exp(np.maximum(-0.5 * (z_KG**2 - (z_KG**2).min(axis=1, keepdims=True)), -300.0))
    evidence = np.log(likelihood_KG @ prior_GA + 1e-300).sum(axis=0) - 0.5 * float((z_KG**2).min(axis=1).sum())
    return likelihood_KG, evidence


def _posterior(likelihood_KG: np.ndarray, prior_G: np.ndarray) -> np.ndarray:
    joint_KG = likelihood_KG * prior_G + 1e-300
    posterior: np.ndarray = joint_KG / joint_KG.sum(axis=1, keepdims=True)
    return posterior


def _tilted(noised_OPR: np.ndarray, expected_OPR: np.ndarray, score_P: np.ndarray, score_R: np.ndarray) -> np.ndarray:
    """The expected table with the noised sum of the products of scores, and its own margins (O, P) and (O, R)."""
    product_PR = score_P[:, None] * score_R
    wanted = float((noised_OPR * product_PR).sum())
    low, high = -STRONGEST, STRONGEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tilted_OPR = _with_margins(expected_OPR, product_PR * middle / (1 - middle**2))
        low, high = (middle, high) if float((tilted_OPR * product_PR).sum()) < wanted else (low, middle)
    return tilted_OPR


def _with_margins(expected_OPR: np.ndarray, exponent_PR: np.ndarray) -> np.ndarray:
    """A table tilted by an exponent, fitted to the margins it had (Deming and Stephan 1940)."""
    rows_OP, rows_OR = expected_OPR.sum(axis=2, keepdims=True), expected_OPR.sum(axis=1, keepdims=True)
    exponent_PR = exponent_PR - exponent_PR.max(axis=1, keepdims=True)
    fitted_OPR = expected_OPR * np.exp(np.maximum(exponent_PR, -300.0)) + 1e-300
    for _ in range(FITTING_ROUNDS):
        fitted_OPR = fitted_OPR * (rows_OR / np.maximum(fitted_OPR.sum(axis=1, keepdims=True), 1e-300))
        fitted_OPR = fitted_OPR * (rows_OP / np.maximum(fitted_OPR.sum(axis=2, keepdims=True), 1e-300))
    return fitted_OPR
