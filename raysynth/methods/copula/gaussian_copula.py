"""Gaussian copula over codes: latent normals cut at thresholds, fitted to pair tables, sampled and conditioned.

Each column of codes is a step function of one latent normal; a column that may be missing has a second latent normal
that decides whether it is. Latent correlations are found from pair tables alone, in closed form: for a bivariate
normal with correlation rho, E f(X) g(Y) = sum_k rho^k f_k g_k with the Hermite coefficients of f and g (Mehler), so the
observed correlation of normal scores is a power series in rho, inverted by bisection: the polychoric correlation by
moments (Olsson 1979; 'normal to anything', Cario and Nelson 1997).

Legend: D latent dimensions, K codes, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

N_HERMITE = 60
MAX_CORRELATION = 0.995
RIDGE = 0.01
INTEGRAL_CELLS = 600  # pair tables of up to so many inner corners take the integral, larger ones the series
INTEGRAL_STEPS = 200
GIBBS_SWEEPS = 40
NEIGHBOURS = 100  # axes that tell what is implied of an unseen pair: those of the largest correlation with either
REPAIR_WORK = 2e10  # sweeps times the cube of the latents that the repair may take
SCALING_ROUNDS = 5
_WIDEST, _CUT_STEPS = 9.0, 2_000  # of the latents that quantiles of present values are looked up in


@dataclass(frozen=True)
class Margin:
    """How one latent normal becomes codes.

    Args:
        order: the codes in the order of the latent axis, shape (K,).
        share: probability of each of them, in that order, shape (K,).
    """

    order: np.ndarray
    share: np.ndarray

    @property
    def thresholds(self) -> np.ndarray:
        """Latent values that separate neighbouring codes, shape (K - 1,)."""
        return ndtri(np.clip(np.cumsum(self.share)[:-1] / self.share.sum(), 0, 1))


@dataclass(frozen=True)
class Copula:
    """A fitted copula.

    Args:
        margins: of each column's codes ('missing' left out where the column has a latent of its own for it).
        missing: for each column (missing code, index of its latent, threshold above which it is missing), or None.
            Columns that are missing together share a latent.
        correlation: of all latents, columns first, shape (D, D).
        cut_where_present: whether a column is cut at the quantiles of rows that have a value; files of before, whose
            rows stay the same, are cut as if no value were missing.

    Raises:
        ValueError: the parts do not fit together.
    """

    margins: tuple[Margin, ...]
    missing: tuple[tuple[int, int, float] | None, ...]
    correlation: np.ndarray
    cut_where_present: bool = True

    def __post_init__(self) -> None:
        own = [m for m in self.missing if m is not None]
        width, latents = len(self.margins), sorted({m[1] for m in own})
        size = width + len(latents)
        if self.correlation.shape != (size, size) or len(self.missing) != width:
            raise ValueError(f"{width} columns, {len(latents)} groups of which may be missing, need {size} latents")
        if latents != list(range(width, size)) or not np.isfinite([m[2] for m in own]).all():
            raise ValueError("the latents of what is missing are not in order")
        if not np.isfinite(self.correlation).all():
            raise ValueError("the correlations are no numbers")
        for margin in self.margins:
            if margin.order.shape != margin.share.shape or sorted(margin.order) != list(range(len(margin.order))):
                raise ValueError("a margin does not name each of its codes once")
            if not (np.isfinite(margin.share).all() and (margin.share >= 0).all() and margin.share.sum() > 0):
                raise ValueError("the shares of a margin are no shares")

    @cached_property
    def thresholds(self) -> tuple[np.ndarray, ...]:
        """Latent values that separate neighbouring codes of each column, shape (K - 1,).

        A column's shares are those of rows that have a value. Where its latent goes along with the one of what is
        missing, it is no standard normal in these rows, and is cut at its own quantiles there.
        """
        return tuple(
            margin.thresholds
            if m is None or not self.cut_where_present
            else _cut_where_present(margin, self.correlation[i, m[1]], m[2])
            for i, (margin, m) in enumerate(zip(self.margins, self.missing, strict=True))
        )

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each column, 'missing' included."""
        pairs = zip(self.margins, self.missing, strict=True)
        return tuple(len(margin.order) if m is None else m[0] + 1 for margin, m in pairs)


def _cut_where_present(margin: Margin, correlation: float, threshold: float) -> np.ndarray:
    """Thresholds (K - 1,) of a latent that correlates with one which is below `threshold` wherever it counts."""
    z = np.linspace(-_WIDEST, _WIDEST, 2 * _CUT_STEPS + 1)
    density = np.exp(-(z**2) / 2) * ndtr((threshold - correlation * z) / np.sqrt(max(1 - correlation**2, 1e-12)))
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    shares = np.cumsum(margin.share)[:-1] / margin.share.sum()
    return np.interp(shares, below / below[-1], z) if below[-1] > 0 else margin.thresholds


def category_order(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Order of one column's codes along the first axis of the correspondence analysis with all other columns.

    Args:
        tables: contingency tables (K, K_other) of the column with each other one.
    """
    counts = np.hstack(tables).astype(float)
    rows, columns = counts.sum(1), counts.sum(0)
    seen = rows > 0
    counts, rows, columns = counts[seen][:, columns > 0], rows[seen], columns[columns > 0]
    order = np.arange(len(seen))
    if len(rows) < 3:
        return order
    expected = np.outer(rows, columns) / rows.sum()
    left = np.linalg.svd((counts - expected) / np.sqrt(expected), full_matrices=False)[0]
    axis = np.full(len(seen), np.inf)
    axis[seen] = left[:, 0] / np.sqrt(rows)
    return np.argsort(axis, kind="stable")


def latent_orders(tables: Mapping[tuple[int, int], np.ndarray], ordered: Sequence[bool]) -> list[np.ndarray]:
    """Order of the codes of every column along its latent axis, shape (K,) each.

    Columns of categories start at their correspondence analysis; then each in turn is put in the order of the mean
    normal scores of its rows in all other columns, weighted by the correlation with them (optimal scaling; Gifi 1990,
    chapter 4): each turn raises the sum of squared correlations that the copula can carry.

    Args:
        tables: counts (K_i, K_j) of every pair of columns i != j, both ways round.
        ordered: for each column whether its codes have an order already.
    """
    n = len(ordered)
    rows = [next((tables[i, j].sum(1) for j in range(n) if j != i), np.ones(1)) for i in range(n)]
    orders = [
        np.arange(len(rows[i])) if ordered[i] else category_order([tables[i, j] for j in range(n) if j != i])
        for i in range(n)
    ]
    scores = [_scores_by_code(rows[i], orders[i]) for i in range(n)]
    for _ in range(SCALING_ROUNDS):
        for i in (i for i in range(n) if not ordered[i]):
            pull = np.zeros(len(rows[i]))
            for j in (j for j in range(n) if j != i):
                mean = tables[i, j] @ scores[j] / np.maximum(rows[i], 1e-300)
                pull += (rows[i] @ (scores[i] * mean)) / max(rows[j] @ scores[j] ** 2, 1e-300) * mean
            orders[i] = np.argsort(np.where(rows[i] > 0, pull, np.inf), kind="stable")
            scores[i] = _scores_by_code(rows[i], orders[i])
    return orders


def _scores_by_code(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    scores = np.zeros(len(rows))
    scores[order] = normal_scores(rows[order])
    return scores


def normal_scores(share: np.ndarray) -> np.ndarray:
    """Mean of a standard normal inside each of the cells that `share` cuts it into, shape (K,)."""
    edges = ndtri(np.clip(np.concatenate([[0.0], np.cumsum(share) / share.sum()]), 0, 1))
    density = np.exp(-0.5 * np.where(np.isfinite(edges), edges, 0.0) ** 2) / np.sqrt(2 * np.pi)
    density = np.where(np.isfinite(edges), density, 0.0)
    return -np.diff(density) / np.maximum(share / share.sum(), 1e-300)


def hermite_coefficients(share: np.ndarray, scores: np.ndarray, n_terms: int = N_HERMITE) -> np.ndarray:
    """Coefficients 1..n_terms of a step function in the orthonormal Hermite basis, shape (n_terms,)."""
    edges = ndtri(np.clip(np.cumsum(share)[:-1] / share.sum(), 1e-15, 1 - 1e-15))
    density = np.exp(-0.5 * edges**2) / np.sqrt(2 * np.pi)
    jumps = np.diff(scores)
    coefficients = np.empty(n_terms)
    previous, current = np.zeros_like(edges), np.ones_like(edges)  # orthonormal functions of degree k - 2, k - 1
    for k in range(1, n_terms + 1):
        coefficients[k - 1] = (jumps * current * density).sum() / np.sqrt(k)
        previous, current = current, (edges * current - np.sqrt(k - 1) * previous) / np.sqrt(k)
    return coefficients


def latent_correlation(table: np.ndarray) -> float:
    """Correlation of the latent normals behind one pair table whose codes stand in latent order.

    Args:
        table: counts (K_x, K_y).
    """
    rows, columns = table.sum(1), table.sum(0)
    if (rows > 0).sum() < 2 or (columns > 0).sum() < 2:
        return 0.0
    table = table[rows > 0][:, columns > 0] / table.sum()
    x, y = table.sum(1), table.sum(0)
    return correlation_of_scores(x, y, normal_scores(x) @ table @ normal_scores(y))


def correlation_of_scores(x: np.ndarray, y: np.ndarray, wanted: float) -> float:
    """Correlation of two latent normals under which the mean product of their codes' normal scores is `wanted`.

    Args:
        x, y: share of each code, in latent order, all > 0.
    """
    score_x, score_y = normal_scores(x), normal_scores(y)
    if (len(x) - 1) * (len(y) - 1) <= INTEGRAL_CELLS:
        return _correlation_by_integral(x, score_x, y, score_y, wanted)
    series = hermite_coefficients(x, score_x) * hermite_coefficients(y, score_y)
    powers = np.arange(1, len(series) + 1)
    low, high = -MAX_CORRELATION, MAX_CORRELATION
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if series @ middle**powers < wanted else (low, middle)
    return (low + high) / 2


def _correlation_by_integral(
    x: np.ndarray, score_x: np.ndarray, y: np.ndarray, score_y: np.ndarray, wanted: float
) -> float:
    """The same for small tables, whose step functions have slowly falling Hermite coefficients.

    The mean product of two step functions grows with rho by the jumps' products times the normal density at their
    edges (Plackett 1954); with rho = sin(angle) the integrand is smooth (Drezner and Wesolowsky 1990).
    """
    edge_x, edge_y = (ndtri(np.clip(np.cumsum(s)[:-1] / s.sum(), 1e-15, 1 - 1e-15)) for s in (x, y))
    squares, products = np.add.outer(edge_x**2, edge_y**2).ravel(), np.outer(edge_x, edge_y).ravel()
    jumps = np.outer(np.diff(score_x), np.diff(score_y)).ravel()
    angles = np.linspace(-1, 1, 2 * INTEGRAL_STEPS + 1) * np.arcsin(MAX_CORRELATION)
    sine = np.sin(angles)[:, None]
    density = np.exp(-(squares - 2 * sine * products) / (2 * (1 - sine**2))) @ jumps / (2 * np.pi)
    steps = np.diff(angles) * (density[1:] + density[:-1]) / 2
    mean = np.concatenate([[0.0], np.cumsum(steps)])
    return float(np.sin(np.interp(wanted, mean - mean[INTEGRAL_STEPS], angles)))


def with_implied(correlation: np.ndarray, unseen: Sequence[tuple[int, int]], sweeps: int = 5) -> np.ndarray:
    """The matrix with the correlations of unseen pairs set to what the other axes imply.

    No row tells them, so the pair is taken as independent given all others (the completion of largest entropy;
    Dempster 1972). Zeros instead would contradict the other correlations, which would all be bent to fit them.
    """
    result = correlation.copy()
    for _ in range(sweeps if len(result) > 2 else 0):
        for i, j in unseen:
            others = np.setdiff1d(np.arange(len(result)), (i, j))
            if len(others) > NEIGHBOURS:
                strength = np.maximum(np.abs(result[i, others]), np.abs(result[j, others]))
                others = np.sort(others[np.argsort(-strength, kind="stable")[:NEIGHBOURS]])
            inner = result[np.ix_(others, others)] + RIDGE * np.eye(len(others))
            implied = result[i, others] @ np.linalg.solve(inner, result[others, j])
            result[i, j] = result[j, i] = np.clip(implied, -MAX_CORRELATION, MAX_CORRELATION)
    return result


def nearest_correlation(matrix: np.ndarray, floor: float = 1e-4, sweeps: int = 100) -> np.ndarray:
    """The nearest positive-definite correlation matrix, by alternating projections (Higham 2002)."""
    current, correction = matrix.copy(), np.zeros_like(matrix)
    sweeps = min(sweeps, max(5, int(REPAIR_WORK / len(matrix) ** 3)))
    for _ in range(sweeps):
        shifted = current - correction
        values, vectors = np.linalg.eigh(shifted)
        if values[0] >= floor:
            break
        projected = (vectors * np.maximum(values, floor)) @ vectors.T
        correction = projected - shifted
        current = projected.copy()
        np.fill_diagonal(current, 1.0)
    values, vectors = np.linalg.eigh(current)
    current = (vectors * np.maximum(values, floor)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(current))
    return current * np.outer(scale, scale)


def sample_codes(copula: Copula, n: int, rng: np.random.Generator) -> np.ndarray:
    """Codes (N, columns) uint16."""
    root = np.linalg.cholesky(copula.correlation).astype(np.float32)
    return latent_to_codes(copula, rng.standard_normal((n, len(root)), dtype=np.float32) @ root.T)


def latent_to_codes(copula: Copula, latent_ND: np.ndarray) -> np.ndarray:
    """Codes (N, columns) uint16 of latent normals."""
    codes = np.empty((len(latent_ND), len(copula.margins)), np.uint16, order="F")
    for i, margin in enumerate(copula.margins):
        thresholds = copula.thresholds[i].astype(latent_ND.dtype)
        z = np.ascontiguousarray(latent_ND[:, i])
        codes[:, i] = margin.order.astype(np.uint16)[np.searchsorted(thresholds, z, side="right")]
        missing = copula.missing[i]
        if missing is not None:
            code, latent, threshold = missing
            codes[latent_ND[:, latent] > threshold, i] = code
    return codes


def sample_conditional(
    copula: Copula, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray]
) -> np.ndarray:
    """Codes (N, columns) drawn given soft evidence: p(row) * prod weights[c][code_c].

    The conditioned latents are drawn from their truncated normal (one: by inverse distribution function, exact;
    several: by Gibbs sweeps over all rows at once), the others from the normal given these, in closed form.

    Raises:
        ValueError: the evidence has probability 0.
    """
    pieces = evidence(copula, weights)
    if any(not p.weight.any() for p in pieces.values()):
        raise ValueError("the conditions have probability 0 under the copula")
    given = np.array(sorted(pieces))
    z_given = _truncated(copula.correlation[np.ix_(given, given)], [pieces[d] for d in given], n, rng)
    free = np.setdiff1d(np.arange(len(copula.correlation)), given)
    latent = np.empty((n, len(copula.correlation)))
    latent[:, given] = z_given
    if len(free):
        cross = copula.correlation[np.ix_(free, given)]
        gain = np.linalg.solve(copula.correlation[np.ix_(given, given)], cross.T).T
        spread = copula.correlation[np.ix_(free, free)] - gain @ cross.T
        root = np.linalg.cholesky(spread + 1e-10 * np.eye(len(free)))
        latent[:, free] = z_given @ gain.T + rng.standard_normal((n, len(free))) @ root.T
    return latent_to_codes(copula, latent)


@dataclass(frozen=True)
class Pieces:
    """Intervals of one latent axis, each with the weight of what lies in it."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def evidence(copula: Copula, weights: Mapping[int, np.ndarray]) -> dict[int, Pieces]:
    """Evidence on codes as evidence on latents; neighbouring codes of equal weight are one interval."""
    pieces: dict[int, Pieces] = {}
    for column, weight in weights.items():
        margin, missing = copula.margins[column], copula.missing[column]
        ordered = weight[margin.order]
        if missing is not None:
            code, latent, threshold = missing
            asks_missing = weight[code] > 0 and not ordered.any()
            asked = np.array([0.0, 1.0] if asks_missing else [1.0, 0.0])
            if latent in pieces:  # of another column that is missing in the same rows
                asked = asked * pieces[latent].weight
            pieces[latent] = Pieces(np.array([-np.inf, threshold]), np.array([threshold, np.inf]), asked)
            if asks_missing:
                continue
        starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) != 0]))
        edges = np.concatenate([[-np.inf], copula.thresholds[column], [np.inf]])
        pieces[column] = Pieces(edges[starts], edges[np.append(starts[1:], len(ordered))], ordered[starts])
    return pieces


def _truncated(correlation: np.ndarray, pieces: list[Pieces], n: int, rng: np.random.Generator) -> np.ndarray:
    """Latents (N, len(pieces)) of a normal restricted to weighted intervals on each axis."""
    z = np.column_stack([_draw(p, np.zeros(n), 1.0, rng) for p in pieces])
    if len(pieces) == 1:
        return z
    precision = np.linalg.inv(correlation)
    for _ in range(GIBBS_SWEEPS):
        for d, piece in enumerate(pieces):
            others = z @ precision[d] - z[:, d] * precision[d, d]
            z[:, d] = _draw(piece, -others / precision[d, d], precision[d, d] ** -0.5, rng)
    return z


def _draw(pieces: Pieces, mean: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """One draw a row from N(mean, std^2) restricted to the weighted intervals, by inverse distribution function."""
    kept = pieces.weight > 0
    low = (pieces.low[kept][None, :] - mean[:, None]) / std
    high = (pieces.high[kept][None, :] - mean[:, None]) / std
    flip = low > 0  # the upper tail keeps its digits when mirrored
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    p_a, mass = ndtr(a), ndtr(b) - ndtr(a)
    weighted = np.cumsum(np.maximum(mass, 1e-300) * pieces.weight[kept], axis=1)
    choice = (rng.random(len(mean))[:, None] * weighted[:, -1:] > weighted).sum(1)
    rows = np.arange(len(mean))
    u = p_a[rows, choice] + rng.random(len(mean)) * mass[rows, choice]
    z = ndtri(np.clip(u, 1e-300, 1 - 1e-16))
    z = np.clip(z, a[rows, choice], b[rows, choice])
    return mean + std * np.where(flip[rows, choice], -z, z)
