"""A Gaussian copula within a privacy budget: noised orders of the categories, noised moments of clipped normal scores.

Margins come from the noised statistics. Two releases follow, by discrete and by continuous Gaussian noise:
1. Pair tables on a coarse grid, of pairs with an unordered column; each row changes each of the T tables in one cell:
   L2 sensitivity sqrt(T). They give nothing but the order of the categories along their latent axis.
2. The sums over rows of the products z_i z_j, i < j, of normal scores. Each row's vector z is clipped to norm r, so its
   products have norm at most r^2 / sqrt(2) (the off-diagonal half of an outer product). Latent correlations follow from
   these means as from exact ones, and the matrix is repaired to the nearest correlation matrix.

With k rows of one privacy unit at most, both sensitivities are k times as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import gaussian_vector, noised_counts
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.fitting.prepared import Prepared
from raysynth.methods.bayesian_network.noised import shrunk
from raysynth.methods.copula.gaussian_copula import (
    Copula,
    Margin,
    correlation_of_scores,
    latent_orders,
    nearest_correlation,
    normal_scores,
    with_implied,
)
from raysynth.running.runner import summarise

ORDER_SHARE = 0.3  # of what the statistics left of the rho
ORDER_BINS = 8
RAREST = 1e-9  # share of values beside missing ones, however many of these the noise makes
NORM_SLACK = 1.3  # clipping norm squared over the mean squared norm of the scores


@dataclass(frozen=True)
class Axis:
    """One latent axis: which column it belongs to, the score of each code, and the shares of its steps in order."""

    column: int
    scores_K: np.ndarray
    steps: np.ndarray
    present: float


def learn_privately(prepared: Prepared, scope: PrivacyScope) -> Copula:
    """The copula of a prepared table; spends all that the scope has left."""
    encoder = prepared.encoder
    width = len(encoder.columns)
    is_ordered = [isinstance(c, BinEncoder) or c.cardinality <= 2 for c in encoder.columns]
    pairs = [(i, j) for i in range(width) for j in range(i + 1, width) if not (is_ordered[i] and is_ordered[j])]
    share = ORDER_SHARE if pairs else 0.0
    if width == 1:
        return _copula(encoder, _axes(encoder, [np.arange(encoder.cardinalities[0])]), np.zeros(0))
    k = scope.rows_per_unit
    scale = scope.calibrated(lambda x: _planned(x, share, len(pairs), k), start=4.0)
    planned = _planned(scale, share, len(pairs), k)
    scope.charge(*planned)
    orders = [np.arange(c) for c in encoder.cardinalities]
    if pairs:
        assert planned[0].noise_multiplier is not None
        orders = _orders(prepared, scope, pairs, planned[0].noise_multiplier * planned[0].sensitivity)
    axes = _axes(encoder, orders)
    radius = clipping_radius(axes)
    make = partial(ScoreMoments, encoder, tuple(axes), radius)
    moments = summarise(prepared.table, make, columns=list(encoder.names), label="moments of scores")
    upper = np.triu_indices(len(axes), 1)
    assert planned[-1].noise_multiplier is not None
    noised = gaussian_vector(
        moments.sums_DD[upper], planned[-1].noise_multiplier, scope.noise, sensitivity=k * radius**2 / math.sqrt(2)
    )
    return _copula(encoder, axes, noised / scope.n_rows)


class ScoreMoments:
    """Sums over rows of z z' for normal scores z clipped to a norm: a summary with update and merge; private.

    Args:
        encoder: rows to codes.
        axes: codes to scores.
        radius: largest norm of z.
    """

    def __init__(self, encoder: TableEncoder, axes: tuple[Axis, ...], radius: float) -> None:
        self.encoder, self.axes, self.radius = encoder, axes, radius
        self.sums_DD = np.zeros((len(axes), len(axes)))

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        codes_NC = self.encoder.encode(batch).codes_NC
        z_ND = np.stack([a.scores_K[codes_NC[:, a.column]] for a in self.axes], axis=1)
        norm_N = np.sqrt((z_ND**2).sum(axis=1))
        z_ND *= np.minimum(1.0, self.radius / np.maximum(norm_N, 1e-12))[:, None]
        self.sums_DD += z_ND.T @ z_ND

    def merge(self, other: ScoreMoments) -> None:
        """Add the sums of another part of the table."""
        self.sums_DD += other.sums_DD


def clipping_radius(axes: Sequence[Axis]) -> float:
    """The norm that scores are clipped to: from noised shares alone."""
    squared = sum(a.present * float(a.steps @ normal_scores(a.steps) ** 2) / a.steps.sum() for a in axes)
    return math.sqrt(max(NORM_SLACK * squared, 1e-6))


def _planned(scale: float, share: float, n_pairs: int, k: int) -> list[events.Event]:
    """The two releases at a scale of noise; the sensitivity of the moments is in units of r^2 / sqrt(2)."""
    moments = events.gaussian("moments of clipped normal scores", scale / math.sqrt(1 - share), sensitivity=k)
    if not share:
        return [moments]
    tables = "pair tables, for the order of categories"
    return [events.discrete_gaussian(tables, scale / math.sqrt(share), coordinates=n_pairs, rows=k), moments]


def _orders(
    prepared: Prepared, scope: PrivacyScope, pairs: Sequence[tuple[int, int]], sigma: float
) -> list[np.ndarray]:
    """Codes of each column along its latent axis, from noised pair tables drawn towards independence."""
    fine = prepared.encoder
    coarse = build_encoder(prepared.schema, prepared.statistics.columns, numeric="bins", n_bins=ORDER_BINS)
    exact = prepared.count(pairs, encoder=coarse, label="counting pairs")
    shares = coarse.frequencies()
    tables = {}
    for i in range(len(shares)):
        for j in range(i + 1, len(shares)):
            independent = scope.n_rows * np.outer(shares[i], shares[j])
            table = independent
            if (i, j) in exact:
                table = shrunk(noised_counts(exact[i, j], sigma, scope.noise), independent, sigma)
            tables[i, j], tables[j, i] = table, table.T
    ordered = [isinstance(c, BinEncoder) for c in coarse.columns]
    found = latent_orders(tables, ordered)
    return [np.arange(n) if o else order for n, o, order in zip(fine.cardinalities, ordered, found, strict=True)]


def _axes(encoder: TableEncoder, orders: Sequence[np.ndarray]) -> list[Axis]:
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


def _copula(encoder: TableEncoder, axes: Sequence[Axis], products: np.ndarray) -> Copula:
    """The copula whose scores have these mean products (the upper triangle, row by row)."""
    width = len(encoder.columns)
    correlation = np.eye(len(axes))
    upper = zip(*(x.tolist() for x in np.triu_indices(len(axes), 1)), strict=True)
    for (a, b), product in zip(upper, products.tolist(), strict=True):
        if axes[a].column == axes[b].column or min(len(axes[a].steps), len(axes[b].steps)) < 2:
            continue
        both = axes[a].present * axes[b].present
        found = correlation_of_scores(axes[a].steps, axes[b].steps, product / max(both, 1e-9))
        correlation[a, b] = correlation[b, a] = found
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
