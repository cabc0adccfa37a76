"""The private discriminator: each row's gradient against autograd, and the bound on its slope."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raysynth.dp.gradients.release import clipped_sum
from raysynth.methods.gan.discriminator import Discriminator, Rows
from raysynth.methods.gan.recipe import critic_weights, first_directions, project, score_uses
from raysynth.methods.shared.spans import SpanIndex, Spans

SPANS = Spans((3, 4, 2), (1,))
INDEX = SpanIndex(SPANS)
N = 7


def model_of(conditions: int) -> Discriminator:
    return Discriminator(SPANS.width, conditions, 1, (6, 5), torch.Generator().manual_seed(0), dropout=0.3)


def rows_of(conditions: int) -> tuple[Tensor, Tensor, Tensor | None]:
    rng = torch.Generator().manual_seed(1)
    codes = torch.stack([torch.randint(0, k, (N,), generator=rng) for k in SPANS.cardinalities], 1)
    values = torch.randn(N, 1, generator=rng)
    return codes, values, torch.randint(0, conditions, (N,), generator=rng) if conditions else None


def score(model: Discriminator, rows: Rows, keep: list[Tensor]) -> Tensor:
    return model.forward_from(model.first_of_vectors(rows), keep).score


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("conditions", [0, 5])
def test_each_rows_gradient_is_that_of_autograd(conditions: int, sign: float) -> None:
    model = model_of(conditions)
    codes, values, condition = rows_of(conditions)
    keep = model.keep(N, torch.Generator().manual_seed(2))
    real = Rows(INDEX.rows(codes, values), condition)
    first = model.first_of_codes(codes, values, condition, INDEX)
    uses, weights, losses = score_uses(model, real, first, keep, sign=sign)

    for weight in weights:
        weight.requires_grad_(True)
    scores = score(model, real, keep)
    torch.testing.assert_close(losses, sign * scores.detach())
    reference = [torch.autograd.grad(sign * scores[i], weights, retain_graph=True) for i in range(N)]
    norms = torch.stack([torch.stack([g.square().sum() for g in grads]).sum().sqrt() for grads in reference])
    clip = float(norms.median())
    clipped = clipped_sum(uses, clip)
    torch.testing.assert_close(clipped.norms_N, norms)
    for k, total in enumerate(clipped.sums):
        expected = sum(min(1.0, clip / norms[i].item()) * reference[i][k] for i in range(N))
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("conditions", [0, 5])
def test_the_projection_bounds_the_slope_of_every_layer(conditions: int) -> None:
    model = model_of(conditions)
    with torch.no_grad():
        for weight in critic_weights(model):
            weight *= 20
    directions = first_directions(model, torch.Generator().manual_seed(3))
    for _ in range(60):
        project(model, directions)
    first = torch.cat([model.row_weight, model.condition_weight]) if conditions else model.row_weight
    for weight in (first, *model.weights, model.out_weight):
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1.0, abs=1e-3)
    before = [w.clone() for w in critic_weights(model)]
    with torch.no_grad():
        for weight in critic_weights(model):
            weight *= 0.5
    project(model, directions)
    for a, b in zip(before, critic_weights(model), strict=True):
        torch.testing.assert_close(0.5 * a, b)
