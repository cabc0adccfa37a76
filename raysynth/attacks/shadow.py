"""Membership by shadow models: what synthetic tables look like with and without a target, learned and recognised."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from raysynth.attacks.queries import random_queries, summary_features
from raysynth.attacks.shadows import N_SHADOWS, ShadowAttack
from raysynth.attacks.threat import Records, ThreatModel, View

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
