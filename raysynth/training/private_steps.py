"""A learner's step under a privacy budget: every part of a Poisson batch clipped by row, then one noised gradient.

This is the second of the two doors to the private rows (design, 'One door to the private data'): what a learner gets
from here are gradients that were released, and losses, which are private and may be shown on this machine only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.dp.gradients.release import DpSgdPlan, GradientRelease, clipped_sum, example_gradients
from raysynth.dp.gradients.uses import Use
from raysynth.training.averaging import Average
from raysynth.training.batches import Batch
from raysynth.training.canaries import active_canaries
from raysynth.training.private_batches import PrivateBatch, PrivatePart

Losses = Callable[[Batch], Tensor]
Uses = Callable[[PrivatePart], tuple[Sequence[Use], Sequence[Tensor], Tensor]]


class PrivateSteps:
    """Makes released gradients for one worker.

    Args:
        plan: clip, noise and expected batch.
        average: brings workers together; their number is read at each start.
        rank: of the worker: no two share their noise, which would add up to more of it where it is seeded.
    """

    def __init__(self, plan: DpSgdPlan, average: Average, rank: int = 0) -> None:
        self.plan = plan
        self._average = average
        self._noise = plan.noise(f"gradients of worker {rank}")
        self._shared: torch.Generator | None = None

    @property
    def n_workers(self) -> int:
        """W, as it is now."""
        return self._average.n_workers

    def shared_rng(self, device: torch.device) -> torch.Generator:
        """The same on all workers and secret: of draws that many rows share, such as the orders of a step."""
        if self._shared is None:
            words = torch.from_numpy(np.floor(self._noise.uniform(4) * 2**16)).to(device)
            self._average.total([words])
            digits = [int(w) % 2**16 for w in words.tolist()]
            self._shared = torch.Generator(device).manual_seed(sum(d << (16 * i) for i, d in enumerate(digits)) >> 1)
        return self._shared

    def teach(self, network: nn.Module, batch: PrivateBatch, losses: Losses, rows_each: int = 1) -> Tensor:
        """Sets `.grad` of the network's parameters to one released gradient; gives the mean loss, which is private.

        Args:
            network: that is taught.
            batch: of this worker.
            losses: of the rows of a part, (N,); each of its own row alone.
            rows_each: steps of a row that is a sequence, where layers take them like rows (see `Recorder`).
        """
        release = self._release()
        total = batch.parts[0].counted_N.new_zeros((), dtype=torch.float32)
        for part in batch.parts:
            gradients = example_gradients(network, partial(losses, part.batch), len(part.counted_N), rows_each)
            self._add(release, part, gradients.uses, gradients.weights)
            total = total + self._sum(gradients.losses_N, part.counted_N)
        self._show(release.set_gradients(network.parameters()))
        return self._mean(total)

    def release(self, batch: PrivateBatch, uses: Uses) -> tuple[list[Tensor], Tensor]:
        """The released gradients by some weights whose uses are made by hand, and the mean loss, which is private.

        Args:
            batch: of this worker.
            uses: of a part: the uses, the weights, and (N,) losses.
        """
        release = self._release()
        total = batch.parts[0].counted_N.new_zeros((), dtype=torch.float32)
        for part in batch.parts:
            made, weights, losses_N = uses(part)
            self._add(release, part, made, weights)
            total = total + self._sum(losses_N, part.counted_N)
        released = release.noised_mean()
        self._show(released)
        return released, self._mean(total)

    def of_made(self, uses: Sequence[Use], n: int) -> list[Tensor]:
        """The mean of n generated examples' gradients over all workers, clipped one by one; no real row takes part."""
        means = [total / n for total in clipped_sum(uses, self.plan.clip).sums]
        self._average(means)
        return means

    @staticmethod
    def _add(release: GradientRelease, part: PrivatePart, uses: Sequence[Use], weights: Sequence[Tensor]) -> None:
        canaries = active_canaries()
        if canaries is None:
            release.add_uses(uses, weights, part.counted_N)
        else:
            canaries.add(release, part, uses, weights)

    def _show(self, released: Sequence[Tensor]) -> None:
        canaries = active_canaries()
        if canaries is not None:
            canaries.see(released, self.plan.expected_batch)

    def _release(self) -> GradientRelease:
        average = self._average
        return GradientRelease(
            self.plan, n_workers=average.n_workers, sum_over_workers=average.total, noise=self._noise
        )

    def _mean(self, total: Tensor) -> Tensor:
        """As a mean over the expected rows of this worker; the loop averages over workers."""
        return total * (self._average.n_workers / self.plan.expected_batch)

    @staticmethod
    def _sum(losses_N: Tensor, counted_N: Tensor) -> Tensor:
        """Of the rows that count; one that is not finite counts as zero: nothing that happens depends on a row."""
        return torch.where(counted_N & torch.isfinite(losses_N), losses_N, 0.0).sum()
