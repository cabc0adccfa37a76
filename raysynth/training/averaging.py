"""Which weights leave a training: their moving average, at the epoch whose validation loss was lowest.

And what the workers of a training say to each other (`Average`): means and sums of tensors over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class BestAverage:
    """Exponential moving average of weights, and its best state by a validation loss (the last one without any).

    Args:
        parameters: that are followed; never replaced.
        decay: of the average; 0 follows the weights themselves.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.averaged = [p.detach().clone() for p in parameters]
        self.best = [p.detach().clone() for p in parameters]
        self.best_loss, self.epochs_since_best, self.steps = math.inf, 0, 0
        self._held_loss, self._held_rows = torch.zeros((), device=parameters[0].device), 0

    @torch.no_grad()
    def follow(self) -> None:
        """After a step: move the average; early on over fewer steps, so that the first weights are forgotten."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self.parameters], 1 - decay)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The networks with the averaged weights, for scoring."""
        with torch.no_grad():
            current = [p.detach().clone() for p in self.parameters]
            copy_all(self.averaged, self.parameters)
            yield
            copy_all(current, self.parameters)

    def add_held(self, total: Tensor, rows: int) -> None:
        """Add the summed loss of validation rows under the averaged weights."""
        self._held_loss, self._held_rows = self._held_loss + total, self._held_rows + rows

    @torch.no_grad()
    def end_epoch(self, average: Average) -> None:
        """Keep the averaged weights if the validation loss over all workers is the lowest, or if there is none."""
        if not self._held_rows:
            copy_all(self.averaged, self.best)
            return
        loss = self._held_loss / self._held_rows
        average([loss])
        self._held_loss, self._held_rows = torch.zeros_like(self._held_loss), 0
        self.epochs_since_best += 1
        if (value := loss.item()) < self.best_loss:
            self.best_loss, self.epochs_since_best = value, 0
            copy_all(self.averaged, self.best)

    def state_dict(self) -> dict[str, Any]:
        """What training resumes from; tensors on the CPU are copies."""
        return {
            "averaged": on_cpu(self.averaged),
            "best": on_cpu(self.best),
            "best_loss": self.best_loss,
            "epochs_since_best": self.epochs_since_best,
            "steps": self.steps,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        copy_all(state["averaged"], self.averaged)
        copy_all(state["best"], self.best)
        self.best_loss, self.steps = float(state["best_loss"]), int(state["steps"])
        self.epochs_since_best = int(state["epochs_since_best"])


def copy_all(source: Sequence[Tensor], target: Sequence[Any]) -> None:
    """Copy tensors into others of the same shapes; inside `torch.no_grad` where these are parameters."""
    for s, t in zip(source, target, strict=True):
        t.copy_(s)


def on_cpu(value: Any) -> Any:
    """The same nest of dicts, lists and tuples with every tensor detached, copied and on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {k: on_cpu(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(v) for v in value)
    return value


class Average(Protocol):
    """All-reduce over workers: the mean (or sum) of tensors, in place."""

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the mean over the workers."""
        ...

    def total(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the sum over the workers: one explicit all-reduce."""
        ...

    @property
    def n_workers(self) -> int:
        """W, as it is now."""
        ...
