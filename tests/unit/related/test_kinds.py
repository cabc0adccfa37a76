"""Codes of what a parent's children are like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.related import kinds
from raysynth.related.grouping import NO_PARENT
from raysynth.related.kinds import (
    Sample,
    _depended_on,
    _standardised,
    _weighted,
    _without_rare,
    children_codes,
)
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


def test_a_feature_has_the_same_scale_whatever_its_unit_and_parents_without_children_are_in_the_middle() -> None:
    parent, x = np.array([0, 0, 1, 1, 3, 3]), np.array([1.0, 1.0, 5.0, 5.0, 3.0, 3.0])
    number = np.array([2, 2, 0, 2])
    small, large = (_weighted(parent, x * unit, number, False) for unit in (1.0, 1000.0))
    np.testing.assert_allclose(small, large)
    assert small[2] == 0 and small[0] == -small[1] < 0 and small[3] == 0
    x_PF = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    np.testing.assert_allclose(value_of(lambda: _standardised(x_PF)).std(0), [1.0, 0.0], atol=1e-9)


def test_clusters_of_fewer_persons_than_must_share_a_code_join_the_nearest() -> None:
    label, centres = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), np.array([[0.0], [1.0], [9.0]])
    persons = np.array([0, 1, 2, 3, 4, 5, 6, 7, 7])
    assert _without_rare(label, centres, persons, 3).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert _without_rare(label, centres, persons, 4).tolist() == [0] * 9


@pytest.mark.parametrize(("n_parents", "found_by_code", "most"), [(40, False, 1), (4000, False, 40), (4000, True, 100)])
def test_there_are_so_many_codes_at_most(
    n_parents: int, found_by_code: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        kinds, "_clusters", lambda features, k, *_: asked.append(k) or np.zeros(len(features), np.int64)
    )
    parent_N = np.arange(n_parents)
    x = Sample(pa.table({"x": np.random.default_rng(0).normal(size=n_parents)}), AMOUNT)
    children_codes(x, parent_N, parent_N, 5, 0, x if found_by_code else None)
    assert asked == [most]


def test_parents_found_by_their_code_are_told_apart_by_what_their_children_depend_on() -> None:
    """Children of two kinds, and of each kind parents in two towns, on which another column of the children depends."""
    rng = np.random.default_rng(3)
    town, parent = np.arange(N) % 2, np.repeat(np.arange(N), 2)
    x = 10.0 * town[parent] + rng.normal(0, 0.1, 2 * N)
    children = Sample(pa.table({"x": x}), AMOUNT)
    parents = Sample(
        pa.table({"town": pa.array(np.where(town, "a", "b"))}), (ColumnSchema("town", Kind.CATEGORICAL, "string"),)
    )
    code = value_of(lambda: children_codes(children, parent, np.arange(N), 5, 0, parents))
    assert not set(code[town == 0]) & set(code[town == 1]) and code.min() == 0
    assert (children_codes(children, np.full(2 * N, NO_PARENT), np.arange(N), 5, 0) == NO_PARENT).all()
    same = children_codes(Sample(pa.table({"x": np.ones(2 * N)}), AMOUNT), parent, np.arange(N), 5, 0)
    assert (same == 0).all()
