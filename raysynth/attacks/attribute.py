"""Attribute inference: what an attacker who knows some columns of a person learns of another one.

Beside the success on training rows stands that of the same attack on rows that the synthesizer never saw (Giomi et al.
2023, section 3.3): what is found out of them as well is knowledge of the population, not a leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import RecordAttack, Records, View
from raysynth.comparison.neighbours import Metric, nearest, ranges
from raysynth.comparison.rows import Rows, tree_features
from raysynth.errors import ParameterError

TOLERANCE = 0.05  # a number is guessed right within this share of the guess (Giomi et al. 2023)
_TRAIN_ROWS = 10_000
_TREES = 25
_ALL_TRIED, _FEWEST_TRIED = 32, 10  # columns that a split looks at


class AttributeAttack(RecordAttack):
    """What attribute attacks share: which column is the secret, which are known, and when a guess is right.

    Args:
        secret: the column to find out; None: each experiment takes one at random, in proportion to the rows that do not
            have its most frequent value, since what nearly all have is no secret.
        known: the columns that the attacker knows of a target; None: all others, and keys whose order tells of others
            (row numbers in order of time), which are no secrets.
        tolerance: of a number, relative to the guess.
    """

    family: ClassVar[str] = "attribute_inference"
    min_columns: ClassVar[int] = 2

    def __init__(
        self, secret: str | None = None, known: Sequence[str] | None = None, tolerance: float = TOLERANCE
    ) -> None:
        self.secret = secret
        self.known = known
        self.tolerance = tolerance

    def guess(self, targets: Rows, synthetic: Rows, secret: str, known: Sequence[str]) -> np.ndarray:
        """A guess of the secret for each target (N,): a number (NaN: missing) or a code."""
        raise NotImplementedError

    def succeed(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Whether the guess is right (N,)."""
        secret, rows = self._secret(view.synthetic.rows, rng), view.synthetic.with_keys()
        known = self._known(view.synthetic, secret) if self.known is None else list(self.known)
        check_columns(rows, known)
        if secret in known or not known:
            raise ParameterError(f"the attacker must know at least one column, and not '{secret}'; known: {known}")
        shuffled = rows.take(rng.permutation(len(rows)))  # equally near rows are taken at random
        found = self.guess(targets.with_keys(), shuffled, secret, known)
        return right(found, column_of(targets.rows, secret), secret in rows.space.numbers, self.tolerance)

    def _known(self, synthetic: Records, secret: str) -> list[str]:
        return [n for n in (*synthetic.rows.space.names, *synthetic.keys) if n != secret]

    def _secret(self, rows: Rows, rng: np.random.Generator) -> str:
        if self.secret is not None:
            check_columns(rows, [self.secret])
            return self.secret
        unsure = np.array([1 - _largest_share(column_of(rows, n)) for n in rows.space.names])
        shares = unsure / unsure.sum() if unsure.any() else None  # of constant columns any is as good
        return str(rng.choice(rows.space.names, p=shares))


class NearestAttributeAttack(AttributeAttack):
    """Reads the secret off the synthetic row that is nearest in the known columns."""

    name: ClassVar[str] = "attribute_nearest"
    title: ClassVar[str] = "Attribute of the nearest synthetic row"

    def guess(self, targets: Rows, synthetic: Rows, secret: str, known: Sequence[str]) -> np.ndarray:
        """The nearest row's value."""
        found = nearest(targets, synthetic, metric_on(known, targets, synthetic)).rows_QK[:, 0]
        return column_of(synthetic, secret)[found]


class KeyAttributeAttack(NearestAttributeAttack):
    """Reads the secret off the synthetic row whose key is nearest, where the order of keys tells of other columns.

    Who knows the number of a person's row (a case, a parcel) and nothing else learns of the rows that are numbered
    alike, as by an age. A gain over rows that the synthesizer never saw says that a key leads to one row's values.
    """

    name: ClassVar[str] = "attribute_key"
    title: ClassVar[str] = "Attribute of the row with the nearest key"
    needs_keys: ClassVar[bool] = True

    def _known(self, synthetic: Records, secret: str) -> list[str]:
        return list(synthetic.keys)


class ModelAttributeAttack(AttributeAttack):
    """Predicts the secret by trees trained on the synthetic rows (attack by a model: Hittmeir et al. 2020).

    The trees are grown to the last row (extremely randomised, Geurts et al. 2006): what is asked is not how well the
    secret can be told of people in general, for which leaves of many rows are better, but what the table says of single
    rows, and only leaves of one row tell that. The guess is the trees' most frequent category or median number, so that
    a copy that most trees find is read off as it is. Beyond 32 columns a split looks at some of them, drawn at random,
    20 of 50 and 10 of 100 or more, which costs as much: a copy of a target still falls into its leaf in every tree.
    """

    name: ClassVar[str] = "attribute_model"
    title: ClassVar[str] = "Attribute by a model of the synthetic rows"

    def guess(self, targets: Rows, synthetic: Rows, secret: str, known: Sequence[str]) -> np.ndarray:
        """The trees' common answer."""
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        synthetic = synthetic.take(np.arange(min(len(synthetic), _TRAIN_ROWS)))
        keep = [n in known for n in synthetic.space.names if n != secret]
        x, asked = (tree_features(r, secret)[:, keep] for r in (synthetic, targets))
        y = column_of(synthetic, secret)
        present = np.isfinite(y.astype(float))
        if not present.any():
            return np.full(len(targets), np.nan)
        is_number = secret in synthetic.space.numbers
        width = x.shape[1]
        tried = None if width <= _ALL_TRIED else max(_ALL_TRIED**2 // width, _FEWEST_TRIED)
        kind = ExtraTreesRegressor if is_number else ExtraTreesClassifier
        forest = kind(_TREES, max_features=tried, random_state=0)
        forest.fit(x[present], y[present])
        answers_TN = np.stack([tree.predict(asked) for tree in forest.estimators_])
        if is_number:
            return np.median(answers_TN, axis=0)
        return forest.classes_[_most_frequent(answers_TN.astype(np.int64), len(forest.classes_))]


def _most_frequent(answers_TN: np.ndarray, n_classes: int) -> np.ndarray:
    """The class that most of T trees give (N,)."""
    votes_NK = np.zeros((answers_TN.shape[1], n_classes))
    for answers_N in answers_TN:
        votes_NK[np.arange(len(votes_NK)), answers_N] += 1
    return votes_NK.argmax(axis=1)


def _largest_share(values_N: np.ndarray) -> float:
    return float(np.unique(values_N, return_counts=True)[1].max() / len(values_N))  # missing: one value


def metric_on(columns: Sequence[str], targets: Rows, synthetic: Rows) -> Metric:
    """Gower's distance over some columns, numbers in units of both tables' common range (Giomi et al. 2023)."""
    lows, highs = zip(*(ranges(r.numbers_NV) for r in (targets, synthetic)), strict=True)
    low, width = np.minimum(*lows), np.maximum(*highs) - np.minimum(*lows)
    weights = np.array([1.0 if n in columns else 0.0 for n in targets.space.names])
    metric = Metric(np.where(width > 0, width, np.finfo(float).tiny ** 0.5), weights, 1, low)
    return replace(metric, weights=weights / max(weights.sum(), 1))


def column_of(rows: Rows, name: str) -> np.ndarray:
    """A column's numbers or codes (N,)."""
    position = rows.space.names.index(name)
    n_numbers = len(rows.space.numbers)
    return rows.numbers_NV[:, position] if position < n_numbers else rows.codes_NC[:, position - n_numbers]


def right(guesses: np.ndarray, truth: np.ndarray, is_number: bool, tolerance: float) -> np.ndarray:
    """Whether each guess counts as right (N,), as 0 or 1; missing is a value of its own."""
    if not is_number:
        return (guesses == truth).astype(float)
    both_missing = np.isnan(guesses) & np.isnan(truth)
    with np.errstate(invalid="ignore"):
        near = np.abs(guesses - truth) <= tolerance * np.abs(guesses) + 1e-12
    return (near | both_missing).astype(float)


def check_columns(rows: Rows, names: Sequence[str]) -> None:
    """Raise `ParameterError` for a column that is not compared."""
    if unknown := [n for n in names if n not in rows.space.names]:
        raise ParameterError(f"no column '{unknown[0]}' to attack; there are: {', '.join(rows.space.names)}")
