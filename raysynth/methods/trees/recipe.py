"""What is grown for each column, and on what: targets, inputs, scores; one independent task a column.

Shape legend: N rows, C columns, F inputs, K targets, R codes of a column.

Which columns are inputs: those that depend on the target most, by counts of pairs of their groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from raysynth.methods.trees.additive import AdditivePrediction, Design, additive_predictions, design_of, folds
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons
from raysynth.methods.trees.corrections import LEAST_ROWS, Correcting, groups_of, rows_to_learn_from
from raysynth.methods.trees.forest import HIGHEST, Forest, Score
from raysynth.methods.trees.grow import ColumnData, GrowthRule, grow
from raysynth.methods.trees.locating import located_column
from raysynth.running.compiled import compiled

GROWN_ARRAYS = ("roots", "feature", "threshold", "left", "parent", "start", "stop", "codes", "keep")  # of `Forest`
MOST_CLASSES = 16  # more are predicted by a few numbers that tell them apart
EMBEDDED = 6
COARSE = 32
SCORE_RANKS = 512
SCORE_STEPS = 8192
MOST_SCORES = 3
TELLS = 0.02  # share of a target's variance that a score worth trying explains
SHRUNK_BY = 20.0  # rows that draw a category's place towards the mean
ALIKE = 0.97  # correlation of rank and value from which the one stands for both
INPUTS_OF_ALL, FEWEST_INPUTS = 6_000, 12
SCREENED_ROWS, SCREENED_GROUPS = 8_192, 16


@dataclass(frozen=True)
class ColumnTask:
    """One column to learn given others.

    Args:
        column: index in the layout.
        inputs: columns before it: all, or of a wide table those that it depends on most.
        seed: of bags and of ties.
        corrects: whether boosted trees add to additive predictions.
    """

    column: int
    inputs: tuple[int, ...]
    seed: int
    corrects: bool = True


def learn_table(
    codes_CN: np.ndarray,
    columns: Sequence[ColumnView],
    order: Sequence[int],
    rule: GrowthRule,
    rare_threshold: int,
    seed: int,
    given: int = 0,
    persons: RowsOfPersons | None = None,
    once: int = 0,
) -> tuple[Forest, ...]:
    """The forest of each column, by its index, from the codes (C, N) of all; columns are learned side by side.

    Args:
        given: so many first columns of the order are never drawn: their forests are one leaf.
        persons: whose each row is, where persons have several.
        once: so many first columns of the order are the same in all rows of a person and drawn once for each: they are
            learned from one row of each, so that a leaf, and what is believed of it, counts persons.
    """
    from raysynth.running.runner import run_tasks

    inputs = screened_inputs(codes_CN, columns, order)
    most_inputs = max(len(i) for i in inputs.values())
    is_narrow = most_inputs == len(order) - 1
    if not is_narrow:  # of so many columns each costs what matters
        rule = replace(rule, tried=1)
    learn = partial(learn_column, columns=columns, rule=rule, rare_threshold=rare_threshold)
    design = design_of(codes_CN, columns, most_inputs, folds(codes_CN.shape[1], seed, persons))
    of_rows = partial(learn, codes_CN=codes_CN, design=design, persons=persons)
    learners = dict.fromkeys(order, of_rows)
    if persons is not None and once:
        codes_CP = codes_CN[:, persons.first_rows]
        of_one_each = design_of(codes_CP, columns, max(once - 1, 1), folds(persons.n_persons, seed))
        learners |= dict.fromkeys(order[:once], partial(learn, codes_CN=codes_CP, design=of_one_each))
    corrects = is_narrow and codes_CN.shape[1] >= LEAST_ROWS
    tasks = [ColumnTask(c, inputs[c], seed + c, corrects) for c in order]
    leaves = {t.column: one_leaf(t.inputs, codes_CN[t.column], columns[t.column].run) for t in tasks[:given]}
    tasks = tasks[given:]
    # the last ones have most inputs: begin with them
    forests = run_tasks(lambda t: learners[t.column](t), tasks[::-1], where="local", label="growing trees")
    by_column = leaves | {task.column: forest for task, forest in zip(tasks[::-1], forests, strict=True)}
    return tuple(by_column[c] for c in range(len(columns)))


def screened_inputs(
    codes_CN: np.ndarray, columns: Sequence[ColumnView], order: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """For each column those before it that it is learned from, in the order of drawing.

    All, up to `INPUTS_OF_ALL` over the number of columns (at least `FEWEST_INPUTS`); else so many of the largest mean
    square contingency with it, in at most 16 groups of codes and some rows: the cost of a tree grows with its inputs.
    """

    most = max(FEWEST_INPUTS, INPUTS_OF_ALL // len(order))
    result = {c: tuple(order[:place]) for place, c in enumerate(order)}
    if len(order) - 1 <= most:
        return result
    n = codes_CN.shape[1]
    rows = np.arange(n) if n <= SCREENED_ROWS else np.linspace(0, n - 1, SCREENED_ROWS).astype(np.int64)
    groups_CN = np.stack([_coarse(codes_CN[c][rows], columns[c]) * SCREENED_GROUPS // COARSE for c in order])
    groups_CN = groups_CN.astype(np.uint8)
    for place in range(most + 1, len(order)):
        best = np.argsort(-contingencies(groups_CN, place, place, SCREENED_GROUPS), kind="stable")[:most]
        result[order[place]] = tuple(order[i] for i in sorted(best.tolist()))
    return result


def learn_column(
    task: ColumnTask,
    codes_CN: np.ndarray,
    columns: Sequence[ColumnView],
    rule: GrowthRule,
    rare_threshold: int,
    design: Design | None,
    persons: RowsOfPersons | None = None,
) -> Forest:
    """The forest of one column, from the codes (C, N) of all."""
    rng = np.random.default_rng(task.seed)
    own, view = codes_CN[task.column], columns[task.column]
    targets_NK = _targets(task, codes_CN, columns)
    orders = tuple(
        None if columns[c].ordered else _order(codes_CN[c], columns[c].cardinality, targets_NK) for c in task.inputs
    )
    predictions: Sequence[AdditivePrediction] = ()
    correcting: Mapping[int, Correcting] = {}
    if len(task.inputs) > 1 and design is not None:
        predictions, correcting = _predicted(
            task, codes_CN, columns, targets_NK, orders, design, persons, rare_threshold
        )
    scores = tuple(_ranked(prediction, rare_threshold) for prediction in predictions)
    ungrown: dict[str, Any] = {name: np.zeros(0, np.int32) for name in GROWN_ARRAYS}
    forest = Forest(task.inputs, orders, (), **ungrown, run=view.run)
    x_FN = forest.features(codes_CN).astype(np.int32)
    ranked = [score.of(p.total_N) for score, p in zip(scores, predictions, strict=True)]  # by other rows
    x_FN = np.vstack([x_FN, *ranked]).astype(np.int32) if ranked else x_FN
    data = ColumnData(x_FN, targets_NK, own, view.cardinality, len(task.inputs), persons)
    located, residual = None, None
    if persons is None:
        inputs_FN, input_views = [codes_CN[c] for c in task.inputs], [columns[c] for c in task.inputs]
        located = located_column(own, view, inputs_FN, input_views, rare_threshold)
    if located is not None:
        x_residual_FN = np.vstack([x_FN[: len(task.inputs)], located.location.steps(located.location_N)])
        residual = ColumnData(
            x_residual_FN,
            located.targets_NK,
            located.own_N,
            located.cardinality,
            len(x_residual_FN),
            ranks=located.coded,
            residual=True,
        )
        data = replace(data, ranks=located.plain)
    grown, in_use, is_residual = grow(data, rule, rng, residual)
    if located is not None and is_residual:
        return replace(forest, run=None, location=located.location, **grown)
    if in_use < len(x_FN):
        return replace(forest, **grown)
    learned = {k: rest.learned(k) for k, rest in correcting.items()}
    scores = tuple(replace(score, correction=learned.get(k)) for k, score in enumerate(scores))
    return replace(forest, scores=scores, **grown)


def one_leaf(inputs: tuple[int, ...], own_N: np.ndarray, run: np.ndarray | None) -> Forest:
    """The shares of a column's codes (N,), whatever its inputs; `run` as of a `ColumnView`."""
    root, size = np.zeros(1, np.int32), np.array([len(own_N)], np.int32)
    return Forest(
        inputs=inputs,
        orders=(None,) * len(inputs),
        scores=(),
        roots=root,
        feature=np.full(1, -1, np.int16),
        threshold=np.full(1, HIGHEST, np.int32),
        left=root,
        parent=root,
        start=root,
        stop=size,
        codes=np.sort(own_N),
        keep=np.ones(1, np.float32),
        run=run,
    )


def _targets(task: ColumnTask, codes_CN: np.ndarray, columns: Sequence[ColumnView]) -> np.ndarray:
    """Numbers (N, K) whose variance splits shall lower; where classes are few, which one a row has."""
    own, view = codes_CN[task.column], columns[task.column]
    if not view.ordered:
        present = np.flatnonzero(np.bincount(own, minlength=view.cardinality))
        if len(present) <= MOST_CLASSES:
            return _one_hot(own, present)
        return _embedding(task, codes_CN, columns)[own]
    parts = [view.rank[own], view.value[own]]
    spread = np.prod([p.std() for p in parts])
    if spread > 0 and np.mean((parts[0] - parts[0].mean()) * (parts[1] - parts[1].mean())) > ALIKE * spread:
        del parts[1]  # a tree takes time for each target
    if view.size is not None:
        parts.append(view.size[own])
    missing = own == view.cardinality - 1
    if missing.any():
        parts.append(missing.astype(float))
    stacked = np.stack(parts, 1)
    return stacked / np.maximum(stacked.std(0), 1e-9)


def _embedding(task: ColumnTask, codes_CN: np.ndarray, columns: Sequence[ColumnView]) -> np.ndarray:
    """A few numbers (R, K) for each category: by which codes of the inputs stand with it (correspondence analysis)."""
    own, cardinality = codes_CN[task.column].astype(np.int64), columns[task.column].cardinality
    total = np.bincount(own, minlength=cardinality).astype(float)
    blocks = []
    for c in task.inputs:
        coarse = _coarse(codes_CN[c], columns[c])
        k = int(coarse.max()) + 1
        counts = np.bincount(coarse * cardinality + own, minlength=k * cardinality).reshape(k, cardinality)
        expected = counts.sum(1, keepdims=True) * total / max(total.sum(), 1)
        blocks.append((counts - expected) / np.sqrt(np.maximum(expected, 1e-9)))
    if not blocks:
        return np.arange(cardinality, dtype=float)[:, None]
    _, size, right = np.linalg.svd(np.concatenate(blocks), full_matrices=False)
    k = min(EMBEDDED, len(size))
    scale = np.sqrt(np.maximum(total, 1.0))[:, None]
    return (right[:k].T * size[:k]) / scale


def _coarse(codes_N: np.ndarray, view: ColumnView) -> np.ndarray:
    """At most about COARSE groups of a column's codes."""
    if view.ordered:
        group = np.append(np.floor(view.rank[:-1] * (COARSE - 1)), COARSE - 1).astype(np.int64)
    else:
        group = np.minimum(np.arange(view.cardinality), COARSE - 1)
    return group[codes_N]


def _one_hot(own: np.ndarray, present: np.ndarray) -> np.ndarray:
    return (own[:, None] == present).astype(np.float64)


def _order(codes_N: np.ndarray, cardinality: int, targets_NK: np.ndarray) -> np.ndarray:
    """Place (R,) of each category on the line that best tells the child's targets apart."""
    rows = np.bincount(codes_N, minlength=cardinality)
    mean = np.stack([np.bincount(codes_N, weights=g, minlength=cardinality) for g in targets_NK.T], 1)
    overall = targets_NK.mean(0)
    mean = np.where(rows[:, None] > 0, mean / np.maximum(rows, 1)[:, None], overall) - overall
    _, _, right = np.linalg.svd(mean * np.sqrt(rows)[:, None], full_matrices=False)
    place = np.empty(cardinality, np.uint16)
    place[np.argsort(mean @ right[0] * rows / (rows + SHRUNK_BY), kind="stable")] = np.arange(cardinality)
    return place


def _predicted(
    task: ColumnTask,
    codes_CN: np.ndarray,
    columns: Sequence[ColumnView],
    targets_NK: np.ndarray,
    orders: Sequence[np.ndarray | None],
    design: Design,
    persons: RowsOfPersons | None,
    rare_threshold: int,
) -> tuple[Sequence[AdditivePrediction], Mapping[int, Correcting]]:
    """Predictions of the first targets, where they tell something that one input does not tell alone, and what corrects
    some of them."""
    inputs_FN, targets_NK = [codes_CN[c] for c in task.inputs], targets_NK[:, :MOST_SCORES]
    predictions: Sequence[AdditivePrediction] = additive_predictions(design, codes_CN, task.inputs, targets_NK)
    correcting: Mapping[int, Correcting] = {}
    if task.corrects:
        group = tuple(groups_of(columns[c], order) for c, order in zip(task.inputs, orders, strict=True))
        least, most = 2 * rare_threshold, rows_to_learn_from(len(codes_CN))
        total_NK = np.stack([p.total_N for p in predictions], 1)
        total_NK += (targets_NK - total_NK).mean(0).astype(total_NK.dtype)  # ranks take no heed of it
        rest = Correcting(group, inputs_FN, targets_NK, total_NK, design.fold_N, persons, least, most, task.seed)
        predictions, correcting = _corrected(predictions, rest)
    tells = any(p.total_N.var() > TELLS * y.var() for p, y in zip(predictions, targets_NK.T, strict=True))
    return (predictions, correcting) if tells else ((), {})


def _corrected(
    predictions: Sequence[AdditivePrediction], rest: Correcting
) -> tuple[list[AdditivePrediction], dict[int, Correcting]]:
    """The predictions with what boosted trees of other folds add to them, and which of them have such."""
    addends = {k: addend for k in range(len(predictions)) if (addend := rest.addend(k)) is not None}
    totals = [p.total_N + addends[k] if k in addends else p.total_N for k, p in enumerate(predictions)]
    return [replace(p, total_N=total) for p, total in zip(predictions, totals, strict=True)], dict.fromkeys(
        addends, rest
    )


def _ranked(prediction: AdditivePrediction, rare_threshold: int) -> Score:
    """Ranks of at least about `rare_threshold` rows each, ends that as many rows lie beyond."""
    total = np.sort(prediction.total_N)
    n = len(total)
    low, high = float(total[min(rare_threshold, n - 1)]), float(total[max(n - 1 - rare_threshold, 0)])
    if not low < high:
        return Score(prediction.tables, low, low + 1.0, np.zeros(1, np.uint16))
    unranked = Score(prediction.tables, low, high, np.zeros(SCORE_STEPS, np.uint16))
    rows = np.bincount(unranked.steps(total), minlength=SCORE_STEPS)
    middle = (np.cumsum(rows) - rows / 2) / n
    n_ranks = int(np.clip(n // max(rare_threshold, 1), 1, SCORE_RANKS))
    return replace(unranked, rank=np.minimum(np.floor(middle * n_ranks), n_ranks - 1).astype(np.uint16))


@compiled
def contingencies(groups_CN: np.ndarray, column: int, n_others: int, n_groups: int) -> np.ndarray:
    """Sum of rows^2 / (rows of the one group x rows of the other) of a column with each of the first ones, (n_others,).

    1 where they are independent, and 1 + the mean square contingency in general.

    Args:
        groups_CN: the group of each row (uint8) in each of C columns.
        column: which. n_others: of the first columns. n_groups: of every column.
    """
    found = np.zeros(n_others)
    rows, own_rows, other_rows = np.zeros(n_groups * n_groups), np.zeros(n_groups), np.zeros(n_groups)
    own_N = groups_CN[column]
    for c in range(n_others):
        other_N = groups_CN[c]
        rows[:], own_rows[:], other_rows[:] = 0, 0, 0
        for i in range(len(own_N)):
            rows[own_N[i] * n_groups + other_N[i]] += 1
        for a in range(n_groups):
            for b in range(n_groups):
                own_rows[a] += rows[a * n_groups + b]
                other_rows[b] += rows[a * n_groups + b]
        for a in range(n_groups):
            for b in range(n_groups):
                if rows[a * n_groups + b] > 0:
                    found[c] += rows[a * n_groups + b] ** 2 / (own_rows[a] * other_rows[b])
    return found
