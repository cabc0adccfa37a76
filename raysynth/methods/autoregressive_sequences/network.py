"""Autoregressive network over the rows of sequences: p(row | all rows before it, the sequence's own columns).

A row is codes, and each number of it the code of its change (`methods/autoregressive_sequences/changes.py`). Within a
row each code is predicted from those before it by the network for tables (`methods/autoregressive/network.py`) in the
one order that the changes were made in; across rows by a gated recurrent unit (Cho et al. 2014), whose state after the
row before is added to the context of every column. Its inputs are the embeddings of the row before, where its numbers
stand among the quantiles, how much of the sequence is done and left, and the sequence's own columns. The first row of a
sequence has no row before it, so it has a network of its own.

Given the real rows, all rows of all sequences are one pass (teacher forcing).

Shape legend: N sequences, T steps, M rows (of all sequences), C columns of codes (the changes of numbers are the last
V), V numbers, Q knots of a number, K width of the static context, P position features, S units of the state, H width of
a column's context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raysynth.methods.autoregressive.network import AnyOrderNetwork, CodeLayout, NetworkSettings
from raysynth.methods.shared.gru import GRU
from raysynth.methods.timegan.network import VectorLayout, Vectors

KNOTS = 16  # of each number, at its quantiles
POSITIONS = 4


@dataclass(frozen=True)
class SequenceCodes:
    """How a wide encoded row is divided: codes [length | context | steps], values [context | steps].

    A step has the codes of its columns (C - V), the changes of its numbers as in a first row (V) and as in a later one
    (V), and the V numbers themselves.

    Args:
        steps: T, the most a sequence has.
        columns: codes of a row.
        n_numbers: V.
        context: vectors of the static context, without the length.
    """

    steps: int
    columns: CodeLayout
    n_numbers: int
    context: VectorLayout

    @property
    def n_columns(self) -> int:
        """Columns of a row, C."""
        return len(self.columns.cardinalities)

    @property
    def context_width(self) -> int:
        """K: the context's vector, and the length."""
        return self.context.width + 1


@dataclass(frozen=True)
class Rows:
    """Real sequences on the device.

    Args:
        first_NC: codes of the first rows.
        later_NTC: codes of the rows after them (T - 1 of each sequence).
        values_NTV: the numbers of all rows.
        context_NK: context and length.
        length_N: rows of each sequence.
    """

    first_NC: Tensor
    later_NTC: Tensor
    values_NTV: Tensor
    context_NK: Tensor
    length_N: Tensor


class RowState(nn.Module):
    """The recurrent state, and what it adds to the contexts of the columns.

    Args:
        codes: layout of sequences.
        width: H.
        units: S.
        knots_VQ: ascending quantiles of each number.
        rng: of the initial weights.
    """

    knots_VQ: Tensor

    def __init__(
        self, codes: SequenceCodes, width: int, units: int, knots_VQ: np.ndarray, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.codes, self.width = codes, width
        self.context = Vectors(codes.context)
        self.register_buffer("knots_VQ", torch.from_numpy(knots_VQ.astype(np.float32)))
        numbers = codes.n_numbers * (KNOTS + 1)

        def spread(rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter(scale / math.sqrt(rows) * torch.randn(rows, columns, generator=rng))

        self.start_KS = spread(codes.context_width, units, 1.0)
        self.start_S = nn.Parameter(torch.zeros(units))
        self.gru = GRU(width + numbers + codes.context_width + POSITIONS, units, 1, rng)
        self.first_SC = spread(units, codes.n_columns * width, 0.5)
        self.later_SC = spread(units, codes.n_columns * width, 0.5)

    def context_of(self, length_N: Tensor, codes_NC: Tensor, values_NV: Tensor) -> Tensor:
        """Length, scaled to [-1, 1], and context as vectors (N, K)."""
        share_N1 = length_N[:, None].float() / self.codes.steps
        return torch.cat([2 * share_N1 - 1, self.context(codes_NC, values_NV)], 1)

    def initial(self, context_NK: Tensor) -> Tensor:
        """The state before the first row (N, S)."""
        return torch.tanh(context_NK @ self.start_KS + self.start_S)

    def inputs(self, embedded_TNH: Tensor, values_TNV: Tensor, context_NK: Tensor, length_N: Tensor, at: int) -> Tensor:
        """What the unit reads after some rows.

        Args:
            embedded_TNH: sum of the embeddings of each row's codes.
            values_TNV: the numbers of each row.
            context_NK, length_N: of the sequences.
            at: index of the first of these rows in its sequence.
        """
        steps = len(embedded_TNH)
        next_T1 = torch.arange(at + 1, at + steps + 1, device=length_N.device, dtype=torch.float32)[:, None]
        left_TN = (length_N - next_T1).clamp(min=0)
        done_TN = next_T1.expand_as(left_TN)
        scale = self.codes.steps
        position_TNP = torch.stack([done_TN / scale, left_TN / scale, 1 / done_TN, 1 / (left_TN + 1)], -1)
        return torch.cat(
            [embedded_TNH, values_TNV, self._places(values_TNV), context_NK.expand(steps, -1, -1), position_TNP], -1
        )

    def _places(self, values_TNV: Tensor) -> Tensor:
        """Where each number stands between the knots, as weights of the two next to it (T, N, V Q)."""
        low_VQ, width_VQ = self.knots_VQ[:, :-1], self.knots_VQ.diff(dim=1)
        place_TNV = ((values_TNV[..., None] - low_VQ) / width_VQ).clamp(0, 1).sum(-1)
        knots_Q = torch.arange(KNOTS, device=values_TNV.device)
        return (1 - (place_TNV[..., None] - knots_Q).abs()).clamp(min=0).flatten(2)

    def added(self, state_MS: Tensor, *, first: bool) -> Tensor:
        """What is added to the contexts of the columns of a row, (C, M, H)."""
        added_MC = state_MS @ (self.first_SC if first else self.later_SC)
        return added_MC.view(len(state_MS), self.codes.n_columns, self.width).transpose(0, 1)


class SequenceNetwork(nn.Module):
    """Networks of first and of later rows, and the state between them.

    Args:
        codes: layout of sequences.
        settings: sizes of both networks.
        units: of the state.
        frequencies: released share of each code of each column, in first and in later rows.
        knots_VQ: ascending quantiles of each number.
        rng: of the initial weights.
    """

    place_1C: Tensor

    def __init__(
        self,
        codes: SequenceCodes,
        settings: NetworkSettings,
        units: int,
        frequencies: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
        knots_VQ: np.ndarray,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.codes = codes
        self.first = AnyOrderNetwork(codes.columns, settings, frequencies[0], rng)
        self.later = AnyOrderNetwork(codes.columns, settings, frequencies[1], rng)
        self.state = RowState(codes, settings.width, units, knots_VQ, rng)
        self.register_buffer("place_1C", torch.arange(codes.n_columns)[None], persistent=False)

    def rows_of(self, codes_NW: Tensor, values_NW: Tensor) -> Rows:
        """Wide encoded rows as sequences."""
        layout, n = self.codes, len(codes_NW)
        own, numbers = len(layout.context.cardinalities), layout.n_numbers
        steps_NTX = codes_NW[:, 1 + own :].view(n, layout.steps, -1)
        others = layout.n_columns - numbers
        later_NTC = torch.cat([steps_NTX[:, 1:, :others], steps_NTX[:, 1:, others + numbers :]], -1)
        first_NC = steps_NTX[:, 0, : layout.n_columns]
        n_context = layout.context.n_values
        context_NK = self.state.context_of(codes_NW[:, 0], codes_NW[:, 1 : 1 + own], values_NW[:, :n_context])
        values_NTV = values_NW[:, n_context:].reshape(n, layout.steps, numbers)
        return Rows(first_NC, later_NTC, values_NTV, context_NK, codes_NW[:, 0])

    def forward(self, rows: Rows, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Negative log probability of each code given all before it, in nats: of the first rows (C, N), and of the rows
        that follow, sequence after sequence (C, M).

        Args:
            rows: the sequences.
            rng: of dropout; None: no dropout.
        """
        first_NS = self.state.initial(rows.context_NK)
        first_CN = self.first(rows.first_NC, self.place_1C, rng, self.state.added(first_NS, first=True))
        if self.codes.steps == 1:
            return first_CN, first_CN[:, :0]
        states_NTS = _dropped(self.states(rows, first_NS, rng), self.later.settings.dropout, rng).transpose(0, 1)
        there_NT = torch.arange(1, self.codes.steps, device=first_CN.device) < rows.length_N[:, None]
        added_CMH = self.state.added(states_NTS[there_NT], first=False)
        return first_CN, self.later(rows.later_NTC[there_NT], self.place_1C, rng, added_CMH)

    def example_losses(self, rows: Rows) -> Tensor:
        """(N,) for each sequence the summed loss of its rows, divided by T, which is declared; without dropout.

        Each depends on its own sequence alone. By plain products, over T rows of each sequence one after the other:
        `dp/gradients/record.py` sees each meeting of a weight with a sequence. The code tables are made once, and serve
        the state and the columns; what a row beyond a sequence's end, or a first one among the later, gives is masked.
        """
        n, steps, width = len(rows.length_N), self.codes.steps, self.state.width
        first_NS = self.state.initial(rows.context_NK)
        first_CNH = self.first.embedded(rows.first_NC)
        later_MC = nn.functional.pad(rows.later_NTC, (0, 0, 1, 0)).flatten(0, 1)
        later_CMH = self.later.embedded(later_MC)
        first_NH, later_MH = (x_CXH.sum(0) / math.sqrt(self.codes.n_columns) for x_CXH in (first_CNH, later_CMH))
        read_NTH = torch.cat([first_NH[:, None], later_MH.view(n, steps, width)[:, 1:]], 1)
        values_TNV = rows.values_NTV.transpose(0, 1)
        inputs_TNI = self.state.inputs(read_NTH.transpose(0, 1), values_TNV, rows.context_NK, rows.length_N, 0)
        states_NTS = self.state.gru.by_products(inputs_TNI.transpose(0, 1), first_NS)
        before_NTS = torch.cat([first_NS[:, None], states_NTS[:, :-1]], 1)
        added = self.state.added(first_NS, first=True), self.state.added(before_NTS.flatten(0, 1), first=False)
        of_first = self.first.losses_of(rows.first_NC, first_CNH, self.place_1C, (), added[0]).sum(0)
        of_later = self.later.losses_of(later_MC, later_CMH, self.place_1C, (), added[1]).sum(0).view(n, steps)
        step_T = torch.arange(steps, device=of_later.device)
        there_NT = (step_T > 0) & (step_T < rows.length_N[:, None])
        return (of_first + (of_later * there_NT).sum(1)) / steps

    def states(self, rows: Rows, first_NS: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """The states (T - 1, N, S) before each later row; rows beyond a sequence's end give states of no meaning."""
        embedded_TNH = torch.cat(
            [
                _summed(self.first, rows.first_NC[None]),
                _summed(self.later, rows.later_NTC[:, :-1].transpose(0, 1)),
            ]
        )
        values_TNV = rows.values_NTV[:, :-1].transpose(0, 1)
        inputs_TNI = self.state.inputs(embedded_TNH, values_TNV, rows.context_NK, rows.length_N, 0)
        states: Tensor = self.state.gru(_dropped(inputs_TNI, self.later.settings.dropout, rng), first_NS)
        return states


def _summed(network: AnyOrderNetwork, codes_TNC: Tensor) -> Tensor:
    """Scaled sum of the embeddings of each row's codes (T, N, H)."""
    columns = codes_TNC.shape[-1]
    embedded = nn.functional.embedding_bag(
        codes_TNC.reshape(-1, columns) + network.offset_C1.T, network.embedding(), mode="sum"
    )
    return (embedded / math.sqrt(columns)).view(*codes_TNC.shape[:2], network.settings.width)


def _dropped(x_TNX: Tensor, rate: float, rng: torch.Generator | None) -> Tensor:
    """Dropout of the same inputs in all steps of a sequence (Gal and Ghahramani 2016), so that none gets through."""
    if rng is None or rate == 0:
        return x_TNX
    kept_NX = torch.empty(x_TNX.shape[1:], device=x_TNX.device).bernoulli_(1 - rate, generator=rng)
    return x_TNX * (kept_NX / (1 - rate))
