"""The step of whole numbers and times: dates lie a day apart, prices in cents may all end in 0 or 5."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Step:
    """All values so far are `anchor` plus a multiple of `size`; size 0: one value only; anchor None: no value.

    The greatest common divisor of all differences: the same however the values are split.
    """

    anchor: int | None = None
    size: int = 0

    def merged(self, other: Step) -> Step:
        """The step of the values of both."""
        if self.anchor is None or other.anchor is None:
            return self if other.anchor is None else other
        size = math.gcd(self.size, other.size, abs(self.anchor - other.anchor))
        return Step(min(self.anchor, other.anchor), size)


def joint_step(step: Step, keys: np.ndarray) -> Step:
    """The step of earlier values and of keys (N,) int64."""
    if step.size == 1 or len(keys) == 0:
        return step
    lowest = keys.min()
    distances = (keys - lowest).view(np.uint64)  # right even where the difference overflows int64
    step = step.merged(Step(int(lowest), 0))
    size = math.gcd(step.size, int(np.gcd.reduce(distances[:256])))
    while True:  # most rows are multiples already; each round at least halves the step
        rest = distances[distances % np.uint64(size) != 0] if size else distances[distances != 0]
        if len(rest) == 0:
            return Step(step.anchor, size)
        size = math.gcd(size, int(np.gcd.reduce(rest[:256])))
        if size == 1:
            return Step(step.anchor, 1)
