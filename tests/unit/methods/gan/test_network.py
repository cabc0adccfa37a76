"""The generator against the paper's layers by plain operations; the condition loss against torch's cross-entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysynth.methods.gan.network import Conditions, Generator, condition_loss
from raysynth.methods.gan.sampler import GanSampler, drawn_by, folded
from raysynth.methods.shared.spans import SpanIndex, Spans

SPANS = Spans((3, 4, 2), (1,))
CONDITIONS = Conditions.on(SPANS, (2, 0))


def generator() -> Generator:
    return Generator(SPANS.width, CONDITIONS.size, 6, (8, 5), torch.Generator().manual_seed(0))


def test_conditions_count_the_codes_of_their_columns() -> None:
    column, place = CONDITIONS.table(SPANS)
    assert CONDITIONS.columns == (0, 2)
    assert column.tolist() == [0, 0, 0, 2, 2]
    assert place.tolist() == [0, 1, 2, 7, 8]


def test_generator_equals_the_papers_layers_on_concatenated_input() -> None:
    net = generator()
    noise, condition = torch.randn(16, 6), torch.randint(0, 5, (16,))
    x = torch.cat([noise, torch.nn.functional.one_hot(condition, 5).float()], 1)
    blocks = [w.split((8, 5, SPANS.width), 1) for w in (net.noise_ED, net.condition_KD, net.bias_D[None])]
    skips = [[], [net.skips[0]], [net.skips[2], net.skips[1]]]
    h = x
    for layer in range(3):
        weight = torch.cat([*skips[layer], blocks[0][layer], blocks[1][layer]])
        out = h @ weight + blocks[2][layer]
        if layer < 2:
            out = torch.relu((out - out.mean(0)) / (out.var(0, unbiased=False) + 1e-5).sqrt())
            h = torch.cat([out, h], 1)
    torch.testing.assert_close(net(noise, condition), out, rtol=1e-4, atol=1e-5)


def test_initial_weights_are_uniform_within_the_papers_bound() -> None:
    net = Generator(40, 30, 20, (50,), torch.Generator().manual_seed(1))
    last = torch.cat([net.noise_ED[:, 50:], net.condition_KD[:, 50:], net.skips[0]])
    bound = 1 / (30 + 20 + 50) ** 0.5
    assert last.abs().max() <= bound
    assert abs(last.std().item() / (bound / 3**0.5) - 1) < 0.05


def test_condition_loss_equals_cross_entropy_of_the_conditions_column() -> None:
    raw = torch.randn(10, SPANS.width)
    condition = torch.randint(0, CONDITIONS.size, (10,))
    column, place = CONDITIONS.table(SPANS)
    loss = condition_loss(raw, condition, column, place, SpanIndex(SPANS))
    terms = []
    for i, j in enumerate(condition.tolist()):
        start = 1 + SPANS.offsets[int(column[j])]
        logits = raw[i, start : start + SPANS.cardinalities[int(column[j])]]
        terms.append(torch.nn.functional.cross_entropy(logits, place[j] + 1 - start))
    torch.testing.assert_close(loss, torch.stack(terms).mean())


@pytest.mark.parametrize(("bfloat16", "error"), [(False, 1e-5), (True, 0.05)])
def test_folded_weights_give_the_same_outputs_as_the_network_in_evaluation(
    bfloat16: bool, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysynth.methods.shared.row_sampler.has_bfloat16", lambda: bfloat16)
    net = generator()
    with torch.no_grad():
        for norm in net.norms:
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
    arrays = folded(net, drawn_by(np.full(5, 0.2)), batch_size=50, seed=3)
    sampler = GanSampler(
        spans=SPANS,
        arrays=arrays,
        code_bias_S=np.zeros(SPANS.n_codes),
        conditions=CONDITIONS,
        shares_K=np.full(5, 0.2),
        hidden=(8, 5),
    )
    noise, condition = torch.randn(20, 6), torch.randint(0, 5, (20,))
    net.eval()
    torch.testing.assert_close(sampler.forward(noise, condition), net(noise, condition), rtol=10 * error, atol=error)


def test_a_generator_without_conditions_needs_none() -> None:
    net = Generator(SPANS.width, 0, 6, (8,), torch.Generator().manual_seed(0))
    assert net(torch.randn(4, 6), None).shape == (4, SPANS.width)
