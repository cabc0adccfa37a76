"""The one learner of all networks: it moves weights, keeps what leaves, and resumes; the method says what to learn.

A method describes its networks as a `Trainable`: which there are, which optimisers move them, and which gradients a
batch gives, update by update. Everything else is the same for all of them and stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raysynth.training.averaging import Average, BestAverage, on_cpu
from raysynth.training.batches import Batch, ValidationBatch
from raysynth.training.private_batches import PrivateBatch
from raysynth.training.private_steps import PrivateSteps


@dataclass(frozen=True)
class Optimiser:
    """What moves some weights.

    Args:
        adam: Adam or AdamW over these weights.
        rate: its learning rate, which the schedule of the epochs scales.
        rate_of_step: what scales it besides, by the number of batches before; None: nothing.
        clip_norm: largest L2 norm of the mean gradient of a step without a budget; None: any.
    """

    adam: torch.optim.Optimizer
    rate: float
    rate_of_step: Callable[[int], float] | None = None
    clip_norm: float | None = None


@dataclass(frozen=True)
class Update:
    """One move of some weights, along the gradients that stand in their `.grad`.

    Args:
        moved: names of the optimisers.
        losses: to be shown, scalars on the device.
        released: whether the gradients are clipped by row, noised and the same on all workers already.
        followed: whether the moving average of the weights that leave follows.
    """

    moved: tuple[str, ...]
    losses: dict[str, Tensor]
    released: bool = False
    followed: bool = True


@dataclass(frozen=True)
class At:
    """Where a training stands: batches, and whole epochs, that were learned from before."""

    step: int
    epoch: int


class Trainable(nn.Module):
    """Networks on one device and what a batch teaches them; parameters and buffers are all that training resumes from.

    Gradients of an update are the worker's own: the learner averages them over the workers, moves the weights and
    empties `.grad` before it asks for the next update of the same batch.
    """

    def optimisers(self) -> dict[str, Optimiser]:
        """By name; each weight that learns is in one of them."""
        raise NotImplementedError

    def leaving(self) -> list[nn.Parameter]:
        """The weights that leave the training, as a moving average."""
        return list(self.parameters())

    def updates(self, batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
        """What a batch teaches, one move of weights after the other; no host sync."""
        raise NotImplementedError

    def private_updates(
        self, batch: PrivateBatch, private: PrivateSteps, at: At, rng: torch.Generator
    ) -> Iterator[Update]:
        """The same under a budget: real rows are looked at through `private` alone."""
        raise NotImplementedError

    def score(self, held: Batch) -> tuple[Tensor, int]:
        """Summed loss of rows held back, and how many count, with the same randomness each epoch."""
        raise NotImplementedError

    def after_epoch(self, average: Average, epochs: int) -> None:
        """Bring workers together where their states differ (running statistics), after so many epochs."""


class Learner:
    """Networks in training on one device.

    Args:
        networks: on that device.
        device: torch device.
        average: brings workers together.
        ema_decay: of the moving average of the weights that leave; 0: the weights themselves.
        patience: epochs without a better score after which training ends; 0: never.
        private: makes released gradients; None: without a privacy budget.
    """

    def __init__(
        self,
        networks: Trainable,
        *,
        device: torch.device,
        average: Average,
        ema_decay: float,
        patience: int = 0,
        private: PrivateSteps | None = None,
    ) -> None:
        self.networks, self.device, self.average, self.private = networks, device, average, private
        self.optimisers = networks.optimisers()
        self.weights = BestAverage(networks.leaving(), ema_decay)
        self.patience, self.steps, self.epochs, self._factor = patience, 0, 0, 1.0

    @property
    def finished(self) -> bool:
        """Whether the score of what is held back has not fallen for `patience` epochs; the same on all workers."""
        return 0 < self.patience <= self.epochs_since_best

    @property
    def epochs_since_best(self) -> int:
        """Epochs since the score of what is held back was best."""
        return self.weights.epochs_since_best

    def step(self, batch: Any, rng: torch.Generator) -> dict[str, Tensor]:
        """The updates of a batch, or the score of rows held back; losses as scalars on the device (no host sync)."""
        if isinstance(batch, ValidationBatch):
            return self._validate(batch)
        at, losses = At(self.steps, self.epochs), {}
        if self.private is None:
            updates = self.networks.updates(batch, at, rng)
        else:
            updates = self.networks.private_updates(batch, self.private, at, rng)
        for update in updates:
            self._move(update)
            losses.update(update.losses)
        self.steps += 1
        return losses

    def _move(self, update: Update) -> None:
        moved = [self.optimisers[name] for name in update.moved]
        for optimiser in moved:
            weights = [w for group in optimiser.adam.param_groups for w in group["params"]]
            if not update.released:
                self.average(w.grad for w in weights if w.grad is not None)
                if optimiser.clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(weights, optimiser.clip_norm)
            of_step = 1.0 if optimiser.rate_of_step is None else optimiser.rate_of_step(self.steps)
            for group in optimiser.adam.param_groups:
                group["lr"] = optimiser.rate * self._factor * of_step
            optimiser.adam.step()
            optimiser.adam.zero_grad(set_to_none=True)
        if update.followed:
            self.weights.follow()

    def _validate(self, held: ValidationBatch) -> dict[str, Tensor]:
        with self.weights.in_use():
            total, n = self.networks.score(held)
        self.weights.add_held(total, n)
        return {"validation": total / n}

    def set_learning_rate(self, factor: float) -> None:
        """Scale all learning rates."""
        self._factor = factor

    def end_epoch(self) -> None:
        """Bring workers together, then choose the weights that would leave now."""
        self.epochs += 1
        self.networks.after_epoch(self.average, self.epochs)
        self.weights.end_epoch(self.average)

    def state_dict(self) -> dict[str, Any]:
        """All that training resumes from: copies on the CPU in dicts and lists."""
        own = {name: optimiser.adam.state_dict() for name, optimiser in self.optimisers.items()}
        state: dict[str, Any] = on_cpu({"networks": self.networks.state_dict(), "optimisers": own})
        return {**state, "weights": self.weights.state_dict(), "steps": self.steps, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        self.networks.load_state_dict(state["networks"])
        for name, optimiser in self.optimisers.items():
            optimiser.adam.load_state_dict(state["optimisers"][name])
        self.weights.load_state_dict(state["weights"])
        self.steps, self.epochs = int(state["steps"]), int(state["epochs"])


def fixed_rng(device: torch.device) -> torch.Generator:
    """The same draws whenever rows held back are scored, so that epochs can be compared."""
    return torch.Generator(device).manual_seed(0)
