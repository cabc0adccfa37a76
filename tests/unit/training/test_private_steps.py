"""A private step: the number of workers is read each time, and no loss of a single row shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.training.batches import Batch
from raysynth.training.private_batches import PrivateBatch, PrivatePart
from raysynth.training.private_steps import PrivateSteps

PLAN = DpSgdPlan(clip=1.0, noise_multiplier=1.0, sampling_rate=0.5, expected_batch=1.0, steps=10)
WIDTH = 20_000


class Workers:
    """Says how many workers there are now; adds nothing, so that this worker's own part is seen."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers, self.sums = n_workers, 0

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        raise AssertionError("gradients are summed, not averaged")

    def total(self, tensors: Iterable[Tensor]) -> None:
        self.sums += len(list(tensors))


def batch(values: list[float], counted: list[bool]) -> PrivateBatch:
    rows = Batch(torch.zeros(len(values), 0, dtype=torch.long), torch.tensor(values)[:, None])
    return PrivateBatch((PrivatePart(rows, torch.tensor(counted), np.arange(len(values))),))


def taught(steps: PrivateSteps, batch: PrivateBatch, width: int) -> tuple[Tensor, Tensor]:
    """The released gradient of a linear layer whose loss is its output, and the loss."""
    network = nn.Linear(1, width, bias=False)
    loss = steps.teach(network, batch, lambda part: network(part.values_NV).sum(1))
    assert network.weight.grad is not None
    return network.weight.grad, loss


def test_the_noise_follows_the_number_of_workers_as_it_is_now() -> None:
    """Workers come and go between starts: with W as it was, the noise of all together would be too small.

    Standard deviation of 20,000 numbers: 0.5 % of error, ten times less than what is allowed.
    """
    workers = Workers(4)
    steps, nobody = PrivateSteps(PLAN, workers), batch([0.0], [False])
    assert float(taught(steps, nobody, WIDTH)[0].std()) == pytest.approx(0.5, rel=0.05)
    workers.n_workers = 1
    assert float(taught(steps, nobody, WIDTH)[0].std()) == pytest.approx(1.0, rel=0.05)
    assert workers.sums == 2, "one sum over the workers for each step"


def test_two_workers_release_together_what_one_process_releases() -> None:
    """The same sum for the same units, each clipped by itself, and noise of the same size, where it is seeded, too."""
    values, counted = [0.3, -2.0, 5.0, 0.1, 7.0, -0.4], [True, True, True, True, False, True]

    def together(plan: DpSgdPlan, n_workers: int, width: int) -> Tensor:
        torch.manual_seed(0)
        parts = [(values[r::n_workers], counted[r::n_workers]) for r in range(n_workers)]
        ranks = [PrivateSteps(plan, Workers(n_workers), r) for r in range(n_workers)]
        return torch.stack([taught(s, batch(*own), width)[0] for s, own in zip(ranks, parts, strict=True)]).sum(0)

    exact = replace(PLAN, noise_multiplier=0.0, expected_batch=3.0)
    for n_workers in (2, 3):
        torch.testing.assert_close(together(exact, n_workers, 5), together(exact, 1, 5))
        noised = together(replace(PLAN, insecure_seed=4), n_workers, WIDTH)
        assert float(noised.std()) == pytest.approx(1.0, rel=0.05)


def test_a_loss_that_is_not_finite_counts_as_zero() -> None:
    """An error about a loss would tell of the row."""
    steps = PrivateSteps(PLAN, Workers(1))
    for odd in (float("inf"), float("nan"), -float("inf")):
        grad, loss = taught(steps, batch([1.0, odd, 5.0], [True, True, False]), 3)
        assert torch.isfinite(loss) and torch.isfinite(grad).all()
