"""The unrolled recurrent unit: torch's own, value for value and gradient for gradient."""

from __future__ import annotations

import pytest
import torch

from raysynth.methods.shared.gru import GRU


def twins(layers: int) -> tuple[GRU, torch.nn.GRU]:
    mine = GRU(5, 7, layers, torch.Generator().manual_seed(0)).double()
    torchs = torch.nn.GRU(5, 7, layers).double()
    with torch.no_grad():
        for i in range(layers):
            getattr(torchs, f"weight_ih_l{i}").copy_(mine.input[i].t())
            getattr(torchs, f"weight_hh_l{i}").copy_(mine.recurrent[i].t())
            getattr(torchs, f"bias_ih_l{i}").copy_(mine.bias[i])
            getattr(torchs, f"bias_hh_l{i}").zero_()[14:] = mine.candidate_bias[i]
    return mine, torchs


@pytest.mark.parametrize("layers", [1, 2])
def test_states_and_gradients_are_those_of_torch(layers: int) -> None:
    mine, torchs = twins(layers)
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(6, 4, 5, dtype=torch.double, generator=rng, requires_grad=True)
    first = torch.randn(4, 7, dtype=torch.double, generator=rng, requires_grad=True)
    weight = torch.randn(6, 4, 7, dtype=torch.double, generator=rng)
    states, others = mine(x, first), torchs(x, first.expand(layers, -1, -1).contiguous())[0]
    torch.testing.assert_close(states, others)
    matrices = [(a, f"{n}_l{i}") for n in ("weight_ih", "weight_hh") for i, a in enumerate(weights_of(mine, n))]
    biases = [(a, f"bias_hh_l{i}") for i, a in enumerate(mine.candidate_bias)]
    own = torch.autograd.grad((states * weight).sum(), [x, first, *(a for a, _ in matrices), *(a for a, _ in biases)])
    named = [getattr(torchs, name) for _, name in (*matrices, *biases)]
    theirs = list(torch.autograd.grad((others * weight).sum(), [x, first, *named]))
    theirs[2:] = [g.t() if g.dim() == 2 else g[14:] for g in theirs[2:]]
    for found, wanted in zip(own, theirs, strict=True):
        torch.testing.assert_close(found, wanted)


def weights_of(model: GRU, name: str) -> torch.nn.ParameterList:
    return model.input if name == "weight_ih" else model.recurrent


def test_a_state_depends_on_the_past_only() -> None:
    mine, _ = twins(2)
    x = torch.randn(6, 4, 5, dtype=torch.double, generator=torch.Generator().manual_seed(2))
    changed = x.clone()
    changed[3:] += 1
    before, after = mine(x), mine(changed)
    torch.testing.assert_close(before[:3], after[:3])
    assert (before[3:] - after[3:]).abs().amax((1, 2)).min() > 0


@pytest.mark.parametrize("layers", [1, 2])
def test_plain_products_give_the_same_states_and_gradients(layers: int) -> None:
    mine, _ = twins(layers)
    x_TNI = torch.randn(6, 4, 5, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    fast, plain = mine(x_TNI), mine.by_products(x_TNI.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(plain, fast)
    weight = torch.randn(6, 4, 7, dtype=torch.double, generator=torch.Generator().manual_seed(4))
    found, wanted = (torch.autograd.grad((x * weight).sum(), list(mine.parameters())) for x in (plain, fast))
    torch.testing.assert_close(found, wanted)
