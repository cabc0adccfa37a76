"""The discriminator under differential privacy: each real row's own gradient, in closed form, and its Lipschitz bound.

With the slopes held fixed the score of a row is linear in every layer (see `discriminator.py`), so a row's gradient by
a layer's weight is the outer product of what went in, h_(l-1), and of d_l; both are at hand after one pass each way.
No gradient penalty (it uses each weight twice, and its mean mixes rows) and packs of one row. The score is kept
Lipschitz by a projection of the weights after each noised step instead: every layer's spectral norm is at most 1
(Miyato et al. 2018, arXiv 1802.05957, algorithm 1, as a projection).

Shape legend: N rows, W = length of a row vector, K conditions, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raysynth.dp.gradients.uses import AffineUse, GatherUse, Use
from raysynth.methods.gan.discriminator import Discriminator, Rows

LARGEST_NORM = 1.0  # of each layer, which makes the score change by at most as much as the row


@torch.no_grad()
def score_uses(
    model: Discriminator, rows: Rows, first: Tensor, keep: list[Tensor], *, sign: float
) -> tuple[list[Use], list[Tensor], Tensor]:
    """What the gradients of each row's loss, its score times a sign, are made of.

    Args:
        model: with packs of one row.
        rows: N rows. first: their a_1 (`Discriminator.first_of_codes`, `first_of_vectors`).
        keep: dropout factors.
        sign: -1 for real rows, 1 for generated ones.

    Returns:
        The uses, the weights that they number, and each row's loss (N).
    """
    done = model.forward_from(first, keep)
    d_score = torch.full_like(done.score, sign)
    d = model.backward_from(d_score, done)
    weights = critic_weights(model)
    uses: list[Use] = [_layer(rows.vectors_NW, d[0], weights, 0)]
    for i in range(1, len(d)):
        uses.append(_layer(done.hidden[i - 1], d[i], weights, 2 * i))
    last = 2 * len(d)
    uses.append(AffineUse(done.hidden[-1][None], d_score[None, :, None], last, weights[last].shape))
    if rows.condition_N is not None:
        uses.append(GatherUse(rows.condition_N[None], d[0][None], last + 1, weights[last + 1].shape))
    return uses, weights, sign * done.score


def critic_weights(model: Discriminator) -> list[Tensor]:
    """Weight and bias of each layer, the last weight, and that of the conditions; not the last bias, which is idle."""
    layers = zip([model.row_weight, *model.weights], model.biases, strict=True)
    weights = [t for pair in layers for t in pair] + [model.out_weight]
    return [*weights, model.condition_weight] if model.n_conditions else weights


@torch.no_grad()
def project(model: Discriminator, directions: list[Tensor]) -> None:
    """Scale every layer whose spectral norm is above `LARGEST_NORM` down to it.

    Args:
        model: changed in place.
        directions: from `first_directions`; one step of the power iteration each time moves them, in place.
    """
    first = [model.row_weight, model.condition_weight] if model.n_conditions else [model.row_weight]
    for parts, direction in zip([first, *([w] for w in model.weights), [model.out_weight]], directions, strict=True):
        outputs = [part @ direction for part in parts]
        length = torch.cat(outputs).norm()
        back = torch.stack([part.T @ out for part, out in zip(parts, outputs, strict=True)]).sum(0)
        norm = back.norm() / length.clamp(min=1e-12)
        direction.copy_(back / back.norm().clamp(min=1e-12))
        factor = (LARGEST_NORM / norm).clamp(max=1.0)
        for part in parts:
            part *= factor


def first_directions(model: Discriminator, rng: torch.Generator) -> list[Tensor]:
    """A random unit vector for each layer's outputs."""
    widths = [*model.hidden, 1]
    drawn = [torch.randn(width, generator=rng) for width in widths]
    return [(v / v.norm()).to(model.row_weight.device) for v in drawn]


def _layer(inputs: Tensor, grads: Tensor, weights: list[Tensor], number: int) -> AffineUse:
    return AffineUse(inputs[None], grads[None], number, weights[number].shape, number + 1, weights[number + 1].shape)
