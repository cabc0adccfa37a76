"""Membership by shadow models: what synthetic tables look like with and without a target, learned and recognised.

What an attacker reads off a table: histograms, correlations, and counts of rows like a target.

Shape legend: N targets, M synthetic rows, D columns, Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import Records, ThreatModel, View
from raysynth.attacks.shadows import N_SHADOWS, ShadowAttack
from raysynth.comparison.features import linear_features
from raysynth.comparison.neighbours import gower_metric, nearest
from raysynth.comparison.rows import Rows

_SYNTHETIC = 5_000  # rows that features are computed on
_QUERIES = 64


class ShadowQueryAttack(ShadowAttack):
    """Targeted queries (Houssiau et al. 2022; Meeus et al. 2023): counts of synthetic rows like the target.

    A query means the same for every target once it is standardised over the target's shadow models, so that one
    logistic regression learns from all targets and shadow models together.

    Args:
        n_shadows: models that the attacker fits.
        n_queries: random subsets of the columns.
    """

    name: ClassVar[str] = "shadow"
    title: ClassVar[str] = "Shadow models, targeted queries"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True, method=True)

    def __init__(self, n_shadows: int = N_SHADOWS, n_queries: int = _QUERIES) -> None:
        super().__init__(n_shadows)
        self.n_queries = n_queries

    def look(self, targets: Records, view: View, seed: int) -> np.ndarray:
        """Answers to the queries (N, F)."""
        assert view.reference is not None
        rng = np.random.default_rng(seed)
        queries = random_queries(view.reference.rows, self.n_queries, rng)
        return queries.answers(targets.rows, view.synthetic.sample(_SYNTHETIC, rng).rows)

    def tell(self, found_NF: np.ndarray, shadows_SNF: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
        """Log odds of membership (N,)."""
        return pooled_log_odds(found_NF, shadows_SNF, inside_SN)


class ShadowSummaryAttack(ShadowAttack):
    """Histograms and correlations of the whole table (Stadler et al. 2022), a ridge classifier for each target.

    Args:
        n_shadows: models that the attacker fits.
    """

    name: ClassVar[str] = "shadow_summary"
    title: ClassVar[str] = "Shadow models, histograms and correlations"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True, method=True)

    def __init__(self, n_shadows: int = 2 * N_SHADOWS) -> None:
        super().__init__(n_shadows)

    def look(self, targets: Records, view: View, seed: int) -> np.ndarray:
        """The summary of the table, the same for every target (N, F)."""
        assert view.reference is not None
        rows = view.synthetic.sample(_SYNTHETIC, np.random.default_rng(seed)).rows
        summary_F = summary_features(rows, view.reference.rows)
        return np.broadcast_to(summary_F, (len(targets), len(summary_F)))

    def tell(self, found_NF: np.ndarray, shadows_SNF: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
        """How much the table looks like those with the target (N,)."""
        return ridge_scores(found_NF[0], shadows_SNF[:, 0], inside_SN)


def pooled_log_odds(found_NQ: np.ndarray, shadows_SNQ: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
    """Log odds from one logistic regression on features standardised target by target (N,)."""
    from sklearn.linear_model import LogisticRegression

    mean_NQ, spread_NQ = shadows_SNQ.mean(axis=0), shadows_SNQ.std(axis=0)
    spread_NQ = np.where(spread_NQ > 1e-9, spread_NQ, np.inf)
    x = ((shadows_SNQ - mean_NQ) / spread_NQ).reshape(-1, shadows_SNQ.shape[2])
    model = LogisticRegression(C=0.1, max_iter=500).fit(x, inside_SN.reshape(-1))
    result: np.ndarray = model.decision_function(np.clip((found_NQ - mean_NQ) / spread_NQ, -20, 20))
    return result


def ridge_scores(found_F: np.ndarray, shadows_SF: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
    """Ridge regression of in (1) and out (-1) on standardised features, by target, at the attacked table (N,)."""
    mean, spread = shadows_SF.mean(axis=0), shadows_SF.std(axis=0)
    x = (shadows_SF - mean) / np.where(spread > 1e-12, spread, np.inf)
    y = np.where(inside_SN, 1.0, -1.0)
    products = x @ x.T
    weights_SN = np.linalg.solve(products + x.shape[1] * np.eye(len(x)), y - y.mean(axis=0))
    found = np.clip((found_F - mean) / np.where(spread > 1e-12, spread, np.inf), -20, 20)
    result: np.ndarray = (found @ x.T) @ weights_SN
    return result


_NEAR = 0.05  # numbers whose ranks differ by less count as equal
_BINS = 10
_BLOCK = 64


@dataclass(frozen=True)
class QuerySet:
    """Random subsets of the columns, by which rows are counted.

    Args:
        subsets_DQ: whether query Q looks at column D (0 or 1).
        reference: rows whose ranks make numbers comparable.
    """

    subsets_DQ: np.ndarray
    reference: Rows

    def answers(self, targets: Rows, synthetic: Rows) -> np.ndarray:
        """For each target and query the share of synthetic rows like the target in the query's columns, and last the
        nearness of the nearest one (N, Q + 1). Targeted queries of Houssiau et al. (2022, TAPAS) and Meeus et al.
        (2023)."""
        wanted_Q = self.subsets_DQ.sum(axis=0)
        ours, theirs = self._ranked(targets), self._ranked(synthetic)
        shares = np.empty((len(targets), len(wanted_Q)))
        for start in range(0, len(targets), _BLOCK):
            alike_nMD = self._alike(ours, theirs, slice(start, start + _BLOCK))
            found = alike_nMD.reshape(-1, alike_nMD.shape[2]) @ self.subsets_DQ
            shares[start : start + _BLOCK] = (found.reshape(*alike_nMD.shape[:2], -1) == wanted_Q).mean(axis=1)
        near = nearest(targets, synthetic, gower_metric(self.reference)).distances_QK
        return np.hstack([np.sqrt(shares), -np.log(near + 1e-4)])

    def _ranked(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        ranks = np.full(rows.numbers_NV.shape, np.nan, dtype=np.float32)
        for j, column in enumerate(rows.numbers_NV.T):
            known = np.sort(self.reference.numbers_NV[:, j])
            known = known[np.isfinite(known)]
            place = np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right")
            ranks[:, j] = np.where(np.isfinite(column), place / max(2 * len(known), 1), -1)
        return ranks, rows.codes_NC

    @staticmethod
    def _alike(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray], part: slice) -> np.ndarray:
        numbers = np.abs(ours[0][part, None, :] - theirs[0][None]) < _NEAR
        codes = ours[1][part, None, :] == theirs[1][None]
        return np.concatenate([numbers, codes], axis=2).astype(np.float32)


def random_queries(reference: Rows, n_queries: int, rng: np.random.Generator) -> QuerySet:
    """Queries over one column up to all of them."""
    n_columns = len(reference.space.names)
    subsets = np.zeros((n_columns, n_queries), dtype=np.float32)
    for q in range(n_queries):
        size = int(rng.integers(1, n_columns + 1))
        subsets[rng.choice(n_columns, size, replace=False), q] = 1
    return QuerySet(subsets, reference)


def summary_features(synthetic: Rows, reference: Rows) -> np.ndarray:
    """Histograms and correlations of a synthetic table (F,), on the reference's bins (Stadler et al. 2022)."""
    parts: list[np.ndarray] = []
    for j, column in enumerate(synthetic.numbers_NV.T):
        known = reference.numbers_NV[:, j]
        cuts = np.unique(np.quantile(known[np.isfinite(known)], np.linspace(0, 1, _BINS + 1)[1:-1]))
        counts = np.bincount(np.searchsorted(cuts, column[np.isfinite(column)], "right"), minlength=len(cuts) + 1)
        parts.append(counts / len(synthetic))
        parts.append(np.array([np.nanmean(column) if np.isfinite(column).any() else 0.0]))
    for j, coder in enumerate(synthetic.space.coders):
        parts.append(np.bincount(synthetic.codes_NC[:, j], minlength=coder.cardinality) / len(synthetic))
    x = linear_features(synthetic, reference)
    x = x - x.mean(axis=0)
    size = np.sqrt((x**2).sum(axis=0))
    correlations = (x.T @ x) / np.maximum(np.outer(size, size), 1e-12)
    parts.append(correlations[np.triu_indices(len(correlations), 1)])
    return np.concatenate(parts)
