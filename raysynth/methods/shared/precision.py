"""Which precision a sampler multiplies in: bfloat16 where the processor has instructions for it."""

from __future__ import annotations

import torch
from torch import Tensor


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known is not None and known())


def product(x_NI: Tensor, weight_IO: Tensor) -> Tensor:
    """x @ weight in the precision of the weight, as float32 (N, O).

    Rows are the same on all machines of one precision, up to the rounding of sums, which can change single codes.
    """
    if weight_IO.dtype == x_NI.dtype:
        return x_NI @ weight_IO
    return (x_NI.to(weight_IO.dtype) @ weight_IO).float()


def add_product(out_NO: Tensor, x_NI: Tensor, weight_IO: Tensor) -> None:
    """out += x @ weight in place, in the precision of the weight; `out` may be some columns of a wider array."""
    if weight_IO.dtype == x_NI.dtype:
        out_NO.addmm_(x_NI, weight_IO)
    else:
        out_NO += product(x_NI, weight_IO)
