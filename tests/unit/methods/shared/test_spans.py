"""Row vectors and the softmax over all columns at once, against column-by-column references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedColumn
from raysynth.methods.shared.spans import SpanIndex, Spans, activate, gumbel_noise
from raysynth.schema import Kind

SPANS = Spans((3, 1, 7, 2), (2,))


def reference(raw: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Column by column with torch's own softmax."""
    parts = torch.split(raw[:, 1:] + noise, SPANS.cardinalities, 1)
    shares = torch.cat([torch.softmax(p / temperature, 1) for p in parts], 1)
    return torch.cat([torch.tanh(raw[:, :1]), shares], 1)


def test_layout_gives_offsets_and_values() -> None:
    layout = [
        EncodedColumn("a", Kind.CATEGORICAL, 3, 2),
        EncodedColumn("b", Kind.CONTINUOUS, 5, 4, value_index=1),
        EncodedColumn("c", Kind.CONTINUOUS, 4, 3, value_index=0),
    ]
    spans = Spans.of(layout)
    assert (spans.cardinalities, spans.value_columns, spans.offsets) == ((3, 5, 4), (2, 1), (0, 3, 8))
    assert (spans.n_values, spans.n_codes, spans.width) == (2, 12, 14)


def test_rows_are_values_then_one_hot_codes() -> None:
    codes = torch.tensor([[2, 0, 6, 1], [0, 0, 0, 0]])
    rows = SpanIndex(SPANS).rows(codes, torch.tensor([[0.5], [-1.0]]))
    assert rows[0].tolist() == [0.5, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert rows[1].nonzero().flatten().tolist() == [0, 1, 4, 5, 12]


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_activation_and_its_gradient_equal_torchs_softmax_of_each_column(temperature: float) -> None:
    rng = torch.Generator().manual_seed(0)
    raw = torch.randn(9, SPANS.width, generator=rng, dtype=torch.double) * 3
    noise = gumbel_noise((9, SPANS.n_codes), rng).double()
    weight = torch.randn(9, SPANS.width, generator=rng, dtype=torch.double)
    ours, theirs = raw.clone().requires_grad_(True), raw.clone().requires_grad_(True)
    index = SpanIndex(SPANS).double()
    out = activate(ours, noise, temperature, index)
    expected = reference(theirs, noise, temperature)
    torch.testing.assert_close(out, expected)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_activation_is_finite_for_logits_far_apart() -> None:
    raw = torch.zeros(2, SPANS.width)
    raw[0, 1:4] = torch.tensor([1e4, -1e4, 0.0])
    raw[1, 4:] = -1e30
    out = activate(raw, torch.zeros(2, SPANS.n_codes), 0.2, SpanIndex(SPANS))
    assert torch.isfinite(out).all()
    assert out[0, 1:4].tolist() == [1, 0, 0]


@pytest.mark.statistical
def test_gumbel_noise_has_its_mean_and_variance() -> None:
    noise = gumbel_noise((200_000,), torch.Generator().manual_seed(1)).double()
    assert torch.isfinite(noise).all()
    # standard errors: 1.28 / sqrt(n) and about 3.5 / sqrt(n); 5 sigma: false alarm below 1e-6
    assert abs(noise.mean().item() - np.euler_gamma) < 5 * 1.283 / 200_000**0.5
    assert abs(noise.var().item() - np.pi**2 / 6) < 5 * 3.5 / 200_000**0.5


@pytest.mark.statistical
def test_draws_follow_the_softmax() -> None:
    logits = torch.log(torch.tensor([0.2, 0.3, 0.5, 1.0, *[1 / 7] * 7, 0.9, 0.1])).repeat(100_000, 1)
    noise = gumbel_noise(tuple(logits.shape), torch.Generator().manual_seed(2))
    codes = SpanIndex(SPANS).draw(logits, noise)
    found = torch.bincount(codes[:, 0], minlength=3) / len(codes)
    error = 5 * (0.25 / len(codes)) ** 0.5  # 5 sigma: false alarm below 1e-6 a share
    assert np.abs(found.numpy() - [0.2, 0.3, 0.5]).max() < error
    assert abs(codes[:, 3].double().mean().item() - 0.1) < error
