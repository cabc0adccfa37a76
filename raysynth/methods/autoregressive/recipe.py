"""The any-order learner: cross-entropy of all columns in random orders, AdamW, and the best average of the weights.

Rows that a worker holds back give a validation loss after each epoch; what leaves is the exponential moving average of
the weights at the epoch where that loss was lowest. Under differential privacy neither may be used (design, 'No choice
by the data'); `AnyOrderSettings.validation_share = 0` switches both off.

Shape legend: N rows, C columns, G groups of rows with one order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.methods.autoregressive.network import AnyOrderNetwork, CodeLayout, NetworkSettings, random_places
from raysynth.training.average import Average
from raysynth.training.averaging import BestAverage, copy_all, on_cpu
from raysynth.training.batches import Batch, Batches, RowSource
from raysynth.training.compiled import add_gradients, compiled
from raysynth.training.held_out import HeldOut, ValidationBatch
from raysynth.training.job import average_alone
from raysynth.training.loop import TrainSettings
from raysynth.training.private_batches import PoissonBatches, PrivateBatch
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
        ema_decay: of the moving average of the weights.
        validation_share: share of each worker's rows that are held back (at most 8,192 rows); 0: none.
        patience: epochs without a better validation loss after which training ends; 0: never.
        total_steps: steps that the learning rate falls over.
    """

    learning_rate: float = 6e-3
    weight_decay: float = 0.3
    groups: int = 8
    ema_decay: float = 0.995
    validation_share: float = 0.05
    patience: int = 10
    total_steps: int = 1000

    def rate_factor(self, step: int) -> float:
        """What the learning rate is multiplied by at a step (counted from 0)."""
        warm_up = min(WARM_UP_STEPS, max(1, self.total_steps // 10))
        done = min(1.0, step / max(1, self.total_steps))
        falling = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))
        return min(1.0, (step + 1) / warm_up) * falling


@dataclass(frozen=True)
class AnyOrderJob:
    """A network to train (a `Job`).

    Args:
        layout: the codes.
        network: sizes.
        training: optimiser and stopping.
        settings: epochs, batch size, seed.
        frequencies: released share of each code of each column.
        plan: of DP-SGD; None: without a privacy budget.
    """

    layout: CodeLayout
    network: NetworkSettings
    training: AnyOrderSettings
    settings: TrainSettings
    frequencies: tuple[np.ndarray, ...] = field(repr=False)
    plan: DpSgdPlan | None = None

    @property
    def signature(self) -> str:
        """Columns, network and everything that changes an epoch."""
        settings = self.settings.of_an_epoch
        private = None if self.plan is None else self.plan.fit_id
        return json.dumps([asdict(self.layout), self.network.to_dict(), asdict(self.training), settings, private])

    @property
    def batch_multiple(self) -> int:
        """Rows of a batch come in groups of the same size."""
        return self.training.groups

    def learner(self, device: torch.device, average: Average) -> AnyOrderLearner:
        """A network with fresh weights on a device."""
        return AnyOrderLearner(self, device=device, average=average)

    def batches(
        self, rows: RowSource, *, batch_size: int, steps: int, rank: int, device: torch.device
    ) -> HeldOut | PoissonBatches:
        """Shuffled batches of this worker's rows, and its validation rows at the end of each epoch."""
        if self.plan is not None:
            return PoissonBatches(rows, self.plan, rank=rank, multiple=self.batch_multiple, device=device)
        batches = Batches(rows, batch_size, steps, self.settings.seed, rank, device=device)
        return HeldOut.split(batches, self.training.validation_share)

    def network_of(self, state: dict[str, Any]) -> AnyOrderNetwork:
        """The network with the weights that leave, from a learner's state; on the CPU, without dropout."""
        learner = self.learner(torch.device("cpu"), average_alone)
        learner.take_best(state)
        return learner.network


class AveragedLearner:
    """A network with its optimiser, the moving average of its weights and the best of these so far, on one device."""

    def __init__(
        self, network: torch.nn.Module, training: AnyOrderSettings, *, device: torch.device, average: Average
    ) -> None:
        self.training, self.device, self.average = training, torch.device(device), average
        self.parameters = list(network.to(self.device).parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=self.training.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.training.weight_decay,
            fused=True,
        )
        self.weights = BestAverage(self.parameters, self.training.ema_decay)

    @property
    def finished(self) -> bool:
        """Whether the validation loss has not fallen for `patience` epochs."""
        return 0 < self.training.patience <= self.weights.epochs_since_best

    def _differentiate(self, loss: Tensor) -> None:
        """Gradients of a loss, averaged over the workers and clipped together."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._come_together()

    def _come_together(self) -> None:
        """Average the gradients over the workers, and clip them together."""
        self.average(p.grad for p in self.parameters if p.grad is not None)
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM)

    def _move(self) -> None:
        """One step along the gradients."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * self.training.rate_factor(self.weights.steps)
        self.optimiser.step()
        self.weights.follow()

    def set_learning_rate(self, factor: float) -> None:
        """The rate follows steps, not epochs (`AnyOrderSettings.rate_factor`): nothing to do."""

    def end_epoch(self) -> None:
        """Keep the averaged weights if they are the best so far."""
        self.weights.end_epoch(self.average)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training resumes from; tensors on the CPU are copies."""
        return {
            "network": on_cpu([p.data for p in self.parameters]),
            "optimiser": on_cpu(self.optimiser.state_dict()),
            **self.weights.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        with torch.no_grad():
            copy_all(state["network"], self.parameters)
        self.optimiser.load_state_dict(state["optimiser"])
        self.weights.load_state_dict(state)

    def take_best(self, state: dict[str, Any]) -> None:
        """Give the network the weights that leave, from a `state_dict`."""
        self.weights.load_state_dict(state)
        with torch.no_grad():
            copy_all(self.weights.best, self.parameters)


class AnyOrderLearner(AveragedLearner):
    """The any-order network in training (a `Learner`)."""

    def __init__(self, job: AnyOrderJob, *, device: torch.device, average: Average) -> None:
        rng = torch.Generator().manual_seed(job.settings.seed)
        self.network = AnyOrderNetwork(job.layout, job.network, job.frequencies, rng)
        super().__init__(self.network, job.training, device=device, average=average)
        self.private = PrivateSteps(job.plan, average) if job.plan is not None else None
        self._gradients = compiled(
            _mean_loss(self.network),
            self.device,
            wanted=job.settings.compile_step and self.private is None,
            name="the network's loss",
            parameters=self.parameters,
        )

    def step(self, batch: Batch | PrivateBatch | ValidationBatch, rng: torch.Generator) -> dict[str, Tensor]:
        """One update from a batch; or the loss of validation rows under the averaged weights."""
        if isinstance(batch, ValidationBatch):
            return self._validate(batch)
        loss = self._release(batch, rng) if isinstance(batch, PrivateBatch) else self._backward(batch, rng)
        self._move()
        return {"loss": loss}

    def _backward(self, batch: Batch, rng: torch.Generator) -> Tensor:
        rows, columns = batch.codes_NC.shape
        place_GC = random_places(self.training.groups, columns, rng)
        loss, *gradients = self._gradients(batch.codes_NC, place_GC, *self.network.kept(rows, rng))
        self.optimiser.zero_grad(set_to_none=True)
        add_gradients(self.parameters, gradients)
        self._come_together()
        assert loss is not None
        return loss

    def _release(self, batch: PrivateBatch, rng: torch.Generator) -> Tensor:
        """The gradient of a step under a budget: clipped by row, noised.

        The orders are those of the step, the same in every part and on every worker: which of them a row gets is drawn
        for the row alone (`PoissonBatches`), so one row more leaves the others' gradients as they are.
        """
        assert self.private is not None
        width = batch.parts[0].batch.codes_NC.shape[1]
        place_GC = random_places(self.training.groups, width, self.private.shared_rng(self.device))

        def losses(part: Batch) -> Tensor:
            return self.network(part.codes_NC, place_GC, rng).sum(0)

        return self.private.teach(self.network, batch, losses)

    @torch.no_grad()
    def _validate(self, batch: ValidationBatch) -> dict[str, Tensor]:
        """The same orders each epoch, so that epochs can be compared."""
        rows = len(batch.codes_NC)
        groups = max(g for g in range(1, self.training.groups + 1) if rows % g == 0)
        fixed = torch.Generator(self.device).manual_seed(0)
        place_GC = random_places(groups, batch.codes_NC.shape[1], fixed)
        with self.weights.in_use():
            total = self.network(batch.codes_NC, place_GC).sum()
        self.weights.add_held(total, rows)
        return {"validation": total / rows}


def _mean_loss(network: AnyOrderNetwork) -> Callable[..., tuple[Tensor, ...]]:
    """The function of a step: the summed loss of all columns, mean over the rows; to be minimised, and to be shown."""

    def loss(codes_NC: Tensor, place_GC: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        mean = network.losses(codes_NC, place_GC, kept).sum() / len(codes_NC)
        return mean, mean

    return loss
