"""What the workers of a training say to each other: means and sums of tensors over all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor


class Average(Protocol):
    """All-reduce over workers: the mean (or sum) of tensors, in place."""

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the mean over the workers."""
        ...

    def total(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the sum over the workers: one explicit all-reduce."""
        ...

    @property
    def n_workers(self) -> int:
        """W, as it is now."""
        ...
