"""How far synthetic tables are from real ones, for tests: keys, numbers of children, two-sample tests on families."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from raysynth.schema.relations import Relation

Tables = Mapping[str, pd.DataFrame]


def pointing_nowhere(tables: Tables, relation: Relation) -> int:
    """Child rows whose key is there and points to no parent."""
    child = tables[relation.child][list(relation.child_key)].dropna()
    parent = tables[relation.parent][list(relation.parent_key)]
    known = set(map(tuple, parent.astype(object).to_numpy().tolist()))
    return sum(tuple(row) not in known for row in child.astype(object).to_numpy().tolist())


def numbers_of_children(tables: Tables, relation: Relation) -> np.ndarray:
    """Of each parent."""
    parent, child = tables[relation.parent], tables[relation.child]
    counts = child.groupby(list(relation.child_key)).size()
    counts.index = counts.index if len(relation.child_key) > 1 else counts.index.map(lambda k: (k,))
    keys = list(map(tuple, parent[list(relation.parent_key)].to_numpy().tolist()))
    return np.array([counts.get(k if len(k) > 1 else k, 0) for k in keys])


def total_variation(one: np.ndarray, other: np.ndarray, most: int = 20) -> float:
    """Between the distributions of two sets of numbers of children, those above `most` together."""
    a, b = (np.bincount(np.minimum(x, most), minlength=most + 1) / len(x) for x in (one, other))
    return float(np.abs(a - b).sum() / 2)


def families(tables: Tables, relation: Relation) -> pd.DataFrame:
    """Parents' columns beside number, means and shares of their children."""
    parent = tables[relation.parent].set_index(list(relation.parent_key))
    child = tables[relation.child]
    keys = {c for c in child.columns if c in relation.child_key}
    grouped = child.drop(columns=[c for c in child.columns if _is_key(child[c]) and c not in keys])
    parts = {"number": grouped.groupby(list(relation.child_key)).size()}
    for column in grouped.columns.difference(list(keys)):
        by = grouped[column].groupby([child[k] for k in relation.child_key])
        if grouped[column].dtype.kind in "OSU" or str(grouped[column].dtype) in ("str", "category"):
            for value in _frequent(grouped[column]):
                parts[f"{column}={value}"] = _share(grouped[column] == value, child, relation)
            parts[f"different {column}"] = by.nunique()
        else:
            x = _number(grouped[column]).groupby([child[k] for k in relation.child_key])
            parts |= {f"mean {column}": x.mean(), f"std {column}": x.std(), f"sum {column}": x.sum()}
    summary = pd.DataFrame(parts).reindex(parent.index)
    summary["number"] = summary["number"].fillna(0)
    own = {c: parent[c] for c in parent.columns if not _is_key(parent[c])}
    coded = {c: (v if v.dtype.kind in "if" else _number(v)) for c, v in own.items()}
    return pd.concat([pd.DataFrame(coded, index=parent.index), summary], axis=1).astype(float).reset_index(drop=True)


def told_apart(real: pd.DataFrame, other: pd.DataFrame, seed: int = 0) -> float:
    """Area under the ROC curve of boosted trees that tell both apart, by 3-fold cross-validation (0.5: cannot)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    n = min(len(real), len(other))
    both = pd.concat([real.sample(n, random_state=seed), other.sample(n, random_state=seed)[real.columns]])
    label = np.repeat([0, 1], n)
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, random_state=seed)
    found = cross_val_predict(model, both.to_numpy(), label, cv=3, method="predict_proba")[:, 1]
    return float(roc_auc_score(label, found))


def _is_key(values: pd.Series) -> bool:
    return values.name in ("id", "customer", "order", "product", "sku", "boss", "seller")


def _frequent(values: pd.Series) -> list[str]:
    return sorted(values.dropna().unique())[:4]


def _share(values: pd.Series, child: pd.DataFrame, relation: Relation) -> pd.Series:
    return values.astype(float).groupby([child[k] for k in relation.child_key]).mean()


def _number(values: pd.Series) -> pd.Series:
    if values.dtype.kind == "M":
        return (values - pd.Timestamp("2020-01-01")) / pd.Timedelta(1, "D")
    if values.dtype.kind in "OSU" or str(values.dtype) in ("str", "category"):
        known = {v: i for i, v in enumerate(_frequent(values))}
        return values.map(known).astype(float)
    return values.astype(float)
