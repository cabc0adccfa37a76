"""Rows of persons: divided by persons, never compared with rows of the same person."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.attacks.run import ask, make_scenes, read_records
from raysynth.comparison.neighbours import gower_metric, nearest
from raysynth.comparison.pairing import pair_tables, person_notes
from raysynth.comparison.rows import Rows, RowSpace, divided, one_of_each
from raysynth.errors import SchemaError


def rows_of(x: np.ndarray, owners: np.ndarray | None) -> Rows:
    return Rows(RowSpace(("x",), ()), x[:, None], np.zeros((len(x), 0), np.int32), owners)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 99))
def test_all_rows_of_a_person_go_to_the_same_side(owners: list[int], share: float, seed: int) -> None:
    owner_N = np.array(owners)
    n = round(share * len(owners))
    first, rest = divided(len(owners), n, owner_N, np.random.default_rng(seed))
    assert sorted([*first, *rest]) == list(range(len(owners)))
    assert not set(owner_N[first]) & set(owner_N[rest])
    largest = int(np.bincount(owner_N).max())
    assert abs(len(first) - n) <= largest
    if len(set(owners)) > 1 and 0 < n < len(owners):
        assert len(first) and len(rest)


def test_without_persons_rows_are_divided_exactly() -> None:
    first, rest = divided(10, 3, None, np.random.default_rng(0))
    assert len(first) == 3 and sorted([*first, *rest]) == list(range(10))


def test_one_row_of_each_person() -> None:
    owner_N = np.repeat(np.arange(30), 4)
    drawn = one_of_each(owner_N, np.random.default_rng(1))
    assert sorted(owner_N[drawn]) == list(range(30))
    assert len(np.unique(drawn % 4)) > 1, "not always the first row of a person"


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_among_the_same_rows_are_other_persons(k: int) -> None:
    rng = np.random.default_rng(2)
    owner_N = np.repeat(np.arange(200), 5)[rng.permutation(1000)]
    rows = rows_of(owner_N + rng.normal(0, 0.01, 1000), owner_N)
    found = nearest(rows, rows, gower_metric(rows), k, same_rows=True)
    assert (owner_N[found.rows_QK] != owner_N[:, None]).all()
    gaps = np.where(owner_N[:, None] == owner_N, np.inf, np.abs(rows.numbers_NV - rows.numbers_NV.T))
    expected = np.sort(gaps, axis=1)[:, :k] / np.ptp(rows.numbers_NV)
    np.testing.assert_allclose(found.distances_QK, expected, atol=1e-9)
    alone = rows_of(rows.numbers_NV[:, 0], None)
    assert (
        owner_N[nearest(alone, alone, gower_metric(alone), k, same_rows=True).rows_QK[:, 0]] == owner_N
    ).mean() > 0.9


def visits(first: int, n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(first, first + n), 4)
    return pd.DataFrame(
        {
            "patient_id": [f"P{v * 7919 + 10**8:010d}" for v in person],
            "born": 1900 + (person * 37) % 97,
            "pulse": rng.normal(75, 9, len(person)).round(),
        }
    )


def test_targets_and_reference_are_different_persons() -> None:
    real, holdout, made = visits(0, 100, 1), visits(100, 100, 2), visits(500, 100, 3)
    tables = pair_tables(real, made, holdout)
    assert tables.entity == "patient_id" and "patient_id" not in tables.compared
    rng = np.random.default_rng(0)
    records = read_records(tables, rng)
    asked = ask(["membership_inference"], 2, 40, has_holdout=True)
    for scene in make_scenes(records, asked.n_experiments, asked.n_targets, None, None, rng):
        assert scene.others is not None and scene.view.reference is not None
        for side in (scene.members, scene.others):
            keys = side.table["patient_id"].to_pylist()
            assert len(set(keys)) == len(keys), "a person is one target"
        others = set(scene.others.table["patient_id"].to_pylist())
        assert not others & set(scene.view.reference.table["patient_id"].to_pylist())


def test_a_holdout_that_was_divided_by_rows_is_said() -> None:
    real = visits(0, 60, 1)
    tables = pair_tables(real, visits(500, 60, 3), real.iloc[::4])
    rows = {"real": pa.Table.from_pandas(real), "holdout": pa.Table.from_pandas(real.iloc[::4])}
    said = list(person_notes(tables, rows))
    assert "divided by persons, the values of 'patient_id'" in said[0]
    assert "60 of the 60 persons of the holdout table are in the real table too" in said[1]
    other = pair_tables(real, visits(500, 60, 3), visits(900, 60, 4))
    rows["holdout"] = pa.Table.from_pandas(visits(900, 60, 4))
    assert len(list(person_notes(other, rows))) == 1


def test_a_named_entity_divides_and_a_wrong_one_is_refused() -> None:
    real = visits(0, 60, 1)[["born", "pulse"]].assign(whose=np.repeat(np.arange(60), 4))
    assert pair_tables(real, real).entity is None
    named = pair_tables(real, real, entity="whose")
    assert named.entity == "whose" and named.compared == ["born", "pulse"]
    with pytest.raises(SchemaError, match="entity 'who' is no column"):
        pair_tables(real, real, entity="who")
    assert pair_tables(real.drop_duplicates("whose"), real, entity="whose").entity is None
