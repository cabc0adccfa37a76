"""Latent axes with a score for each code, and the copula whose scores have given mean products.

Legend: D axes, K codes, H Hermite terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.methods.copula.gaussian_copula import (
    Copula,
    Margin,
    correlation_of_scores,
    hermite_coefficients,
    inverted_series,
    nearest_correlation,
    normal_scores,
    with_implied,
)

RAREST = 1e-9  # share of values beside missing ones, however many of these the noise makes
AXES_BY_THEMSELVES = 64
SERIES_HOLDS = 0.8  # absolute correlation up to which what the series leaves out is below .001


@dataclass(frozen=True)
class Axis:
    """One latent axis: which column it belongs to, the score of each code, and the shares of its steps in order."""

    column: int
    scores_K: np.ndarray
    steps: np.ndarray
    present: float


def axes_of(encoder: TableEncoder, orders: Sequence[np.ndarray]) -> list[Axis]:
    """A latent axis for each column, then one for each number that may be missing."""
    axes, missing_axes = [], []
    for i, (column, shares) in enumerate(zip(encoder.columns, encoder.frequencies(), strict=True)):
        is_number = isinstance(column, BinEncoder)
        order = orders[i][:-1] if is_number else orders[i]
        missing = float(shares[-1]) if is_number else 0.0
        axes.append(_axis(i, order, shares, 1 - missing))
        if missing > 0:
            scores = normal_scores(np.array([1 - missing, missing]))
            by_code = np.append(np.full(len(shares) - 1, scores[0]), scores[1])
            missing_axes.append(Axis(i, by_code, np.array([1 - missing, missing]), 1.0))
    return axes + missing_axes


def _axis(column: int, order: np.ndarray, shares: np.ndarray, present: float) -> Axis:
    seen = order[shares[order] > 0]
    scores_K = np.zeros(len(shares))
    if len(seen):
        scores_K[seen] = normal_scores(shares[seen])
    return Axis(column, scores_K, shares[seen] if len(seen) else np.ones(1), present)


def correlations_of_products(axes: Sequence[Axis], products: np.ndarray) -> np.ndarray:
    """Latent correlations (D, D) under which the scores have these mean products (the upper triangle, by rows)."""
    wanted_DD = np.zeros((len(axes), len(axes)))
    wanted_DD[np.triu_indices(len(axes), 1)] = products
    present = np.array([a.present for a in axes])
    wanted_DD /= np.maximum(np.outer(present, present), 1e-9)
    return correlations(axes, wanted_DD)


def correlations(axes: Sequence[Axis], wanted_DD: np.ndarray) -> np.ndarray:
    """Latent correlations (D, D) under which the scores of rows with both values have these mean products.

    Of few axes each is found by itself. Of many, all at once by their Hermite series, and those by themselves whose
    series is cut off too early to be trusted.

    Args:
        wanted_DD: mean products; what stands below the diagonal is not read.
    """
    result = np.eye(len(axes))
    upper = np.triu_indices(len(axes), 1)
    columns, steps = np.array([a.column for a in axes]), np.array([len(a.steps) for a in axes])
    asked = (columns[upper[0]] != columns[upper[1]]) & (np.minimum(steps[upper[0]], steps[upper[1]]) >= 2)
    rows, others = upper[0][asked], upper[1][asked]
    found = np.full(len(rows), np.inf)
    if len(axes) > AXES_BY_THEMSELVES:
        terms_DH = np.stack([hermite_coefficients(a.steps, normal_scores(a.steps)) for a in axes])
        found = inverted_series(terms_DH, rows, others, wanted_DD[rows, others])
    for k in np.flatnonzero(np.abs(found) > SERIES_HOLDS).tolist():
        a, b = int(rows[k]), int(others[k])
        found[k] = correlation_of_scores(axes[a].steps, axes[b].steps, float(wanted_DD[a, b]))
    result[rows, others] = result[others, rows] = found
    return result


def assembled(encoder: TableEncoder, axes: Sequence[Axis], correlation: np.ndarray) -> Copula:
    """The copula of some axes with these correlations, repaired where no normal has them."""
    width = len(encoder.columns)
    margins: list[Margin] = []
    missing: list[tuple[int, int, float] | None] = []
    unseen: list[tuple[int, int]] = []
    n_missing = 0
    for i, (column, shares) in enumerate(zip(encoder.columns, encoder.frequencies(), strict=True)):
        if isinstance(column, BinEncoder):
            margins.append(Margin(np.arange(len(shares) - 1), _some(shares[:-1])))
            if shares[-1] > 0:
                latent = width + n_missing
                missing.append((len(shares) - 1, latent, float(ndtri(max(1 - shares[-1], RAREST)))))
                unseen.append((i, latent))
                n_missing += 1
            else:
                missing.append(None)
            continue
        rest = np.flatnonzero(shares <= 0)
        order = np.concatenate([_order_of(axes[i].scores_K, shares), rest])
        margins.append(Margin(order, _some(shares[order])))
        missing.append(None)
    repaired = nearest_correlation(with_implied(correlation, unseen))
    return Copula(tuple(margins), tuple(missing), repaired)


def _some(shares: np.ndarray) -> np.ndarray:
    """Shares, even ones where the noise left none: of a table so small no error may come."""
    return shares if shares.sum() > 0 else np.full(len(shares), 1 / len(shares))


def _order_of(scores_K: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Codes that occur, in the order of their scores."""
    seen = np.flatnonzero(shares > 0)
    return seen[np.argsort(scores_K[seen], kind="stable")]
