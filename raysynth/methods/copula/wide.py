"""The copula of a table of many columns: moments of normal scores in place of pair tables.

A pair's latent correlation follows from the mean product of its codes' normal scores, so all pairs come from one matrix
product instead of C^2 / 2 tables. What tables gave beside that, the order of categories along their latent axis, comes
from a sample of rows: each category has a vector, the mean over its rows of random signs of all other columns' codes,
whose first principal axis is that of the correspondence analysis with them (up to the sketch's error; Johnson and
Lindenstrauss 1984); then optimal scaling continues as in `latent_orders`.

Latent axes have a score for each code; the copula is the one whose scores have given mean products.

Legend: N rows, C columns, D axes, K codes, H Hermite terms, Q numbers of a sketch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.fitting.prepared import Prepared, learned_codes
from raysynth.methods.copula.gaussian_copula import (
    MAX_CORRELATION,
    Copula,
    Margin,
    correlation_of_scores,
    hermite_coefficients,
    nearest_correlation,
    normal_scores,
    with_implied,
)
from raysynth.running.runner import summarise

PAIRS_AT_ONCE = 1 << 12  # so that their series stay in the cache
BISECTIONS = 24
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


def axes_of(encoder: TableEncoder, orders: Sequence[np.ndarray], own_gaps: bool = False) -> list[Axis]:
    """A latent axis for each column, then one for each number that may be missing (`own_gaps`: or category)."""
    axes, missing_axes = [], []
    for i, (column, shares) in enumerate(zip(encoder.columns, encoder.frequencies(), strict=True)):
        last = len(shares) - 1
        own_gap = isinstance(column, BinEncoder) or (own_gaps and last > 0)  # else a gap is all that there is
        present = 1 - float(shares[last]) if own_gap else 1.0
        axes.append(_axis(i, orders[i][orders[i] != last] if own_gap else orders[i], shares, present))
        if present < 1:
            steps = np.array([present, float(shares[last])])
            scores = normal_scores(steps)
            missing_axes.append(Axis(i, np.append(np.full(last, scores[0]), scores[1]), steps, 1.0))
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
    for i, (column, shares) in enumerate(zip(encoder.columns, encoder.frequencies(), strict=True)):
        is_number, own_gap = isinstance(column, BinEncoder), axes[i].present < 1
        values = shares[:-1] if is_number or own_gap else shares
        order = np.arange(len(values))
        if not is_number:
            order = np.concatenate([_order_of(axes[i].scores_K[: len(values)], values), np.flatnonzero(values <= 0)])
        margins.append(Margin(order, _some(values[order])))
        missing.append(None)
        if own_gap:
            latent = width + len(unseen)
            missing[i] = (len(shares) - 1, latent, float(ndtri(max(1 - shares[-1], RAREST))))
            unseen.append((i, latent))
    repaired = nearest_correlation(with_implied(correlation, unseen))
    return Copula(tuple(margins), tuple(missing), repaired)


def _some(shares: np.ndarray) -> np.ndarray:
    """Shares, even ones where the noise left none: of a table so small no error may come."""
    return shares if shares.sum() > 0 else np.full(len(shares), 1 / len(shares))


def _order_of(scores_K: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Codes that occur, in the order of their scores."""
    seen = np.flatnonzero(shares > 0)
    return seen[np.argsort(scores_K[seen], kind="stable")]


ORDER_ROWS = 10_000  # that the order of categories comes from
SKETCH = 48
SKETCH_CODES = 64  # of a column that the sketch tells apart; neighbouring bins share one
ROUNDS = 3
_ROWS = 1 << 12  # whose scores are multiplied at a time


def learn_wide(prepared: Prepared) -> Copula:
    """The copula of a prepared table: a sample of rows for the orders, one pass for the moments."""
    encoder = prepared.encoder
    codes_CN = learned_codes(prepared, ORDER_ROWS)
    axes = axes_of(encoder, category_orders(codes_CN, encoder), own_gaps=True)
    make = partial(PairMoments, encoder, tuple(axes))
    moments = summarise(prepared.table, make, columns=list(encoder.names), label="moments of scores")
    return assembled(encoder, axes, correlations(axes, moments.mean_products()))


class PairMoments:
    """Sums over rows of products of normal scores, and of those with who has a value: a summary.

    Args:
        encoder: rows to codes.
        axes: codes to scores.
    """

    def __init__(self, encoder: TableEncoder, axes: tuple[Axis, ...]) -> None:
        self.encoder, self.axes = encoder, axes
        self.n_rows = 0
        # of columns whose gaps have an axis of their own a gap is no value
        self._gaps = [d for d, a in enumerate(axes) if a.present < 1]
        sizes = {"zz": len(axes), "zg": len(self._gaps), "qg": len(self._gaps)}
        self._sums = {name: np.zeros((len(axes), size)) for name, size in sizes.items()}
        self._sums["gg"] = np.zeros((len(self._gaps), len(self._gaps)))
        self._sums["z"], self._sums["q"] = np.zeros((len(axes), 1)), np.zeros((len(axes), 1))

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        codes_NC = self.encoder.encode(batch).codes_NC
        for start in range(0, len(codes_NC), _ROWS):
            codes = codes_NC[start : start + _ROWS]
            z_DN = np.stack([a.scores_K[codes[:, a.column]] for a in self.axes])
            gap_GN = np.stack([codes[:, self.axes[d].column] == len(self.axes[d].scores_K) - 1 for d in self._gaps] or
                              [np.zeros(len(codes), bool)])[: len(self._gaps)].astype(float)  # fmt: skip
            square_DN = z_DN**2
            added = {"zz": z_DN @ z_DN.T, "zg": z_DN @ gap_GN.T, "qg": square_DN @ gap_GN.T, "gg": gap_GN @ gap_GN.T,
                     "z": z_DN.sum(1, keepdims=True), "q": square_DN.sum(1, keepdims=True)}  # fmt: skip
            for name, value in added.items():
                self._sums[name] += value
        self.n_rows += len(codes_NC)

    def merge(self, other: PairMoments) -> None:
        """Add the sums of another part of the table."""
        for name, value in other._sums.items():
            self._sums[name] += value
        self.n_rows += other.n_rows

    def mean_products(self) -> np.ndarray:
        """Mean products (D, D) of two axes' scores that rows with both values would have, were their margins usual.

        The correlation over those rows, times both usual standard deviations.
        """
        s, size = self._sums, len(self.axes)
        without = {"z": np.zeros((size, size)), "q": np.zeros((size, size)), "n": np.zeros((size, size))}
        gaps = np.array(self._gaps, int)
        without["z"][:, gaps], without["q"][:, gaps] = s["zg"], s["qg"]  # sums of [a] over rows where b has no value
        missing = np.zeros(size)
        missing[gaps] = np.diag(s["gg"])
        without["n"][np.ix_(gaps, gaps)] = s["gg"]
        n = np.maximum(self.n_rows - missing[:, None] - missing[None, :] + without["n"], 1.0)
        mean, square = (s["z"] - without["z"]) / n, (s["q"] - without["q"]) / n
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        both = deviation * deviation.T
        correlation = np.divide(s["zz"] / n - mean * mean.T, both, out=np.zeros_like(both), where=both > 1e-12)
        usual = np.array([np.sqrt(a.steps @ normal_scores(a.steps) ** 2 / a.steps.sum()) for a in self.axes])
        return np.clip(correlation, -1, 1) * np.outer(usual, usual)


def category_orders(codes_CN: np.ndarray, encoder: TableEncoder) -> list[np.ndarray]:
    """Order of the codes of every column along its latent axis, (K,) each; bins stay as they are.

    Args:
        codes_CN: codes of a sample of rows.
    """
    cards = encoder.cardinalities
    orders = [np.arange(k) for k in cards]
    nominal = [c for c, column in enumerate(encoder.columns) if not isinstance(column, BinEncoder) and cards[c] > 2]
    if len(cards) < 2 or not nominal or not codes_CN.shape[1]:
        return orders
    sketch_NQ = np.zeros((codes_CN.shape[1], SKETCH), np.float32)
    sketches = [_signs(codes_CN[c], cards[c], c) for c in range(len(cards))]
    for c, signs_KQ in enumerate(sketches):
        sketch_NQ += signs_KQ[codes_CN[c]]
    z_CN = np.zeros(codes_CN.shape, np.float32)
    rows = [_present(codes_CN[c], cards[c]) for c in range(len(cards))]
    for c in range(len(cards)):
        if c in nominal:
            orders[c] = _first_axis(codes_CN[c], rows[c], sketch_NQ - sketches[c][codes_CN[c]])
        z_CN[c] = _scores(rows[c], orders[c])[codes_CN[c]]
    for _ in range(ROUNDS):
        for c in nominal:
            orders[c] = _scaled(codes_CN[c], rows[c], z_CN, c)
            z_CN[c] = _scores(rows[c], orders[c])[codes_CN[c]]
    return orders


def _present(codes_N: np.ndarray, cardinality: int) -> np.ndarray:
    """Rows (K,) of each code; none of 'missing', the last one, which says nothing of a column's values."""
    rows = np.bincount(codes_N, minlength=cardinality)
    rows[-1] = 0
    return rows


def _signs(codes_N: np.ndarray, cardinality: int, seed: int) -> np.ndarray:
    """Random signs (K, Q) of the codes over the root of their rows, less their mean over the rows."""
    of_code = np.arange(cardinality) * min(cardinality, SKETCH_CODES) // cardinality
    group_N = of_code[codes_N]
    share = np.bincount(group_N, minlength=int(of_code[-1]) + 1) / len(codes_N)
    signs = np.random.default_rng([0x5CE7C4, seed]).choice([-1.0, 1.0], (len(share), SKETCH))
    scaled = np.where(share[:, None] > 0, signs / np.sqrt(np.maximum(share, 1e-12))[:, None], 0.0)
    result: np.ndarray = (scaled - share @ scaled)[of_code].astype(np.float32)
    return result


def _by_code(codes_N: np.ndarray, rows_K: np.ndarray, x_NQ: np.ndarray) -> np.ndarray:
    """Means (K, Q) over the rows of each code."""
    from scipy import sparse

    n = len(codes_N)
    one_hot = sparse.csr_matrix((np.ones(n, np.float32), codes_N.astype(np.int64), np.arange(n + 1)), (n, len(rows_K)))
    result: np.ndarray = (one_hot.T @ x_NQ) / np.maximum(rows_K, 1)[:, None]
    return result


def _first_axis(codes_N: np.ndarray, rows_K: np.ndarray, sketch_NQ: np.ndarray) -> np.ndarray:
    means_KQ = _by_code(codes_N, rows_K, sketch_NQ)
    left = np.linalg.svd((means_KQ * np.sqrt(rows_K)[:, None]).astype(float), full_matrices=False)[0][:, 0]
    place = np.where(rows_K > 0, left / np.sqrt(np.maximum(rows_K, 1)), np.inf)
    return np.argsort(place, kind="stable")


def _scaled(codes_N: np.ndarray, rows_K: np.ndarray, z_CN: np.ndarray, column: int) -> np.ndarray:
    """Codes in the order of their rows' mean scores in all other columns, weighted by the correlation with them."""
    weight_C = z_CN @ z_CN[column] / np.maximum(np.einsum("cn,cn->c", z_CN, z_CN), 1e-12)
    weight_C[column] = 0.0
    pull = np.bincount(codes_N, weights=weight_C @ z_CN, minlength=len(rows_K)) / np.maximum(rows_K, 1)
    return np.argsort(np.where(rows_K > 0, pull, np.inf), kind="stable")


def _scores(rows_K: np.ndarray, order: Sequence[int] | np.ndarray) -> np.ndarray:
    scores = np.zeros(len(rows_K), np.float32)
    if rows_K.any():
        scores[order] = normal_scores(rows_K[order])
    return scores


def inverted_series(terms_DH: np.ndarray, rows: np.ndarray, others: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Correlations (P,) of pairs of axes at which their Hermite series have these sums, by bisection, all at once.

    Args:
        terms_DH: Hermite coefficients of each axis.
        rows, others: the axes of each pair, (P,).
        wanted: mean product of each pair's scores, (P,).
    """
    found = np.empty(len(rows))
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        series_HP = np.ascontiguousarray((terms_DH[rows[part]] * terms_DH[others[part]]).T)
        low, high = (np.full(series_HP.shape[1], sign * MAX_CORRELATION) for sign in (-1, 1))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            total = np.zeros_like(middle)
            for term in series_HP[::-1]:
                total += term
                total *= middle
            below = total < wanted[part]
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found[part] = (low + high) / 2
    return found
