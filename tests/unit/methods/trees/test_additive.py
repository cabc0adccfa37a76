"""Additive predictions: each row as the rows outside its fold predict it."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from raysynth.methods.trees import additive
from raysynth.methods.trees.additive import FOLDS, additive_predictions, design_of, folds
from raysynth.methods.trees.columns import ColumnView, RowsOfPersons


def categories(n_codes: int) -> ColumnView:
    return ColumnView(n_codes, False, np.zeros(n_codes), np.zeros(n_codes), 0.0, None)


def numbers(n_codes: int) -> ColumnView:
    rank = np.append(np.linspace(0, 1, n_codes - 1), 0.5)
    return ColumnView(n_codes, True, rank, 3 * rank**2, 0.0, None)


def test_rows_do_not_predict_themselves() -> None:
    """400 rows of ten columns that tell nothing: a fit to all of them finds its own target, that of other rows not."""
    rng = np.random.default_rng(0)
    codes_CN = rng.integers(0, 30, (11, 400))
    columns, target = [categories(30)] * 11, rng.integers(0, 2, (400, 1)).astype(float)
    found = {}
    for name, fold_N in (("own", None), ("others", folds(400, 1))):
        design = design_of(codes_CN, columns, 10, fold_N)
        (prediction,) = additive_predictions(design, codes_CN, range(10), target)
        found[name] = np.corrcoef(prediction.total_N, target[:, 0])[0, 1]
    assert found["own"] > 0.4 and abs(found["others"]) < 4 / np.sqrt(400)  # 4 standard errors


@pytest.mark.parametrize("shared", [True, False])
def test_a_fold_is_predicted_by_a_fit_to_the_other_rows(shared: bool) -> None:
    rng = np.random.default_rng(2)
    n = 300
    columns = [numbers(41), categories(6), numbers(21), categories(3)]
    codes_CN = np.stack([rng.integers(0, c.cardinality, n) for c in columns])
    targets_NK = np.stack([codes_CN[0] / 10 + (codes_CN[1] == 2) + rng.normal(size=n), rng.normal(size=n)], 1)
    fold_N = folds(n, 3)
    design = design_of(codes_CN, columns, 3 if shared else 1, fold_N)
    design = design if shared else replace(design, products=None)
    found = additive_predictions(design, codes_CN, (0, 1, 2), targets_NK)
    for fold in range(FOLDS):
        own, rest = fold_N == fold, fold_N != fold
        others = replace(design, fold_N=np.zeros(rest.sum(), np.uint8), products=None)  # the same groups and slopes
        for one, whole in zip(
            additive_predictions(others, codes_CN[:, rest], (0, 1, 2), targets_NK[rest]), found, strict=True
        ):
            sums = np.sum([t[codes_CN[c]] for t, c in zip(one.tables, (0, 1, 2), strict=True)], axis=0)
            centre = np.mean(np.sum([t[codes_CN[c]] for t, c in zip(whole.tables, (0, 1, 2), strict=True)], axis=0))
            np.testing.assert_allclose(whole.total_N[own], sums[own] - sums[rest].mean() + centre, atol=1e-4)


def test_folds_are_of_one_size_and_keep_persons_together() -> None:
    fold_N = folds(1_003, 5)
    assert set(np.bincount(fold_N)) == {100, 101} and (fold_N != folds(1_003, 6)).any()
    person_N = np.repeat(np.arange(50), np.arange(50) % 7 + 1)
    fold_N = folds(len(person_N), 5, RowsOfPersons(person_N, 50, frozenset()))
    assert all(len(set(fold_N[person_N == p])) == 1 for p in range(50))
    assert set(np.bincount([fold_N[person_N == p][0] for p in range(50)])) == {5}


def test_rows_of_other_folds_choose_how_far_groups_are_shrunk() -> None:
    """Few rows that follow a line, and many groups: steps that each know few rows say less than the slope."""
    rng = np.random.default_rng(4)
    columns = [numbers(41)] * 12
    codes_CN = rng.integers(0, 40, (12, 300))
    target = (columns[0].value[codes_CN[0]] + rng.normal(size=300))[:, None]
    design = design_of(codes_CN, columns, 11, folds(300, 5))
    found = additive_predictions(design, codes_CN, range(12), target)[0]
    with patch.object(additive, "FIRMER", (1.0,)):
        least = additive_predictions(design, codes_CN, range(12), target)[0]
    kept, given_up = (np.corrcoef(p.total_N, target[:, 0])[0, 1] for p in (found, least))
    assert kept > given_up + 0.02
