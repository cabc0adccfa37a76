"""Uses: where a weight meets the examples of a batch, and what follows for each example's gradient.

For an affine map out = a W + b the gradient of example n is the outer product of its input a_n and of its output's
gradient g_n, so its norm is |a_n| |g_n| and nobody needs the product itself (Goodfellow 2015, arXiv 1510.01799). A
weight that meets one example at T places (time steps) has the gradient sum_t a_t g_t', whose squared norm comes from
two Gram matrices: sum_ts (a_t . a_s) (g_t . g_s) (Bu et al. 2023, arXiv 2210.00038). Once each example's factor is
known, the sum of all clipped gradients is one product, a' diag(factor) g: no second backward pass.

Every use answers two questions: the squared norm of each example's gradient, and the weighted sum of these gradients.

Shape legend: N examples, B members of a batched product (one weight each), T places at which an example meets a weight,
I inputs, O outputs, P positions of one gather, K rows of a table, H width of a row, U rows of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

ROUNDING = 1e-6  # bound of the relative error of float32 sums of products whose terms cancel


class Use(Protocol):
    """One meeting of some weights with the examples of a batch."""

    def squared_norms(self) -> Tensor:
        """(N,) squared norm of each example's gradient by all weights of the use, in float32."""
        ...

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """For each weight (by its number) the sum over examples of factor times gradient, in the weight's shape."""
        ...

    def without(self, example_N: Tensor) -> Use:
        """The same use with the gradients and inputs of the marked examples set to zero."""
        ...


@dataclass(frozen=True)
class AffineUse:
    """out = inputs @ weight + bias, each example once, or at T places (a recurrent cell unrolled, rows of a sequence).

    Args:
        inputs_BNTI, grads_BNTO: what went in, and the gradient of each example's loss by what came out.
        weight: number of the weight.
        bias: number of the bias; None: none that is learned.
        shape, bias_shape: the weight's and the bias's own shapes.
        outputs_first: the weight is kept as (O, I).
    """

    inputs_BNTI: Tensor
    grads_BNTO: Tensor
    weight: int
    shape: torch.Size
    bias: int | None = None
    bias_shape: torch.Size | None = None
    outputs_first: bool = False

    @classmethod
    def of(cls, uses: Sequence[AffineUse]) -> AffineUse:
        """Several meetings with the same weight as one."""
        inputs, grads = torch.cat([u.inputs_BNTI for u in uses], 2), torch.cat([u.grads_BNTO for u in uses], 2)
        return replace(uses[0], inputs_BNTI=inputs, grads_BNTO=grads)

    def squared_norms(self) -> Tensor:
        """Of one place: of a_n g_n' and of g_n. Of several: from Gram matrices over places; terms may cancel, so the
        rounding error's bound is added: never too small."""
        if self.inputs_BNTI.shape[2] == 1:
            inputs_BN, grads_BN = (x.square().sum((2, 3)) for x in (self.inputs_BNTI, self.grads_BNTO))
            return (grads_BN * (inputs_BN + 1 if self.bias is not None else inputs_BN)).sum(0)
        inputs, grads = self.inputs_BNTI.flatten(0, 1), self.grads_BNTO.flatten(0, 1)
        inputs_TT, grads_TT = torch.bmm(inputs, inputs.transpose(1, 2)), torch.bmm(grads, grads.transpose(1, 2))
        if self.bias is not None:
            inputs_TT = inputs_TT + 1
        lengths_T = (inputs_TT.diagonal(dim1=1, dim2=2) * grads_TT.diagonal(dim1=1, dim2=2)).clamp(min=0).sqrt()
        squared = (inputs_TT * grads_TT).sum((1, 2)).clamp(min=0) + ROUNDING * lengths_T.sum(1).square()
        return squared.view(self.inputs_BNTI.shape[:2]).sum(0)

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """One product for the weight, one sum for the bias, over examples and places."""
        grads = (self.grads_BNTO * factor_N[:, None, None]).flatten(1, 2)
        inputs = self.inputs_BNTI.flatten(1, 2)
        left, right = (grads, inputs) if self.outputs_first else (inputs, grads)
        sums = {self.weight: torch.bmm(left.transpose(1, 2), right).reshape(self.shape)}
        if self.bias is not None and self.bias_shape is not None:
            sums[self.bias] = grads.sum(1).reshape(self.bias_shape)
        return sums

    def without(self, example_N: Tensor) -> AffineUse:
        """Zero the marked examples."""
        gone = example_N[None, :, None, None]
        return replace(
            self, inputs_BNTI=self.inputs_BNTI.masked_fill(gone, 0), grads_BNTO=self.grads_BNTO.masked_fill(gone, 0)
        )


@dataclass(frozen=True)
class OffsetUse:
    """A weight added to every example: each example's gradient is at hand.

    Args:
        grads_NX: gradient of each example, flattened, (N, numbers of the weight).
        weight: number of the weight.
        shape: its shape.
    """

    grads_NX: Tensor
    weight: int
    shape: torch.Size

    def squared_norms(self) -> Tensor:
        """The square of each example's gradient, (N,): no other use of the weight is to be added first."""
        return self.grads_NX.square().sum(1)

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """The sum over examples of factor times gradient, in the weight's shape."""
        return {self.weight: (factor_N @ self.grads_NX).reshape(self.shape)}

    def without(self, example_N: Tensor) -> OffsetUse:
        """Zero the marked examples."""
        return replace(self, grads_NX=self.grads_NX.masked_fill(example_N[:, None], 0))


@dataclass(frozen=True)
class GatherUse:
    """Rows of a table gathered by each example; the same row may be gathered at several positions.

    Args:
        index_PN: rows.
        grads_PNH: gradient of each example's loss by the gathered row.
        weight: number of the table.
        shape: (K, H).
    """

    index_PN: Tensor
    grads_PNH: Tensor
    weight: int
    shape: torch.Size

    def squared_norms(self) -> Tensor:
        """Positions with the same row add up before they are squared."""
        n, rows = self.index_PN.shape[1], self.shape[0]
        if len(self.index_PN) == 1:
            return self.grads_PNH[0].square().sum(1)
        place_PN = torch.arange(n, device=self.index_PN.device) * rows + self.index_PN
        places_U, at = torch.unique(place_PN, return_inverse=True)
        sums_UH = self.grads_PNH.new_zeros(len(places_U), self.shape[1])
        sums_UH.index_add_(0, at.reshape(-1), self.grads_PNH.flatten(0, 1))
        return sums_UH.new_zeros(n).index_add_(0, places_U // rows, sums_UH.square().sum(1))

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """Added up row by row."""
        grads = (self.grads_PNH * factor_N[:, None]).flatten(0, 1)
        return {self.weight: grads.new_zeros(self.shape).index_add_(0, self.index_PN.reshape(-1), grads)}

    def without(self, example_N: Tensor) -> GatherUse:
        """Zero the marked examples."""
        return replace(self, grads_PNH=self.grads_PNH.masked_fill(example_N[None, :, None], 0))


def merged(uses: Sequence[AffineUse | OffsetUse | GatherUse]) -> list[Use]:
    """Uses with those of the same weight joined, so that an example's gradients by one weight are added first.

    Raises:
        TypeError: two uses of one weight of different kinds, for which there is no joint rule.
    """
    groups: dict[int, list[AffineUse | OffsetUse | GatherUse]] = {}
    owner: dict[int, int] = {}
    for use in uses:
        bias = getattr(use, "bias", None)
        for number in (use.weight, *(() if bias is None else (bias,))):
            if owner.setdefault(number, use.weight) != use.weight:
                raise TypeError("a bias is shared between layers; there is no rule for its example gradients")
        groups.setdefault(use.weight, []).append(use)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: Sequence[AffineUse | OffsetUse | GatherUse]) -> Use:
    affine = [u for u in group if isinstance(u, AffineUse)]
    offsets = [u for u in group if isinstance(u, OffsetUse)]
    gathers = [u for u in group if isinstance(u, GatherUse)]
    if len(affine) == len(group) and len({(u.bias, u.outputs_first) for u in affine}) == 1:
        return AffineUse.of(affine)
    if len(offsets) == len(group):
        return replace(offsets[0], grads_NX=torch.stack([u.grads_NX for u in offsets]).sum(0))
    if len(gathers) == len(group):
        index, grads = torch.cat([u.index_PN for u in gathers]), torch.cat([u.grads_PNH for u in gathers])
        return replace(gathers[0], index_PN=index, grads_PNH=grads)
    raise TypeError("a weight is used in several ways at once; there is no rule for its example gradients")
