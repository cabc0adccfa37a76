"""Mixed precision of training: which matrices a GPU may multiply with fewer digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tensor_cores(device: torch.device, *, exact: bool) -> Iterator[None]:
    """While training on a GPU, products of float32 matrices go through its tensor cores (TF32: factors of 10 binary
    digits, sums in float32); weights, gradients and optimisers stay float32, so that no loss has to be scaled.

    bfloat16 is not used in training: the networks of tables are so small that a step is bound by launches and not by
    products, and the critic's hand-made gradients are differences of near numbers.

    Args:
        device: that the networks are on; without effect on a CPU.
        exact: keep full float32: under a privacy budget a norm that is rounded down would let a gradient through that
            is longer than the clipping bound, which is the sensitivity.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if exact else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
