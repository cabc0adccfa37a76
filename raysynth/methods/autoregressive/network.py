"""Any-order autoregressive network over codes: p(row) as a product of one conditional a column, in every column order.

Each code of each column has an embedding. For an order of the columns, the context of a column is the sum of the
embeddings of the columns before it, divided by the square root of their number; a few residual layers of the column's
own and a linear head turn it into the logits of its codes (order-agnostic NADE: Uria, Murray, Larochelle, "A deep and
tractable density estimator", ICML 2014, arXiv 1310.1757). One pass gives all conditionals of an order, because the
contexts are one product with the matrix of 'who comes before whom'.

Codes of ordered columns (bins of a number) share statistical strength: their embedding and their head are the sum of a
vector of their own and of an interpolation between the knots of two coarser grids, so that neighbours resemble each
other.

No layer mixes the rows of a batch, and losses are sums over rows, so that per-example gradients are well defined.

Shape legend: N rows, C columns, G groups of rows that share one order, H width of a context, F units of a residual
layer, K codes of all columns one after the other, V codes of one column, P knots of all coarse grids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raysynth.encoding.block import EncodedColumn

GRID_STEPS = (4, 12)  # codes between the knots of the coarse grids
MIN_KNOTS = 3


@dataclass(frozen=True)
class CodeLayout:
    """The codes of all columns, one column after the other.

    Args:
        cardinalities: codes of each column.
        ordered: for each column the number of its codes, from the first, that stand in the order of their values; 0 for
            categories.
    """

    cardinalities: tuple[int, ...]
    ordered: tuple[int, ...]

    @classmethod
    def of(cls, columns: Sequence[EncodedColumn]) -> CodeLayout:
        """The layout of encoded columns; the code of 'missing' stands outside the order."""
        return cls(tuple(c.cardinality for c in columns), tuple(c.cardinality - 1 if c.ordered else 0 for c in columns))

    @property
    def starts(self) -> np.ndarray:
        """First code of each column among all codes, and their number at the end: shape (C + 1,)."""
        return np.concatenate([[0], np.cumsum(self.cardinalities)])

    @property
    def n_codes(self) -> int:
        """Codes of all columns."""
        return sum(self.cardinalities)


@dataclass(frozen=True)
class NetworkSettings:
    """Size and regularisation of the network.

    Args:
        width: of a context (H).
        hidden: units of a residual layer (F).
        layers: residual layers of a column.
        dropout: share of hidden units dropped in training.
    """

    width: int = 64
    hidden: int = 32
    layers: int = 2
    dropout: float = 0.2

    def to_dict(self) -> dict[str, Any]:
        """The sizes as JSON values, for the model file."""
        return asdict(self)


class CodeTable(nn.Module):
    """A vector for each code, (K, H): its own, plus coarse knots interpolated where codes are ordered."""

    index_K4: Tensor
    weight_K4: Tensor

    def __init__(self, layout: CodeLayout, width: int, scale: float, rng: torch.Generator) -> None:
        super().__init__()
        index, weight, n_knots = _interpolation(layout)
        self.register_buffer("index_K4", torch.from_numpy(index), persistent=False)
        self.register_buffer("weight_K4", torch.from_numpy(weight), persistent=False)
        self.own_KH = nn.Parameter(scale * torch.randn(layout.n_codes, width, generator=rng))
        self.knots_PH = nn.Parameter(scale * torch.randn(n_knots, width, generator=rng))

    def forward(self) -> Tensor:
        """The vectors of all codes, (K, H)."""
        coarse_KH = functional.embedding_bag(
            self.index_K4, self.knots_PH, per_sample_weights=self.weight_K4, mode="sum"
        )
        return self.own_KH + coarse_KH


class AnyOrderNetwork(nn.Module):
    """The conditionals of all columns for any order.

    Args:
        layout: the codes.
        settings: sizes.
        frequencies: released share of each code of each column: the logits start from their logarithm.
        rng: of the initial weights.
    """

    offset_C1: Tensor

    def __init__(
        self, layout: CodeLayout, settings: NetworkSettings, frequencies: Sequence[np.ndarray], rng: torch.Generator
    ) -> None:
        super().__init__()
        columns, width, hidden = len(layout.cardinalities), settings.width, settings.hidden
        self.layout, self.settings = layout, settings
        self.starts = [int(start) for start in layout.starts]
        self.register_buffer("offset_C1", torch.from_numpy(layout.starts[:-1, None].copy()), persistent=False)
        self.embedding = CodeTable(layout, width, 0.5, rng)
        self.head = CodeTable(layout, width, 0.3 / math.sqrt(width), rng)
        self.bias_K = nn.Parameter(torch.cat([_log_share(f) for f in frequencies]))
        self.start_CH = nn.Parameter(0.3 * torch.randn(columns, width, generator=rng))
        layers = range(settings.layers)
        spread = (math.sqrt(2 / width), 0.7 / math.sqrt(hidden))
        self.inner = nn.ParameterList(
            nn.Parameter(spread[0] * torch.randn(columns, width, hidden, generator=rng)) for _ in layers
        )
        self.inner_bias = nn.ParameterList(nn.Parameter(torch.zeros(columns, 1, hidden)) for _ in layers)
        self.outer = nn.ParameterList(
            nn.Parameter(spread[1] * torch.randn(columns, hidden, width, generator=rng)) for _ in layers
        )

    def forward(
        self,
        codes_NC: Tensor,
        place_GC: Tensor,
        rng: torch.Generator | None = None,
        added_CNH: Tensor | None = None,
    ) -> Tensor:
        """Negative log probability of each code given the codes before it, shape (C, N), in nats.

        Args:
            codes_NC: int64; N a multiple of G.
            place_GC: place of each column in the order of each group of N / G rows, 0 first.
            rng: of dropout; None: no dropout.
            added_CNH: added to the contexts: what is known beside the row.
        """
        return self.losses(codes_NC, place_GC, self.kept(len(codes_NC), rng), added_CNH)

    def losses(
        self, codes_NC: Tensor, place_GC: Tensor, kept: Sequence[Tensor], added_CNH: Tensor | None = None
    ) -> Tensor:
        """As `forward`, with the factors of dropout drawn beforehand (`kept`)."""
        return self.losses_of(codes_NC, self.embedded(codes_NC), place_GC, kept, added_CNH)

    def embedded(self, codes_NC: Tensor) -> Tensor:
        """The embedding of each code of each row, (C, N, H)."""
        return functional.embedding(codes_NC.T + self.offset_C1, self.embedding())

    def losses_of(
        self,
        codes_NC: Tensor,
        embedded_CNH: Tensor,
        place_GC: Tensor,
        kept: Sequence[Tensor] = (),
        added_CNH: Tensor | None = None,
    ) -> Tensor:
        """As `losses`, of rows whose codes are `embedded` already."""
        context_CNH = contexts(embedded_CNH, place_GC)
        hidden_CNH = self._hidden(context_CNH if added_CNH is None else context_CNH + added_CNH, kept)
        head_KH = self.head()
        losses = []
        for c, hidden_NH in enumerate(hidden_CNH):
            codes = slice(self.starts[c], self.starts[c + 1])
            logits_NV = torch.addmm(self.bias_K[codes], hidden_NH, head_KH[codes].T)
            losses.append(functional.cross_entropy(logits_NV, codes_NC[:, c], reduction="none"))
        return torch.stack(losses)

    def kept(self, n: int, rng: torch.Generator | None) -> list[Tensor]:
        """Factors of dropout, 0 or 1 / (1 - dropout): of each residual layer (N, F), then of the result (N, H); without
        dropout none. The same units of all columns of a row are dropped (one mask, C times cheaper).
        """
        rate, s = self.settings.dropout, self.settings
        if rng is None or rate == 0:
            return []
        device = self.start_CH.device
        drawn = [torch.empty(n, units, device=device) for units in (*(s.hidden,) * s.layers, s.width)]
        return [x_NU.bernoulli_(1 - rate, generator=rng) / (1 - rate) for x_NU in drawn]

    def _hidden(self, context_CNH: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Context (C, N, H) through the residual layers of every column, the same shape."""
        h = context_CNH + self.start_CH[:, None]
        for i, (inner, bias, outer) in enumerate(zip(self.inner, self.inner_bias, self.outer, strict=True)):
            units_CNF = torch.relu(torch.baddbmm(bias, h, inner))
            h = h + torch.bmm(units_CNF * kept[i] if kept else units_CNF, outer)
        return h * kept[-1] if kept else h


def contexts(embedded_CNH: Tensor, place_GC: Tensor) -> Tensor:
    """For each column the scaled sum of the embeddings of those before it, shape (C, N, H)."""
    columns, rows, width = embedded_CNH.shape
    groups = len(place_GC)
    before_GCC = (place_GC[:, None, :] < place_GC[:, :, None]).to(embedded_CNH.dtype)
    before_GCC = before_GCC / before_GCC.sum(-1, keepdim=True).clamp(min=1).sqrt()
    grouped = embedded_CNH.reshape(columns, groups, -1).transpose(0, 1)
    return torch.bmm(before_GCC, grouped).transpose(0, 1).reshape(columns, rows, width)


def random_places(groups: int, columns: int, rng: torch.Generator) -> Tensor:
    """The place of each column in `groups` uniformly random orders, shape (G, C)."""
    return torch.rand(groups, columns, generator=rng, device=rng.device).argsort(1).argsort(1)


def _log_share(frequency: np.ndarray) -> Tensor:
    """Logarithm of the smoothed share of each code: a tenth of a row in a thousand for one that was never seen."""
    share = torch.from_numpy(np.asarray(frequency, np.float32)) + 1e-4
    return (share / share.sum()).log()


def _interpolation(layout: CodeLayout) -> tuple[np.ndarray, np.ndarray, int]:
    """For each code the knots of both grids that it lies between (K, 4) and their weights; knot 0 has weight 0."""
    index = np.zeros((layout.n_codes, 4), np.int64)
    weight = np.zeros((layout.n_codes, 4), np.float32)
    n_knots = 1
    for start, ordered in zip(layout.starts, layout.ordered, strict=False):
        for grid, step in enumerate(GRID_STEPS):
            knots = ordered // step
            if knots < MIN_KNOTS:
                continue
            place = np.arange(ordered) / (ordered - 1) * (knots - 1)
            left = np.minimum(place.astype(np.int64), knots - 2)
            rows = slice(start, start + ordered)
            index[rows, 2 * grid], index[rows, 2 * grid + 1] = n_knots + left, n_knots + left + 1
            weight[rows, 2 * grid], weight[rows, 2 * grid + 1] = 1 - (place - left), place - left
            n_knots += knots
    return index, weight, n_knots


def folded(network: AnyOrderNetwork) -> dict[str, np.ndarray]:
    """The weights of a network in the form that `AnyOrderSampler` uses, float32; the function is the same."""
    with torch.no_grad():
        starts = network.layout.starts
        start_CH1 = network.start_CH.double()[:, :, None]
        reads_CIH = torch.eye(network.settings.width, dtype=torch.float64).expand(len(start_CH1), -1, -1)
        arrays = {"embedding": network.embedding()}
        for i, (inner, bias, outer) in enumerate(zip(network.inner, network.inner_bias, network.outer, strict=True)):
            arrays[f"layer.{i}"] = (reads_CIH @ inner.double()).transpose(1, 2)
            arrays[f"layer_bias.{i}"] = (bias.double() + start_CH1.transpose(1, 2) @ inner.double()).squeeze(1)
            reads_CIH = torch.cat([reads_CIH, outer.double()], 1)
        head = network.head().double()
        parts = [slice(int(a), int(b)) for a, b in zip(starts[:-1], starts[1:], strict=True)]
        arrays["head"] = torch.cat([head[p] @ reads_CIH[c].T for c, p in enumerate(parts)])
        shift = torch.cat([(head[p] @ start_CH1[c]).squeeze(1) for c, p in enumerate(parts)])
        arrays["bias"] = network.bias_K.double() + shift
        return {k: np.ascontiguousarray(v.float().cpu().numpy()) for k, v in arrays.items()}
