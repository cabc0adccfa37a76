"""What an any-order network is trained from, and what a batch teaches it: cross-entropy of all columns, by AdamW.

Shape legend: N rows, C columns, G groups of rows with one order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.methods.autoregressive.network import AnyOrderNetwork, CodeLayout, NetworkSettings, random_places
from raysynth.training.batches import Batch
from raysynth.training.compiled import add_gradients, compiled
from raysynth.training.job import Job
from raysynth.training.learner import At, Optimiser, Trainable, Update, fixed_rng
from raysynth.training.private_batches import PrivateBatch
from raysynth.training.private_steps import PrivateSteps

WARM_UP_STEPS = 100
FINAL_RATE = 0.01
CLIP_NORM = 5.0


@dataclass(frozen=True)
class AnyOrderSettings:
    """How the network is trained.

    Args:
        learning_rate: highest rate of AdamW; it rises over 100 steps and falls along a cosine to a hundredth.
        weight_decay: of AdamW.
        groups: orders of one batch.
        total_steps: steps that the learning rate falls over.
    """

    learning_rate: float = 6e-3
    weight_decay: float = 0.3
    groups: int = 8
    total_steps: int = 1000

    def rate_factor(self, step: int) -> float:
        """What the learning rate is multiplied by at a step (counted from 0)."""
        warm_up = min(WARM_UP_STEPS, max(1, self.total_steps // 10))
        done = min(1.0, step / max(1, self.total_steps))
        falling = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))
        return min(1.0, (step + 1) / warm_up) * falling

    def optimiser(self, weights: Sequence[nn.Parameter]) -> Optimiser:
        """AdamW of some weights, whose rate follows the steps."""
        rate, decay = self.learning_rate, self.weight_decay
        adam = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)
        return Optimiser(adam, rate, self.rate_factor, CLIP_NORM)


@dataclass(frozen=True)
class AnyOrderJob(Job):
    """A network to train.

    Args:
        layout: the codes.
        network: sizes.
        training: optimiser and orders.
        frequencies: released share of each code of each column.
    """

    layout: CodeLayout
    network: NetworkSettings
    training: AnyOrderSettings
    frequencies: tuple[np.ndarray, ...] = field(repr=False)

    @property
    def batch_multiple(self) -> int:
        """Rows of a batch come in groups of the same size."""
        return self.training.groups

    def trainable(self, device: torch.device) -> TrainableAnyOrder:
        """A network with fresh weights."""
        return TrainableAnyOrder(self, device)


class TrainableAnyOrder(Trainable):
    """The any-order network, and what a batch teaches it."""

    def __init__(self, job: AnyOrderJob, device: torch.device) -> None:
        super().__init__()
        self.how = job.training
        rng = torch.Generator().manual_seed(job.settings.seed)
        self.network = AnyOrderNetwork(job.layout, job.network, job.frequencies, rng).to(device)
        self.weights = self.leaving()
        self._gradients = compiled(
            _mean_loss(self.network),
            device,
            wanted=job.settings.compile_step and job.plan is None,
            name="the network's loss",
            parameters=self.weights,
        )

    def optimisers(self) -> dict[str, Optimiser]:
        """One AdamW of all weights."""
        return {"network": self.how.optimiser(self.weights)}

    def updates(self, batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
        """One, from an order for each group of rows."""
        rows, columns = batch.codes_NC.shape
        place_GC = random_places(self.how.groups, columns, rng)
        loss, *gradients = self._gradients(batch.codes_NC, place_GC, *self.network.kept(rows, rng))
        add_gradients(self.weights, gradients)
        yield Update(("network",), {"loss": loss})

    def private_updates(
        self, batch: PrivateBatch, private: PrivateSteps, at: At, rng: torch.Generator
    ) -> Iterator[Update]:
        """One, from a gradient that was clipped by row and noised.

        The orders are those of the step, the same in every part and on every worker: which of them a row gets is drawn
        for the row alone (`PoissonBatches`), so one row more leaves the others' gradients as they are.
        """
        codes_NC = batch.parts[0].batch.codes_NC
        place_GC = random_places(self.how.groups, codes_NC.shape[1], private.shared_rng(codes_NC.device))

        def losses(part: Batch) -> Tensor:
            return self.network(part.codes_NC, place_GC, rng).sum(0)

        yield Update(("network",), {"loss": private.teach(self.network, batch, losses)}, released=True)

    def score(self, held: Batch) -> tuple[Tensor, int]:
        """The loss in the same orders each epoch."""
        rows, columns = held.codes_NC.shape
        groups = max(g for g in range(1, self.how.groups + 1) if rows % g == 0)
        place_GC = random_places(groups, columns, fixed_rng(held.codes_NC.device))
        return self.network(held.codes_NC, place_GC).sum(), rows


def _mean_loss(network: AnyOrderNetwork) -> Callable[..., tuple[Tensor, ...]]:
    """The function of a step: the summed loss of all columns, mean over the rows; to be minimised, and to be shown."""

    def loss(codes_NC: Tensor, place_GC: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        mean = network.losses(codes_NC, place_GC, kept).sum() / len(codes_NC)
        return mean, mean

    return loss
