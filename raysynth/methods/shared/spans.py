"""Row vectors of a network: which numbers of a vector belong to which column, and the softmax over all columns at once.

A row vector is [values | codes]: first one number for each column that carries a float, then for each column one span
of `cardinality` numbers (one-hot for real rows, probabilities for generated ones).

Shape legend: N rows, C columns, V columns with a float, S = sum of cardinalities, W = V + S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raysynth.encoding.block import EncodedColumn


@dataclass(frozen=True)
class Spans:
    """Layout of a row vector.

    Args:
        cardinalities: number of codes of each column (C).
        value_columns: the columns that carry a float, in the order of the values (V).
    """

    cardinalities: tuple[int, ...]
    value_columns: tuple[int, ...]

    @classmethod
    def of(cls, layout: Sequence[EncodedColumn]) -> Spans:
        """The spans of an encoder's layout."""
        carried = sorted((c.value_index, i) for i, c in enumerate(layout) if c.value_index is not None)
        return cls(tuple(c.cardinality for c in layout), tuple(i for _, i in carried))

    @property
    def n_values(self) -> int:
        """Columns that carry a value beside their code, V."""
        return len(self.value_columns)

    @property
    def n_codes(self) -> int:
        """Codes of all columns together, S: the width of one-hot rows."""
        return sum(self.cardinalities)

    @property
    def width(self) -> int:
        """W: length of a row vector."""
        return self.n_values + self.n_codes

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each column's span starts inside the S codes (C)."""
        result, total = [], 0
        for cardinality in self.cardinalities:
            result.append(total)
            total += cardinality
        return tuple(result)


class SpanIndex(nn.Module):
    """Index tables of some spans as tensors that move to a device with the network.

    Buffers: `offsets` (C); `column_S`, the column of each code; `member_SC`, 1 where a code belongs to a column;
    `padded_CM`, the codes of each column filled up to the longest with code S (a place for a filler).
    """

    offsets: Tensor
    column_S: Tensor
    member_SC: Tensor
    padded_CM: Tensor

    def __init__(self, spans: Spans) -> None:
        super().__init__()
        self.spans = spans
        cardinality = torch.tensor(spans.cardinalities)
        offsets = torch.tensor(spans.offsets)
        column = torch.repeat_interleave(torch.arange(len(cardinality)), cardinality)
        place = torch.arange(int(cardinality.max()))
        padded = torch.where(place < cardinality[:, None], offsets[:, None] + place, spans.n_codes)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("column_S", column, persistent=False)
        self.register_buffer("member_SC", nn.functional.one_hot(column).float(), persistent=False)
        self.register_buffer("padded_CM", padded, persistent=False)

    def rows(self, codes_NC: Tensor, values_NV: Tensor) -> Tensor:
        """Row vectors (N, W) of real rows: values, then one-hot codes; made on the device of the codes."""
        spans = self.spans
        rows = values_NV.new_zeros(len(codes_NC), spans.width)
        rows[:, : spans.n_values] = values_NV
        return rows.scatter_(1, spans.n_values + self.offsets + codes_NC, 1.0)

    def column_max(self, logits_NS: Tensor) -> Tensor:
        """Largest logit of each column (N, C); no gradient."""
        largest = logits_NS.new_full((len(logits_NS), len(self.spans.cardinalities)), -torch.inf)
        return largest.scatter_reduce_(1, self.column_S.expand_as(logits_NS), logits_NS.detach(), "amax")

    def log_normalisers(self, logits_NS: Tensor, column_N: Tensor) -> Tensor:
        """log sum exp over the span of one column of each row (N)."""
        index_NM = self.padded_CM[column_N]
        padded = nn.functional.pad(logits_NS, (0, 1), value=-torch.inf)
        return padded.gather(1, index_NM).logsumexp(1)

    def draw(self, logits_NS: Tensor, noise_NS: Tensor) -> Tensor:
        """Codes (N, C) drawn from the softmax of each span by the Gumbel-max trick."""
        scores = (logits_NS + noise_NS).split(self.spans.cardinalities, 1)
        return torch.stack([part.argmax(1) for part in scores], 1)


class _Activation(torch.autograd.Function):
    """tanh of the values and softmax((logits + noise) / temperature) of every span, in one pass each way."""

    @staticmethod
    def forward(ctx: Any, raw_NW: Tensor, noise_NS: Tensor, temperature: float, index: SpanIndex) -> Tensor:
        n_values = index.spans.n_values
        scores = raw_NW[:, n_values:] + noise_NS
        scores -= index.column_max(scores) @ index.member_SC.T
        scores.mul_(1 / temperature).exp_()
        out = torch.empty_like(raw_NW)
        torch.tanh(raw_NW[:, :n_values], out=out[:, :n_values])
        torch.div(scores, (scores @ index.member_SC) @ index.member_SC.T, out=out[:, n_values:])
        ctx.save_for_backward(out)
        ctx.temperature, ctx.index = temperature, index
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (out,), (grad_NW,), index = ctx.saved_tensors, grads, ctx.index
        n_values = index.spans.n_values
        values, shares = out[:, :n_values], out[:, n_values:]
        grad_raw = torch.empty_like(out)
        torch.mul(grad_NW[:, :n_values], 1 - values * values, out=grad_raw[:, :n_values])
        weighted = shares * grad_NW[:, n_values:]
        inner = (weighted @ index.member_SC) @ index.member_SC.T
        torch.sub(weighted, shares * inner, out=grad_raw[:, n_values:])
        grad_raw[:, n_values:] /= ctx.temperature
        return grad_raw, None, None, None


def activate(raw_NW: Tensor, noise_NS: Tensor, temperature: float, index: SpanIndex) -> Tensor:
    """Differentiable row vectors of a generator's output: tanh values, Gumbel-softmax codes (Jang et al. 2017, eq. 2).

    Args:
        raw_NW: output of the last layer.
        noise_NS: standard Gumbel noise (zeros: a plain softmax).
        temperature: > 0.
        index: of the spans.

    Returns:
        Row vectors (N, W).
    """
    if torch.compiler.is_compiling():  # which fuses the plain operations, and makes their backward pass
        return _activated(raw_NW, noise_NS, temperature, index)
    activated: Tensor = _Activation.apply(raw_NW, noise_NS, temperature, index)
    return activated


def _activated(raw_NW: Tensor, noise_NS: Tensor, temperature: float, index: SpanIndex) -> Tensor:
    scores = raw_NW[:, index.spans.n_values :] + noise_NS
    weights = ((scores - index.column_max(scores) @ index.member_SC.T) / temperature).exp()
    shares = weights / ((weights @ index.member_SC) @ index.member_SC.T)
    return torch.cat([torch.tanh(raw_NW[:, : index.spans.n_values]), shares], 1)


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise on the generator's device: -log(-log(u)), u uniform in (0, 1)."""
    tiny = 1e-10
    uniform = torch.empty(shape, device=generator.device).uniform_(tiny, 1.0, generator=generator)
    return uniform.log_().neg_().clamp_(min=tiny).log_().neg_()
