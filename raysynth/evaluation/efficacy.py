"""Machine-learning efficacy: train on synthetic, test on real, beside train on real, test on real.

Both models see the same number of rows and are tested on the same real rows. Without holdout rows a fifth of the real
rows is set aside as test rows: the synthesizer may have seen them, which flatters the synthetic side, and the result
says so. Score: AUC for two classes, macro one-against-rest AUC for several, R2 for numbers; the ratio divides what the
synthetic side gains over guessing by what the real side gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from raysynth.arguments import check_one_of
from raysynth.comparison.intervals import Estimate, bootstrap
from raysynth.comparison.kept_results import KeptResults, content_key
from raysynth.comparison.rows import Rows, category_flags, learnable, linear_features, tree_features
from raysynth.errors import DataError, ParameterError
from raysynth.running.runner import run_tasks

TASKS = ("classification", "regression")
MODELS = ("gradient boosting", "linear", "random forest")
_TRAIN, _TEST, _CLASSES, _FEWEST = 20_000, 10_000, 50, 10
_TRAINED_CELLS, _FEWEST_TRAINED = 1_000_000, 2_000  # rows times columns to train on; beyond 50 columns fewer rows
_GUESS = {"classification": 0.5, "regression": 0.0}  # what guessing scores


@dataclass(frozen=True)
class ModelEfficacy:
    """One kind of model on one target: its score trained on real and on synthetic rows, on the same real test rows."""

    model: str
    real: Estimate
    synthetic: Estimate

    def ratio(self, guess: float) -> float:
        """(synthetic - guess) / (real - guess), cut to [0, 1]; NaN where the real rows teach nothing."""
        gain = self.real.value - guess
        return min(max((self.synthetic.value - guess) / gain, 0.0), 1.0) if gain > 0.01 else float("nan")


@dataclass(frozen=True)
class TargetEfficacy:
    """All models on one target.

    Args:
        target, task: what is predicted; 'classification' or 'regression'.
        measure: 'AUC', 'macro AUC' or 'R2'.
        guess: what guessing scores (0.5 or 0).
        models: one entry a model.
        n_train, n_test: rows of each training table, and test rows.
        held_out: whether the test rows are holdout rows; False: the synthesizer may have seen them.
        unseen_classes: classes of the test rows that the synthetic table lacks; such rows are predicted with
            probability 0 for their class.
    """

    target: str
    task: str
    measure: str
    guess: float
    models: tuple[ModelEfficacy, ...]
    n_train: int
    n_test: int
    held_out: bool
    unseen_classes: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """Ratio of the model that does best on real rows: how much of the real table's use the synthetic one keeps."""
        best = max(self.models, key=lambda m: m.real.value)
        return best.ratio(self.guess)


@dataclass(frozen=True)
class _Job:
    """One training: for which target (its position), which model, on which side."""

    target: int
    model: str
    side: str


@dataclass(frozen=True)
class _Prepared:
    """One target with its tables ('real' and 'synthetic' to train on, 'test'), checked.

    `learned`: the tables as models see them, their categories numbered anew (`_real_first`).
    """

    target: str
    task: str
    tables: dict[str, Rows]
    learned: dict[str, Rows]


def targets_efficacy(
    targets: Sequence[str],
    real: Rows,
    synthetic: Rows,
    holdout: Rows | None,
    task: str | None = None,
    models: Sequence[str] = MODELS,
    seed: int = 0,
    untested: list[str] | None = None,
) -> tuple[TargetEfficacy, ...]:
    """Train and test all models for every target; all trainings side by side, as Ray tasks where Ray runs.

    Args:
        untested: where given, takes the reason of each target that has no values to test, and the others go on.

    Raises:
        ParameterError: unknown column, task or model, or a task that does not fit the column.
        DataError: without `untested`: the target has one class or value, or too few rows with a value.
    """
    if unknown := [m for m in models if m not in MODELS]:
        raise ParameterError(f"unknown models {unknown}; valid: {', '.join(MODELS)}")
    prepared = []
    for target in targets:
        try:
            prepared.append(_prepare(target, real, synthetic, holdout, task, seed))
        except DataError as error:
            if untested is None:
                raise
            untested.append(str(error))
    jobs = [_Job(i, m, side) for i in range(len(prepared)) for m in models for side in ("real", "synthetic")]
    work = partial(_train_and_test, prepared=prepared, seed=seed)
    done = run_tasks(work, jobs, label="Models on real and synthetic rows")
    scores = dict(zip(jobs, done, strict=True))
    return tuple(
        _result(p, {m: (scores[_Job(i, m, "real")], scores[_Job(i, m, "synthetic")]) for m in models}, holdout)
        for i, p in enumerate(prepared)
    )


def _prepare(target: str, real: Rows, synthetic: Rows, holdout: Rows | None, task: str | None, seed: int) -> _Prepared:
    if task is None and (numbers := _as_numbers(target, real, synthetic, holdout)) is not None:
        real, synthetic, holdout = numbers
    task, rng = checked_task(target, real, task), np.random.default_rng(seed)
    sides = [_with_target(real, target, "real"), _with_target(synthetic, target)]
    if holdout is None:
        test, train = sides[0].split(max(len(sides[0]) // 5, 1), rng)
    else:
        train, test = sides[0], _with_target(holdout, target, "holdout")
    most = min(_TRAIN, max(_FEWEST_TRAINED, _TRAINED_CELLS // len(real.space.names)))
    n = min(len(train), len(sides[1]) or len(train), most)  # synthetic rows without a target teach nothing
    tables = {"real": train.sample(n, rng), "synthetic": sides[1].sample(n, rng), "test": test.sample(_TEST, rng)}
    _check_target(target, task, tables)
    return _Prepared(target, task, tables, _real_first(tables))


def _as_numbers(
    target: str, real: Rows, synthetic: Rows, holdout: Rows | None
) -> tuple[Rows, Rows, Rows | None] | None:
    """The rows with a target of more classes than can be tested as numbers; None where it has few, or other values."""
    position = next((j for j, c in enumerate(real.space.coders) if c.name == target), None)
    if position is None or len(np.unique(real.codes_NC[:, position])) <= _CLASSES:
        return None
    real_side, synthetic_side = real.with_numbers(target), synthetic.with_numbers(target)
    if real_side is None or synthetic_side is None:
        return None
    return real_side, synthetic_side, None if holdout is None else holdout.with_numbers(target)


def _real_first(tables: dict[str, Rows]) -> dict[str, Rows]:
    """The tables with categories numbered by the real rows: most frequent, then met first among real and test rows.

    What models of real rows learn then depends on no synthetic row, so that all comparisons with one real table share
    them (`KeptResults`). Categories of synthetic rows alone come last.
    """
    renumbered = {label: rows.codes_NC.copy() for label, rows in tables.items()}
    for j, coder in enumerate(tables["real"].space.coders):
        trained, tested = tables["real"].codes_NC[:, j], tables["test"].codes_NC[:, j]
        first = np.full(coder.cardinality, len(trained) + len(tested))
        met, position = np.unique(np.concatenate([trained, tested]), return_index=True)
        first[met] = position
        lookup = np.empty(coder.cardinality, np.int32)
        lookup[np.lexsort((first, -np.bincount(trained, minlength=coder.cardinality)))] = np.arange(coder.cardinality)
        for codes_NC in renumbered.values():
            codes_NC[:, j] = lookup[codes_NC[:, j]]
    return {label: replace(rows, codes_NC=renumbered[label]) for label, rows in tables.items()}


def _result(p: _Prepared, scores: dict[str, tuple[Estimate, Estimate]], holdout: Rows | None) -> TargetEfficacy:
    is_regression = p.task == "regression"
    classes = np.zeros(0) if is_regression else np.unique(_target_of(p.tables["test"], p.target))
    return TargetEfficacy(
        p.target,
        p.task,
        "R2" if is_regression else "AUC" if _n_classes(p.tables, p.target) == 2 else "macro AUC",
        _GUESS[p.task],
        tuple(ModelEfficacy(model, *sides) for model, sides in scores.items()),
        len(p.tables["real"]),
        len(p.tables["test"]),
        holdout is not None,
        _unseen(classes, p.tables["synthetic"], p.target),
    )


def checked_task(target: str, real: Rows, task: str | None) -> str:
    """The task of a target: as asked, or by its kind; raises `ParameterError`."""
    if len(real.space.names) < 2:
        raise ParameterError("machine-learning efficacy needs a target and another column that predicts it")
    if target not in real.space.names:
        raise ParameterError(f"target column '{target}' is not compared; choose one of: {', '.join(real.space.names)}")
    is_number = target in real.space.numbers
    if task is None:
        return "regression" if is_number else "classification"
    check_one_of("task_type", task, TASKS)
    if task == "regression" and not is_number:
        raise ParameterError(f"target column '{target}' holds categories; use task_type='classification'")
    return task


def choose_target(real: Rows) -> str | None:
    """The target where none is named: the last column of 2 to 20 categories, else the last number that varies.

    None where there is none, or no other column that predicts it.
    """
    if len(real.space.names) < 2:
        return None
    for name, column in reversed(list(zip([c.name for c in real.space.coders], real.codes_NC.T, strict=True))):
        if 2 <= len(np.unique(column)) <= 20:
            return name
    for name, column in reversed(list(zip(real.space.numbers, real.numbers_NV.T, strict=True))):
        present = column[np.isfinite(column)]
        if len(present) and present.min() < present.max():
            return name
    return None


def _train_and_test(job: _Job, prepared: Sequence[_Prepared], seed: int) -> Estimate:
    """Score of one model, with the interval over resampled test rows; of the same real rows it is computed once."""
    target, task, tables = prepared[job.target].target, prepared[job.target].task, prepared[job.target].learned
    train, test = tables[job.side], tables["test"]
    if job.model == "linear":
        reference = tables["real"]
        x, x_test = (linear_features(rows, reference, target) for rows in (train, test))
    else:
        x, x_test = (tree_features(rows, target) for rows in (train, test))
    trial = _Trial(job.model, task, x, _target_of(train, target), x_test, _target_of(test, target))
    flags = category_flags(train, target)
    if job.side != "real":
        return trial.score(flags, seed)
    key = content_key(trial.model, task, trial.x, trial.y, trial.x_test, trial.truth, flags, seed)
    return _real_sides.get(key, partial(trial.score, flags, seed))


_real_sides: KeptResults[Estimate] = KeptResults()


@dataclass(frozen=True)
class _Trial:
    """A model's name and task, the rows that it learns (x, y) and those that it is tested on (x_test, truth)."""

    model: str
    task: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    truth: np.ndarray

    def score(self, flags: np.ndarray, seed: int) -> Estimate:
        """Train and test; `flags`: which columns are categories."""
        truth, rng = self.truth, np.random.default_rng(seed)
        if len(np.unique(self.y)) < 2:  # a constant teaches nothing, nor does a target without values
            constant = float(self.y[0]) if len(self.y) else 0.0
            known = self.task == "classification" or not len(self.y)
            return Estimate(_GUESS[self.task] if known else _r2(truth, np.full(len(truth), constant)))
        model = _model(self.model, self.task, flags, seed).fit(learnable(self.x), self.y)
        if self.task == "regression":
            predicted = model.predict(self.x_test)
            return bootstrap(lambda rows: _r2(truth[rows], predicted[rows]), len(truth), rng)
        probability, classes = model.predict_proba(self.x_test), list(model.classes_)
        columns = {
            c: probability[:, classes.index(c)] if c in classes else np.zeros(len(truth)) for c in np.unique(truth)
        }
        return bootstrap(_MacroAuc.of(truth, columns), len(truth), rng)


def _model(name: str, task: str, flags: np.ndarray, seed: int) -> Any:
    from sklearn.ensemble import (
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    classify = task == "classification"
    if name == "gradient boosting":
        boosting = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        return boosting(categorical_features=flags, random_state=seed)
    if name == "linear":
        return LogisticRegression(max_iter=200) if classify else Ridge()
    forest = RandomForestClassifier if classify else RandomForestRegressor
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        forest(60, min_samples_leaf=5, max_samples=0.7, random_state=seed),
    )


@dataclass(frozen=True)
class _MacroAuc:
    """Mean over classes of the AUC of the class against the rest, of any of the rows, which are sorted once.

    Args:
        of_class: for each class the rows in the order of its probability, which of them have it, and the first place of
            each different probability. With two classes one of them, since both have the same AUC.
    """

    of_class: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, truth: np.ndarray, probability: dict[int, np.ndarray]) -> _MacroAuc:
        """From the class of each row and the probability that a model gives each class."""
        found = []
        for c, column in probability.items():
            order = np.argsort(column, kind="stable")
            first = np.flatnonzero(np.diff(column[order], prepend=-1.0))
            found.append((order, (truth == c)[order], first))
        return cls(tuple(found))

    def __call__(self, rows: np.ndarray) -> float:
        """Of some rows, repeats counted; NaN where only one class is present."""
        found = []
        for order, is_class, first in self.of_class:
            times = np.bincount(rows, minlength=len(order))[order]
            hits = np.add.reduceat(times * is_class, first)
            rest = np.add.reduceat(times, first) - hits
            n, n_rest = int(hits.sum()), int(rest.sum())
            if n and n_rest:
                found.append(float(hits @ (np.cumsum(rest) - rest / 2)) / (n * n_rest))  # a tie counts half
            if len(self.of_class) == 2 and found:
                break
        return float(np.mean(found)) if found else float("nan")


def _r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread > 0 else float("nan")


def _target_of(rows: Rows, target: str) -> np.ndarray:
    """Values of the target: codes, or numbers."""
    names = rows.space.names
    n_numbers = len(rows.space.numbers)
    position = names.index(target)
    return rows.numbers_NV[:, position] if position < n_numbers else rows.codes_NC[:, position - n_numbers]


def _with_target(rows: Rows, target: str, label: str | None = None) -> Rows:
    """The rows whose target has a value; of a labelled table, `DataError` for fewer than ten."""
    values = _target_of(rows, target)
    missing_code = {c.name: len(c.texts) for c in rows.space.coders}.get(target)
    kept = np.isfinite(values) if missing_code is None else values != missing_code
    if label is not None and kept.sum() < _FEWEST:
        raise DataError(
            f"target column '{target}' has {int(kept.sum())} values in the {label} table; at least {_FEWEST} needed"
        )
    return rows.take(kept)


def _check_target(target: str, task: str, tables: dict[str, Rows]) -> None:
    for label in ("real", "test"):
        values = np.unique(_target_of(tables[label], target))
        if len(values) < 2:
            what, part = "class" if task == "classification" else "value", "training" if label == "real" else "test"
            raise DataError(
                f"target column '{target}' has one {what} in the real {part} rows; choose a column that varies"
            )
    if task == "classification" and (n := _n_classes(tables, target)) > _CLASSES:
        raise DataError(
            f"target column '{target}' has {n} classes; at most {_CLASSES} can be tested: "
            "choose another, or task_type='regression' for a number"
        )


def _n_classes(tables: dict[str, Rows], target: str) -> int:
    return len(np.unique(_target_of(tables["real"], target)))


def _unseen(classes: np.ndarray, synthetic: Rows, target: str) -> tuple[str, ...]:
    texts = {c.name: c.texts for c in synthetic.space.coders}.get(target)
    missing = sorted(set(classes.tolist()) - set(_target_of(synthetic, target).tolist()))
    return tuple(str(c) if texts is None else texts[c] if c < len(texts) else "other" for c in missing)


def relative_score(results: Sequence[TargetEfficacy]) -> float:
    """Mean of the targets' scores; NaN where none is defined."""
    defined = [r.score for r in results if not math.isnan(r.score)]
    return sum(defined) / len(defined) if defined else float("nan")
