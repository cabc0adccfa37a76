"""Realism: can a classifier tell the synthetic rows from real ones?

Classifier two-sample test (Lopez-Paz and Oquab 2017): gradient-boosted trees, two folds, equal numbers of real and
synthetic rows. An AUC of 0.5 means that they cannot be told apart, 1 that every row can. It is the strictest of the
figures: one wrong decimal or impossible combination is enough to give a row away. It may lie below 0.5 where the shares
of both tables agree more closely than those of two samples do: what one fold has too much of, the other has too little.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from raysynth.comparison.intervals import Estimate
from raysynth.comparison.rates import auc
from raysynth.comparison.rows import Rows, category_flags, divided, learnable, tree_features
from raysynth.errors import DataError
from raysynth.evaluation.metrics.metric import Line, Metric
from raysynth.running.runner import run_tasks

_ROWS = 20_000


@dataclass(frozen=True)
class Realism:
    """What telling the tables apart gave.

    Args:
        auc: of a classifier that tells real from synthetic rows; the interval leaves out the choice of folds.
        n_rows: rows of each table that took part.
    """

    auc: Estimate
    n_rows: int

    @property
    def score(self) -> float:
        """2 * (1 - AUC), cut to [0, 1]: 1 cannot be told apart, 0 always told."""
        return min(max(2 * (1 - self.auc.value), 0.0), 1.0)


def two_sample_test(real: Rows, synthetic: Rows, seed: int = 0) -> Realism:
    """The classifier two-sample test on up to 20,000 rows of each table; raises `DataError` for fewer than two."""
    rng = np.random.default_rng(seed)
    n = min(len(real), len(synthetic), _ROWS)
    if n < 2:
        raise DataError(f"the {'real' if len(real) < 2 else 'synthetic'} table has one row; at least 2 are compared")
    sides = [rows.sample(n, rng) for rows in (real, synthetic)]
    x, label = np.vstack([tree_features(rows) for rows in sides]), np.repeat([1, 0], n)
    fold, score = np.concatenate([_folds(rows, rng) for rows in sides]), np.empty(2 * n)
    judged = partial(_probability, x=x, label=label, fold=fold, flags=category_flags(real), seed=seed)
    for part, found in enumerate(run_tasks(judged, (0, 1), where="local", label="Classifiers of two halves")):
        score[fold == part] = found
    return Realism(auc(score[label == 1], score[label == 0]), n)


def _probability(
    part: int, x: np.ndarray, label: np.ndarray, fold: np.ndarray, flags: np.ndarray, seed: int
) -> np.ndarray:
    """Probability of being real for each row of a fold, from the rows of the other."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train = fold != part
    model = HistGradientBoostingClassifier(categorical_features=flags, random_state=seed, early_stopping=False)
    probability: np.ndarray = model.fit(learnable(x[train]), label[train]).predict_proba(x[~train])[:, 1]
    return probability


def _folds(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """0 or 1 for each row (N,), half of each; the same for all rows of a person."""
    fold = np.ones(len(rows), int)
    fold[divided(len(rows), (len(rows) + 1) // 2, rows.owners_N, rng)[0]] = 0
    return fold


def _meaning(found: Realism) -> str:
    """What the figure says beside chance; below it, each fold's classifier learns what the other fold makes up for."""
    if found.auc.high < 0.5:
        return "below 0.5: shares are nearer to the real ones than chance makes them"
    return "0.5: cannot be told apart"


METRIC = Metric(
    asked_by="realism",
    doing="telling real rows from synthetic ones",
    compute=lambda rows: two_sample_test(rows.real, rows.synthetic, rows.seed),
    plain=lambda found: {"score": found.score, **asdict(found)},
    lines=lambda found: [Line("Told from real (AUC)", str(found.auc), _meaning(found))],
)
