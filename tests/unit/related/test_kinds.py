"""Codes of what a parent's children are like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysynth.related.grouping import NO_PARENT
from raysynth.related.kinds import Sample, _depended_on, _standardised, children_codes
from raysynth.schema.columns import ColumnSchema, Kind

N = 200
AMOUNT = (ColumnSchema("x", Kind.CONTINUOUS, "double"),)


def test_parents_whose_children_differ_have_different_codes() -> None:
    """Two kinds of parents, whose children have values about 0 or about 10; the last parent has none."""
    rng, parent_N = np.random.default_rng(0), np.repeat(np.arange(N), 3)
    children = Sample(pa.table({"x": 10.0 * (parent_N % 2) + rng.normal(0, 0.1, len(parent_N))}), AMOUNT)
    code_P = children_codes(children, parent_N, np.arange(N + 1), 5, 0)
    assert code_P[-1] == NO_PARENT and (code_P[:-1] >= 0).all()
    assert not set(code_P[:-1:2]) & set(code_P[1:-1:2])
    assert min(np.bincount(code_P[:-1])[np.unique(code_P[:-1])]) >= 5


def test_own_columns_count_as_far_as_children_depend_on_them() -> None:
    """Standardised by column: a column times a thousand counts as much; chance (3 / sqrt(n)) counts as nothing."""
    rng = np.random.default_rng(1)
    square = _standardised(rng.normal(3, 2, (4, 4)))
    assert np.abs(square.mean(0)).max() < 1e-9 and np.abs(square.std(0) - 1).max() < 1e-9
    x = rng.normal(size=N)
    features_PF = np.stack([5 + 2 * x, rng.normal(size=N)], 1)
    parents = pa.table({"x": 1000 * x, "other": rng.normal(size=N)})
    own_PO = _depended_on(Sample(parents, (*AMOUNT, ColumnSchema("other", Kind.CONTINUOUS, "double"))), features_PF)
    assert np.abs(own_PO.mean(0)).max() < 1e-9
    assert own_PO.std(0)[0] > 0.9 and own_PO.std(0)[1] == 0
