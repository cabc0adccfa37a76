"""The DP-SGD step: clip, add noise, release (Abadi et al. 2016, arXiv 1607.00133, algorithm 1).

Each of W workers clips and sums the gradients of its own rows and adds N(0, sigma^2 C^2 / W); the sum over the workers
then carries N(0, sigma^2 C^2), whatever W is. It is divided by the public expected size of a batch, never by the number
of rows that were drawn, which is private. Batches must be Poisson samples (`training/private_batches.py`), because that
is what the accountant assumes.

Clipping gives the sum over examples of gradients, each scaled down to a norm of at most `clip`. Norms are exact and in
float32; an example whose norm is not finite counts as zero, and is taken out before any sum.
Adding or removing one example therefore changes the sum by at most `clip` in L2 norm: the sensitivity that the noise is
made for.

Shape legend: N examples.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.dp.gradients.record import Recorder
from raysynth.dp.gradients.uses import Use
from raysynth.dp.mechanisms.noise import InsecureSeededNoise, NoiseSource, check_unheard, noise_source
from raysynth.files.storage import Target
from raysynth.running.device_copies import to_device

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


def example_gradients(
    network: nn.Module, losses: Callable[[], Tensor], n_examples: int, rows_each: int = 1
) -> ExampleGradients:
    """Forward and backward pass of a network without any gradient of a weight.

    Args:
        network: whose parameters are taught.
        losses: runs the network; gives (N,) one loss for each example, none of which depends on another example.
        n_examples: N.
        rows_each: of an example, where layers take its rows like examples (see `Recorder`).

    Raises:
        TypeError: the network has a layer without a rule (see `record.py`).
    """
    with Recorder(network, n_examples, rows_each) as recorder:
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


SumOverWorkers = Callable[[Iterable[Tensor]], None]


@dataclass(frozen=True)
class DpSgdPlan:
    """A training under a budget: all of it is public, and charged to the ledger before the first step.

    Args:
        clip: C, the largest L2 norm of one example's gradient.
        noise_multiplier: sigma.
        sampling_rate: q, the chance of each unit (a row, or one row of several) to be in a batch.
        expected_batch: q times the noised number of units.
        steps: that are charged; no more than these are ever run, steps repeated after a crash included.
        secure_mode: noise and draws from a cryptographic generator.
        fit_id: of the fit that charged the steps: a checkpoint of another fit is not resumed.
        journal: file in which the started steps are counted, where workers can be lost; None: this process does all.
        insecure_seed: for tests only: repeatable noise, which protects nobody.
    """

    clip: float
    noise_multiplier: float
    sampling_rate: float
    expected_batch: float
    steps: int
    secure_mode: bool = False
    fit_id: str = field(default_factory=lambda: secrets.token_hex(8))
    journal: Target | None = None
    insecure_seed: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each row is drawn once on average."""
        return max(1, round(1 / self.sampling_rate))

    def noise(self, purpose: str) -> NoiseSource:
        """A worker's source of noise or of draws; for the purposes of one fit they differ where they are seeded."""
        check_unheard(f"noise of {purpose}")
        if self.insecure_seed is not None:
            return InsecureSeededNoise(zlib.crc32(f"{self.insecure_seed} {purpose}".encode()))
        return noise_source(self.secure_mode)


class GradientRelease:
    """Collects one step's clipped gradients over micro-batches, then releases their noised mean.

    Args:
        plan: clip and noise.
        n_workers: W, as it is now.
        sum_over_workers: adds up tensors over the workers, in place.
        noise: this worker's source.
    """

    def __init__(
        self, plan: DpSgdPlan, *, n_workers: int, sum_over_workers: SumOverWorkers, noise: NoiseSource
    ) -> None:
        self.plan, self.n_workers, self.sum_over_workers, self.noise = plan, n_workers, sum_over_workers, noise
        self._weights: list[Tensor] | None = None
        self._sums: list[Tensor] = []

    def add_uses(self, uses: Sequence[Use], weights: Sequence[Tensor], counted_N: Tensor | None = None) -> None:
        """Clip and add a micro-batch.

        Args:
            uses: of the weights, which they number from 0.
            weights: in every micro-batch of a step the same ones, in the same order.
            counted_N: bool; False: an example that fills up the batch.
        """
        sums = clipped_sum(uses, self.plan.clip, counted_N).sums
        if self._weights is None:
            self._weights, self._sums = list(weights), sums
            return
        for total, part in zip(self._sums, sums, strict=True):
            total += part

    @property
    def exact_sum(self) -> Tensor | None:
        """All that was added so far, laid end to end: private, for an audit's adversary, who knows all other rows."""
        return torch.cat([s.reshape(-1) for s in self._sums]) if self._sums else None

    @torch.no_grad()
    def noised_mean(self) -> list[Tensor]:
        """For each weight the released gradient; ends the step.

        Raises:
            ValueError: nothing was added. An empty batch adds examples that do not count, so that noise is drawn.
        """
        if self._weights is None:
            raise ValueError("a step needs at least one micro-batch, if only of examples that do not count")
        flat = torch.cat([s.reshape(-1) for s in self._sums])
        scale = self.plan.noise_multiplier * self.plan.clip / self.n_workers**0.5
        flat += to_device((scale * self.noise.normal(len(flat))).astype(np.float32), flat.device)
        self.sum_over_workers([flat])
        flat /= self.plan.expected_batch
        parts = flat.split([s.numel() for s in self._sums])
        released = [part.reshape(s.shape) for part, s in zip(parts, self._sums, strict=True)]
        self._sums = []
        return released

    def set_gradients(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        """Release, and set `.grad` of the parameters by the chain rule (post-processing: no row takes part).

        Returns:
            What was released, for each weight that met examples.
        """
        weights = self._weights
        released = self.noised_mean()
        assert weights is not None
        for parameter in parameters:
            parameter.grad = None
        torch.autograd.backward(weights, released)
        self._weights = None
        return released
