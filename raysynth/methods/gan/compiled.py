"""A GAN's step as three closed functions: making rows, judging them, and what the generator learns from the judgement.

The generator's function makes its rows again instead of keeping the graph of the first time: on a GPU, where a step is
bound by launches, one more pass costs less than a graph that stays open while the critic learns.

Shape legend: as in `discriminator.py`; E noise numbers, S codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from raysynth.methods.gan.discriminator import Discriminator, Rows, critic_losses, score_gradient
from raysynth.methods.gan.network import Generator, condition_loss
from raysynth.methods.shared.spans import SpanIndex
from raysynth.training.batches import Batch
from raysynth.training.compiled import add_gradients, compiled

Function = Callable[..., tuple[Tensor, ...]]
Noise = tuple[Tensor, Tensor]  # normal (N, E), and Gumbel (N, S)


class GanParts(Protocol):
    """What the functions close over: the networks on their device, and how rows go through them."""

    generator: Generator
    discriminator: Discriminator
    index: SpanIndex
    column_K: Tensor
    place_K: Tensor
    device: torch.device
    accumulation: int

    def made(self, noise: Noise, batch: Batch, *, count: bool = True) -> tuple[Tensor, Rows]:
        """Raw outputs and rows for the conditions of a batch."""
        ...

    def judged(self, batch: Batch) -> tuple[Rows, Tensor]:
        """Real rows, and what the critic's first layer makes of them."""
        ...


class CompiledGan:
    """The compiled functions of a GAN's networks.

    Args:
        gan: with its networks.
    """

    def __init__(self, gan: GanParts) -> None:
        self.generator_weights = list(gan.generator.parameters())
        statistics = list(gan.generator.buffers())
        in_parts = gan.accumulation > 1  # then the generator learns from rows of its own, and counts them
        self._fakes = compiled(_fakes(gan), gan.device, wanted=True, name="the generator", changed=statistics)
        self._critic = compiled(_critic(gan), gan.device, wanted=True, name="the discriminator's loss")
        self._generator = compiled(
            _generator(gan, count=in_parts),
            gan.device,
            wanted=True,
            name="the generator's loss",
            parameters=self.generator_weights,
            changed=statistics if in_parts else (),
        )

    def fakes(self, batch: Batch, noise: Noise) -> Rows:
        """Generated rows for the conditions of a batch."""
        (vectors_NW,) = self._fakes(*noise, batch.codes_NC, batch.values_NV, batch.condition_N)
        assert vectors_NW is not None
        return Rows(vectors_NW, batch.condition_N)

    def critic_losses(
        self, batch: Batch, fake: Rows, mix_Q: Tensor, keep: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Loss, penalty and gradients; see `discriminator.critic_losses`."""
        return self._critic(
            batch.codes_NC, batch.values_NV, batch.real_condition_N, fake.vectors_NW, fake.condition_N, mix_Q, *keep
        )

    def generator_loss(self, batch: Batch, noise: Noise, keep: Sequence[Tensor]) -> Tensor:
        """The generator's loss on a part of a batch; its gradients are added to those that are there."""
        loss, *gradients = self._generator(*noise, batch.codes_NC, batch.values_NV, batch.condition_N, *keep)
        add_gradients(self.generator_weights, gradients)
        assert loss is not None
        return loss


def _fakes(gan: GanParts) -> Function:
    def fakes(
        noise_NE: Tensor, gumbel_NS: Tensor, codes_NC: Tensor, values_NV: Tensor, condition_N: Tensor | None
    ) -> tuple[Tensor, ...]:
        with torch.no_grad():
            _, made = gan.made((noise_NE, gumbel_NS), Batch(codes_NC, values_NV, condition_N))
            return (made.vectors_NW,)

    return fakes


def _critic(gan: GanParts) -> Function:
    def critic(
        codes_NC: Tensor,
        values_NV: Tensor,
        real_condition_N: Tensor | None,
        vectors_NW: Tensor,
        condition_N: Tensor | None,
        mix_Q: Tensor,
        *keep: Tensor,
    ) -> tuple[Tensor, ...]:
        with torch.no_grad():
            real, first_real = gan.judged(Batch(codes_NC, values_NV, None, real_condition_N))
            fake = Rows(vectors_NW, condition_N)
            return critic_losses(gan.discriminator, fake, real, first_real, mix_Q, keep)

    return critic


def _generator(gan: GanParts, *, count: bool) -> Function:
    """What is minimised has the gradient of the loss: the critic's part of it is known, and is no graph's matter."""

    def generator(
        noise_NE: Tensor,
        gumbel_NS: Tensor,
        codes_NC: Tensor,
        values_NV: Tensor,
        condition_N: Tensor | None,
        *keep: Tensor,
    ) -> tuple[Tensor, ...]:
        batch = Batch(codes_NC, values_NV, condition_N)
        raw, fake = gan.made((noise_NE, gumbel_NS), batch, count=count)
        loss, gradient = score_gradient(gan.discriminator, Rows(fake.vectors_NW.detach(), fake.condition_N), keep)
        minimised = (fake.vectors_NW * gradient).sum()
        if fake.condition_N is not None:
            kept = condition_loss(raw, fake.condition_N, gan.column_K, gan.place_K, gan.index)
            loss, minimised = loss + kept, minimised + kept
        return minimised / gan.accumulation, loss

    return generator
