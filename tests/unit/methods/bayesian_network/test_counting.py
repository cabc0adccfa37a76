"""Batched counting: covering blocks, marginal tables, and as few passes as promised."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.errors import ParameterError
from raysynth.methods.bayesian_network.counting import SetCounts, all_subsets, columns_of, mask_of, plan_blocks


@given(st.sets(st.integers(0, 200), max_size=8))
def test_mask_and_columns_are_inverse(columns):
    assert columns_of(mask_of(columns)) == tuple(sorted(columns))


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 9), st.integers(0, 1000))
def test_blocks_cover_every_set_and_keep_to_the_limit(n_columns, seed):
    rng = np.random.default_rng(seed)
    cards = rng.integers(2, 30, size=n_columns)
    masks = [m for m in all_subsets(n_columns, 3) if rng.random() < 0.6] + all_subsets(n_columns, 2)
    blocks = plan_blocks(masks, cards, 2000)
    for mask in masks:
        assert any(mask & block == mask for block in blocks)
    for block in blocks:
        cells = np.prod(cards[list(columns_of(block))])
        assert cells <= 2000 or block in masks  # a set beyond the limit stands alone


def test_blocks_are_far_fewer_than_sets():
    # 455 triples of 15 columns of 10 codes: a block of 4 columns (10^4 cells) holds 4 triples.
    blocks = plan_blocks(all_subsets(15, 3), np.full(15, 10), 1 << 16)
    assert len(blocks) < 455 / 2.5


def test_tables_are_exact_and_kept(count_of):
    rng = np.random.default_rng(0)
    cards = [3, 2, 5, 4]
    codes = np.stack([rng.integers(0, k, size=1000) for k in cards], axis=1)
    counts = SetCounts(count_of(codes, cards), cards, len(codes))
    masks = all_subsets(4, 3)
    tables = counts.count(masks)
    assert counts.n_passes == 1
    for columns in combinations(range(4), 3):
        expected = np.zeros([cards[c] for c in columns])
        np.add.at(expected, tuple(codes[:, c] for c in columns), 1)
        np.testing.assert_array_equal(tables[mask_of(columns)], expected)
    counts.count(all_subsets(4, 2))  # lie within what was kept
    assert counts.n_passes == 1


def test_tables_beyond_the_kept_bytes_are_counted_again(count_of):
    codes = np.random.default_rng(0).integers(0, 4, size=(500, 3))
    counts = SetCounts(count_of(codes, [4] * 3), [4] * 3, len(codes), kept_bytes=0)
    first = counts.count([0b11])[0b11]
    np.testing.assert_array_equal(counts.count([0b11])[0b11], first)
    assert counts.n_passes == 2


def test_a_counting_function_that_leaves_out_a_table_is_named():
    counts = SetCounts(lambda sets: {}, [2, 2], 10)
    with pytest.raises(ParameterError, match="no table for the columns"):
        counts.count([0b11])
