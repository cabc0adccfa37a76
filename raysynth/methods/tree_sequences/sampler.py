"""Sequences from trees: row after row, all sequences of a chunk at once.

Shape legend: N sequences, T steps, C columns of a step, V numbers of a step, F columns of the table for trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.files.model_file import under
from raysynth.methods.autoregressive_sequences.changes import Changes
from raysynth.methods.tree_sequences.steps import (
    DETAILS,
    DRAWN,
    MOST_CELLS,
    Past,
    StepForm,
    StepTable,
    n_weights,
)
from raysynth.methods.trees.forest import Forest
from raysynth.methods.trees.state import from_state, to_state


@dataclass(frozen=True)
class StepTrees:
    """The table of steps, and a forest for each of its columns (of a column that is not drawn one leaf)."""

    table: StepTable
    forests: tuple[Forest, ...]

    def draw(self, past: Past, rng: np.random.Generator) -> tuple[EncodedBlock, np.ndarray]:
        """The next step of each sequence, and its numbers (M, V); a missing one is that of the step before, or 0."""
        table, form, rows = self.table, self.table.form, len(past.place_M)
        design_MP, n_numbers = past.design(form.length, table.detail), len(form.numbers)
        now_MV = past.before_MV.copy() if past.before_MV.shape[1] else np.zeros((rows, n_numbers))
        codes_MC = np.zeros((rows, len(form.encoder.columns)), np.uint16)
        values_MV = np.zeros((rows, n_numbers), np.float32)
        table_FM = np.zeros((len(table.sources), rows), np.uint16)
        columns, kind_M, number_M = list(form.numbers), np.zeros(0, np.uint16), np.zeros(rows)
        for i, (role, of) in enumerate(table.sources):
            if role in DRAWN:
                table_FM[i] = self.forests[i].draw(table_FM, rows, rng, even=True)
            if role == "code":
                codes_MC[:, of] = table_FM[i]
            elif role == "kind":
                kind_M = table_FM[i].copy()
            elif role == "prediction":
                table_FM[i] = table.predicted(of, design_MP, now_MV)
            elif role == "change":
                number_M = table.changes.decode(of, table_FM[i].astype(np.int64), design_MP, now_MV, rng)
                if table.changes.frequency_VB[of, -2] > 0:
                    apart_M = form.numbers[columns[of]].moved(number_M, past.before_MV[:, of])
                    number_M = np.where(table_FM[i] < table.changes.n_bins, apart_M, number_M)
            elif role == "now":
                encoded = form.numbers[columns[of]].on_grid(number_M, kind_M)
                codes_MC[:, columns[of]], values_MV[:, of], own_M = encoded
                now_MV[:, of] = np.where(np.isnan(own_M), now_MV[:, of], own_M)
                table_FM[i] = table.level(of, now_MV)
            else:
                table_FM[i] = table.given(past, role, of)
        return EncodedBlock(codes_MC, values_MV), now_MV

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta, arrays = to_state(self.forests, tuple(range(len(self.forests))))
        parts = {"forests": arrays, "changes": self.table.changes.to_arrays(), "edges": self.table.edges}
        meta = {**meta, "detail": self.table.detail}
        return meta, {f"{part}/{k}": a for part, found in parts.items() for k, a in found.items()}

    @classmethod
    def from_state(
        cls, form: StepForm, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, first: bool
    ) -> StepTrees:
        """The inverse of `to_state`; raises where parts are missing or do not fit."""
        changes, edges = Changes.from_arrays(under("changes/", arrays)), under("edges/", arrays)
        for e in edges.values():
            if e.ndim != 1 or len(e) > MOST_CELLS or not np.isfinite(e).all() or (np.diff(e) <= 0).any():
                raise ValueError("edges of cells are not finite and ascending")
        detail, n_numbers = int(meta["detail"]), len(form.numbers)
        known = 0 if first else n_weights(form, detail) - n_numbers
        if detail not in DETAILS or changes.weight_VL.shape != (n_numbers, 1 + known + n_numbers):
            raise ValueError("the predictions are of other numbers than the steps have")
        table = StepTable(form, first, detail, changes, edges)
        forests, order = from_state(meta, under("forests/", arrays), table.views)
        if order != tuple(range(len(forests))):
            raise ValueError("the columns of a step are in another order")
        return cls(table, forests)


@dataclass(frozen=True)
class TreeSequenceSampler:
    """First and later steps (a `SequenceMaker`)."""

    first: StepTrees
    later: StepTrees

    def generate(
        self, length_N: np.ndarray, context: EncodedBlock, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes (N, T, C) uint16 and values (N, T, V) float32; steps beyond a sequence's length mean nothing.

        Args:
            length_N: steps of each sequence, 1 .. T.
            context: encoded static context of each.
            rng: the only source of randomness.
        """
        form, n = self.first.table.form, len(length_N)
        codes_NTC = np.zeros((n, form.length, len(form.encoder.columns)), np.uint16)
        values_NTV = np.zeros((n, form.length, len(form.numbers)), np.float32)
        order = np.argsort(-length_N, kind="stable")
        length_N, context = length_N[order], context.take(order)
        own_NX = form.scaled_context(context)
        numbers_NTV = np.zeros((n, form.length, len(form.numbers)))
        total_NV, moves_NV = np.zeros((2, n, len(form.numbers)))
        for t in range(int(length_N.max(initial=0))):
            alive = slice(0, int(np.count_nonzero(length_N > t)))
            before, two, start = (numbers_NTV[alive, max(s, 0)] for s in (t - 1, t - 2, 0))
            none = before[:, :0]
            past = Past(
                np.full(alive.stop, t),
                length_N[alive],
                context.take(np.arange(alive.stop)),
                own_NX[alive],
                codes_NTC[order[alive], max(t - 1, 0)],
                *((before, two, total_NV[alive] / t, start, moves_NV[alive] / max(t - 1, 1)) if t else (none,) * 5),
            )
            block, now_MV = (self.later if t else self.first).draw(past, rng)
            codes_NTC[order[alive], t], values_NTV[order[alive], t] = block.codes_NC, block.values_NV
            numbers_NTV[alive, t] = now_MV
            total_NV[alive] += now_MV
            moves_NV[alive] += np.abs(now_MV - before) if t else 0.0
        return codes_NTC, values_NTV

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        for name, part in (("first", self.first), ("later", self.later)):
            meta[name], own = part.to_state()
            arrays |= {f"{name}/{k}": a for k, a in own.items()}
        return meta, arrays

    @classmethod
    def from_state(
        cls, form: StepForm, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> TreeSequenceSampler:
        """The inverse of `to_state`; raises where parts are missing or do not fit."""
        first, later = (
            StepTrees.from_state(form, meta[name], under(f"{name}/", arrays), first=name == "first")
            for name in ("first", "later")
        )
        return cls(first, later)
