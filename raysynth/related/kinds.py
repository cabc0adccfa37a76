"""What the children of a parent are like, as one code: a cluster of their means and shares.

The parents' rows are learned together with the code, and the children given it; so what depends between both, and
between siblings, goes through a few dozen words. A cluster has at least `rare_threshold` persons; of its centre nothing
is kept, since only learned parents have a code that is looked up.

Shape legend: N children, P parents, F features, K clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.related.grouping import NO_PARENT, codes, group_means, numbers, persons_each
from raysynth.schema.columns import ColumnSchema

PARENTS_EACH = 25  # of a cluster on average, at least
MOST_CLUSTERS = 40
MATCHED_EACH, MOST_MATCHED = 8, 100  # the same where children find the parent by the code alone
LEVELS = 6  # of a category, whose shares are features
LEARNED_FROM = 50_000  # parents
WEAKEST = 0.1  # weight of a feature that differs between parents no more than by chance
STRONGEST = 25.0  # deviation between parents, in deviations within, of a feature that tells parents apart


@dataclass(frozen=True)
class Sample:
    """Rows of a table and those of its columns that count.

    Args:
        rows: the table. columns: of it.
    """

    rows: pa.Table
    columns: tuple[ColumnSchema, ...]


def children_codes(
    children: Sample, parent_N: np.ndarray, persons_P: np.ndarray, rare: int, seed: int, parents: Sample | None = None
) -> np.ndarray:
    """The code of each parent's children, (P,) int64; `NO_PARENT` (-1) where it has none.

    Args:
        children: of all parents. parent_N: number of each child's parent.
        persons_P: whose each parent is, numbers.
        rare: fewest persons of a code.
        seed: of the clustering.
        parents: for a key whose parents are found by their code: own columns of theirs that children depend on are
            told apart, too.
    """
    there = np.flatnonzero(parent_N >= 0)
    n_parents = len(persons_P)
    number = np.bincount(parent_N[there], minlength=n_parents)
    has = np.flatnonzero(number)
    result = np.full(n_parents, NO_PARENT, np.int64)
    if not len(has):
        return result
    rows, found_by_code = children.rows.take(pa.array(there)), parents is not None
    features_PF = _features(rows, children.columns, parent_N[there], number, found_by_code)[has]
    each, most = PARENTS_EACH, MOST_CLUSTERS
    if parents is not None:
        own = Sample(parents.rows.take(pa.array(has)), parents.columns)
        features_PF = np.concatenate([features_PF, _depended_on(own, features_PF)], axis=1)
        each, most = MATCHED_EACH, MOST_MATCHED
    k = int(np.clip(len(has) // each, 1, most))
    result[has] = _clusters(features_PF, k, persons_P[has], rare, seed)
    return result


def _depended_on(parents: Sample, features_PF: np.ndarray) -> np.ndarray:
    """Own columns of parents, standardised, each times what of the features it tells: correlation times deviation."""
    columns = []
    for column in parents.columns:
        if column.kind.is_numeric:
            columns.append(np.nan_to_num(squeezed(numbers(parents.rows.column(column.name)))))
        else:
            code, _ = codes(parents.rows.column(column.name))
            columns += [(code == level).astype(float) for level in frequent_levels(code)]
    n = len(features_PF)
    own_PO = np.stack(columns, 1) if columns else np.zeros((n, 0))
    own_PO, theirs_PF = (_standardised(x) for x in (own_PO, features_PF))
    if not own_PO.shape[1] or not theirs_PF.shape[1]:
        return own_PO[:, :0]
    related = np.abs(own_PO.T @ theirs_PF / n)
    weighted: np.ndarray = own_PO * (np.where(related > 3 / np.sqrt(n), related, 0.0) * features_PF.std(0)).max(1)
    return weighted


def _standardised(x_PF: np.ndarray) -> np.ndarray:
    return (x_PF - x_PF.mean(0)) / np.maximum(x_PF.std(0), 1e-9)


def _features(
    rows: pa.Table, columns: tuple[ColumnSchema, ...], parent_N: np.ndarray, number_P: np.ndarray, by_child: bool
) -> np.ndarray:
    """Means and shares of each parent's children, standardised and weighted by how much parents differ, (P, F).

    `by_child`: by how well one child tells its parent from others, as in discriminant analysis (Fisher 1936).
    """
    parts = []
    for column in columns:
        if column.kind.is_numeric:
            parts.append(_weighted(parent_N, squeezed(numbers(rows.column(column.name))), number_P, by_child))
        else:
            code, _ = codes(rows.column(column.name))
            levels = [(code == level).astype(float) for level in frequent_levels(code)]
            parts += [_weighted(parent_N, x, number_P, by_child) for x in levels]
    return np.stack(parts, 1) if parts else np.zeros((len(number_P), 0))


def squeezed(x: np.ndarray) -> np.ndarray:
    """Standardised by median and quartiles, and large numbers as their logarithms: few are no cluster of their own."""
    there = x[~np.isnan(x)]
    if not len(there):
        return x
    low, middle, high = np.quantile(there, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.35 or there.std() or 1.0
    squeezed: np.ndarray = np.arcsinh((x - middle) / spread)
    return squeezed


def frequent_levels(code_N: np.ndarray) -> np.ndarray:
    """The codes of the most frequent categories, at most `LEVELS`."""
    frequent: np.ndarray = np.argsort(-np.bincount(code_N[code_N >= 0], minlength=1), kind="stable")[:LEVELS]
    return frequent


def _weighted(parent_N: np.ndarray, x_N: np.ndarray, number_P: np.ndarray, by_child: bool) -> np.ndarray:
    """One feature (P,): parents' means, standardised, times the square root of the share that is no chance.

    `by_child`: times the deviation between parents in units of that within.
    """
    mean, n = group_means(parent_N, x_N, len(number_P))
    has = n > 0
    if not has.any() or (between := float(np.var(mean[has]))) <= 1e-12:
        return np.zeros(len(mean))
    signal, share = share_of_parents(parent_N, x_N, number_P)
    signal = share / max(1 - share, STRONGEST**-2) if by_child else max(signal, WEAKEST)
    if (n[has] - 1).sum() < has.sum() / 10:  # nearly all have one child: between and within cannot be told apart
        signal = 1.0
    return np.where(has, (mean - mean[has].mean()) / np.sqrt(between), 0.0) * np.sqrt(signal)


def share_of_parents(parent_N: np.ndarray, x_N: np.ndarray, number_P: np.ndarray) -> tuple[float, float]:
    """How much parents differ in a number of their children, by an analysis of variance: two shares in [0, 1].

    The first is that of the variance between parents' means that is no chance, 1 - (variance within parents / children)
    / variance between means; the second that of the variance of children that is between parents.
    """
    mean, n = group_means(parent_N, x_N, len(number_P))
    has = n > 0
    if not has.any() or (between := float(np.var(mean[has]))) <= 1e-12:
        return 0.0, 0.0
    freedom = max(float((n[has] - 1).sum()), 1.0)
    within = float(np.nansum((x_N - mean[parent_N]) ** 2)) / freedom
    by_chance = within * float(np.mean(1.0 / n[has]))
    own = max(between - by_chance, 0.0)
    return own / between, own / (own + within)


def _clusters(features_PF: np.ndarray, k: int, persons_P: np.ndarray, rare: int, seed: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    n = len(features_PF)
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
    large = np.flatnonzero(persons_each(label_P, persons_P, len(centres_KF)) >= rare)
    if not len(large):
        return np.zeros(len(label_P), np.int64)
    distance = ((centres_KF[:, None] - centres_KF[large][None]) ** 2).sum(-1)
    place = distance.argmin(1)
    place[large] = np.arange(len(large))
    return place[label_P].astype(np.int64)
