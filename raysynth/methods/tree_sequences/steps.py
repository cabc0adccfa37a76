"""A step as rows of a table for trees: what is known before it, then its own columns in their order.

Shape legend: M rows, C columns of a step, V numbers of a step, P what numbers are predicted from, X context columns, T
steps, F columns of the table for trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.methods.autoregressive_sequences.changes import Changes
from raysynth.methods.tree_sequences.numbers import StepNumber, cell_edges, cells_of, cells_view, ordered_view
from raysynth.methods.trees.columns import ColumnView, views

MOST_CELLS = 128  # of a number that splits look at
MOST_PLACES = 200  # steps that a prediction tells apart
DETAILS = (0, 1, 2)
ROWS_A_WEIGHT = 20  # from which on a prediction is as detailed

DRAWN = ("code", "kind", "change")  # roles; all others follow from what is known


class Source(NamedTuple):
    """A column of the table: what it holds, and of which column (or number, or context column)."""

    role: str
    of: int = 0


@dataclass(frozen=True)
class StepForm:
    """The columns of a step, and of the context.

    Args:
        encoder: of the steps. context: of the entities' own columns.
        length: the most steps of a sequence, T.
    """

    encoder: TableEncoder
    context: TableEncoder
    length: int

    @cached_property
    def numbers(self) -> dict[int, StepNumber]:
        """The numbers of a step, by column; in this order they are V."""
        return {c: StepNumber(e) for c, e in enumerate(self.encoder.columns) if isinstance(e, ModeEncoder)}

    @cached_property
    def context_numbers(self) -> dict[int, StepNumber]:
        """The numbers among the context columns."""
        return {x: StepNumber(e) for x, e in enumerate(self.context.columns) if isinstance(e, ModeEncoder)}

    def sources(self, *, first: bool) -> Iterator[Source]:
        """The columns of the table for trees, in order."""
        yield from (Source("place"), Source("length"))
        yield from (Source("context", x) for x in range(len(self.context.columns)))
        if not first:
            yield from (Source("code before", c) for c in range(len(self.encoder.columns)))
            for v in range(len(self.numbers)):
                yield from (Source(role, v) for role in ("before", "move", "mean", "start", "rough"))
        for c in range(len(self.encoder.columns)):
            if c not in self.numbers:
                yield Source("code", c)
                continue
            v = list(self.numbers).index(c)
            yield Source("kind", v)
            if self.numbers[c].other >= 0:
                yield from (Source("prediction", v), Source("change", v))
            yield Source("now", v)

    def scaled(self, block: EncodedBlock) -> np.ndarray:
        """The numbers (M, V) of encoded steps; NaN where one is missing."""
        found = [n.scaled(block.codes_NC[:, c], block.values_NV[:, v]) for v, (c, n) in enumerate(self.numbers.items())]
        return np.stack(found, 1) if found else np.zeros((len(block), 0))

    def scaled_context(self, context: EncodedBlock) -> np.ndarray:
        """The numbers of encoded context columns; NaN where one is missing."""
        numbers = self.context_numbers.items()
        found = [n.scaled(context.codes_NC[:, x], context.values_NV[:, v]) for v, (x, n) in enumerate(numbers)]
        return np.stack(found, 1) if found else np.zeros((len(context), 0))


@dataclass(frozen=True)
class Past:
    """What is known of sequences before a step.

    Args:
        place_M: steps before it. length_M: of the whole sequence.
        context: encoded, with its numbers.
        codes_MC: of the step before; zeros before a first one.
        before_MV, two_MV, mean_MV, start_MV: numbers of the step before, of the one before that (or the same), the mean
            over all steps before, and the first; settled, so none is missing; no columns before a first step.
        rough_MV: mean size of the moves before.
    """

    place_M: np.ndarray
    length_M: np.ndarray
    context: EncodedBlock
    context_numbers_MX: np.ndarray
    codes_MC: np.ndarray
    before_MV: np.ndarray
    two_MV: np.ndarray
    mean_MV: np.ndarray
    start_MV: np.ndarray
    rough_MV: np.ndarray

    def design(self, n_steps: int, detail: int) -> np.ndarray:
        """What numbers are predicted from, (M, P); nothing before a first step.

        Args:
            n_steps: of the longest sequence.
            detail: 0: the two steps before; 1: and the place of the step, each for itself; 2: and how much the step
                before tells at each place.
        """
        if not self.before_MV.shape[1] or not detail:
            return np.concatenate([self.before_MV, self.two_MV], 1)
        place = (self.place_M * min(n_steps, MOST_PLACES) // n_steps)[:, None]
        at = (place == np.arange(1, min(n_steps, MOST_PLACES))).astype(float)
        told = [at * before_M[:, None] for before_M in self.before_MV.T] if detail > 1 else []
        return np.concatenate([self.before_MV, self.two_MV, at, *told], 1)


@dataclass(frozen=True)
class StepTable:
    """How steps become rows of a table for trees, first or later ones.

    Args:
        form: of a step.
        first: whether steps are first ones.
        detail: of what numbers are predicted from.
        changes: predictions of the numbers, and bins of what they leave.
        edges: for each number that splits look at, by its name ('level 0', 'move 0' and so on), edges of its cells.
    """

    form: StepForm
    first: bool
    detail: int
    changes: Changes
    edges: dict[str, np.ndarray]

    @classmethod
    def fit(
        cls,
        form: StepForm,
        past: Past,
        now_MV: np.ndarray,
        counts_MV: np.ndarray,
        n_bins: int,
        rare: int,
        *,
        first: bool,
    ) -> StepTable:
        """From real steps.

        Args:
            form: of a step.
            past: what was before each. now_MV: its numbers, settled. counts_MV: which are of the kind 'other'.
            n_bins: of a residual.
            rare: rows that a cell or bin must have at least about.
            first: whether steps are first ones.
        """
        detail = max((d for d in DETAILS if ROWS_A_WEIGHT * n_weights(form, d) <= len(now_MV)), default=0)
        design_MP = past.design(form.length, detail)
        changes = Changes.fit(design_MP, now_MV, counts_MV, n_bins=n_bins, rare=rare)
        edges = {
            f"context {x}": cell_edges(past.context_numbers_MX[:, i], MOST_CELLS, rare)
            for i, x in enumerate(form.context_numbers)
        }
        for v in range(now_MV.shape[1]):
            edges[f"level {v}"] = cell_edges(now_MV[:, v], MOST_CELLS, rare)
            edges[f"prediction {v}"] = cell_edges(changes.predicted(v, design_MP, now_MV), MOST_CELLS, rare)
            if not first:
                edges[f"move {v}"] = cell_edges(past.before_MV[:, v] - past.two_MV[:, v], MOST_CELLS, rare)
                edges[f"rough {v}"] = cell_edges(past.rough_MV[:, v], MOST_CELLS, rare)
        return cls(form, first, detail, changes, edges)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Its columns, in order."""
        return tuple(self.form.sources(first=self.first))

    @cached_property
    def views(self) -> tuple[ColumnView, ...]:
        """How trees see each column."""
        return tuple(self._view(*source) for source in self.sources)

    def _view(self, role: str, of: int) -> ColumnView:
        form = self.form
        numbers = list(form.numbers.values())
        if role in ("place", "length"):
            return ordered_view(np.ones(form.length + 1), np.arange(form.length + 1.0), 0.0)
        if role == "context":
            number = f"context {of}"
            return cells_view(self.edges[number]) if number in self.edges else views([form.context.columns[of]])[0]
        if role in ("code", "code before"):
            if of in form.numbers:
                return form.numbers[of].view
            return views([form.encoder.columns[of]])[0]
        if role == "kind":
            return numbers[of].view
        if role == "change":
            edges_B, share_B = self.changes.edges_VB[of], self.changes.frequency_VB[of]
            return ordered_view(share_B[:-2], (edges_B[1:] + edges_B[:-1]) / 2, float(share_B[-2]), smooth=True)
        return cells_view(self.edges[f"{role if role in ('prediction', 'move', 'rough') else 'level'} {of}"])

    def given(self, past: Past, role: str, of: int) -> np.ndarray:
        """The codes (M,) of a column that is known before the step."""
        if role == "place":
            return past.place_M.astype(np.uint16)
        if role == "length":
            return past.length_M.astype(np.uint16)
        if role == "context":
            if of not in self.form.context_numbers:
                return past.context.codes_NC[:, of]
            at = list(self.form.context_numbers).index(of)
            return cells_of(past.context_numbers_MX[:, at], self.edges[f"context {of}"])
        if role == "code before":
            codes_M = past.codes_MC[:, of]
            return self.form.numbers[of].kind_of_code[codes_M] if of in self.form.numbers else codes_M
        if role == "move":
            return cells_of(past.before_MV[:, of] - past.two_MV[:, of], self.edges[f"move {of}"])
        if role == "rough":
            return cells_of(past.rough_MV[:, of], self.edges[f"rough {of}"])
        numbers_MV = {"before": past.before_MV, "mean": past.mean_MV, "start": past.start_MV}[role]
        return cells_of(numbers_MV[:, of], self.edges[f"level {of}"])

    def codes(self, past: Past, block: EncodedBlock, now_MV: np.ndarray, counts_MV: np.ndarray) -> np.ndarray:
        """The table (F, M) of real steps; arguments as of `fit`, and their encoded rows."""
        design_MP, columns = past.design(self.form.length, self.detail), list(self.form.numbers)
        change_MV = np.minimum(self.changes.encode(design_MP, now_MV, counts_MV), self.changes.n_bins)
        found = []
        for role, of in self.sources:
            if role == "code":
                found.append(block.codes_NC[:, of])
            elif role == "kind":
                c = columns[of]
                found.append(self.form.numbers[c].kind_of_code[block.codes_NC[:, c]])
            elif role == "change":
                found.append(change_MV[:, of])
            elif role == "prediction":
                found.append(self.predicted(of, design_MP, now_MV))
            elif role == "now":
                found.append(self.level(of, now_MV))
            else:
                found.append(self.given(past, role, of))
        return np.array(found, np.uint16)

    def predicted(self, v: int, design_MP: np.ndarray, now_MV: np.ndarray) -> np.ndarray:
        """The cell (M,) of the prediction of number v, for which those before it are known."""
        return cells_of(self.changes.predicted(v, design_MP, now_MV), self.edges[f"prediction {v}"])

    def level(self, v: int, now_MV: np.ndarray) -> np.ndarray:
        """The cell (M,) of number v."""
        return cells_of(now_MV[:, v], self.edges[f"level {v}"])


def n_weights(form: StepForm, detail: int) -> int:
    """Coefficients of a prediction of a later step, so detailed, beside the constant."""
    places, numbers = min(form.length, MOST_PLACES) - 1, len(form.numbers)
    return 3 * numbers + (places if detail else 0) + (places * numbers if detail > 1 else 0)
