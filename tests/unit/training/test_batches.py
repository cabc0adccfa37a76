"""Training-by-sampling draws conditions by log-frequency and rows that have them; shuffling sees every row once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from raysynth.encoding.block import EncodedBlock
from raysynth.training.batches import Batches, ConditionTables, MemoryRows, shuffled_rows

CARDINALITIES = (5, 3)


def rows(n: int = 4000) -> MemoryRows:
    rng = np.random.default_rng(0)
    codes = np.stack([rng.choice(4, n, p=[0.9, 0.07, 0.02, 0.01]), np.arange(n) % 7, rng.integers(0, 2, n)], 1)
    return MemoryRows(EncodedBlock(codes.astype(np.uint16), np.arange(n, dtype=np.float32)[:, None]))


def tables(source: MemoryRows) -> ConditionTables:
    return ConditionTables.build(source, (0, 2), CARDINALITIES)


@pytest.mark.statistical
def test_conditions_follow_the_logarithm_of_frequency() -> None:
    source = rows()
    draws = tables(source).draw(100_000, np.random.default_rng(1))
    weights = []
    for column, cardinality in zip((0, 2), CARDINALITIES, strict=True):
        count = np.bincount(source.column(column), minlength=cardinality)
        weight = np.where(count > 0, np.log(count + 1), 0)
        weights.append(0.5 * weight / weight.sum())
    expected = np.concatenate(weights) * len(draws)
    found = np.bincount(draws, minlength=8)
    assert found[expected == 0].sum() == 0
    assert chisquare(found[expected > 0], expected[expected > 0]).pvalue > 1e-6  # false alarm 1e-6


@pytest.mark.statistical
def test_rows_have_their_condition_and_are_uniform_among_those() -> None:
    source = rows()
    drawn = tables(source)
    condition = np.repeat([3, 5], 40_000)  # code 3 of column 0, code 0 of column 2
    picked = drawn.rows_with(condition, np.random.default_rng(2))
    codes = source.block.codes_NC[picked]
    assert (codes[:40_000, 0] == 3).all()
    assert (codes[40_000:, 2] == 0).all()
    found = np.unique(picked[:40_000], return_counts=True)[1]
    assert len(found) == (source.column(0) == 3).sum()
    assert chisquare(found).pvalue > 1e-6  # false alarm 1e-6


def test_batches_keep_rows_and_conditions_together() -> None:
    source = rows()
    batches = list(Batches(source, batch_size=50, steps=70, seed=1, tables=tables(source)).epoch(0))
    assert len(batches) == 70
    for batch in batches:
        assert batch.condition_N is not None and batch.real_condition_N is not None
        own, real = batch.condition_N.numpy(), batch.real_condition_N.numpy()
        assert sorted(own) == sorted(real)
        codes = batch.codes_NC.numpy()
        np.testing.assert_array_equal(codes, source.block.codes_NC[batch.values_NV[:, 0].numpy().astype(int)])
        assert (codes[real < 5, 0] == real[real < 5]).all()
        assert (codes[real >= 5, 2] == real[real >= 5] - 5).all()


def test_an_epoch_depends_on_seed_epoch_and_rank_alone() -> None:
    source = rows()

    def first(seed: int, epoch: int, rank: int) -> list[float]:
        batches = Batches(source, batch_size=50, steps=2, seed=seed, rank=rank, tables=tables(source))
        return next(iter(batches.epoch(epoch))).values_NV[:, 0].tolist()

    assert first(1, 0, 0) == first(1, 0, 0)
    others = [first(2, 0, 0), first(1, 1, 0), first(1, 0, 1)]
    assert all(first(1, 0, 0) != other for other in others)


def test_without_conditions_every_row_comes_once() -> None:
    source = rows(1000)
    batches = list(Batches(source, batch_size=10, steps=100, seed=1).epoch(3))
    seen = np.concatenate([b.values_NV[:, 0].numpy() for b in batches])
    assert sorted(seen) == list(range(1000))
    assert batches[0].condition_N is None


def test_a_table_smaller_than_a_batch_is_passed_over_again() -> None:
    order = shuffled_rows(3, 8, np.random.default_rng(0))
    assert sorted(order[:3]) == sorted(order[3:6]) == [0, 1, 2]
    assert len(order) == 8
