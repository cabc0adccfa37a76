"""Rows, completions and likelihoods from a trained any-order network: folded weights and running sums, no gradients.

Rows are drawn column by column for a block of rows that share one order. The context of the next column is a running
sum, so a drawn code costs one row of the embedding table, and rows that are equal so far share their conditionals (see
`methods/autoregressive/prefixes.py`). The residual layers are linear in their inputs up to each
ReLU, so they are folded: layer i reads the context and the units of the layers before it, and the head reads all of
them (one matrix product each, no sums between). Matrix products run in bfloat16 where the processor has instructions
for it; sums, probabilities and draws are float32.

Shape legend: N rows, C columns, H width of a context, F units of a layer, V codes of one column (padded to a multiple
of 16), K codes of all columns one after the other, M candidates, R orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.autoregressive.network import AnyOrderNetwork, CodeLayout, folded
from raysynth.methods.autoregressive.prefixes import (
    Candidates,
    Conditions,
    Context,
    Prefixes,
    columns_first,
    impossible,
    placed,
    resampled,
    slices,
)
from raysynth.methods.shared.row_sampler import has_bfloat16

BLOCK_ROWS = 4096  # rows that are drawn at once; they share the draws of the conditioned columns
ORDER_ROWS = 256  # rows that share one order of the other columns: each order errs in its own way, a table needs many
FIRST_ORDER_ROWS = 4096  # the same, in model files that do not say
ORDERS = 64  # of one call: where more rows are asked for, orders of more rows each do, and are quicker to draw
PAD = 16  # codes of a column are padded to a multiple of this: short rows fall off the vector path of softmax
NEVER = -1e9
CANDIDATES = 8  # for each row, where several columns are conditioned on more than one code
MAX_CANDIDATES = 128
MIN_CANDIDATES = 1024


@dataclass(frozen=True)
class _Column:
    """One column's folded weights as tensors: layers (units, inputs), head (V, inputs), biases, embedding (V, H)."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    head: Tensor
    bias_V: Tensor
    possible_V: Tensor
    embedding_VH: Tensor


@dataclass(frozen=True)
class AnyOrderSampler:
    """A trained network made ready to sample: arrays only, picklable (a `sampling.chunks.Generator`).

    Rows are drawn in uniformly random column orders, a new one for each `order_rows` rows (twice, four times as many
    where a call has 64 orders still): each order errs in its own way, and a mixture of many is nearer to the real rows
    than a few of them. Conditions are exact: the conditioned columns come first, and their codes are drawn from p(code
    | codes so far) * weight. With at most one column that allows several codes this is p(row | conditions) itself. With
    more of them, the first draw does not know the later ones; 8 to 128 candidates for each row are drawn for the
    conditioned columns alone, and rows are resampled among them by the product of the model's own normalisers (sampling
    importance resampling, Rubin 1988: exact as candidates grow, and the number doubles until they are worth at least
    one independent draw for each row).
    The other columns are drawn after that, for each row anew.

    Args:
        layout: the codes.
        arrays: 'embedding' (K, H), 'head' (K, H + L F), 'bias' (K), 'possible' (K), and for each layer i 'layer.i'
            (C, F, H + i F) and 'layer_bias.i' (C, F).
        temperature: logits are divided by it: below 1 rows are more typical, above 1 more diverse.
        bfloat16: True, False, or None: where the processor has instructions for it. Rows are the same on all machines
            with the same setting up to rounding of the sums, which can change single codes.
        order_rows: fewest rows that share one order, 1 to 4,096; the model's file says it, and so keeps its rows.
    """

    layout: CodeLayout
    arrays: Mapping[str, np.ndarray]
    temperature: float = 1.0
    bfloat16: bool | None = None
    order_rows: int = ORDER_ROWS
    exact_conditions: ClassVar[bool] = True
    _cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}}

    @classmethod
    def of(cls, network: AnyOrderNetwork, frequencies: list[np.ndarray]) -> AnyOrderSampler:
        """The sampler of a trained network; codes that no row has (frequency 0) are never drawn."""
        possible = np.concatenate([np.asarray(f) > 0 for f in frequencies])
        return cls(network.layout, {**folded(network), "possible": possible})

    @classmethod
    def from_arrays(
        cls, layout: CodeLayout, arrays: Mapping[str, np.ndarray], order_rows: int = FIRST_ORDER_ROWS
    ) -> AnyOrderSampler:
        """A sampler read from a file; raises `KeyError` or `ValueError` where arrays are missing or do not fit."""
        if not 1 <= order_rows <= BLOCK_ROWS:
            raise ValueError(f"one order for {order_rows} rows, not for 1 to {BLOCK_ROWS}")
        columns, codes = len(layout.cardinalities), layout.n_codes
        reads = width = arrays["embedding"].shape[1]
        shapes: dict[str, tuple[int, ...]] = {"embedding": (codes, width), "bias": (codes,), "possible": (codes,)}
        for i in range(sum(name.startswith("layer.") for name in arrays)):
            units = arrays[f"layer.{i}"].shape[1]
            shapes[f"layer.{i}"], shapes[f"layer_bias.{i}"] = (columns, units, reads), (columns, units)
            reads += units
        shapes["head"] = (codes, reads)
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"array '{name}' has shape {arrays[name].shape}, not {shape}")
        return cls(layout, {name: arrays[name] for name in shapes}, order_rows=order_rows)

    # ---- rows --------------------------------------------------------------------------------------------------------

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows of p(row) * prod(weights); raises `ConditionError` where that is zero everywhere."""
        conditions = Conditions.of(weights or {}, self.layout.starts, self.arrays["possible"], self.arrays["bias"])
        codes_CN = torch.empty((len(self.layout.cardinalities), n), dtype=torch.int64)
        with torch.inference_mode():
            for rows in slices(n, BLOCK_ROWS):
                self._generate_block(codes_CN[:, rows], rng, conditions, self._rows_of_an_order(n))
        return EncodedBlock(codes_CN.numpy().astype(np.uint16).T, np.empty((n, 0), np.float32))

    def _rows_of_an_order(self, n: int) -> int:
        """`order_rows`, doubled as long as n rows have enough orders."""
        rows = self.order_rows
        while 2 * rows <= min(n // ORDERS, BLOCK_ROWS):
            rows *= 2
        return rows

    def _generate_block(
        self, codes_CN: Tensor, rng: np.random.Generator, conditions: Conditions, order_rows: int
    ) -> None:
        """One order after the other. A single one is drawn before the conditioned columns, as it was before there
        could be several: files without `order_rows` give the rows that they gave."""
        parts = list(slices(codes_CN.shape[1], order_rows))
        orders = [rng.permutation(len(codes_CN)).tolist() for _ in parts]
        drawn = self._draw_conditioned(codes_CN, rng, conditions)
        for rows, order in zip(parts, orders, strict=True):
            prefixes = drawn.part(rows)
            for c in order:
                if c not in conditions.weights:
                    uniform_N = torch.from_numpy(rng.random(prefixes.rows, np.float32))
                    codes_CN[c, rows] = self._draw_column(c, prefixes, uniform_N)[0]
                    prefixes.extend(self._columns(self._fast)[c].embedding_VH, codes_CN[c, rows])

    def _draw_conditioned(self, codes_CN: Tensor, rng: np.random.Generator, conditions: Conditions) -> Prefixes:
        """Fill in the conditioned columns of a block, whatever the orders; the prefixes after them."""
        rows = codes_CN.shape[1]
        prefixes = self._no_prefixes(rows)
        if not conditions.weights:
            return prefixes
        if not conditions.needs_candidates:
            candidates = self._candidates(rows, rng, conditions)
            if not bool(candidates.weight_M.isfinite().all()):
                raise impossible()
            picked = torch.arange(rows)
        else:
            candidates = self._enough_candidates(rows, rng, conditions)
            picked = resampled(candidates.weight_M, rows, rng)
        for c, codes_M in candidates.codes.items():
            codes_CN[c] = codes_M[picked]
            prefixes.extend(self._columns(self._fast)[c].embedding_VH, codes_CN[c])
        return prefixes

    def _enough_candidates(self, rows: int, rng: np.random.Generator, conditions: Conditions) -> Candidates:
        """Candidates whose effective number is that of the rows, or as many as are allowed."""
        most = max(MIN_CANDIDATES, MAX_CANDIDATES * rows)
        drawn = self._candidates(max(MIN_CANDIDATES, CANDIDATES * rows), rng, conditions)
        while drawn.effective < rows and 2 * len(drawn.weight_M) <= most:
            drawn = drawn.joined(self._candidates(len(drawn.weight_M), rng, conditions))
        if drawn.effective == 0:
            raise impossible()
        return drawn

    def _candidates(self, n: int, rng: np.random.Generator, conditions: Conditions) -> Candidates:
        """n draws of the conditioned columns, each with the logarithm of the product of its normalisers."""
        prefixes, codes, weight_M = self._no_prefixes(n), {}, torch.zeros(n)
        for c, weight_V in conditions.weights.items():
            uniform_M = torch.from_numpy(rng.random(n, np.float32))
            codes[c], mass_M = self._draw_column(c, prefixes, uniform_M, weight_V)
            weight_M += mass_M.log()
            prefixes.extend(self._columns(self._fast)[c].embedding_VH, codes[c])
        return Candidates(codes, weight_M)

    def _draw_column(
        self, c: int, prefixes: Prefixes, uniform_N: Tensor, weight_V: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """A code for each row from p(code | its prefix) * weight, and the sum of these over all codes."""
        column = self._columns(self._fast)[c]
        codes_N, mass_N = torch.empty(prefixes.rows, dtype=torch.int64), torch.empty(prefixes.rows)
        context = prefixes.context
        cumulative_MV = torch.empty(0)
        if prefixes.of_row_N is not None:
            parts = slices(len(context.sum_NH))
            cumulative_MV = torch.cat([self._cumulative(column, context.part(m), weight_V) for m in parts])
        for rows in slices(prefixes.rows):
            if prefixes.of_row_N is None:
                cumulative_NV = self._cumulative(column, context.part(rows), weight_V)
            else:
                cumulative_NV = torch.index_select(cumulative_MV, 0, prefixes.of_row_N[rows])
            codes_N[rows], mass_N[rows] = placed(cumulative_NV, uniform_N[rows])
        return codes_N, mass_N

    def _cumulative(self, column: _Column, context: Context, weight_V: Tensor | None) -> Tensor:
        p_MV = self._probabilities(column, context)
        if weight_V is not None:
            p_MV = p_MV[:, : len(weight_V)] * weight_V
        return p_MV.cumsum(-1)

    def _no_prefixes(self, rows: int) -> Prefixes:
        return Prefixes.empty(rows, self.arrays["embedding"].shape[1])

    def next_code(self, c: int, context_NH: Tensor, uniform_N: Tensor) -> Tensor:
        """A code (N,) of column c from p(code | context), for whoever keeps the contexts, scaled as in the network."""
        cumulative_NV = self._cumulative(self._columns(self._fast)[c], Context(context_NH, 1), None)
        return placed(cumulative_NV, uniform_N)[0]

    def embedding(self, c: int) -> Tensor:
        """The vectors (V, H) of column c's codes."""
        return self._columns(self._fast)[c].embedding_VH

    def generate_given(self, codes_NC: np.ndarray, known: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) uint16 with all columns but the `known` ones drawn given these, in random orders."""
        result = np.array(codes_NC, np.int64)
        order_rows = self._rows_of_an_order(len(result))
        with torch.inference_mode():
            for rows in slices(len(result), order_rows):
                codes_CN = columns_first(result[rows])
                prefixes = self._no_prefixes(codes_CN.shape[1])
                for c in known:
                    prefixes.extend(self._columns(self._fast)[c].embedding_VH, codes_CN[c])
                for c in (c for c in rng.permutation(len(codes_CN)).tolist() if c not in known):
                    uniform_N = torch.from_numpy(rng.random(prefixes.rows, np.float32))
                    codes_CN[c] = self._draw_column(c, prefixes, uniform_N)[0]
                    prefixes.extend(self._columns(self._fast)[c].embedding_VH, codes_CN[c])
                result[rows] = codes_CN.T.numpy()
        return result.astype(np.uint16)

    # ---- partial rows ------------------------------------------------------------------------------------------------

    def complete(self, codes_NC: np.ndarray, known_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Codes (N, C) uint16 with the unknown ones drawn from p(unknown | known), the known ones as they are.

        Args:
            codes_NC: codes; those of unknown cells are ignored.
            known_NC: bool.
            rng: of the draws and orders. 'Missing' is never drawn for a cell.
        """
        result = np.array(codes_NC, np.int64)
        with torch.inference_mode():
            for rows in slices(len(result)):
                codes_CN, known_CN = columns_first(result[rows]), columns_first(known_NC[rows])
                context = self._known_context(codes_CN, known_CN)
                for c in rng.permutation(len(codes_CN)).tolist():
                    self._complete_column(c, codes_CN, ~known_CN[c], context, rng)
                result[rows] = codes_CN.T.numpy()
        return result.astype(np.uint16)

    def conditionals(self, codes_NC: np.ndarray, known_NC: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each column with unknown cells: its index, their rows (n,), and p(code | known cells of the row) (n, V).

        'Missing' has probability 0.
        """
        for c in range(len(self.layout.cardinalities)):
            rows = np.flatnonzero(~known_NC[:, c])
            if len(rows):
                yield c, rows, self._conditional(c, codes_NC[rows], known_NC[rows])

    def _conditional(self, c: int, codes_NC: np.ndarray, known_NC: np.ndarray) -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for rows in slices(len(codes_NC)):
                context = self._known_context(columns_first(codes_NC[rows]), columns_first(known_NC[rows]))
                p_NV = self._present(c, self._probabilities(self._columns(False)[c], context))
                parts.append((p_NV / p_NV.sum(-1, keepdim=True).clamp(min=1e-30)).numpy())
        return np.concatenate(parts)

    def _complete_column(
        self, c: int, codes_CN: Tensor, unknown_N: Tensor, context: Context, rng: np.random.Generator
    ) -> None:
        rows = unknown_N.nonzero().squeeze(1)
        if not len(rows):
            return
        assert isinstance(context.count, Tensor)
        column, part = self._columns(self._fast)[c], Context(context.sum_NH[rows], context.count[rows])
        p_NV = self._present(c, self._probabilities(column, part))
        codes_CN[c, rows], _ = placed(p_NV.cumsum(-1), torch.from_numpy(rng.random(len(rows), np.float32)))
        context.sum_NH.index_add_(0, rows, column.embedding_VH[codes_CN[c, rows]])
        context.count[rows] += 1

    def _present(self, c: int, p_NV: Tensor) -> Tensor:
        """Probabilities without padding and, unless nothing else is possible, without the code of 'missing'."""
        p_NV = p_NV[:, : self.layout.cardinalities[c]]
        p_NV[:, -1] = torch.where(p_NV[:, :-1].sum(-1) > 0, 0.0, p_NV[:, -1])
        return p_NV

    # ---- likelihood --------------------------------------------------------------------------------------------------

    def log_prob(self, codes_NC: np.ndarray, n_orders: int, rng: np.random.Generator) -> np.ndarray:
        """Natural logarithm of the probability of each row's codes in each of `n_orders` random orders, (R, N) float32.

        Temperature 1, float32. Codes that no row had at fitting have the small probability that training left them.
        """
        columns, result = len(self.layout.cardinalities), np.zeros((n_orders, len(codes_NC)), np.float32)
        with torch.inference_mode():
            for order, total_N in zip((rng.permutation(columns) for _ in range(n_orders)), result, strict=True):
                for rows in slices(len(codes_NC)):
                    total_N[rows] = self._log_prob_block(columns_first(codes_NC[rows]), order)
        return result

    def _log_prob_block(self, codes_CN: Tensor, order: np.ndarray) -> np.ndarray:
        context, total_N = self._empty_context(codes_CN.shape[1]), torch.zeros(codes_CN.shape[1])
        for c in order.tolist():
            column = self._columns(False)[c]
            logits_NV = self._logits(column, context)
            total_N += logits_NV.log_softmax(-1).gather(1, codes_CN[c, :, None]).squeeze(1)
            context.add(column.embedding_VH, codes_CN[c])
        return total_N.numpy()

    # ---- the network -------------------------------------------------------------------------------------------------

    def _probabilities(self, column: _Column, context: Context) -> Tensor:
        """Of the codes that can be drawn, at the temperature, (N, V)."""
        return torch.softmax(
            torch.add(column.possible_V, self._logits(column, context), alpha=1 / self.temperature), -1
        )

    def _logits(self, column: _Column, context: Context) -> Tensor:
        """Logits of the column's codes for each row, float32 (N, V)."""
        width = context.sum_NH.shape[1]
        inputs = torch.empty((len(context.sum_NH), column.head.shape[1]), dtype=column.head.dtype)
        torch.mul(context.sum_NH, context.scale(), out=inputs[:, :width])
        for weight, bias in column.layers:
            units = functional.linear(inputs[:, :width], weight, bias)
            torch.clamp_min(units, 0, out=inputs[:, width : width + len(weight)])
            width += len(weight)
        return functional.linear(inputs, column.head) + column.bias_V

    def _empty_context(self, rows: int) -> Context:
        return Context(torch.zeros(rows, self.arrays["embedding"].shape[1]), 0)

    def _known_context(self, codes_CN: Tensor, known_CN: Tensor) -> Context:
        context = self._empty_context(codes_CN.shape[1])
        for c, column in enumerate(self._columns(False)):
            codes_N = torch.where(known_CN[c], codes_CN[c], 0)
            context.sum_NH += column.embedding_VH[codes_N] * known_CN[c, :, None]
        return Context(context.sum_NH, known_CN.sum(0)[:, None].float())

    @property
    def _fast(self) -> bool:
        return has_bfloat16() if self.bfloat16 is None else self.bfloat16

    def _columns(self, fast: bool) -> list[_Column]:
        """Tensors of each column, made once for each precision."""
        key = "bfloat16" if fast else "float32"
        if key not in self._cache:
            dtype = torch.bfloat16 if fast else torch.float32
            self._cache[key] = [self._column(c, dtype) for c in range(len(self.layout.cardinalities))]
        columns: list[_Column] = self._cache[key]
        return columns

    def _column(self, c: int, dtype: torch.dtype) -> _Column:
        codes = slice(int(self.layout.starts[c]), int(self.layout.starts[c + 1]))
        padding = -(codes.stop - codes.start) % PAD
        bias = np.pad(self.arrays["bias"][codes], (0, padding), constant_values=NEVER)
        possible = np.pad(np.where(self.arrays["possible"][codes], 0.0, NEVER), (0, padding), constant_values=NEVER)
        layers: list[tuple[Tensor, Tensor]] = []
        while f"layer.{len(layers)}" in self.arrays:
            weight, shift = self.arrays[f"layer.{len(layers)}"][c], self.arrays[f"layer_bias.{len(layers)}"][c]
            layers.append((torch.tensor(weight, dtype=dtype), torch.tensor(shift, dtype=dtype)))
        return _Column(
            tuple(layers),
            torch.tensor(np.pad(self.arrays["head"][codes], ((0, padding), (0, 0))), dtype=dtype),
            torch.tensor(bias, dtype=torch.float32),
            torch.tensor(possible, dtype=torch.float32),
            torch.tensor(self.arrays["embedding"][codes], dtype=torch.float32),
        )
