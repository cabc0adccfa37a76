"""A gated recurrent unit, unrolled by hand, so that the gradients of its gates are plain tensors.

h_t = z_t h_{t-1} + (1 - z_t) n_t, with r_t, z_t = sigmoid(x_t W + b + h_{t-1} U) and
n_t = tanh(x_t W_n + b_n + r_t (h_{t-1} U_n + c)) (Cho et al. 2014, with the reset gate after the product as in torch's
own). The input's products of all steps are one product, the loop writes into prepared arrays, and the backward pass is
written out, with the weights' gradients as one product each. Norms of per-example gradients need the gates' gradients,
which fused kernels hide; here they are the array `inward`. On a CPU it takes as long as torch's or less.

Shape legend: T steps, N sequences, I inputs, H units, G = 3 H gates in the order r, z, n.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class GRU(nn.Module):
    """Layers of recurrent units.

    Args:
        n_inputs: I of the first layer.
        hidden: H of each layer.
        layers: at least 1.
        rng: draws the initial weights: uniform within 1 / sqrt(H), as torch does.
    """

    def __init__(self, n_inputs: int, hidden: int, layers: int, rng: torch.Generator) -> None:
        super().__init__()
        self.hidden = hidden
        bound = 1 / math.sqrt(hidden)

        def uniform(*shape: int) -> Tensor:
            return torch.empty(*shape).uniform_(-bound, bound, generator=rng)

        widths = [n_inputs] + [hidden] * (layers - 1)
        self.input = nn.ParameterList([uniform(width, 3 * hidden) for width in widths])
        self.recurrent = nn.ParameterList([uniform(hidden, 3 * hidden) for _ in widths])
        self.bias = nn.ParameterList([uniform(3 * hidden) for _ in widths])
        self.candidate_bias = nn.ParameterList([uniform(hidden) for _ in widths])

    def forward(self, x_TNI: Tensor, first_NH: Tensor | None = None) -> Tensor:
        """States of the last layer (T, N, H); every layer starts from `first_NH` (None: zeros)."""
        if first_NH is None:
            first_NH = x_TNI.new_zeros(x_TNI.shape[1], self.hidden)
        weights = zip(self.input, self.recurrent, self.bias, self.candidate_bias, strict=True)
        for input_IG, recurrent_HG, bias_G, candidate_H in weights:
            gates_TNG = torch.addmm(bias_G, x_TNI.flatten(0, 1), input_IG).view(*x_TNI.shape[:2], -1)
            x_TNI = _Unrolled.apply(gates_TNG, first_NH, recurrent_HG, candidate_H)
        return x_TNI

    def by_products(self, x_NTI: Tensor, first_NH: Tensor | None = None) -> Tensor:
        """The same states (N, T, H) from `first_NH` (None: zeros), sequences first, by plain products and sums.

        Slower, and such that `dp/gradients/record.py` sees each meeting of a weight with an example: in `forward` the
        weights' gradients are sums over examples already.
        """
        if first_NH is None:
            first_NH = x_NTI.new_zeros(len(x_NTI), self.hidden)
        weights = zip(self.input, self.recurrent, self.bias, self.candidate_bias, strict=True)
        for input_IG, recurrent_HG, bias_G, candidate_H in weights:
            gates_NTG = x_NTI @ input_IG + bias_G
            state_NH, states = first_NH, []
            for t in range(x_NTI.shape[1]):
                state_NH = _cell(gates_NTG[:, t], state_NH @ recurrent_HG, candidate_H, state_NH)
                states.append(state_NH)
            x_NTI = torch.stack(states, 1)
        return x_NTI


def _cell(gates_NG: Tensor, inner_NG: Tensor, candidate_H: Tensor, state_NH: Tensor) -> Tensor:
    """The next state from the input's and the state's part of the gates."""
    h = state_NH.shape[1]
    opened = torch.sigmoid(gates_NG[:, : 2 * h] + inner_NG[:, : 2 * h])
    n_NH = torch.tanh(gates_NG[:, 2 * h :] + opened[:, :h] * (inner_NG[:, 2 * h :] + candidate_H))
    return torch.lerp(n_NH, state_NH, opened[:, h:])


class _Unrolled(torch.autograd.Function):
    """One layer over all steps, given the input's part of the gates."""

    @staticmethod
    def forward(ctx: Any, gates_TNG: Tensor, first_NH: Tensor, recurrent_HG: Tensor, candidate_H: Tensor) -> Tensor:
        steps, n, _ = gates_TNG.shape
        hidden = first_NH.shape[1]
        states = torch.empty(steps + 1, n, hidden, dtype=gates_TNG.dtype, device=gates_TNG.device)
        states[0] = first_NH
        opened = torch.empty(steps, n, 2 * hidden, dtype=gates_TNG.dtype, device=gates_TNG.device)  # r and z
        inner = torch.empty(steps, n, hidden, dtype=gates_TNG.dtype, device=gates_TNG.device)  # h U_n + c
        candidate = torch.empty_like(inner)
        wide = (gates_TNG[..., : 2 * hidden], gates_TNG[..., 2 * hidden :])
        u_HK, u_HH = recurrent_HG[:, : 2 * hidden].contiguous(), recurrent_HG[:, 2 * hidden :].contiguous()
        for t in range(steps):
            state, rz, a, n_t = states[t], opened[t], inner[t], candidate[t]
            torch.addmm(wide[0][t], state, u_HK, out=rz).sigmoid_()
            torch.addmm(candidate_H, state, u_HH, out=a)
            torch.addcmul(wide[1][t], rz[:, :hidden], a, out=n_t).tanh_()
            torch.lerp(n_t, state, rz[:, hidden:], out=states[t + 1])
        ctx.save_for_backward(states, opened, inner, candidate, recurrent_HG)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, opened, inner, candidate, recurrent_HG = ctx.saved_tensors
        (grad_TNH,) = grads
        steps, n, hidden = candidate.shape
        reset, update = opened[..., :hidden], opened[..., hidden:]
        to_candidate = (1 - update) * (1 - candidate * candidate)
        to_update = (states[:-1] - candidate) * update * (1 - update)
        to_reset = inner * reset * (1 - reset)
        own = opened.new_empty(steps, n, 3 * hidden)  # of r, z and n's argument
        inward = torch.empty_like(own)  # of h U: as `own`, but n's part went through the reset gate
        u_GH = recurrent_HG.t().contiguous()
        carried = torch.zeros_like(grad_TNH[0])
        for t in range(steps - 1, -1, -1):
            carried = carried + grad_TNH[t]
            of_n = own[t, :, 2 * hidden :]
            torch.mul(carried, to_candidate[t], out=of_n)
            torch.mul(carried, to_update[t], out=inward[t, :, hidden : 2 * hidden])
            torch.mul(of_n, to_reset[t], out=inward[t, :, :hidden])
            torch.mul(of_n, reset[t], out=inward[t, :, 2 * hidden :])
            carried = torch.addmm(carried * update[t], inward[t], u_GH)
        own[..., : 2 * hidden] = inward[..., : 2 * hidden]
        flat = inward.flatten(0, 1)
        grad_recurrent = states[:-1].flatten(0, 1).t() @ flat
        return own, carried, grad_recurrent, flat[:, 2 * hidden :].sum(0)
