"""The search of a network's input: a row that a decoder or generator made is found again from a part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.sampler import ConditionalGanSampler, GanSampler
from raysynth.methods.shared.inversion import Search, log_shares
from raysynth.methods.shared.row_sampler import RowSampler
from raysynth.methods.shared.spans import Spans
from raysynth.methods.vae.sampler import VaeSampler

SPANS = Spans((3, 5, 4, 6), (1, 3))
KNOWN = (True, False, True, True)  # column 1, a code and a value, is looked for


def decoder() -> VaeSampler:
    """Random weights; two places make each row all but surely, with narrow values."""
    rng = np.random.default_rng(0)
    m, s = 5 + 6, sum(SPANS.cardinalities)
    weight = rng.normal(0, 2, (2 * m + s, 2))
    weight[m : 2 * m] = 0
    bias = rng.normal(0, 0.5, 2 * m + s)
    bias[m : 2 * m] = -2
    return VaeSampler(spans=SPANS, arrays={"weight.0": weight, "bias.0": bias}, code_bias_S=np.zeros(s), latent_dim=2)


def generator() -> GanSampler:
    """Random weights, one hidden layer, conditions on column 0."""
    rng = np.random.default_rng(1)
    hidden, width = 16, SPANS.width
    arrays = {
        "noise": rng.normal(0, 1, (2, hidden + width)),
        "condition": rng.normal(0, 1, (3, hidden + width)),
        "bias": rng.normal(0, 0.5, hidden + width),
        "skip.0": rng.normal(0, 1, (hidden, width)),
    }
    conditions = Conditions.on(SPANS, (0,))
    bias_S, shares_K = np.zeros(SPANS.n_codes), np.full(3, 1 / 3)
    return GanSampler(
        spans=SPANS, arrays=arrays, code_bias_S=bias_S, conditions=conditions, shares_K=shares_K, hidden=(hidden,)
    )


class AnyCodes:
    """A model of given columns: all codes are as likely."""

    def __init__(self, *cardinalities: int) -> None:
        self.cardinalities = cardinalities

    def generate(self, n: int, rng: np.random.Generator, weights: Any = None) -> EncodedBlock:
        codes_NC = np.stack([rng.integers(0, k, n) for k in self.cardinalities], 1)
        return EncodedBlock(codes_NC.astype(np.uint16), np.zeros((n, 0), np.float32))


def conditional_generator() -> ConditionalGanSampler:
    """Told columns 0 and 2, which decide much of the others."""
    rng = np.random.default_rng(2)
    hidden, width = 16, SPANS.width
    arrays = {
        "noise": rng.normal(0, 0.7, (2, hidden + width)),
        "condition": rng.normal(0, 2, (3 + 4, hidden + width)),
        "bias": rng.normal(0, 0.5, hidden + width),
        "skip.0": rng.normal(0, 1, (hidden, width)),
    }
    return ConditionalGanSampler(
        spans=SPANS,
        arrays=arrays,
        code_bias_S=np.zeros(SPANS.n_codes),
        conditions=Conditions.on(SPANS, (0, 2)),
        shares_K=np.zeros(0),
        hidden=(hidden,),
        given=AnyCodes(3, 4),
    )


def test_a_conditional_generator_is_asked_for_all_that_is_known() -> None:
    """A guess gets a fifth of column 1 right; what half of the given columns says, some 45 of 100."""
    network, rng = conditional_generator(), torch.Generator().manual_seed(3)
    told_NQ = network.draw_conditions(100, rng)
    answer = network.decoded(network.draw_inputs(100, rng), told_NQ)
    codes = torch.stack([p.argmax(1) for p in log_shares(answer.logits_NS, SPANS).split(SPANS.cardinalities, 1)], 1)
    assert (codes[:, [0, 2]] == told_NQ - torch.tensor([0, 3])).all()
    assert (network.condition_for(codes, (True,) * 4, rng) == told_NQ).all()
    truth = EncodedBlock(codes.numpy().astype(np.uint16), answer.mean_NM.numpy())
    for known, wanted in ((KNOWN, 80), ((True, False, False, True), 50)):
        hidden = EncodedBlock(np.where(known, truth.codes_NC, 0).astype(np.uint16), truth.values_NV * [0, 1])
        found = Search(network, known, np.ones(11, bool)).completed(hidden, seed=5)
        right_C = (found.codes_NC == truth.codes_NC).sum(axis=0)
        assert right_C[0] == right_C[3] == 100
        assert right_C[1] >= wanted and right_C[2] >= wanted, right_C


@pytest.mark.parametrize("network", [decoder(), generator()])
def test_the_unknown_column_of_a_networks_own_rows_is_found(network: RowSampler) -> None:
    """Likeliest rows of known inputs; guessing gets a fifth, and half with probability below 1e-9."""
    rng = torch.Generator().manual_seed(3)
    inputs = network.draw_inputs(100, rng)
    told = torch.arange(100) % 3
    answer = network.decoded(inputs, told if isinstance(network, GanSampler) else None)
    codes = torch.stack([p.argmax(1) for p in log_shares(answer.logits_NS, SPANS).split(SPANS.cardinalities, 1)], 1)
    codes[:, 0] = told if isinstance(network, GanSampler) else codes[:, 0]
    at = torch.tensor([0, 5]) + codes[:, [1, 3]] if answer.mean_NM.shape[1] > 2 else torch.tensor([[0, 1]] * 100)
    truth = EncodedBlock(codes.numpy().astype(np.uint16), answer.mean_NM.gather(1, at).numpy())
    hidden = EncodedBlock(truth.codes_NC.copy(), truth.values_NV.copy())
    hidden.codes_NC[:, 1], hidden.values_NV[:, 0] = 0, 0
    found = Search(network, KNOWN, np.ones(11, bool)).completed(hidden, seed=5)
    assert (found.codes_NC[:, [0, 2, 3]] == truth.codes_NC[:, [0, 2, 3]]).all()
    right = found.codes_NC[:, 1] == truth.codes_NC[:, 1]
    assert right.sum() >= 50
    assert np.median(np.abs(found.values_NV[right, 0] - truth.values_NV[right, 0])) < 0.2


def test_a_generator_without_changes_in_place_gives_what_the_fast_one_gives() -> None:
    network = generator()
    noise, told = network.draw_inputs(50, torch.Generator().manual_seed(0)), torch.arange(50) % 3
    raw, answer = network.forward(noise, told), network.decoded(noise, told)
    assert torch.allclose(raw[:, 2:], answer.logits_NS, rtol=0.05, atol=0.1)  # bfloat16 on some processors
    assert torch.allclose(torch.tanh(raw[:, :2]), answer.mean_NM, atol=0.05)
