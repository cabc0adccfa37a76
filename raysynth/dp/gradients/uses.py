"""Uses: where a weight meets the examples of a batch, and what follows for each example's gradient.

For an affine map out = a W + b the gradient of example n is the outer product of its input a_n and of its output's
gradient g_n, so its norm is |a_n| |g_n| and nobody needs the product itself (Goodfellow 2015, arXiv 1510.01799). A
weight that meets one example at T places (time steps) has the gradient sum_t a_t g_t', whose squared norm comes from
two Gram matrices: sum_ts (a_t . a_s) (g_t . g_s) (Bu et al. 2023, arXiv 2210.00038). Once each example's factor is
known, the sum of all clipped gradients is one product, a' diag(factor) g: no second backward pass.

Every use answers two questions: the squared norm of each example's gradient, and the weighted sum of these gradients.

Shape legend: N examples, B members of a batched product (one weight each), T places at which an example meets a weight,
I inputs, O outputs, P positions of one gather, K rows of a table, H width of a row.
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
    """out_BNO = inputs_BNI @ weight_BIO + bias_BO, each example once.

    Args:
        inputs_BNI, grads_BNO: what went in, and the gradient of each example's loss by what came out.
        weight: number of the weight.
        bias: number of the bias; None: none that is learned.
        shape, bias_shape: the weight's and the bias's own shapes.
        outputs_first: the weight is kept as (O, I).
    """

    inputs_BNI: Tensor
    grads_BNO: Tensor
    weight: int
    shape: torch.Size
    bias: int | None = None
    bias_shape: torch.Size | None = None
    outputs_first: bool = False

    def squared_norms(self) -> Tensor:
        """Of a_n g_n' and of g_n."""
        inputs_BN = self.inputs_BNI.square().sum(2)
        grads_BN = self.grads_BNO.square().sum(2)
        return (grads_BN * (inputs_BN + 1 if self.bias is not None else inputs_BN)).sum(0)

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """One product for the weight, one sum for the bias."""
        grads_BNO = self.grads_BNO * factor_N[:, None]
        left, right = (grads_BNO, self.inputs_BNI) if self.outputs_first else (self.inputs_BNI, grads_BNO)
        sums = {self.weight: torch.bmm(left.transpose(1, 2), right).reshape(self.shape)}
        if self.bias is not None and self.bias_shape is not None:
            sums[self.bias] = grads_BNO.sum(1).reshape(self.bias_shape)
        return sums

    def without(self, example_N: Tensor) -> AffineUse:
        """Zero the marked examples."""
        gone = example_N[None, :, None]
        return replace(
            self, inputs_BNI=self.inputs_BNI.masked_fill(gone, 0), grads_BNO=self.grads_BNO.masked_fill(gone, 0)
        )


@dataclass(frozen=True)
class RepeatedUse:
    """An affine map that every example passes T times (a recurrent cell unrolled, or rows of a sequence).

    Args: as of `AffineUse`, with inputs (N, T, I) and gradients (N, T, O).
    """

    inputs_NTI: Tensor
    grads_NTO: Tensor
    weight: int
    shape: torch.Size
    bias: int | None = None
    bias_shape: torch.Size | None = None
    outputs_first: bool = False

    @classmethod
    def of(cls, uses: Sequence[AffineUse | RepeatedUse]) -> RepeatedUse:
        """Several meetings with the same weight as one."""
        first = uses[0]
        parts = [u if isinstance(u, RepeatedUse) else _as_repeated(u) for u in uses]
        return cls(
            torch.cat([p.inputs_NTI for p in parts], 1),
            torch.cat([p.grads_NTO for p in parts], 1),
            first.weight,
            first.shape,
            first.bias,
            first.bias_shape,
            first.outputs_first,
        )

    def squared_norms(self) -> Tensor:
        """From Gram matrices over places. Terms may cancel, so the rounding error's bound is added: never too small."""
        inputs_NTT = torch.bmm(self.inputs_NTI, self.inputs_NTI.transpose(1, 2))
        if self.bias is not None:
            inputs_NTT = inputs_NTT + 1
        grads_NTT = torch.bmm(self.grads_NTO, self.grads_NTO.transpose(1, 2))
        lengths_NT = (inputs_NTT.diagonal(dim1=1, dim2=2) * grads_NTT.diagonal(dim1=1, dim2=2)).clamp(min=0).sqrt()
        return (inputs_NTT * grads_NTT).sum((1, 2)).clamp(min=0) + ROUNDING * lengths_NT.sum(1).square()

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """Places and examples are summed by one product."""
        grads_NTO = self.grads_NTO * factor_N[:, None, None]
        inputs, grads = self.inputs_NTI.flatten(0, 1), grads_NTO.flatten(0, 1)
        product = grads.T @ inputs if self.outputs_first else inputs.T @ grads
        sums = {self.weight: product.reshape(self.shape)}
        if self.bias is not None and self.bias_shape is not None:
            sums[self.bias] = grads.sum(0).reshape(self.bias_shape)
        return sums

    def without(self, example_N: Tensor) -> RepeatedUse:
        """Zero the marked examples."""
        gone = example_N[:, None, None]
        return replace(
            self, inputs_NTI=self.inputs_NTI.masked_fill(gone, 0), grads_NTO=self.grads_NTO.masked_fill(gone, 0)
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
        """Positions with the same row add up before they are squared: a Gram matrix under the mask 'same row'."""
        if len(self.index_PN) == 1:
            return self.grads_PNH[0].square().sum(1)
        grads_NPH, index_NP = self.grads_PNH.transpose(0, 1), self.index_PN.T
        same_NPP = index_NP[:, :, None] == index_NP[:, None, :]
        gram_NPP = torch.bmm(grads_NPH, grads_NPH.transpose(1, 2))
        return (gram_NPP * same_NPP).sum((1, 2)).clamp(min=0)

    def weighted_sums(self, factor_N: Tensor) -> dict[int, Tensor]:
        """Added up row by row."""
        grads = (self.grads_PNH * factor_N[:, None]).flatten(0, 1)
        return {self.weight: grads.new_zeros(self.shape).index_add_(0, self.index_PN.reshape(-1), grads)}

    def without(self, example_N: Tensor) -> GatherUse:
        """Zero the marked examples."""
        return replace(self, grads_PNH=self.grads_PNH.masked_fill(example_N[None, :, None], 0))


def merged(uses: Sequence[AffineUse | RepeatedUse | OffsetUse | GatherUse]) -> list[Use]:
    """Uses with those of the same weight joined, so that an example's gradients by one weight are added first.

    Raises:
        TypeError: two uses of one weight of different kinds, for which there is no joint rule.
    """
    groups: dict[int, list[AffineUse | RepeatedUse | OffsetUse | GatherUse]] = {}
    owner: dict[int, int] = {}
    for use in uses:
        bias = getattr(use, "bias", None)
        for number in (use.weight, *(() if bias is None else (bias,))):
            if owner.setdefault(number, use.weight) != use.weight:
                raise TypeError("a bias is shared between layers; there is no rule for its example gradients")
        groups.setdefault(use.weight, []).append(use)
    return [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]


def _joined(group: Sequence[AffineUse | RepeatedUse | OffsetUse | GatherUse]) -> Use:
    affine = [u for u in group if isinstance(u, (AffineUse, RepeatedUse))]
    offsets = [u for u in group if isinstance(u, OffsetUse)]
    gathers = [u for u in group if isinstance(u, GatherUse)]
    if len(affine) == len(group) and len({(u.bias, u.outputs_first) for u in affine}) == 1:
        return RepeatedUse.of(affine)
    if len(offsets) == len(group):
        return replace(offsets[0], grads_NX=torch.stack([u.grads_NX for u in offsets]).sum(0))
    if len(gathers) == len(group):
        index, grads = torch.cat([u.index_PN for u in gathers]), torch.cat([u.grads_PNH for u in gathers])
        return replace(gathers[0], index_PN=index, grads_PNH=grads)
    raise TypeError("a weight is used in several ways at once; there is no rule for its example gradients")


def _as_repeated(use: AffineUse) -> RepeatedUse:
    if len(use.inputs_BNI) != 1:
        raise TypeError("a batched product meets its weight more than once; there is no rule for its example gradients")
    return RepeatedUse(
        use.inputs_BNI[0][:, None],
        use.grads_BNO[0][:, None],
        use.weight,
        use.shape,
        use.bias,
        use.bias_shape,
        use.outputs_first,
    )
