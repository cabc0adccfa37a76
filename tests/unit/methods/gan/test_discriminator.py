"""The discriminator's hand-made gradients against autograd, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raysynth.methods.gan.discriminator import Discriminator, Rows, critic_losses, score_gradient
from raysynth.methods.shared.spans import SpanIndex, Spans, activate, gumbel_noise

SPANS = Spans((3, 4, 2, 5), (1, 3))
N_CONDITIONS, PAC, N = 5, 2, 12


@pytest.fixture(params=[(16,), (16, 12), (16, 12, 8)], ids=["1 layer", "2 layers", "3 layers"])
def model(request: pytest.FixtureRequest) -> Discriminator:
    rng = torch.Generator().manual_seed(0)
    return Discriminator(SPANS.width, N_CONDITIONS, PAC, request.param, rng).double()


def rows(seed: int) -> tuple[Tensor, Tensor, Tensor, SpanIndex]:
    rng = torch.Generator().manual_seed(seed)
    index = SpanIndex(SPANS).double()
    codes = torch.stack([torch.randint(0, k, (N,), generator=rng) for k in SPANS.cardinalities], 1)
    values = torch.rand(N, 2, generator=rng, dtype=torch.double) * 2 - 1
    return codes, values, torch.randint(0, N_CONDITIONS, (N,), generator=rng), index


def fake_rows(seed: int) -> Rows:
    rng = torch.Generator().manual_seed(seed)
    raw = torch.randn(N, SPANS.width, generator=rng, dtype=torch.double)
    noise = gumbel_noise((N, SPANS.n_codes), rng).double()
    condition = torch.randint(0, N_CONDITIONS, (N,), generator=rng)
    return Rows(activate(raw, noise, 0.2, SpanIndex(SPANS).double()), condition)


def dense(rows: Rows) -> Tensor:
    """[rows of the pack | one-hot conditions of the pack], as the weights are laid out."""
    assert rows.condition_N is not None
    one_hot = torch.nn.functional.one_hot(rows.condition_N, N_CONDITIONS).double()
    packs = len(rows.vectors_NW) // PAC
    return torch.cat([rows.vectors_NW.reshape(packs, -1), one_hot.reshape(packs, -1)], 1)


def plain_network(model: Discriminator, x: Tensor, keep: list[Tensor]) -> Tensor:
    """The same network by plain operations on one-hot input, for autograd."""
    x = x @ torch.cat([model.row_weight, model.condition_weight])
    for i, factor in enumerate(keep):
        x = torch.nn.functional.leaky_relu(x + model.biases[i], 0.2) * factor
        x = x @ (model.weights[i] if i + 1 < len(keep) else model.out_weight)
    return (x + model.out_bias)[:, 0]


def test_gathered_weight_rows_equal_the_one_hot_product(model: Discriminator) -> None:
    codes, values, condition, index = rows(1)
    real = Rows(index.rows(codes, values), condition)
    expected = dense(real) @ torch.cat([model.row_weight, model.condition_weight])
    torch.testing.assert_close(model.first_of_codes(codes, values, condition, index), expected)
    torch.testing.assert_close(model.first_of_vectors(real), expected)


def test_gradients_equal_those_of_autograd_with_a_double_backward_pass(model: Discriminator) -> None:
    codes, values, condition, index = rows(1)
    fake, real = fake_rows(2), Rows(index.rows(codes, values), condition)
    rng = torch.Generator().manual_seed(3)
    keep = [k.double() for k in model.keep(N // PAC, rng)]
    mix = torch.rand(N // PAC, generator=rng, dtype=torch.double)
    first_real = model.first_of_codes(codes, values, condition, index)
    of_rows, of_slopes, *gradients = critic_losses(model, fake, real, first_real, mix, keep)
    losses = {"discriminator": of_rows, "penalty": of_slopes}
    ours = {name: g for (name, _), g in zip(model.named_parameters(), gradients, strict=True)}

    for p in model.parameters():
        p.requires_grad_(True)
        p.grad = None
    mixed = torch.lerp(dense(fake), dense(real), mix[:, None]).requires_grad_(True)
    (slope,) = torch.autograd.grad(plain_network(model, mixed, keep).sum(), mixed, create_graph=True)
    penalty = 10 * (slope.norm(dim=1) - 1).square().mean()
    critic = plain_network(model, dense(fake), keep).mean() - plain_network(model, dense(real), keep).mean()
    (critic + penalty).backward()

    assert losses["penalty"].item() == pytest.approx(penalty.item(), rel=1e-12)
    assert losses["discriminator"].item() == pytest.approx(critic.item(), rel=1e-12)
    assert set(ours) == {name for name, _ in model.named_parameters()}
    for name, p in model.named_parameters():
        expected = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(
            ours[name], expected, rtol=1e-10, atol=1e-13, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_the_generators_gradient_equals_that_of_autograd(model: Discriminator) -> None:
    fake = fake_rows(4)
    vectors = fake.vectors_NW.clone().requires_grad_(True)
    keep = [k.double() for k in model.keep(N // PAC, torch.Generator().manual_seed(5))]
    loss, gradient = score_gradient(model, fake, keep)
    expected = -plain_network(model, dense(Rows(vectors, fake.condition_N)), keep).mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(gradient, vectors.grad)


def test_dropout_keeps_the_expected_share_and_scale() -> None:
    model = Discriminator(SPANS.width, 0, 1, (64, 64), torch.Generator().manual_seed(0), dropout=0.25)
    factors = torch.cat(model.keep(500, torch.Generator().manual_seed(1)), 1)
    kept = (factors > 0).double().mean().item()
    assert factors.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert abs(kept - 0.75) < 5 * (0.75 * 0.25 / factors.numel()) ** 0.5  # 5 sigma: false alarm below 1e-6
