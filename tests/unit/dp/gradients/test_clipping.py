"""Exact clipping: norms and sums against per-example gradients by torch.func, for every network and kind of layer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from outcome import value_of
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from raysynth.dp.gradients.release import MARGIN, clipped_sum, example_gradients
from raysynth.dp.gradients.uses import AffineUse, GatherUse
from raysynth.methods.autoregressive.network import (
    AnyOrderNetwork,
    CodeLayout,
    CodeTable,
    NetworkSettings,
    random_places,
)
from raysynth.methods.autoregressive_sequences.network import KNOTS, SequenceCodes, SequenceNetwork
from raysynth.methods.shared.spans import SpanIndex, Spans
from raysynth.methods.timegan.network import TimeGanSizes, VectorLayout
from raysynth.methods.timegan.private_recipe import SequenceCritic
from raysynth.methods.vae.network import MixturePrior, TabularVae, VaeNetworks

N = 12
Losses = Callable[[nn.Module, Tensor], Tensor]


def example_grads(network: nn.Module, losses: Losses, x: Tensor) -> list[Tensor]:
    """(N, ...) gradients of each example by each parameter, one example at a time under vmap."""
    parameters = {k: p.detach() for k, p in network.named_parameters()}

    class Losses_(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x_1X: Tensor) -> Tensor:
            return losses(self.network, x_1X)

    wrapped = Losses_()

    def loss(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        named = {f"network.{k}": p for k, p in parameters.items()}
        return functional_call(wrapped, named, (one[None],)).sum()

    return list(vmap(grad(loss), in_dims=(None, 0))(parameters, x).values())


def norms_of(grads: Iterable[Tensor]) -> Tensor:
    return torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()


def check(network: nn.Module, losses: Losses, x: Tensor, *, rtol: float = 2e-5) -> None:
    """Norms, and the clipped sum by every parameter after the chain rule, are those of the reference."""
    reference = example_grads(network, losses, x)
    gradients = value_of(lambda: example_gradients(network, lambda: losses(network, x), len(x)))
    torch.testing.assert_close(gradients.losses_N, losses(network, x).detach())
    expected = norms_of(reference)
    clip = float(expected.median())
    clipped = value_of(lambda: clipped_sum(gradients.uses, clip))
    torch.testing.assert_close(clipped.norms_N, expected, rtol=rtol, atol=1e-6)
    factors = (clip / expected).clamp(max=1)
    for parameter in network.parameters():
        parameter.grad = None
    torch.autograd.backward(gradients.weights, clipped.sums)
    for parameter, grads in zip(network.parameters(), reference, strict=True):
        summed = torch.einsum("n,n...->...", factors, grads)
        torch.testing.assert_close(parameter.grad, summed, rtol=1e-3, atol=1e-5 * clip)


def check_beside(
    network: nn.Module, losses: Losses, x: Tensor, expected_N: Tensor, *, rtol: float, rows_each: int = 1
) -> None:
    """The same for a network whose norms are those of another one: its unclipped sums are the plain gradients."""
    gradients = value_of(lambda: example_gradients(network, lambda: losses(network, x), N, rows_each))
    clipped = value_of(lambda: clipped_sum(gradients.uses, 1.0))
    torch.testing.assert_close(clipped.norms_N, expected_N, rtol=rtol, atol=1e-6)
    plain = torch.autograd.grad(losses(network, x).sum(), list(network.parameters()))
    value_of(lambda: torch.autograd.backward(gradients.weights, clipped_sum(gradients.uses, 1e9).sums))
    for parameter, summed in zip(network.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, summed, rtol=1e-3, atol=1e-4)


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3, bias=False), nn.Tanh(), nn.Linear(3, 1))


class Recurrent(nn.Module):
    """A cell unrolled over the places of a sequence: its weights meet every example once a place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.first = nn.Linear(3, 6), nn.Linear(6, 6, bias=False), nn.Linear(3, 6)

    def forward(self, x_NTI: Tensor) -> Tensor:
        h, all_at_once = x_NTI.new_zeros(len(x_NTI), 6), self.first(x_NTI)
        for t in range(x_NTI.shape[1]):
            h = torch.tanh(self.inner(x_NTI[:, t]) + self.outer(h) + all_at_once[:, t])
        return h


class Tables(nn.Module):
    """A table gathered several times by an example, the same row too, and an offset added twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 5))
        self.offset = nn.Parameter(torch.randn(5))
        self.out = nn.Parameter(torch.randn(5, 2))

    def forward(self, index_NP: Tensor) -> Tensor:
        rows_PNH = functional.embedding(index_NP.T, self.table)
        h = torch.tanh(rows_PNH.sum(0) + self.offset) + self.offset
        return h.square() @ self.out


def test_linear_layers() -> None:
    torch.manual_seed(0)
    check(perceptron(), lambda net, x: net(x).square().sum(1), torch.randn(N, 5))


@pytest.mark.parametrize(("layers", "as_real"), [(1, True), (2, True), (1, False)])
def test_the_critic_of_sequences_of_different_lengths(layers: int, as_real: bool) -> None:
    """The recurrent network of private sequences: gates unrolled over time, an output at every step, a mask."""
    steps, width, context = 7, 4, 3
    sizes = TimeGanSizes(width, width, context, hidden=6, layers=layers, noise=2)
    rng = torch.Generator().manual_seed(0)
    critic = SequenceCritic(sizes, torch.full((width,), 0.2), torch.full((width,), 0.5), rng)
    x_NX = torch.randn(N, steps * width + context + 1, generator=rng)
    x_NX[:, -1] = torch.arange(N) % steps + 1
    x_NX[3, -1] = 0  # as a row that fills up

    def losses(net: nn.Module, x_NX: Tensor) -> Tensor:
        x_TNW = x_NX[:, : steps * width].reshape(len(x_NX), steps, width).transpose(0, 1)
        mask_TN = (torch.arange(steps)[:, None] < x_NX[:, -1]).float()
        return net.example_losses(x_TNW * mask_TN[..., None], x_NX[:, -context - 1 : -1], mask_TN, as_real=as_real)

    check(critic, losses, x_NX, rtol=1e-4)


def test_a_recurrent_cell_over_time_by_gram_matrices() -> None:
    torch.manual_seed(1)
    check(Recurrent(), lambda net, x: net(x).square().sum(1), torch.randn(N, 9, 3), rtol=1e-4)


def test_norms_of_places_that_cancel_are_never_too_small() -> None:
    """Places of large numbers that nearly cancel: in float32 their Gram matrices say nothing, or less than nothing."""
    rng = torch.Generator().manual_seed(0)
    inputs = 100 + 1e-3 * torch.randn(500, 16, 4, generator=rng)
    sign = torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    grads = sign * torch.randn(500, 1, 3, generator=rng)
    exact = torch.einsum("nti,nto->nio", inputs.double(), grads.double()).flatten(1).norm(dim=1)
    found = value_of(AffineUse(inputs[None], grads[None], 0, torch.Size([4, 3])).squared_norms).double().sqrt()
    assert (found >= exact * (1 - MARGIN)).all()


def test_a_marked_example_of_several_places_adds_nothing() -> None:
    rng = torch.Generator().manual_seed(1)
    inputs, grads = torch.randn(N, 6, 4, generator=rng), torch.randn(N, 6, 3, generator=rng)
    inputs[2], grads[2] = float("inf"), float("nan")
    marked = torch.arange(N) == 2
    use = AffineUse(inputs[None], grads[None], 0, torch.Size([4, 3]), 1, torch.Size([3]), outputs_first=False)
    left = use.without(marked)
    assert not left.inputs_BNTI[0, marked].any() and not left.grads_BNTO[0, marked].any()
    sums = left.weighted_sums(torch.ones(N))
    torch.testing.assert_close(sums[0], torch.einsum("nti,nto->io", inputs[~marked], grads[~marked]))
    torch.testing.assert_close(sums[1], grads[~marked].sum((0, 1)))


@pytest.mark.parametrize("positions", [1, 2, 3])
def test_norms_of_gathered_rows_are_those_of_their_sums(positions: int) -> None:
    rng = torch.Generator().manual_seed(positions)
    index_PN = torch.randint(3, (positions, N), generator=rng)
    grads_PNH = torch.randn((positions, N, 4), generator=rng)
    table_NKH = torch.zeros(N, 3, 4)
    for index_N, grads_NH in zip(index_PN, grads_PNH, strict=True):
        table_NKH[torch.arange(N), index_N] += grads_NH
    use = GatherUse(index_PN, grads_PNH, 0, torch.Size((3, 4)))
    torch.testing.assert_close(use.squared_norms(), table_NKH.square().sum((1, 2)))
    factor_N = torch.rand(N, generator=rng)
    sums = value_of(lambda: use.weighted_sums(factor_N))
    torch.testing.assert_close(sums[0], torch.einsum("nkh,n->kh", table_NKH, factor_N))


def test_gathers_of_the_same_row_and_offsets() -> None:
    torch.manual_seed(2)
    check(Tables(), lambda net, x: net(x).sum(1), torch.randint(0, 4, (N, 6)))


@pytest.mark.parametrize("columns", [1, 4])
def test_the_any_order_network(columns: int) -> None:
    """Its code tables are made of two parameters, so examples are clipped by the table that both make.

    The reference is a network whose tables have no coarse knots: its own vectors are the table.
    """
    torch.manual_seed(3)
    layout = CodeLayout((4, 103, 7, 60)[:columns], (0, 102, 0, 59)[:columns])
    rng = torch.Generator().manual_seed(0)
    shares = [np.full(k, 1 / k) for k in layout.cardinalities]
    network = AnyOrderNetwork(layout, NetworkSettings(16, 8, 2), shares, rng)
    folded = AnyOrderNetwork(layout, NetworkSettings(16, 8, 2), shares, rng)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.1 * torch.randn_like(p)
        folded.load_state_dict(network.state_dict())
        for table, source in ((folded.embedding, network.embedding), (folded.head, network.head)):
            assert isinstance(table, CodeTable)
            table.own_KH.copy_(source())
            table.knots_PH.zero_()
    codes = torch.stack([torch.randint(0, k, (N,)) for k in layout.cardinalities], 1)
    places = random_places(N, columns, rng)
    x = torch.cat([codes, places], 1)

    def losses(net: nn.Module, x: Tensor) -> Tensor:
        return net(x[:, :columns], x[:, columns:]).sum(0)

    names = [name for name, _ in folded.named_parameters()]
    grads = dict(zip(names, example_grads(folded, losses, x), strict=True))
    expected = norms_of(g for name, g in grads.items() if "knots" not in name)
    check_beside(network, losses, x, expected, rtol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_network_of_sequences_of_different_lengths(steps: int) -> None:
    """Rows of a sequence are one example: products of columns, code tables and gates meet it at several places.

    Its loss is that of the training without a budget. The columns are not ordered: their tables have no coarse knots.
    """
    layout, context = CodeLayout((4, 3), (0, 0)), VectorLayout((3,), (), (), (-1,))
    rng = torch.Generator().manual_seed(steps)
    shares = [np.full(k, 1 / k) for k in layout.cardinalities]
    codes, how = SequenceCodes(steps, layout, 0, context), NetworkSettings(8, 6, 2, 0.0)
    network = SequenceNetwork(codes, how, 5, (shares, shares), np.zeros((0, KNOTS)), rng)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.3 * torch.randn(p.shape, generator=rng)
    own = [torch.randint(k, (N, 1), generator=rng) for k in (3, *layout.cardinalities * steps)]
    x = torch.cat([torch.arange(N)[:, None] % steps + 1, *own], 1)
    values = torch.zeros(N, 0)

    def losses(net: nn.Module, x: Tensor) -> Tensor:
        return net.example_losses(net.rows_of(x, values[: len(x)]))

    with torch.no_grad():
        first, later = network(network.rows_of(x, values))
        torch.testing.assert_close(losses(network, x).sum() * steps, first.sum() + later.sum())
    check_beside(network, losses, x, norms_one_by_one(network, losses, x), rtol=1e-4, rows_each=steps)


def norms_one_by_one(network: nn.Module, losses: Losses, x: Tensor) -> Tensor:
    """The norm of each example's gradient, from a backward pass of its own."""
    weights, found = list(network.parameters()), []
    for i in range(len(x)):
        grads = torch.autograd.grad(losses(network, x[i : i + 1]).sum(), weights, allow_unused=True)
        found.append(sum(g.square().sum() for g in grads if g is not None).sqrt())
    return torch.stack(found)


class FoldedPrior(nn.Module):
    """A mixture prior whose parameters are the three tables that places meet: what its examples are clipped by."""

    def __init__(self, prior: MixturePrior) -> None:
        super().__init__()
        precision = torch.exp(-2 * prior.log_std_KL.detach())
        at_zero = prior.log_density(torch.zeros(1, prior.mean_KL.shape[1])).detach()  # logsumexp of the constants
        constant = (
            prior.log_weight_K.detach().log_softmax(0)
            - (prior.log_std_KL.detach() + 0.5 * prior.mean_KL.detach().square() * precision).sum(1)
            - 0.5 * math.log(2 * math.pi) * prior.mean_KL.shape[1]
        )
        torch.testing.assert_close(constant.logsumexp(0), at_zero[0])
        self.constant_K = nn.Parameter(constant)
        self.linear_LK = nn.Parameter((prior.mean_KL.detach() * precision).T.clone())
        self.square_LK = nn.Parameter(-0.5 * precision.T)

    def log_density(self, place_NL: Tensor) -> Tensor:
        log_NK = self.constant_K + place_NL @ self.linear_LK + place_NL.square() @ self.square_LK
        return log_NK.logsumexp(1)


@pytest.mark.parametrize("components", [0, 3])
def test_the_autoencoder_end_to_end(components: int) -> None:
    """Encoder, place, decoder and prior in one loss; the mixture's examples are clipped by what its parameters make."""
    torch.manual_seed(8)
    spans = Spans((3, 4, 5, 2), (1, 2))
    index, n_spread = SpanIndex(spans), 9
    rng = torch.Generator().manual_seed(0)
    network = TabularVae(spans, VaeNetworks(3, (8, 6), (7,), components), [i % 4 != 3 for i in range(n_spread)], rng)
    codes = torch.stack([torch.randint(0, k, (N,)) for k in spans.cardinalities], 1)
    x = torch.cat([codes.float(), torch.randn(N, 2), torch.randn(N, 3)], 1)

    def losses(net: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(net, TabularVae)
        reconstruction_N, divergence_N = net.example_losses(x[:, :4].long(), x[:, 4:6], x[:, 6:], index)
        return 2.0 * reconstruction_N + 0.3 * divergence_N

    if not components:
        check(network, losses, x, rtol=1e-4)
        return
    folded = copy.deepcopy(network)
    assert network.prior is not None
    folded.prior = FoldedPrior(network.prior)  # type: ignore[assignment]
    expected = norms_of(example_grads(folded, losses, x))
    check_beside(network, losses, x, expected, rtol=1e-4)


class Derived(nn.Module):
    """A weight that is a function of parameters: each example is clipped by the function's value."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.randn(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.exp(-2 * self.log_scale)


def test_a_function_of_parameters_counts_as_the_weight_and_the_chain_rule_teaches_the_parameters() -> None:
    torch.manual_seed(4)
    network, x = Derived(), torch.randn(N, 5)
    gradients = example_gradients(network, lambda: network(x).square().sum(1), N)
    out_grad = 2 * network(x).detach()
    torch.testing.assert_close(
        clipped_sum(gradients.uses, 1.0).norms_N, x.norm(dim=1) * out_grad.norm(dim=1), rtol=1e-5, atol=1e-6
    )
    (plain,) = torch.autograd.grad(network(x).square().sum(), [network.log_scale])
    torch.autograd.backward(gradients.weights, clipped_sum(gradients.uses, 1e9).sums)
    torch.testing.assert_close(network.log_scale.grad, plain)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_an_example_whose_gradient_is_not_finite_counts_as_zero(bad: float) -> None:
    torch.manual_seed(5)
    network, x = perceptron(), torch.randn(N, 5)
    spoiled = x.clone()
    spoiled[3] = bad
    others = torch.arange(N) != 3
    one, without = (
        clipped_sum(example_gradients(network, lambda: network(rows).square().sum(1), len(rows)).uses, 0.5)  # noqa: B023
        for rows in (spoiled, x[others])
    )
    for a, b in zip(one.sums, without.sums, strict=True):
        if bad == 1e30:  # finite until squared: either clipped to 0.5 or left out, never more
            assert (a - b).norm() <= 0.5
        else:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_one_more_example_moves_the_sum_by_no_more_than_the_clip() -> None:
    """The sensitivity that the noise is made for, with gradients of very different sizes."""
    torch.manual_seed(6)
    network = perceptron()
    x = torch.randn(200, 5) * torch.logspace(-3, 3, 200)[:, None]

    def total(rows: Tensor) -> Tensor:
        gradients = example_gradients(network, lambda: network(rows).square().sum(1), len(rows))
        return torch.cat([s.reshape(-1) for s in clipped_sum(gradients.uses, 0.1).sums])

    for i in range(0, 200, 20):
        alone = total(x[i : i + 1]).norm().item()
        assert alone <= 0.1
    assert (total(x) - total(x[:-1])).norm().item() <= 0.1 + 1e-4  # the largest example; rounding of the whole sum
    assert total(x[-1:]).norm().item() == pytest.approx(0.1, rel=1e-4)


def test_examples_that_fill_up_the_batch_do_not_count() -> None:
    torch.manual_seed(7)
    network, x = perceptron(), torch.randn(N, 5)
    counted = torch.arange(N) < 5
    filled = clipped_sum(example_gradients(network, lambda: network(x).sum(1), N).uses, 1.0, counted)
    few = clipped_sum(example_gradients(network, lambda: network(x[:5]).sum(1), 5).uses, 1.0)
    for a, b in zip(filled.sums, few.sums, strict=True):
        torch.testing.assert_close(a, b)


class InPlace(nn.Module):
    def __init__(self, inputs: bool) -> None:
        super().__init__()
        self.a, self.b, self.inputs = nn.Linear(5, 5), nn.Linear(5, 5), inputs

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        out = self.b(h)
        return out + h.mul_(2) if self.inputs else torch.relu_(out)


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x[:, None])[0][:, 0]


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w.detach() + x @ self.w


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.w) @ self.w


class Vector(nn.Module):
    """A product with a weight that is no matrix, or of an example that is no row."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x.matmul(self.weight)[:, None] if self.weight.dim() == 1 else x[0].matmul(self.weight)[None]


class OneBias(nn.Module):
    """Two layers that add the same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.bias = self.first.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Unseen(torch.autograd.Function):
    """A product that no recorder of torch's functions gets to see."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return grads[0] @ w.T, x.T @ grads[0]


class PastTheRecorder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return Unseen.apply(x, self.w) + x @ self.w


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4)), "layer_norm"),
        (PastTheRecorder(), "past the recorder"),
        (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), "batch_norm"),
        (Fused(), "gru"),
        (InPlace(False), "in place"),
        (InPlace(True), "in place"),
        (Detached(), "cuts a weight off"),
        (Twice(), "several ways"),
        (OneBias(), "shared between layers"),
        (Vector(5), r"product of shapes \(\d+, 5\) and \(5,\)"),
        (Vector(5, 2), r"product of shapes \(5,\) and \(5, 2\)"),
        (nn.Sequential(nn.Linear(5, 4), nn.PReLU()), "prelu"),
    ],
)
def test_what_has_no_rule_is_refused_and_never_clipped_wrongly(network: nn.Module, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        example_gradients(network, lambda: network(torch.randn(N, 5)).sum(1), N)


def test_a_parameter_that_took_no_part_is_named() -> None:
    network = nn.ModuleList([nn.Linear(5, 1), nn.Linear(3, 2)])
    with pytest.raises(TypeError, match=r"\(2, 3\)"):
        example_gradients(network, lambda: network[0](torch.randn(N, 5))[:, 0], N)
