"""A trained discriminator that scores single rows: how real each looks to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.gan.discriminator import Discriminator
from raysynth.methods.gan.network import Conditions
from raysynth.methods.shared.spans import SpanIndex, Spans

_BLOCK = 4096


@dataclass(frozen=True)
class Critic:
    """The discriminator after training.

    Args:
        discriminator: on the CPU.
        spans: layout of a row vector.
        conditions: the condition vector that it was trained with.
    """

    discriminator: Discriminator
    spans: Spans
    conditions: Conditions

    @torch.no_grad()
    def score(self, block: EncodedBlock) -> np.ndarray:
        """Score of each row (N,), of a pack of copies of it, without dropout.

        With a condition vector: the mean over the condition columns, each given the row's own code.
        """
        index = SpanIndex(self.spans)
        parts = []
        for start in range(0, len(block), _BLOCK):
            codes = torch.from_numpy(block.codes_NC[start : start + _BLOCK].astype(np.int64))
            values = torch.from_numpy(block.values_NV[start : start + _BLOCK].astype(np.float32))
            parts.append(torch.stack([self._scores(codes, values, c, index) for c in self._own(codes)]).mean(0))
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)

    def _scores(self, codes_NC: Tensor, values_NV: Tensor, condition_N: Tensor | None, index: SpanIndex) -> Tensor:
        model = self.discriminator
        packed = [t if t is None else t.repeat_interleave(model.pac, 0) for t in (codes_NC, values_NV, condition_N)]
        first = model.first_of_codes(packed[0], packed[1], packed[2], index)
        return model.forward_from(first, [torch.ones(1, 1) for _ in model.hidden]).score

    def _own(self, codes_NC: Tensor) -> Iterator[Tensor | None]:
        """The conditions that a row itself satisfies, one for each condition column."""
        if not self.conditions.columns:
            yield None
        start = 0
        for column, cardinality in zip(self.conditions.columns, self.conditions.cardinalities, strict=True):
            yield start + codes_NC[:, column]
            start += cardinality
