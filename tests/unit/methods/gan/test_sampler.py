"""Sampling from a folded generator: deterministic, prefix-stable, picklable, and open to a condition."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from raysynth.methods.gan.network import Conditions, Generator
from raysynth.methods.gan.sampler import GanSampler, drawn_by, folded
from raysynth.methods.shared.spans import Spans

SPANS = Spans((4, 3), (1,))


@pytest.fixture(scope="module")
def sampler() -> GanSampler:
    net = Generator(SPANS.width, 4, 8, (16, 12), torch.Generator().manual_seed(0))
    with torch.no_grad():  # a generator that keeps its condition: logit 20 for the code asked for
        net.condition_KD[:, 16 + 12 + 1 : 16 + 12 + 5] += 20 * torch.eye(4)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    return GanSampler(
        spans=SPANS,
        arrays=folded(net, drawn_by(shares), 50, 1),
        code_bias_S=np.zeros(7),
        conditions=Conditions.on(SPANS, (0,)),
        shares_K=shares,
        hidden=(16, 12),
    )


def test_the_same_seed_gives_the_same_rows_after_pickling_and_through_state(sampler: GanSampler) -> None:
    first = sampler.generate(5000, np.random.default_rng(5))
    meta, arrays = sampler.to_state()
    for other in (pickle.loads(pickle.dumps(sampler)), GanSampler.from_state(meta, arrays)):
        block = other.generate(5000, np.random.default_rng(5))
        np.testing.assert_array_equal(first.codes_NC, block.codes_NC)
        np.testing.assert_array_equal(first.values_NV, block.values_NV)
    assert (sampler.generate(5000, np.random.default_rng(6)).codes_NC != first.codes_NC).any()


def test_fewer_rows_are_a_prefix_of_more(sampler: GanSampler) -> None:
    long, short = (sampler.generate(n, np.random.default_rng(5)) for n in (5000, 77))
    np.testing.assert_array_equal(long.codes_NC[:77], short.codes_NC)
    assert sampler.generate(0, np.random.default_rng(5)).codes_NC.shape == (0, 2)


def test_conditions_come_by_released_shares(sampler: GanSampler) -> None:
    codes = sampler.generate(50_000, np.random.default_rng(1)).codes_NC[:, 0]
    found = np.bincount(codes, minlength=4) / len(codes)
    assert np.abs(found - [0.4, 0.3, 0.2, 0.1]).max() < 5 * (0.25 / 50_000) ** 0.5  # false alarm below 1e-5


def test_a_weight_on_one_code_becomes_the_condition_and_others_are_ignored(sampler: GanSampler) -> None:
    only = sampler.generate(2000, np.random.default_rng(1), {0: np.array([0, 0, 0, 0.7])})
    assert (only.codes_NC[:, 0] == 3).mean() > 0.99
    free = sampler.generate(2000, np.random.default_rng(1))
    for ignored in ({0: np.array([1, 1, 0, 0])}, {1: np.array([0, 1, 0])}):
        block = sampler.generate(2000, np.random.default_rng(1), ignored)
        np.testing.assert_array_equal(block.codes_NC, free.codes_NC)


@pytest.mark.parametrize("damage", ["shape", "nan", "missing"])
def test_a_damaged_state_is_refused(sampler: GanSampler, damage: str) -> None:
    meta, arrays = sampler.to_state()
    if damage == "shape":
        arrays["noise"] = arrays["noise"][:, 1:]
    elif damage == "nan":
        arrays["bias"] = arrays["bias"] * np.nan
    else:
        del arrays["skip.0"]
    with pytest.raises((KeyError, ValueError)):
        GanSampler.from_state(meta, arrays)
