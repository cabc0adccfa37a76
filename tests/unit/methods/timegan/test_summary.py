"""Summaries of sequences: each of its own sequence alone, of bounded norm, telling what it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from raysynth.methods.timegan.network import step_mask
from raysynth.methods.timegan.summary import SequenceSummary, log_spread

STEPS, WIDTH, CONTEXT = 10, 3, 2


def summary(width: int = WIDTH, steps: int = STEPS) -> SequenceSummary:
    return SequenceSummary(steps, torch.zeros(width), torch.ones(width), CONTEXT).double()


def sequences(n: int = 20, scale: float = 1.0, width: int = WIDTH) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    mask_TN = step_mask(torch.arange(n) % (STEPS + 1), STEPS).double()
    x_TNW = scale * torch.randn(STEPS, n, width, generator=rng, dtype=torch.double) * mask_TN[..., None]
    return x_TNW, torch.randn(n, CONTEXT, generator=rng, dtype=torch.double), mask_TN


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1.0, 1e30])
@pytest.mark.parametrize("width", [1, WIDTH, 140])
def test_the_norm_is_bounded_for_every_sequence(scale: float, width: int) -> None:
    of = summary(width)
    x_TNW, context_NK, mask_TN = sequences(scale=scale, width=width)
    made_ND = of(x_TNW, context_NK * max(scale, 1.0), mask_TN)
    assert torch.isfinite(made_ND).all() and float(made_ND.norm(dim=1).max()) <= of.clip


def test_a_sequence_with_a_number_that_is_none_counts_as_zero_and_spares_the_others() -> None:
    of, (x_TNW, context_NK, mask_TN) = summary(), sequences()
    before = of(x_TNW, context_NK, mask_TN)
    x_TNW[0, 4, 1], x_TNW[0, 5, 1] = torch.nan, torch.inf
    after = of(x_TNW, context_NK, mask_TN)
    assert (after[4] == 0).all()
    others = [i for i in range(20) if i not in (4, 5)]
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=0)


def test_each_is_that_of_its_sequence_alone() -> None:
    of, (x_TNW, context_NK, mask_TN) = summary(), sequences()
    together = of(x_TNW, context_NK, mask_TN)
    alone = [of(x_TNW[:, i : i + 1], context_NK[i : i + 1], mask_TN[:, i : i + 1]) for i in range(20)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_it_tells_slow_from_fast_movements_and_small_ones_from_none() -> None:
    t = torch.arange(STEPS, dtype=torch.double)
    slow, fast = torch.sin(t / 4), (-1.0) ** t
    x_TNW = torch.stack([slow, fast, 0.05 * slow, 0 * slow], 1)[..., None]
    of = SequenceSummary(STEPS, torch.zeros(1), torch.ones(1), 0).double()
    blocks = of._blocks(x_TNW, torch.zeros(4, 0).double(), torch.ones(STEPS, 4).double())
    first_lag = blocks[8][:, 0]
    assert first_lag[0] > 0.5 and first_lag[1] < -0.7 and first_lag[2] > 0.4 and first_lag[3] == 0
    spread = blocks[5][:, 0]
    np.testing.assert_allclose(spread[3], log_spread(torch.zeros(())), atol=1e-12)
    assert spread[0] > 0 > spread[2] > spread[3] + 0.2


def test_means_and_spreads_of_all_steps_come_back_from_a_mean_summary() -> None:
    of, (x_TNW, context_NK, mask_TN) = summary(), sequences(400, 0.5)
    mean_W, square_W = of.pooled(of(x_TNW, context_NK, mask_TN).mean(0))
    steps_MW = x_TNW[mask_TN > 0]
    torch.testing.assert_close(mean_W, steps_MW.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(square_W, steps_MW.square().mean(0), atol=0, rtol=0.05)
