"""A Gaussian copula within a privacy budget: noised orders of the categories, noised moments of clipped normal scores.

Margins come from the noised statistics. Two releases follow, by discrete and by continuous Gaussian noise:
1. Pair tables on a coarse grid, of pairs with an unordered column; each row changes each of the T tables in one cell:
   L2 sensitivity sqrt(T). They give nothing but the order of the categories along their latent axis.
2. The sums over rows of the products z_i z_j, i < j, of D normal scores. Each row's vector z is clipped to norm r, so
   the squares of its products add up to ((sum z_i^2)^2 - sum z_i^4) / 2 <= r^4 (1 - 1 / D) / 2, since sum z_i^4 is at
   least (sum z_i^2)^2 / D (Cauchy and Schwarz). Latent correlations follow from these means as from exact ones, and the
   matrix is repaired to the nearest correlation matrix.

With k rows of one privacy unit at most, both sensitivities are k times as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from raysynth.dp.accounting import ledger as events
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.counts import gaussian_vector, noised_counts
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.fitting.prepared import Prepared
from raysynth.methods.bayesian_network.denoising import shrunk
from raysynth.methods.copula.gaussian_copula import Copula, latent_orders, normal_scores
from raysynth.methods.copula.wide import Axis, assembled, axes_of, correlations_of_products
from raysynth.running.runner import summarise

ORDER_SHARE = 0.3  # of what the statistics left of the rho
ORDER_BINS = 8
NORM_SLACK = 1.3  # clipping norm squared over the mean squared norm of the scores


def learn_privately(prepared: Prepared, scope: PrivacyScope) -> Copula:
    """The copula of a prepared table; spends all that the scope has left."""
    encoder = prepared.encoder
    width = len(encoder.columns)
    is_ordered = [isinstance(c, BinEncoder) or c.cardinality <= 2 for c in encoder.columns]
    pairs = [(i, j) for i in range(width) for j in range(i + 1, width) if not (is_ordered[i] and is_ordered[j])]
    share = ORDER_SHARE if pairs else 0.0
    if width == 1:
        return assembled(encoder, axes_of(encoder, [np.arange(encoder.cardinalities[0])]), np.eye(1))
    k = scope.rows_per_unit
    scale = scope.calibrated(lambda x: _planned(x, share, len(pairs), k), start=4.0)
    planned = _planned(scale, share, len(pairs), k)
    scope.charge(*planned)
    orders = [np.arange(c) for c in encoder.cardinalities]
    if pairs:
        assert planned[0].noise_multiplier is not None
        orders = _orders(prepared, scope, pairs, planned[0].noise_multiplier * planned[0].sensitivity)
    axes = axes_of(encoder, orders)
    radius = clipping_radius(axes)
    make = partial(ScoreMoments, encoder, tuple(axes), radius)
    moments = summarise(prepared.table, make, columns=list(encoder.names), label="moments of scores")
    upper = np.triu_indices(len(axes), 1)
    assert planned[-1].noise_multiplier is not None
    sensitivity = k * products_norm(radius, len(axes))
    noised = gaussian_vector(moments.sums_DD[upper], planned[-1].noise_multiplier, scope.noise, sensitivity=sensitivity)
    return assembled(encoder, axes, correlations_of_products(axes, noised / scope.n_rows))


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


def products_norm(radius: float, n_scores: int) -> float:
    """Largest norm of the products of different scores of one row whose scores have norm `radius`; see the module."""
    return radius**2 * math.sqrt((1 - 1 / n_scores) / 2)


def clipping_radius(axes: Sequence[Axis]) -> float:
    """The norm that scores are clipped to: from noised shares alone."""
    squared = sum(a.present * float(a.steps @ normal_scores(a.steps) ** 2) / a.steps.sum() for a in axes)
    return math.sqrt(max(NORM_SLACK * squared, 1e-6))


def _planned(scale: float, share: float, n_pairs: int, k: int) -> list[events.Event]:
    """The two releases at a scale of noise; the sensitivity of the moments is in units of `products_norm`."""
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
