"""Contingency tables against pandas, for any sets of columns and any split of the rows."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.errors import ParameterError
from raysynth.statistics.contingency import ContingencyCounts, CountingPlan


def codes_of(cardinalities: list[int], n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, k, n) for k in cardinalities], axis=1).astype(np.uint16)


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=5),
    st.integers(0, 300),
    st.integers(0, 300),
    st.data(),
)
def test_tables_equal_pandas_crosstab_for_any_split(
    cardinalities: list[int], n: int, cut: int, data: st.DataObject
) -> None:
    columns = range(len(cardinalities))
    subsets = st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True).map(tuple)
    sets = data.draw(st.lists(subsets, min_size=1, max_size=6))
    codes_NC = codes_of(cardinalities, n)
    counts, rest = (ContingencyCounts(cardinalities, sets) for _ in range(2))
    counts.update_codes(codes_NC[:cut])
    rest.update_codes(codes_NC[cut:])
    counts.merge(rest)
    assert counts.n_rows == n and set(counts.tables) == set(sets)
    frame = pd.DataFrame(codes_NC)
    for columns_set, table in counts.tables.items():
        expected = np.zeros([cardinalities[c] for c in columns_set], dtype=np.int64)
        for cell, rows in frame.groupby(list(columns_set)).size().items():
            expected[cell] = rows
        np.testing.assert_array_equal(table, expected)


def test_all_pairs_against_crosstab() -> None:
    cardinalities = [32, 2, 7, 42, 17, 32]
    codes_NC = codes_of(cardinalities, 100_000)
    counts = ContingencyCounts(cardinalities, combinations(range(6), 2))
    counts.update_codes(codes_NC)
    for (i, j), table in counts.tables.items():
        np.testing.assert_array_equal(table, pd.crosstab(codes_NC[:, i], codes_NC[:, j]).to_numpy())


def test_a_large_table_is_counted_too() -> None:
    codes_NC = codes_of([1500, 2000], 5000)
    counts = ContingencyCounts([1500, 2000], [(1, 0)])
    counts.update_codes(codes_NC)
    table = counts.tables[(1, 0)]
    assert table.shape == (2000, 1500) and table.sum() == 5000
    assert table[codes_NC[7, 1], codes_NC[7, 0]] >= 1


@pytest.mark.parametrize("columns", [(), (0, 0), (2,)])
def test_an_ill_formed_set_is_refused(columns: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="column set"):
        ContingencyCounts([3, 3], [columns])


def test_planning_many_pairs_is_linear_in_them() -> None:
    cardinalities = [2, 3, 24, 5, 40, 2, 900] * 30
    sets = list(combinations(range(len(cardinalities)), 2))
    start = time.process_time()
    plan = CountingPlan.of(cardinalities, sets)
    assert time.process_time() - start < 6  # 21,945 pairs, under a second; a greedy cover takes minutes
    assert len(plan.blocks) < len(sets) / 2
    for columns, block in zip(plan.column_sets, plan.block_of, strict=True):
        assert set(columns) <= {c for part in plan.blocks[block] for c in part}


def test_pairs_of_tiles_and_parts_of_a_plan_give_each_table() -> None:
    cardinalities = [2, 3, 24, 5, 40, 2, 7, 3, 2, 2, 11, 300, 4, 2, 6, 3, 3, 2, 2, 8, 9, 2, 3, 4, 5, 6]
    sets = [*combinations(range(26), 2), (3, 1, 0), (11, 4, 2)]
    codes_NC = codes_of(cardinalities, 3000)
    plan = CountingPlan.of(cardinalities, sets)
    found = {}
    for part in plan.split(5):
        counts = ContingencyCounts(cardinalities, part)
        counts.update_codes(codes_NC)
        found |= counts.tables
    assert set(found) == set(sets)
    for columns, table in found.items():
        flat = np.ravel_multi_index([codes_NC[:, c] for c in columns], table.shape)
        np.testing.assert_array_equal(table, np.bincount(flat, minlength=table.size).reshape(table.shape))


def test_a_table_grows_only_by_columns_that_bring_a_wanted_set_with_them() -> None:
    assert CountingPlan.of([2, 3, 4, 5], [(0, 1), (2, 3)]).blocks == (((2,), (3,)), ((0,), (1,)))
    together = CountingPlan.of([2, 3, 4], [(0, 1), (1, 2), (0, 2)]).blocks
    assert [sorted(c for part in block for c in part) for block in together] == [[0, 1, 2]]


def test_parts_of_a_plan_have_equal_work() -> None:
    plan = CountingPlan.of([100] * 8, [(0, 1), (2, 3), (4, 5), (6, 7)])
    assert [len(part.blocks) for part in plan.split(2)] == [2, 2]
    assert [len(part.blocks) for part in plan.split(4)] == [1, 1, 1, 1]
