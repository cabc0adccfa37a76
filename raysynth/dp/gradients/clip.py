"""Clipping: the sum over examples of gradients, each scaled down to a norm of at most `clip`.

Norms are exact and in float32; an example whose norm is not finite counts as zero, and is taken out before any sum.
Adding or removing one example therefore changes the sum by at most `clip` in L2 norm: the sensitivity that the noise of
`release.py` is made for.

Shape legend: N examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysynth.dp.gradients.record import Recorder
from raysynth.dp.gradients.uses import Use

MARGIN = 1e-5  # relative, for the rounding of float32 sums


@dataclass(frozen=True)
class ClippedSum:
    """Of one batch of examples. Private: it has no noise.

    Args:
        sums: for each weight, in its shape.
        norms_N: of the examples' gradients, before clipping.
    """

    sums: list[Tensor]
    norms_N: Tensor


@dataclass(frozen=True)
class ExampleGradients:
    """What the gradients of a batch are made of.

    Args:
        weights: that met examples: parameters, or made of parameters alone.
        uses: of these weights.
        losses_N: of the examples; private.
    """

    weights: list[Tensor]
    uses: list[Use]
    losses_N: Tensor


def example_gradients(network: nn.Module, losses: Callable[[], Tensor], n_examples: int) -> ExampleGradients:
    """Forward and backward pass of a network without any gradient of a weight.

    Args:
        network: whose parameters are taught.
        losses: runs the network; gives (N,) one loss for each example, none of which depends on another example.
        n_examples: N.

    Raises:
        TypeError: the network has a layer without a rule (see `record.py`).
    """
    with Recorder(network, n_examples) as recorder:
        losses_N = losses()
    uses = recorder.uses(losses_N)
    return ExampleGradients(recorder.weights, uses, losses_N.detach())


@torch.no_grad()
def clipped_sum(uses: Sequence[Use], clip: float, counted_N: Tensor | None = None) -> ClippedSum:
    """Sum of the examples' gradients, each scaled by min(1, clip / norm).

    Args:
        uses: of all weights.
        clip: > 0.
        counted_N: bool; False: an example that only fills up the batch and counts as zero.
    """
    squared_N = torch.stack([use.squared_norms().float() for use in uses]).sum(0)
    norms_N = squared_N.sqrt()
    sound_N = torch.isfinite(norms_N)
    factor_N = torch.where(sound_N, (clip * (1 - MARGIN) / norms_N.clamp(min=1e-30)).clamp(max=1.0), 0.0)
    if counted_N is not None:
        factor_N = factor_N * counted_N
    if not bool(sound_N.all()):
        uses = [use.without(~sound_N) for use in uses]
    found: dict[int, Tensor] = {}
    for use in uses:
        found |= use.weighted_sums(factor_N)
    return ClippedSum([found[i] for i in range(len(found))], norms_N)
