"""The critic of private sequences: real and made judged alike, weights bounded; gradients: `dp/gradients/`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from raysynth.methods.timegan.network import Sequences, TimeGanSizes, step_mask
from raysynth.methods.timegan.private_recipe import LARGEST_NORM, SequenceCritic

STEPS, N, WIDTH, CONTEXT = 5, 7, 3, 2


def critic(layers: int = 1) -> SequenceCritic:
    sizes = TimeGanSizes(WIDTH, WIDTH, CONTEXT, hidden=6, layers=layers, noise=2)
    rng = torch.Generator().manual_seed(0)
    return SequenceCritic(sizes, torch.full((WIDTH,), 0.3), torch.full((WIDTH,), 0.5), rng)


def sequences() -> Sequences:
    rng = torch.Generator().manual_seed(1)
    mask_TN = step_mask(torch.arange(N) % STEPS + 1, STEPS)
    x_TNW = torch.randn(STEPS, N, WIDTH, generator=rng) * mask_TN[..., None]
    return Sequences(x_TNW, torch.zeros(0), torch.zeros(0), torch.randn(N, CONTEXT, generator=rng), mask_TN)


def judged(network: SequenceCritic, sequences: Sequences, *, as_real: bool) -> Tensor:
    return network.example_losses(sequences.x_TNW, sequences.context_NK, sequences.mask_TN, as_real=as_real)


def test_both_ways_through_the_network_judge_alike() -> None:
    real = sequences()
    for layers in (1, 2):
        network = critic(layers)
        fast = network.fooling_loss(real.x_TNW, real.context_NK, real.mask_TN)
        torch.testing.assert_close(judged(network, real, as_real=True).mean(), fast)
        logit_TN = network(real.x_TNW, real.context_NK)
        as_made_N = (torch.nn.functional.softplus(logit_TN) * real.mask_TN).sum(0) / STEPS
        torch.testing.assert_close(judged(network, real, as_real=False), as_made_N)


def test_steps_that_are_none_count_for_nothing() -> None:
    network, real = critic(), sequences()
    beyond = replace(real, x_TNW=torch.where(real.mask_TN[..., None] > 0, real.x_TNW, 9.0))
    for as_real in (True, False):
        before = judged(network, real, as_real=as_real)
        torch.testing.assert_close(judged(network, beyond, as_real=as_real), before, rtol=0, atol=0)


def test_the_projection_bounds_every_matrix_and_leaves_small_ones() -> None:
    network = critic(2)
    with torch.no_grad():
        network.network.gru.input[0].mul_(50)
        small = network.network.output.weight.mul_(0.1).clone()
    network.project()
    gru = network.network.gru
    gates = [gate for matrix in (*gru.input, *gru.recurrent) for gate in matrix.split(gru.hidden, 1)]
    norms = [torch.linalg.matrix_norm(gate.detach(), 2).item() for gate in gates]
    assert max(norms) <= LARGEST_NORM * 1.0001 and sum(abs(n - LARGEST_NORM) < 1e-4 for n in norms) >= 3
    torch.testing.assert_close(network.network.output.weight.detach(), small, rtol=0, atol=0)
