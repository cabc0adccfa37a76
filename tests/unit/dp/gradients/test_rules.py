"""Each rule of the recorder by itself: products of every form, tables, offsets; and the shapes that none is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from outcome import value_of
from torch import Tensor, nn
from torch.nn import functional
from unit.dp.gradients.test_clipping import N, check

from raysynth.dp.gradients.record import Recorder
from raysynth.dp.gradients.release import example_gradients
from raysynth.dp.gradients.uses import AffineUse, GatherUse, OffsetUse, merged

Forward = Callable[["Weights", Tensor], Tensor]


class Weights(nn.Module):
    """Weights of some shapes, and what is done with them."""

    def __init__(self, forward: Forward, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape)))
        self.does = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


def over(x: Tensor, members: int) -> Tensor:
    """Examples (N, I) for each member of a batched product, (B, N, I)."""
    return torch.stack([x * (k + 1) for k in range(members)])


@pytest.mark.parametrize(
    ("forward", "shapes"),
    [
        (lambda net, x: torch.addmm(net.b, x, net.w), {"w": (5, 3), "b": (3,)}),
        (lambda net, x: torch.addmm(x[:, :3], x, net.w), {"w": (5, 3)}),
        (lambda net, x: torch.mm(x, net.w), {"w": (5, 3)}),
        (lambda net, x: x.mm(net.w) + x.matmul(net.w), {"w": (5, 3)}),
        (lambda net, x: torch.matmul(x, net.w) + net.b, {"w": (5, 3), "b": (3,)}),
        (lambda net, x: net.b + x, {"b": (5,)}),
        (lambda net, x: torch.add(x, net.b), {"b": (1, 5)}),
        (lambda net, x: torch.bmm(over(x, 4), net.w).transpose(0, 1).flatten(1), {"w": (4, 5, 3)}),
        (
            lambda net, x: torch.baddbmm(net.b, over(x, 4), net.w).transpose(0, 1).flatten(1),
            {"w": (4, 5, 3), "b": (4, 1, 3)},
        ),
        (
            lambda net, x: torch.baddbmm(over(x, 4)[..., :3], over(x, 4), net.w).transpose(0, 1).flatten(1),
            {"w": (4, 5, 3)},
        ),
        (lambda net, x: (torch.stack([x, x**2], 1) @ net.w).flatten(1), {"w": (5, 3)}),
        (
            lambda net, x: functional.linear(over(x, 2).transpose(0, 1), net.w, net.b).flatten(1),
            {"w": (3, 5), "b": (3,)},
        ),
        (
            lambda net, x: (over(over(x, 3), 2).permute(2, 0, 1, 3) + net.b).flatten(1),
            {"b": (1, 1, 1, 5)},
        ),
        (lambda net, x: (over(x, 4) + net.b).transpose(0, 1).flatten(1), {"b": (4, 1, 5)}),
    ],
)
def test_examples_are_clipped_by_their_own_gradients(forward: Forward, shapes: dict[str, tuple[int, ...]]) -> None:
    network, x = Weights(forward, **shapes), torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
    check(network, lambda net, x: torch.tanh(net(x)).square().sum(1), x, rtol=1e-4)


@pytest.mark.parametrize(
    ("forward", "shapes", "said"),
    [
        (lambda net, x: torch.matmul(net.w, x.T), {"w": (3, 5)}, "the weight stands where the examples are expected"),
        (lambda net, x: functional.linear(x, net.w, x[0, :3]), {"w": (3, 5)}, "whose bias depends on examples"),
        (lambda net, x: torch.addmm(net.b, x, net.w), {"w": (5, 3), "b": (1,)}, r"bias of shape \(1,\) of 3 outputs"),
        (
            lambda net, x: torch.matmul(x[1:], net.w),
            {"w": (5, 3)},
            f"expected {N} examples along an axis of size {N - 1}",
        ),
        (lambda net, x: torch.bmm(over(x[1:], 2), net.w), {"w": (2, 5, 3)}, f"along an axis of size {N - 1}"),
        (
            lambda net, x: torch.baddbmm(net.b, over(x, 2), net.w),
            {"w": (2, 5, 3), "b": (1, 1, 3)},
            r"bias of shape \(1, 1, 3\) in a batched product",
        ),
        (lambda net, x: torch.add(x, net.b), {"b": (N, 5)}, "no rule for adding a weight of shape"),
        (lambda net, x: torch.add(x[1:], net.b), {"b": (5,)}, "no rule for adding a weight of shape"),
        (lambda net, x: torch.mul(x, net.b), {"b": (5,)}, "'(mul|__mul__)' brings a weight and examples together"),
        (
            lambda net, x: functional.embedding(x[:, 0].long().abs(), net.w, padding_idx=0),
            {"w": (9, 3)},
            "no rule for an embedding with padding_idx",
        ),
        (
            lambda net, x: functional.embedding(x[1:, 0].long().abs(), net.w),
            {"w": (9, 3)},
            f"along an axis of size {N - 1}",
        ),
    ],
)
def test_shapes_that_no_rule_is_for_are_refused(
    forward: Forward, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    network, x = Weights(forward, **shapes), torch.randn(N, 5)
    with pytest.raises(TypeError, match=said):
        example_gradients(network, lambda: network(x).flatten(1).sum(1), N)


def test_frozen_weights_need_no_part_and_constants_are_none() -> None:
    network = Weights(lambda net, x: x @ (net.w + net.shift), w=(5, 3), frozen=(2,))
    network.register_buffer("shift", torch.ones(5, 3))
    network.frozen.requires_grad_(False)
    x = torch.randn(N, 5)
    found = value_of(lambda: example_gradients(network, lambda: network(x).square().sum(1), N))
    assert [tuple(w.shape) for w in found.weights] == [(5, 3)] and found.losses_N.shape == (N,)
    assert not found.losses_N.requires_grad
    plain = Recorder(network, N)
    assert plain.is_weight(network.w) and not plain.is_weight(network.shift) and not plain.is_weight("w")
    assert [plain.number(w) for w in (network.w, network.frozen, network.w)] == [0, 1, 0]


@pytest.mark.parametrize("members", [1, 2])
def test_uses_of_one_weight_are_joined_in_one_way_or_not_at_all(members: int) -> None:
    rng = torch.Generator().manual_seed(3)
    n, shape = 6, torch.Size([members, 4, 2])

    def affine(weight: int, bias: int | None = None, first: bool = False) -> AffineUse:
        inputs = torch.randn(members, n, 1, 4, generator=rng)
        grads = torch.randn(members, n, 1, 2, generator=rng)
        return AffineUse(inputs, grads, weight, shape, bias, None if bias is None else torch.Size([members, 2]), first)

    uses = [affine(0, 1), affine(0, 1), affine(0, 1)]
    (joined,) = value_of(lambda: merged(uses))
    assert isinstance(joined, AffineUse)
    per = sum(torch.einsum("bni,bno->nbio", u.inputs_BNTI[:, :, 0], u.grads_BNTO[:, :, 0]) for u in uses)
    bias = sum(u.grads_BNTO[:, :, 0].transpose(0, 1) for u in uses)
    expected = per.square().sum((1, 2, 3)) + bias.square().sum((1, 2))  # type: ignore[union-attr]
    torch.testing.assert_close(joined.squared_norms(), expected, rtol=1e-4, atol=1e-4)
    factor = torch.rand(n, generator=rng)
    sums = joined.weighted_sums(factor)
    torch.testing.assert_close(sums[0], torch.einsum("nbio,n->bio", per, factor))
    torch.testing.assert_close(sums[1], torch.einsum("nbo,n->bo", bias, factor))
    offsets = [OffsetUse(torch.randn(n, 3, generator=rng), 0, torch.Size([3])) for _ in range(3)]
    (added,) = value_of(lambda: merged(offsets))
    torch.testing.assert_close(added.squared_norms(), sum(o.grads_NX for o in offsets).square().sum(1))  # type: ignore[union-attr]
    assert added.weighted_sums(factor)[0].shape == (3,)
    gathers = [
        GatherUse(torch.randint(5, (p, n), generator=rng), torch.randn(p, n, 2, generator=rng), 0, torch.Size([5, 2]))
        for p in (1, 2)
    ]
    (gathered,) = value_of(lambda: merged(gathers))
    assert isinstance(gathered, GatherUse) and gathered.index_PN.shape == (3, n)
    assert len(value_of(lambda: merged([affine(0), affine(1), affine(2, 3)]))) == 3
    for wrong, said in (
        ([affine(0), affine(0, first=True)], "several ways"),
        ([affine(0), offsets[0]], "several ways"),
        ([affine(0, 2), affine(1, 2)], "shared between layers"),
    ):
        with pytest.raises(TypeError, match=said):
            merged(wrong)


def test_marked_examples_of_offsets_and_gathers_add_nothing() -> None:
    """Whatever they hold: sums and norms are those of the others."""
    rng = torch.Generator().manual_seed(4)
    marked, factor = torch.tensor([False, True, False, True]), torch.rand(4, generator=rng)
    offset = OffsetUse(torch.randn(4, 3, generator=rng), 0, torch.Size([3]))
    index = torch.randint(5, (2, 4), generator=rng)
    gather = GatherUse(index, torch.randn(2, 4, 3, generator=rng), 0, torch.Size([5, 3]))
    offset.grads_NX[1], gather.grads_PNH[:, 3] = float("nan"), float("inf")
    left, few = value_of(lambda: offset.without(marked)), value_of(lambda: gather.without(marked))
    others = OffsetUse(offset.grads_NX[~marked], 0, offset.shape)
    gathered = GatherUse(index[:, ~marked], gather.grads_PNH[:, ~marked], 0, gather.shape)
    for use, alone in ((left, others), (few, gathered)):
        norms = use.squared_norms()
        torch.testing.assert_close(norms[~marked], alone.squared_norms())
        assert not norms[marked].any()
        torch.testing.assert_close(use.weighted_sums(factor)[0], alone.weighted_sums(factor[~marked])[0])
