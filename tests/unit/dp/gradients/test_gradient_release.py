"""The DP-SGD step: the released gradient has the same mean and covariance whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from outcome import value_of
from torch import Tensor, nn

from raysynth.dp.gradients.release import DpSgdPlan, ExampleGradients, GradientRelease, clipped_sum, example_gradients
from raysynth.dp.mechanisms.noise import OsNoise, SecureNoise

PLAN = DpSgdPlan(clip=0.5, noise_multiplier=1.5, sampling_rate=0.1, expected_batch=20.0, steps=10)
DRAWS = 1500


class Workers:
    """W workers one after the other: what each hands to the all-reduce is added up, as the process group would."""

    def __init__(self) -> None:
        self.sum: Tensor | None = None

    def total(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self.sum = tensor.clone() if self.sum is None else self.sum + tensor
            tensor.copy_(self.sum)


class Silent:
    """A worker that forgets its noise."""

    guarantee = False

    def uniform(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return np.full(shape, 0.5)

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


def add_examples(release: GradientRelease, gradients: ExampleGradients, counted_N: Any = None) -> None:
    release.add_uses(gradients.uses, gradients.weights, counted_N)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1, bias=False))


def gradients_of(x: Tensor) -> ExampleGradients:
    net = network()
    return example_gradients(net, lambda: net(x).square().sum(1), len(x))


def released(shares: list[ExampleGradients], silent: int | None = None) -> Tensor:
    """One released gradient (8 numbers) of rows that are dealt out over workers."""
    workers = Workers()
    for rank, gradients in enumerate(shares):
        noise = Silent() if rank == silent else OsNoise()
        release = GradientRelease(PLAN, n_workers=len(shares), sum_over_workers=workers.total, noise=noise)
        add_examples(release, gradients)
        parts = release.noised_mean()
    return torch.cat([p.reshape(-1) for p in parts])


def farthest(x: Tensor, n_workers: int, silent: int | None = None) -> float:
    """Largest distance, in standard errors, of a sample mean or covariance from what the mechanism promises."""
    shares = [gradients_of(x[rank::n_workers]) for rank in range(n_workers)]
    draws = torch.stack([released(shares, silent) for _ in range(DRAWS)]).double()
    sums = clipped_sum(gradients_of(x).uses, PLAN.clip).sums
    exact = torch.cat([s.reshape(-1) for s in sums]).double() / PLAN.expected_batch
    scale = PLAN.noise_multiplier * PLAN.clip / PLAN.expected_batch
    z = (draws - exact) / scale
    d = z.shape[1]
    means = z.mean(0).abs().max() * DRAWS**0.5
    covariance = z.T @ z / DRAWS
    error = torch.ones(d, d) + torch.eye(d)  # variance of z_i z_j: 1 apart from the diagonal, 2 on it
    return max(float(means), float(((covariance - torch.eye(d)).abs() / (error / DRAWS).sqrt()).max()))


# 8 means and 36 covariances, each beyond 6 standard errors by chance once in 10^7 (covariances of 1,500 draws are close
# to normal): below one false alarm in 10^5
LIMIT = 6.0


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_released_gradient_has_the_same_distribution_over_one_and_two_workers(n_workers: int) -> None:
    assert farthest(torch.randn(6, 2), n_workers) < LIMIT


def test_noise_omitted_on_one_of_two_workers_is_caught() -> None:
    assert farthest(torch.randn(6, 2), 2, silent=1) > 1.5 * LIMIT


def test_micro_batches_add_up_and_get_noise_once() -> None:
    net, x = network(), torch.randn(9, 2)
    whole, parts = (GradientRelease(PLAN, n_workers=1, sum_over_workers=lambda t: None, noise=Silent()) for _ in "ab")
    add_examples(whole, example_gradients(net, lambda: net(x).sum(1), 9))
    for rows in x.split(4):
        add_examples(parts, example_gradients(net, lambda rows=rows: net(rows).sum(1), len(rows)))
    laid = clipped_sum(example_gradients(net, lambda: net(x).sum(1), 9).uses, PLAN.clip).sums
    assert GradientRelease(PLAN, n_workers=1, sum_over_workers=lambda t: None, noise=Silent()).exact_sum is None
    for release in (whole, parts):
        torch.testing.assert_close(value_of(lambda r=release: r.exact_sum), torch.cat([s.flatten() for s in laid]))
    for a, b in zip(whole.noised_mean(), parts.noised_mean(), strict=True):
        torch.testing.assert_close(a, b)


def test_an_empty_batch_releases_noise_alone() -> None:
    net, x = network(), torch.zeros(4, 2)
    release = GradientRelease(PLAN, n_workers=1, sum_over_workers=lambda t: None, noise=OsNoise())
    with pytest.raises(ValueError, match="at least one"):
        release.noised_mean()
    add_examples(release, example_gradients(net, lambda: net(x).sum(1), 4), torch.zeros(4, dtype=torch.bool))
    release.set_gradients(net.parameters())
    grads = torch.cat([p.grad.reshape(-1) for p in net.parameters()])
    assert (grads != 0).all()
    assert grads.norm() < 10 * PLAN.noise_multiplier * PLAN.clip / PLAN.expected_batch * len(grads) ** 0.5


@pytest.mark.parametrize(("rate", "steps"), [(0.1, 10), (0.3, 3), (1.0, 1), (0.8, 1), (0.004, 250)])
def test_in_so_many_steps_each_row_is_drawn_once(rate: float, steps: int) -> None:
    assert value_of(lambda: replace(PLAN, sampling_rate=rate).steps_per_epoch) == steps


def test_noise_is_the_systems_unless_a_test_has_a_seed() -> None:
    """Cryptographic where that is asked for; with a seed each purpose has a stream of its own."""
    assert isinstance(value_of(lambda: PLAN.noise("batches")), OsNoise) and PLAN.noise("x").guarantee
    assert isinstance(replace(PLAN, secure_mode=True).noise("batches"), SecureNoise)
    seeded = replace(PLAN, insecure_seed=0)
    one, again, other = (value_of(lambda p=p: seeded.noise(p)).normal(4).tolist() for p in ("a", "a", "b"))
    assert one == again != other and not seeded.noise("a").guarantee
    plans = [DpSgdPlan(0.5, 1.5, 0.1, 20.0, 10) for _ in range(2)]
    assert plans[0].fit_id != plans[1].fit_id and len(plans[0].fit_id) == 16
