"""What the children of a parent are like, as one code: a cluster of their means and shares.

The parents' rows are learned together with the code, and the children given it; so what depends between both, and
between siblings, goes through a few dozen words. A cluster has at least `rare_threshold` persons; of its centre nothing
is kept, since only learned parents have a code that is looked up.

Shape legend: N children, P parents, F features, K clusters.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysynth.related.grouping import NO_PARENT, codes, group_means, numbers
from raysynth.schema.columns import ColumnSchema

PARENTS_EACH = 25  # of a cluster on average, at least
MOST_CLUSTERS = 40
LEVELS = 6  # of a category, whose shares are features
LEARNED_FROM = 50_000  # parents
WEAKEST = 0.1  # weight of a feature that differs between parents no more than by chance
CLIPPED_AT = 4.0  # standard deviations


def children_codes(
    rows: pa.Table, columns: tuple[ColumnSchema, ...], parent_N: np.ndarray, persons_P: np.ndarray, rare: int, seed: int
) -> np.ndarray:
    """The code of each parent's children, (P,) int64; `NO_PARENT` (-1) where it has none.

    Args:
        rows: the children. columns: of theirs that count.
        parent_N: number of each child's parent.
        persons_P: whose each parent is, numbers.
        rare: fewest persons of a code.
        seed: of the clustering.
    """
    there = np.flatnonzero(parent_N >= 0)
    n_parents = len(persons_P)
    number = np.bincount(parent_N[there], minlength=n_parents)
    has = np.flatnonzero(number)
    result = np.full(n_parents, NO_PARENT, np.int64)
    if not len(has):
        return result
    features_PF = _features(rows.take(pa.array(there)), columns, parent_N[there], number)[has]
    result[has] = _clusters(features_PF, persons_P[has], rare, seed)
    return result


def _features(
    rows: pa.Table, columns: tuple[ColumnSchema, ...], parent_N: np.ndarray, number_P: np.ndarray
) -> np.ndarray:
    """Means and shares of each parent's children, standardised and weighted by how much parents differ, (P, F)."""
    parts = []
    for column in columns:
        if column.kind.is_numeric:
            parts.append(_weighted(parent_N, _clipped(numbers(rows.column(column.name))), number_P))
        else:
            code, _ = codes(rows.column(column.name))
            frequent = np.argsort(-np.bincount(code[code >= 0], minlength=1), kind="stable")[:LEVELS]
            parts += [_weighted(parent_N, (code == level).astype(float), number_P) for level in frequent]
    return np.stack(parts, 1) if parts else np.zeros((len(number_P), 0))


def _clipped(x: np.ndarray) -> np.ndarray:
    """Standardised by median and quartiles, and clipped, so that a few large numbers are no cluster of their own."""
    there = x[~np.isnan(x)]
    if not len(there):
        return x
    low, middle, high = np.quantile(there, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.35 or there.std() or 1.0
    return np.clip((x - middle) / spread, -CLIPPED_AT, CLIPPED_AT)


def _weighted(parent_N: np.ndarray, x_N: np.ndarray, number_P: np.ndarray) -> np.ndarray:
    """One feature (P,): parents' means, standardised, times the square root of the share that is no chance.

    That share is 1 - (variance within parents / children) / variance between means, as in an analysis of variance.
    """
    mean, n = group_means(parent_N, x_N, len(number_P))
    has = n > 0
    if not has.any():
        return np.zeros(len(mean))
    centre = float(np.average(mean[has], weights=None))
    between = float(np.var(mean[has]))
    if between <= 1e-12:
        return np.zeros(len(mean))
    residual = (x_N - mean[parent_N]) ** 2
    freedom = max(float((n[has] - 1).sum()), 1.0)
    within = float(np.nansum(residual)) / freedom
    signal = np.clip(1.0 - within * float(np.mean(1.0 / n[has])) / between, WEAKEST, 1.0)
    if freedom < has.sum() / 10:  # nearly all have one child: between and within cannot be told apart
        signal = 1.0
    return np.where(has, (mean - centre) / np.sqrt(between), 0.0) * np.sqrt(signal)


def _clusters(features_PF: np.ndarray, persons_P: np.ndarray, rare: int, seed: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    n = len(features_PF)
    k = int(np.clip(n // PARENTS_EACH, 1, MOST_CLUSTERS))
    if k == 1 or not features_PF.any():
        return np.zeros(n, np.int64)
    learned = features_PF
    if n > LEARNED_FROM:
        learned = features_PF[np.random.default_rng(seed).choice(n, LEARNED_FROM, replace=False)]
    fitted = MiniBatchKMeans(k, random_state=seed % (1 << 32), n_init=3, batch_size=4096).fit(learned)
    label = fitted.predict(features_PF).astype(np.int64)
    return _without_rare(label, fitted.cluster_centers_, persons_P, rare)


def _without_rare(label_P: np.ndarray, centres_KF: np.ndarray, persons_P: np.ndarray, rare: int) -> np.ndarray:
    """Labels from 0, those of clusters with fewer than `rare` persons joined to the nearest other cluster."""
    pairs = np.unique(label_P * (int(persons_P.max(initial=0)) + 1) + persons_P)
    persons_K = np.bincount(pairs // (int(persons_P.max(initial=0)) + 1), minlength=len(centres_KF))
    large = np.flatnonzero(persons_K >= rare)
    if not len(large):
        return np.zeros(len(label_P), np.int64)
    distance = ((centres_KF[:, None] - centres_KF[large][None]) ** 2).sum(-1)
    place = distance.argmin(1)
    place[large] = np.arange(len(large))
    return place[label_P].astype(np.int64)
