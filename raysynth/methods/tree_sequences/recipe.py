"""What the trees of sequences learn from: each row once as a later step, each first row of a window once as a first.

A row of a long entity stands in several windows; how many steps are before it is drawn from these.

Shape legend: R rows of all entities, M those learned from, C columns of a step, V numbers of a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from raysynth.methods.sequences.data import WindowRows
from raysynth.methods.tree_sequences.sampler import StepTrees, TreeSequenceSampler
from raysynth.methods.tree_sequences.steps import DRAWN, Past, StepForm, StepTable
from raysynth.methods.trees.columns import RowsOfPersons
from raysynth.methods.trees.forest import Forest
from raysynth.methods.trees.grow import GrowthRule
from raysynth.methods.trees.recipe import ColumnTask, learn_column, one_leaf, screened_inputs


@dataclass(frozen=True)
class TreesRule:
    """How sequences are learned.

    Args:
        growth: of the trees.
        n_bins: of a residual. rare: rows that a cell must have. rare_threshold: persons that a leaf must have, halved.
        max_rows: to learn from.
    """

    growth: GrowthRule
    n_bins: int
    rare: int
    rare_threshold: int
    max_rows: int


@dataclass(frozen=True)
class Steps:
    """Encoded sequences with their numbers.

    Args:
        form: of a step.
        rows: of all sequences.
        starts: first row of each entity, and the number of rows at the end.
        persons_R: whose each row is; None: rows stand for themselves.
        numbers_RV: settled: a missing number is that of the entity's row before, 0 before any.
    """

    form: StepForm
    rows: WindowRows
    starts: np.ndarray
    persons_R: np.ndarray | None
    numbers_RV: np.ndarray

    @classmethod
    def of(cls, form: StepForm, rows: WindowRows, starts: np.ndarray, persons_R: np.ndarray | None) -> Steps:
        """From encoded rows."""
        return cls(form, rows, starts, persons_R, _settled(form.scaled(rows.steps), starts))

    def learn(self, rule: TreesRule, seed: int) -> TreeSequenceSampler:
        """Trees for first and for later rows."""
        rng = np.random.default_rng([seed, 3])
        parts = []
        for first in (True, False):
            at_M, window_M = self._drawn(first, rule.max_rows, rng)
            parts.append(self._learned(at_M, window_M, rule, int(rng.integers(1 << 31)), first=first))
        return TreeSequenceSampler(*parts)

    def _drawn(self, first: bool, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from, ascending, and the window (M,) that each is looked at in."""
        start_W, length_W = self.rows.windows.start, self.rows.windows.length
        if first:
            window_M = np.sort(rng.permutation(len(start_W))[:most])
            return start_W[window_M], window_M
        at_R, least = np.arange(len(self.numbers_RV)), np.repeat(self.starts[:-1], np.diff(self.starts))
        high_R = np.searchsorted(start_W, at_R - 1, side="right") - 1  # the last window that begins before the row
        reach_R = length_W[np.maximum(high_R, 0)]
        low_R = np.searchsorted(start_W, np.maximum(at_R - reach_R + 1, least))
        inside = np.flatnonzero((high_R >= low_R) & (at_R > least))
        inside = np.sort(rng.permutation(inside)[:most])
        return inside, rng.integers(low_R[inside], high_R[inside] + 1)

    def _past(self, at_M: np.ndarray, window_M: np.ndarray, *, first: bool) -> Past:
        start_M, numbers_RV = self.rows.windows.start[window_M], self.numbers_RV
        place_M, before_M, context = at_M - start_M, np.maximum(at_M - 1, 0), self.rows.context.take(window_M)
        if first:
            of_numbers = [numbers_RV[at_M, :0]] * 5
        else:
            move_RV = np.abs(np.diff(numbers_RV, axis=0, prepend=numbers_RV[:1]))
            mean_MV = _sums(numbers_RV, start_M, at_M) / place_M[:, None]
            rough_MV = _sums(move_RV, start_M + 1, at_M) / np.maximum(place_M - 1, 1)[:, None]
            two_MV = numbers_RV[np.maximum(at_M - 2, start_M)]
            of_numbers = [numbers_RV[before_M], two_MV, mean_MV, numbers_RV[start_M], rough_MV]
        own_MX, length_M = self.form.scaled_context(context), self.rows.windows.length[window_M]
        return Past(place_M, length_M, context, own_MX, self.rows.steps.codes_NC[before_M], *of_numbers)

    def _learned(self, at_M: np.ndarray, window_M: np.ndarray, rule: TreesRule, seed: int, *, first: bool) -> StepTrees:
        """Tables of steps and the forests of their columns, grown side by side."""
        from raysynth.running.runner import run_tasks

        form, block = self.form, self.rows.steps.take(at_M)
        past, now_MV = self._past(at_M, window_M, first=first), self.numbers_RV[at_M]
        others = [n.kind_of_code[block.codes_NC[:, c]] == n.other for c, n in form.numbers.items()]
        counts_MV = np.stack(others, 1) if others else np.zeros((len(at_M), 0), bool)
        table = StepTable.fit(form, past, now_MV, counts_MV, rule.n_bins, rule.rare, first=first)
        codes_FM = table.codes(past, block, now_MV, counts_MV)
        order = tuple(range(len(codes_FM)))
        inputs = screened_inputs(codes_FM, table.views, order)
        grow = partial(self._grown, table, codes_FM, inputs, at_M, rule, seed)
        every = np.arange(len(at_M))
        drawn = {
            i: np.flatnonzero(counts_MV[:, of]) if role == "change" else every
            for i, (role, of) in enumerate(table.sources)
            if role in DRAWN
        }
        label = "growing trees of " + ("first steps" if first else "later steps")
        grown = run_tasks(lambda i: grow(i, drawn[i]), list(drawn), where="local", label=label)
        forests = {i: one_leaf(order[:i], np.zeros(1, np.uint16), None) for i in order}
        return StepTrees(table, tuple((forests | dict(zip(drawn, grown, strict=True))).values()))

    def _grown(
        self,
        table: StepTable,
        codes_FM: np.ndarray,
        inputs: dict[int, tuple[int, ...]],
        at_M: np.ndarray,
        rule: TreesRule,
        seed: int,
        column: int,
        rows: np.ndarray,
    ) -> Forest:
        """The forest of one column, from those rows that have it."""
        codes_FN, run = np.ascontiguousarray(codes_FM[:, rows]), table.views[column].run
        if len(rows) < 2 or (codes_FN[column] == codes_FN[column, 0]).all():
            return one_leaf(inputs[column], codes_FN[column] if len(rows) else np.zeros(1, np.uint16), run)
        owners = None if self.persons_R is None else self.persons_R[at_M[rows]]
        persons = RowsOfPersons.of(owners, codes_FN[:0])
        task = ColumnTask(column, inputs[column], seed + column, corrects=False)
        return learn_column(task, codes_FN, table.views, rule.growth, rule.rare_threshold, None, persons)


def _settled(numbers_RV: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Numbers where a missing one is that of the entity's row before; 0 before any."""
    row_R, first_R = np.arange(len(numbers_RV))[:, None], np.repeat(starts[:-1], np.diff(starts))[:, None]
    latest_RV = np.maximum.accumulate(np.where(np.isnan(numbers_RV), -1, row_R), axis=0)
    own_RV = np.take_along_axis(numbers_RV, np.maximum(latest_RV, 0), axis=0)
    return np.where(latest_RV >= first_R, own_RV, 0.0)


def _sums(numbers_RV: np.ndarray, first_M: np.ndarray, after_M: np.ndarray) -> np.ndarray:
    """Sums (M, V) over the rows from the one to before the other."""
    total_RV = np.concatenate([np.zeros((1, numbers_RV.shape[1])), np.cumsum(numbers_RV, 0)])
    return np.asarray(total_RV[after_M] - total_RV[first_M])
