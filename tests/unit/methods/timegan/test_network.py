"""TimeGAN's parts: vectors of codes and values, masks, the distance of distributions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.timegan.network import (
    Autoencoder,
    LatentGenerator,
    SequenceLayout,
    SequenceVectors,
    TimeGanSizes,
    VectorLayout,
    Vectors,
    masked_mean,
    sliced_distance,
    supervised_loss,
    whitening,
)
from raysynth.methods.timegan.sampler import SequenceLevels, SequenceSampler, levels_of

# columns: a number (code 0) or missing (1); three categories, of which the last never occurs; a fixed code
LAYOUT = VectorLayout((2, 3, 4), (0,), (0,), (-1, -1, 2), (4,))
CODES = torch.tensor([[0, 1, 2], [1, 0, 2]])
VALUES = torch.tensor([[0.25], [0.0]])


def test_a_vector_is_values_then_one_hot_codes_without_the_fixed_ones() -> None:
    assert LAYOUT.width == 6
    expected = torch.tensor([[0.25, 1, 0, 0, 1, 0], [0.0, 0, 1, 1, 0, 0]])
    torch.testing.assert_close(Vectors(LAYOUT)(CODES, VALUES), expected)


def test_the_loss_is_low_where_the_codes_are_likely_and_the_values_right() -> None:
    vectors = Vectors(LAYOUT)
    right = vectors(CODES, VALUES)
    right[:, 1:] = 20 * right[:, 1:]
    torch.testing.assert_close(vectors.loss(right, CODES, VALUES), torch.zeros(2))
    off = right.clone()
    off[:, 0] += 0.5  # the second row has no value, so that only the first is wrong
    torch.testing.assert_close(vectors.loss(off, CODES, VALUES), torch.tensor([0.25, 0.0]))


@pytest.mark.statistical
def test_drawn_codes_are_likely_ones_and_never_dead_ones() -> None:
    vectors, rng = Vectors(LAYOUT), torch.Generator().manual_seed(0)
    raw = torch.zeros(2000, 6)
    raw[:, 1], raw[:, 5] = np.log(3), 5.0  # code 0 three times as likely as 1; the dead category the likeliest
    noise = -torch.empty(2000, 5).exponential_(generator=rng).log()
    codes, _ = vectors.draw(raw, noise)
    assert set(codes[:, 2].tolist()) == {2} and set(codes[:, 1].tolist()) == {0, 1}
    assert abs(float((codes[:, 0] == 0).double().mean()) - 0.75) < 0.05  # 5 standard deviations
    soft = vectors.soft(raw)
    torch.testing.assert_close(soft[:, 3:].sum(1), torch.ones(2000))
    assert soft[:, 5].max() == 0


def test_wide_rows_become_sequences_with_a_mask() -> None:
    layout = SequenceLayout(3, LAYOUT, VectorLayout((2,), (), (), (-1,)))
    step_codes = torch.tensor([[[0, 1, 2], [1, 0, 2], [0, 0, 2]], [[0, 0, 2], [0, 0, 2], [0, 0, 2]]])
    codes = torch.cat([torch.tensor([[3], [1]]), torch.tensor([[1], [0]]), step_codes.flatten(1)], 1)
    values = torch.arange(6.0).reshape(2, 3) / 10
    real = SequenceVectors(layout)(codes, values)
    assert real.x_TNW.shape == (3, 2, 6)
    assert real.mask_TN.tolist() == [[1, 1], [1, 0], [1, 0]]
    torch.testing.assert_close(real.x_TNW[0, :, 0], torch.tensor([0.0, 0.3]))
    assert real.x_TNW[1:, 1].abs().max() == 0
    torch.testing.assert_close(real.context_NK, torch.tensor([[1.0, 0, 1], [-1 / 3, 1, 0]]))


def test_losses_ignore_what_lies_beyond_a_sequence() -> None:
    rng = torch.Generator().manual_seed(0)
    h, follows = torch.randn(4, 5, 3, generator=rng), torch.randn(4, 5, 3, generator=rng)
    mask = (torch.arange(4)[:, None] < torch.tensor([4, 2, 1, 3, 4])).float()
    other_h, other_follows = h.clone(), follows.clone()
    other_h[mask == 0] = 100.0
    other_follows[:-1][mask[1:] == 0] = -100.0
    torch.testing.assert_close(supervised_loss(follows, h, mask), supervised_loss(other_follows, other_h, mask))
    torch.testing.assert_close(masked_mean(h[..., 0], mask), masked_mean(other_h[..., 0], mask))


def test_the_distance_is_of_distributions_and_sees_small_regular_differences() -> None:
    rng = torch.Generator().manual_seed(0)
    level = torch.randn(512, 1, generator=rng)
    real = level + 0.01 * torch.randn(512, 8, generator=rng)
    white, flat = whitening(torch.cov(real.t()), floor=1e-3)
    assert flat.shape == (8, 0)
    torch.testing.assert_close(torch.cov((real @ white).t()), torch.eye(8), atol=0.02, rtol=0)
    level_alone, flat = whitening(torch.cov(real.t()), floor=0.1)
    assert level_alone.shape == (8, 1) and flat.shape == (8, 7)
    torch.testing.assert_close((real @ flat).std(0), torch.full((7,), 0.1), atol=0.02, rtol=0)  # in units of the floor
    directions = white @ torch.nn.functional.normalize(torch.randn(8, 64, generator=rng), dim=0)
    assert sliced_distance(real, real[torch.randperm(512, generator=rng)], directions) < 1e-10
    fresh = torch.randn(512, 1, generator=rng) + 0.01 * torch.randn(512, 8, generator=rng)
    stiff = torch.randn(512, 1, generator=rng).expand(-1, 8)  # the level is right, the noise is missing
    near, far = sliced_distance(real, fresh, directions), sliced_distance(real, stiff, directions)
    assert far > 5 * near


@pytest.fixture
def sampler() -> SequenceSampler:
    layout = SequenceLayout(5, LAYOUT, VectorLayout((2,), (), (), (-1,)))
    sizes = TimeGanSizes(LAYOUT.width, LAYOUT.n_values, layout.context_width, hidden=6, layers=1, noise=3)
    rng = torch.Generator().manual_seed(0)
    return SequenceSampler.of(layout, sizes, LatentGenerator(sizes, rng), Autoencoder(sizes, rng))


def context(n: int) -> EncodedBlock:
    return EncodedBlock((np.arange(n) % 2).astype(np.uint16)[:, None], np.empty((n, 0), np.float32))


def test_a_sequence_does_not_depend_on_how_many_are_asked_for(sampler: SequenceSampler) -> None:
    many = sampler.generate(np.full(600, 5), context(600), np.random.default_rng(0))
    few = sampler.generate(np.full(300, 5), context(300), np.random.default_rng(0))
    assert many[0].shape == (600, 5, 3) and many[1].shape == (600, 5, 1)
    np.testing.assert_array_equal(many[0][:300], few[0])
    np.testing.assert_array_equal(many[1][:300], few[1])


def test_made_sequences_get_the_levels_of_real_ones(sampler: SequenceSampler) -> None:
    """Wide rows of 400 sequences of 3 to 5 steps at levels 0.3 to 0.5; the networks are as they were at first."""
    rng, n = np.random.default_rng(0), 400
    length = rng.integers(3, 6, n)
    steps = np.tile(np.array([0, 1, 2], np.uint16), (n, 5))  # the number is there, in each step
    values = (rng.uniform(0.3, 0.5, (n, 1)) + rng.normal(0, 0.01, (n, 5))).astype(np.float32)
    values[np.arange(5) >= length[:, None]] = -9  # what lies beyond the end
    real = EncodedBlock(np.concatenate([length[:, None], context(n).codes_NC, steps], 1).astype(np.uint16), values)
    codes, made = sampler.with_levels_of(real, 0).generate(length, context(n), np.random.default_rng(1))
    counts = (codes[..., :1] == 0) & (np.arange(5) < length[:, None])[..., None]
    level = levels_of(made, counts)
    np.testing.assert_allclose(np.nanquantile(level, [0.05, 0.5, 0.95]), [0.31, 0.4, 0.49], atol=0.02)


def test_a_sampler_comes_back_from_its_state(sampler: SequenceSampler) -> None:
    one = np.zeros((1, 2), np.float32)
    sampler = replace(sampler, levels=SequenceLevels(one, one + 0.1))
    meta, arrays = sampler.to_state()
    back = SequenceSampler.from_state(meta, arrays)
    wanted, found = (s.generate(np.full(7, 5), context(7), np.random.default_rng(1)) for s in (sampler, back))
    np.testing.assert_array_equal(wanted[1], found[1])
    with pytest.raises(ValueError, match="do not fit"):
        SequenceSampler.from_state({**meta, "sizes": {**meta["sizes"], "width": 9}}, arrays)
    with pytest.raises(ValueError, match="levels do not fit"):
        SequenceSampler.from_state(meta, {**arrays, "levels.made": one.ravel()})
    arrays["recovery.0.bias"] = np.full_like(arrays["recovery.0.bias"], np.nan)
    with pytest.raises(ValueError, match="not finite"):
        SequenceSampler.from_state(meta, arrays)


def test_relaxed_vectors_are_near_those_of_the_codes_that_the_same_noise_draws() -> None:
    vectors, rng = Vectors(LAYOUT), torch.Generator().manual_seed(0)
    raw = torch.randn(500, 6, generator=rng)
    noise = -torch.empty(500, 5).exponential_(generator=rng).log()
    codes, values = vectors.draw(raw, noise)
    values = torch.where(codes[:, :1] == 0, values, 0.0)  # a value beside another code does not count
    torch.testing.assert_close(vectors.relaxed(raw, noise, 1e-7), vectors(codes, values), atol=1e-3, rtol=0)
    assert vectors.relaxed(raw, noise, 1.0)[:, 5].max() == 0, "the dead category"


def test_values_that_always_or_never_count_stay_or_go() -> None:
    layout = VectorLayout((2, 3, 2), (0, 1), (0, 3), (0, 1, -1))  # the second column has no code with which it counts
    raw = torch.tensor([[0.5, 0.7, 0.0, 0.0]])
    made = Vectors(layout).relaxed(raw, torch.zeros(1, 2), 1.0)
    torch.testing.assert_close(made, torch.tensor([[0.5, 0.0, 0.5, 0.5]]))
