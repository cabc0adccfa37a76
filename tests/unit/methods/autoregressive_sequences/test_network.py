"""Autoregressive sequences: shapes, causality, lengths, and that sampling follows the trained conditionals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.autoregressive.network import CodeLayout, NetworkSettings
from raysynth.methods.autoregressive_sequences.changes import Changes
from raysynth.methods.autoregressive_sequences.network import KNOTS, Rows, SequenceCodes, SequenceNetwork
from raysynth.methods.autoregressive_sequences.sampler import AutoregressiveSequenceSampler, StepForm
from raysynth.methods.timegan.network import VectorLayout

STEPS, N = 5, 6


@pytest.fixture(scope="module")
def changes() -> tuple[Changes, Changes]:
    rng = np.random.default_rng(0)
    now = rng.uniform(-1, 1, (400, 1))
    before, counts = now + rng.normal(0, 0.1, now.shape), np.ones(now.shape, bool)
    first = Changes.fit(now[:, :0], now, counts, n_bins=8, rare=2)
    return first, Changes.fit(before, now, counts, n_bins=8, rare=2)


@pytest.fixture(scope="module")
def network(changes: tuple[Changes, Changes]) -> SequenceNetwork:
    """Two columns of categories and one number; one static category of three."""
    change = changes[0].cardinality
    codes = SequenceCodes(STEPS, CodeLayout((4, 3, change), (0, 0, change - 2)), 1, VectorLayout((3,), (), (), (-1,)))
    shares = [np.full(k, 1 / k) for k in (4, 3)]
    frequencies = tuple([*shares, c.frequency_VB[0]] for c in changes)
    rng = torch.Generator().manual_seed(1)
    knots = np.linspace(-1, 1, KNOTS)[None]
    made = SequenceNetwork(codes, NetworkSettings(16, 8, 2, 0.0), 12, (frequencies[0], frequencies[1]), knots, rng)
    with torch.no_grad():  # make it depend on its inputs strongly
        for p in made.parameters():
            p.mul_(1.5)
    return made


@pytest.fixture(scope="module")
def wide(network: SequenceNetwork) -> tuple[torch.Tensor, torch.Tensor]:
    """Random wide rows: codes [length | context | 5 x (2 codes, change as first, change as later)], values."""
    rng = np.random.default_rng(3)
    change = network.codes.columns.cardinalities[2]
    steps = np.stack([rng.integers(0, k, (N, STEPS)) for k in (4, 3, change, change)], -1).reshape(N, -1)
    length, context = np.array([1, 2, 3, 4, 5, 5])[:, None], rng.integers(0, 3, (N, 1))
    values = rng.uniform(-1, 1, (N, STEPS)).astype(np.float32)
    return torch.from_numpy(np.concatenate([length, context, steps], 1)), torch.from_numpy(values)


def by_row(network: SequenceNetwork, rows: Rows) -> torch.Tensor:
    """Loss of each column of each row (C, N, T), 0 beyond a sequence's end."""
    with torch.no_grad():
        first, later = network(rows)
    result = torch.zeros(3, N, STEPS)
    result[:, :, 0] = first
    there = torch.arange(STEPS) < rows.length_N[:, None]
    there[:, 0] = False
    result[:, there] = later
    return result


def test_every_row_of_every_sequence_has_a_loss(
    network: SequenceNetwork, wide: tuple[torch.Tensor, torch.Tensor]
) -> None:
    first, later = network(network.rows_of(*wide))
    assert first.shape == (3, N) and later.shape == (3, 20 - N)
    assert bool((first > 0).all()) and bool((later > 0).all())


def test_a_row_depends_on_those_before_it_and_on_none_after(
    network: SequenceNetwork, wide: tuple[torch.Tensor, torch.Tensor]
) -> None:
    rows = network.rows_of(*wide)
    base = by_row(network, rows)
    for t in range(STEPS):
        later, values = rows.later_NTC.clone(), rows.values_NTV.clone()
        first = rows.first_NC.clone()
        codes = first if t == 0 else later[:, t - 1]
        codes[:, 1] = (codes[:, 1] + 1) % 3  # the second column of row t
        values[:, t] = -values[:, t]
        changed = by_row(network, replace(rows, first_NC=first, later_NTC=later, values_NTV=values)) != base
        assert not changed[:, :, :t].any()  # nothing before
        assert not changed[0, :, t].any()  # nor the column before it in its row
        assert changed[1, rows.length_N > t, t].all()
        follows = rows.length_N > t + 1
        assert changed[0, follows][:, t + 1 :].any() == bool(follows.any())


def test_what_stands_beyond_the_end_does_not_count(
    network: SequenceNetwork, wide: tuple[torch.Tensor, torch.Tensor]
) -> None:
    rows = network.rows_of(*wide)
    beyond = torch.arange(1, STEPS) >= rows.length_N[:, None]
    later = torch.where(beyond[..., None], 0, rows.later_NTC)
    assert torch.equal(by_row(network, replace(rows, later_NTC=later)), by_row(network, rows))


def test_static_context_and_length_count(network: SequenceNetwork, wide: tuple[torch.Tensor, torch.Tensor]) -> None:
    codes, values = wide[0].clone(), wide[1]
    base = by_row(network, network.rows_of(codes, values))
    codes[:, 1] = (codes[:, 1] + 1) % 3
    assert (by_row(network, network.rows_of(codes, values))[:, :, 0] != base[:, :, 0]).all()


@pytest.fixture(scope="module")
def sampler(network: SequenceNetwork, changes: tuple[Changes, Changes]) -> AutoregressiveSequenceSampler:
    form = StepForm((4, 3, 2), (-1, -1, 0), (2,), (np.array([np.nan, 0.0]),))
    shares = [np.full(4, 0.25), np.full(3, 1 / 3)]
    first, later = ([*shares, c.frequency_VB[0]] for c in changes)
    return AutoregressiveSequenceSampler.of(network, form, changes, (first, later))


def test_sampling_follows_the_conditionals(network: SequenceNetwork, sampler: AutoregressiveSequenceSampler) -> None:
    """Mean loss of made rows under the network equals its entropy: both are estimated from the same rows.

    6,000 sequences of 4 rows; the standard error of the difference is 0.006 nats a row, the bound 5 of them.
    """
    n = 6000
    context = EncodedBlock(np.zeros((n, 1), np.uint16), np.zeros((n, 0), np.float32))
    codes, values = sampler.generate(np.full(n, 4), context, np.random.default_rng(5))
    first, later = sampler.changes
    flat = values.reshape(-1, 1).astype(np.float64)
    told = np.ones(flat.shape, bool)
    before = np.concatenate([flat[:1], flat[:-1]])
    as_first, as_later = first.encode(flat[:, :0], flat, told), later.encode(before, flat, told)
    steps = np.concatenate([codes.reshape(-1, 3)[:, :2], as_first, as_later], 1).reshape(n, STEPS, 4)
    wide_codes = np.concatenate([np.full((n, 1), 4), np.zeros((n, 1)), steps.reshape(n, -1)], 1).astype(np.int64)
    with torch.no_grad():
        losses = network(network.rows_of(torch.from_numpy(wide_codes), torch.from_numpy(values[..., 0])))
    # the loss of a column's codes minus its entropy has mean 0 where codes come from these conditionals
    assert abs(losses[1][0].mean() - _entropy(network, wide_codes, values)) < 0.03


def _entropy(network: SequenceNetwork, wide_codes: np.ndarray, values: np.ndarray) -> float:
    """Mean entropy of the first column of later rows, under the made prefixes."""
    rows = network.rows_of(torch.from_numpy(wide_codes), torch.from_numpy(values[..., 0]))
    by_code = []
    with torch.no_grad():
        for code in range(4):
            states = network.states(rows, network.state.initial(rows.context_NK)).transpose(0, 1)[:, :3]
            asked = rows.later_NTC[:, :3].clone()
            asked[..., 0] = code
            added = network.state.added(states.flatten(0, 1), first=False)
            by_code.append(network.later(asked.flatten(0, 1), network.place_1C, None, added)[0])
    loss = torch.stack(by_code)
    return float((loss * (-loss).exp()).sum(0).mean())


def test_fixed_codes_lengths_and_seeds(sampler: AutoregressiveSequenceSampler) -> None:
    length = np.array([2, 5, 1, 4])
    context = EncodedBlock(np.array([[0], [1], [2], [0]], np.uint16), np.zeros((4, 0), np.float32))
    made = [sampler.generate(length, context, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert made[0][0].shape == (4, STEPS, 3) and made[0][1].shape == (4, STEPS, 1)
    assert (made[0][0][..., 2] == 0).all() and np.abs(made[0][1]).max() <= 1
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert (made[0][1] != made[2][1]).any()
    empty = EncodedBlock(np.zeros((0, 1), np.uint16), np.zeros((0, 0), np.float32))
    assert sampler.generate(np.zeros(0, np.int64), empty, np.random.default_rng(0))[0].shape == (0, STEPS, 3)


def test_state_goes_through_a_file(sampler: AutoregressiveSequenceSampler) -> None:
    meta, arrays = sampler.to_state()
    again = AutoregressiveSequenceSampler.from_state(meta, arrays)
    length, context = np.full(3, 5), EncodedBlock(np.zeros((3, 1), np.uint16), np.zeros((3, 0), np.float32))
    wanted, found = (s.generate(length, context, np.random.default_rng(0)) for s in (sampler, again))
    np.testing.assert_array_equal(found[1], wanted[1])
    with pytest.raises(KeyError):
        AutoregressiveSequenceSampler.from_state(meta, {k: v for k, v in arrays.items() if "edges" not in k})
    with pytest.raises(ValueError, match="do not fit"):
        AutoregressiveSequenceSampler.from_state({**meta, "form": {**meta["form"], "fixed_codes": [-1, 0, 0]}}, arrays)
