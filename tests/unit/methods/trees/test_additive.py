"""Additive predictions: of a small table each row's is by the rows of other folds."""

from __future__ import annotations

import numpy as np
import pytest

from raysynth.methods.trees.additive import FOLDS, additive_predictions, design_of
from raysynth.methods.trees.columns import ColumnView

INPUTS = range(6)


def learned(n: int, noise: float) -> tuple[np.ndarray, np.ndarray, list[ColumnView]]:
    rng = np.random.default_rng(0)
    codes_CN = rng.integers(0, 20, (6, n)).astype(np.uint16)
    rank = np.append(np.linspace(0, 1, 20), 0.5)
    y_N = codes_CN[0] + codes_CN[1] + rng.normal(0, noise, n)
    return codes_CN, y_N, [ColumnView(21, True, rank, 4 * rank - 2, 0.0, None)] * 6


def test_a_row_has_no_part_in_its_own_prediction() -> None:
    """Were the target of a row another one, its own prediction would change by its mean alone, others' by more."""
    codes_CN, y_N, columns = learned(150, 9.0)
    design = design_of(codes_CN, columns)
    assert len(design.left_out) == FOLDS
    changed = y_N.copy()
    changed[3] += 1000
    told, other = (additive_predictions(design, codes_CN, INPUTS, y[:, None])[0] for y in (y_N, changed))
    moved = other.total_N - told.total_N
    same_fold = design.fold_N == design.fold_N[3]
    np.testing.assert_allclose(moved[same_fold], moved[3], atol=1e-2)
    assert np.ptp(moved[~same_fold]) > 1


def test_noise_is_not_taken_for_knowledge() -> None:
    """Correlation of 0 expected for 400 rows of noise, standard error .05: false alarm 1e-4; in the sample it is .4."""
    codes_CN, _, columns = learned(400, 9.0)
    noise = np.random.default_rng(1).normal(size=400)
    told = additive_predictions(design_of(codes_CN, columns), codes_CN, INPUTS, noise[:, None])[0]
    assert abs(np.corrcoef(told.total_N, noise)[0, 1]) < 0.2
    in_sample = np.sum([t[codes_CN[c]] for c, t in enumerate(told.tables)], axis=0)
    assert np.corrcoef(in_sample, noise)[0, 1] > 0.25


def test_a_large_table_needs_no_folds() -> None:
    codes_CN, y_N, columns = learned(8000, 1.0)
    design = design_of(codes_CN, columns)
    assert len(design.fold_N) == 0
    told = additive_predictions(design, codes_CN, INPUTS, y_N[:, None])[0]
    assert np.corrcoef(told.total_N, y_N)[0, 1] == pytest.approx(0.99, abs=0.01)
