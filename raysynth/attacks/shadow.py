"""Membership by shadow models: what synthetic tables look like with and without a target, learned and recognised.

The attacker fits the method to tables of its own making, some with and some without each target. It reads histograms,
correlations, and counts of rows like a target off a table.

Shape legend: N targets, M synthetic rows, D columns, Q queries.

One set of models serves all targets: each target is in a random half of the shadow tables (the design of Carlini et al.
2022), the rest of each table is drawn from the reference sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from raysynth.attacks.attack import MembershipAttack, Records, ThreatModel, View
from raysynth.comparison.neighbours import gower_metric, nearest
from raysynth.comparison.rows import Rows, RowSpace, linear_features
from raysynth.errors import DataError, ParameterError
from raysynth.running.progress import progress
from raysynth.running.runner import iter_tasks

R = TypeVar("R")
N_SHADOWS = 16


class ShadowAttack(MembershipAttack):
    """An attack that learns from shadow models what the attacked one should look like with and without a target.

    A subclass says what it looks at (`look`) and how it tells (`tell`); both serve campaigns too, where every trial's
    model is a shadow of the others.

    Args:
        n_shadows: models that the attacker fits.
    """

    in_one_go: ClassVar[bool] = True

    def __init__(self, n_shadows: int = N_SHADOWS) -> None:
        if n_shadows < 4:
            raise ParameterError(f"n_shadows must be at least 4; found {n_shadows!r}")
        self.n_shadows = n_shadows

    def look(self, targets: Records, view: View, seed: int) -> np.ndarray:
        """What the attacker reads off a synthetic table or model of each target (N, F); one seed for all models."""
        raise NotImplementedError

    def tell(self, found_NF: np.ndarray, shadows_SNF: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
        """Scores (N,) from what was found and what S shadows gave, of which `inside_SN` held a target."""
        raise NotImplementedError

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Fit the shadow models, look at each of them and at the attacked one, and tell."""
        plan = shadow_plan(len(targets), view, self.n_shadows, rng)
        look_seed, seed = (int(s) for s in rng.integers(2**31, size=2))
        look = partial(self.look, targets, seed=look_seed)
        shadows_SNF = np.array(from_shadows(plan, targets, view, look, seed))
        return self.tell(self.look(targets, view, look_seed), shadows_SNF, plan.inside_ST)


@dataclass(frozen=True)
class ShadowPlan:
    """Which targets each shadow table holds.

    Args:
        inside_ST: whether shadow S holds target T.
        n_reference: reference rows in each shadow table, beside the targets.
    """

    inside_ST: np.ndarray
    n_reference: int


def shadow_plan(n_targets: int, view: View, n_shadows: int, rng: np.random.Generator) -> ShadowPlan:
    """Each target in exactly half of the shadow tables; tables as large as the training table where there are rows."""
    assert view.reference is not None
    half = np.arange(n_shadows) < n_shadows // 2
    inside_TS = np.array([rng.permutation(half) for _ in range(n_targets)])
    wanted = max(view.n_training - n_targets // 2, 0)
    n_reference = min(wanted, len(view.reference))
    if n_reference + n_targets // 2 < 20:
        raise DataError("too few rows for shadow models; give a larger holdout")
    return ShadowPlan(inside_TS.T, n_reference)


def from_shadows(plan: ShadowPlan, targets: Records, view: View, look: Callable[[View], R], seed: int) -> list[R]:
    """What `look` gives at the view of each shadow model; several are fitted at a time, on Ray where it runs."""
    work = partial(_one_shadow, plan, targets, view, look, seed)
    results: dict[int, R] = {}
    with progress("Shadow models", len(plan.inside_ST)) as advance:
        for index, result in iter_tasks(work, range(len(plan.inside_ST))):
            results[index] = result
            advance(1)
    return [results[i] for i in range(len(plan.inside_ST))]


def fit_quietly(method: Any, table: Any, seed: int) -> Any:
    """A fresh model of a method, fitted to a table without a word."""
    model = method.clone()
    model.set_params(verbose=False, seed=seed)
    return model.fit(table)


def _one_shadow(
    plan: ShadowPlan,
    targets: Records,
    view: View,
    look: Callable[[View], R],
    seed: int,
    index: int,
) -> R:
    assert view.reference is not None
    rng = np.random.default_rng([seed, index])
    inside = targets.take(np.flatnonzero(plan.inside_ST[index]))
    table = inside.joined(view.reference.sample(plan.n_reference, rng)).table
    fit_seed, sample_seed = (int(s) for s in rng.integers(2**31, size=2))
    model = fit_quietly(view.method, table, fit_seed)
    synthetic = published(model, len(view.synthetic), sample_seed, view.synthetic.rows.space)
    return look(replace(view, synthetic=synthetic, model=model))


def published(model: Any, n_rows: int, seed: int, space: RowSpace) -> Records:
    """The synthetic table that a model publishes."""
    table = model.sample_arrow(n_rows, seed=seed)
    return Records(space.encode(table.select(list(space.names))), table)


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
