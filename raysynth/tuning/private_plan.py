"""What a private selection will cost, from public values alone, before a row is read.

Three parts: the statistics, released once with the share that the smallest epsilon gives them; one run, which may cost
what the largest epsilon leaves beside them, its noised score included; and the choice of the best of K runs. Half of
delta is the choice's, the rest that of the statistics. The two compose: the parameters of the choice do not depend on
what the statistics come out as.

The score of a run is how close synthetic rows are to the real ones in all pairs of columns:

    score = 1 - mean over pairs of 1/2 sum over cells x of |c(x) / n - s(x)|

c counts the real rows in the coarse cells of a pair (at most 8 bins a column, by released statistics), n is the noised
number of rows, released before, and s is the share of synthetic rows.

Sensitivity, one row more or less: the row stands in exactly one cell of each pair, so one |c(x) / n - s(x)| of each
pair changes by at most 1 / n, each pair's half sum by at most 1 / (2 n), and so does their mean: the cells, n and, once
a model is fitted, s do not depend on the row. Hence 1 / (2 n), however many columns and bins there are.

Shape legend: N rows, C columns, K cells of a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.data.fragments import Table
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.calibration import DEFAULT_DELTA, PrivacyBudget, calibrated
from raysynth.dp.accounting.ledger import Event, Ledger, gaussian, selection
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.accounting.selection import Repetitions, RunBudget, most_order, selection_epsilon
from raysynth.encoding.table_encoder import TableEncoder, build_encoder
from raysynth.errors import ParameterError
from raysynth.fitting.method import OpenedTable
from raysynth.fitting.opening import open_table, privacy_scope
from raysynth.methods.base import Synthesizer
from raysynth.running.runner import summarise
from raysynth.schema.table import TableSchema
from raysynth.statistics.contingency import ContingencyCounts, CountingPlan
from raysynth.tuning.one_trial import synthesizer
from raysynth.tuning.trials import Setting
from raysynth.tuning.winners import Budget

SELECTION_DELTA = 0.5  # of delta, for the choice
SCORE_SHARE = 0.05  # of the rho of the smallest epsilon's run, for its score
RELEASED = "the best of a random number of fits (selection='private')"


@dataclass(frozen=True)
class PrivatePlan:
    """The settings of a private selection and what it costs.

    Args:
        settings: what each run draws from, evenly.
        schema: the user's, or None.
        delta: of all together.
        fixed: constructor arguments of every synthesizer.
        repetitions: the law of the number of runs.
        statistics: events of the statistics.
        runs: what a run of each epsilon may cost.
        choice: the event of the selection.
    """

    settings: tuple[Setting, ...]
    schema: TableSchema | None
    delta: float
    fixed: dict[str, Any]
    repetitions: Repetitions
    statistics: tuple[Event, ...]
    runs: dict[float, RunBudget]
    choice: Event

    @property
    def epsilon(self) -> float:
        """Of statistics and choice together, at `delta`."""
        return total_epsilon((*self.statistics, self.choice), self.delta)

    @property
    def score_multiplier(self) -> float:
        """Noise multiplier of every run's score: the same for all, so that noise favours none."""
        return float(self.runs[min(self.runs)].noise_multiplier / SCORE_SHARE**0.5)

    def unfitted(self, setting: Setting) -> Synthesizer:
        """The synthesizer of a setting; its seed is fresh in each run."""
        return synthesizer(setting, None, self.delta, schema=self.schema, **self.fixed)

    def opener(self) -> tuple[Synthesizer, PrivacyScope]:
        """Whose parameters the table is opened with, and the scope that pays for its statistics.

        All runs share these; the method that takes most for them decides, so that neither they nor the cost of the
        whole depend on the order of methods.
        """
        epsilon = min(s.epsilon for s in self.settings)
        models = (self.unfitted(replace(s, epsilon=epsilon)) for s in {s.method: s for s in self.settings}.values())
        model = max(models, key=lambda m: (m.usual_statistics_share, m.method))
        return model, _scope(model)

    def ledger(self, charged: Sequence[Event]) -> PrivacySpent:
        """The ledger of a winner.

        Args:
            charged: events of the statistics, those of attempts that were cut short among them.
        """
        choice = replace(self.choice, guarantee=all(e.guarantee for e in charged))
        events = Ledger((*charged, choice))
        return PrivacySpent.of(events, PrivacyBudget(total_epsilon(events, self.delta), self.delta))


def affordable_plan(
    table: Table, settings: Sequence[Setting], budget: Budget, repetitions: Repetitions, limit: float | None
) -> PrivatePlan:
    """What a private selection will do and cost; of the table only names and types are looked at.

    Raises `ParameterError` where it costs more than the limit, or cannot be done; before the rows are opened.
    """
    if table.dataset is not None:
        raise ParameterError(
            "selection='private' reads all rows in each trial, which a Ray Dataset cannot serve inside a task; write "
            "it to Parquet and give the folder"
        )
    delta = DEFAULT_DELTA if budget.delta is None else budget.delta
    plan = planned(table, settings, budget.schema, delta, budget.fixed, repetitions)
    if limit is not None and plan.epsilon > limit:
        raise ParameterError(
            f"this selection would cost epsilon = {plan.epsilon:.3g} (delta = {plan.delta:g}), above epsilon_limit = "
            f"{limit:g}; take smaller epsilons or fewer mean_trials. Nothing was read"
        )
    return plan


def planned(
    table: Table,
    settings: Sequence[Setting],
    schema: TableSchema | None,
    delta: float,
    fixed: dict[str, Any],
    repetitions: Repetitions,
) -> PrivatePlan:
    """The plan for a table, of which only names and types are looked at.

    Raises:
        ParameterError: a parameter of a synthesizer is out of range, or an epsilon is too small.
    """
    bare = PrivatePlan(tuple(settings), schema, delta, fixed, repetitions, (), {}, gaussian("unplanned", 1.0))
    for setting in settings:
        bare.unfitted(setting)._check_parameters()
    model, scope = bare.opener()
    open_table(model, without_rows(table), scope)
    statistics = tuple(scope.ledger)
    multipliers = {e: _run_multiplier(e, delta, statistics) for e in sorted({s.epsilon for s in settings})}
    dearest = min(multipliers.values())
    cap = most_order(dearest, SELECTION_DELTA * delta)
    choice = selection(
        RELEASED,
        selection_epsilon(RunBudget(dearest, cap), repetitions, SELECTION_DELTA * delta),
        SELECTION_DELTA * delta,
        noise_multiplier=dearest,
        most_order=cap,
        law=repetitions.law,
        mean_runs=repetitions.mean,
    )
    runs = {e: RunBudget(multiplier, cap) for e, multiplier in multipliers.items()}
    return replace(bare, statistics=statistics, runs=runs, choice=choice)


def without_rows(table: Table) -> Table:
    """A table of the same columns and types that has no rows."""
    return replace(table, fragments=(), n_rows=0, memory=None, dataset=None)


def _run_multiplier(epsilon: float, delta: float, statistics: tuple[Event, ...]) -> float:
    """Of the one Gaussian that stays within epsilon together with the statistics."""
    return calibrated(lambda sigma: (gaussian("one run", sigma),), PrivacyBudget(epsilon, delta), statistics)


def _scope(model: Synthesizer) -> PrivacyScope:
    scope = privacy_scope(model)
    if scope is None:
        raise ParameterError("every epsilon of a private selection must be finite")
    return scope


SCORE_BINS = 8


@dataclass(frozen=True)
class CoarseCells:
    """Rows to coarse codes.

    Args:
        encoder: of the modelled columns, from released statistics.
        cell_of: the coarse code of each code, one array (cardinality,) a column.
    """

    encoder: TableEncoder
    cell_of: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, opened: OpenedTable) -> CoarseCells:
        """At most `SCORE_BINS` cells a column: quantile bins, or the most frequent categories and the rest."""
        encoder = build_encoder(
            opened.modelled_schema, opened.statistics.columns, numeric="bins", n_bins=SCORE_BINS - 1
        )
        return cls(encoder, tuple(_merged(shares) for shares in encoder.frequencies()))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Cells of each column."""
        return tuple(int(cells.max()) + 1 for cells in self.cell_of)

    @property
    def column_sets(self) -> tuple[tuple[int, ...], ...]:
        """All pairs of columns; of a table of one column that alone."""
        width = len(self.cell_of)
        return tuple((i, j) for i in range(width) for j in range(i + 1, width)) or ((0,),)

    @cached_property
    def plan(self) -> CountingPlan:
        """How they are counted, made once for all fragments."""
        return CountingPlan.of(self.cardinalities, self.column_sets)

    def count(self, table: Table) -> dict[tuple[int, ...], np.ndarray]:
        """Rows in each cell of each pair, in one pass; exact, so private."""
        make = partial(CoarseCounts, self)
        return summarise(table, make, columns=list(self.encoder.names), label="counting pairs").counts.tables


class CoarseCounts:
    """Counts of pairs of coarse cells: a summary with update and merge."""

    def __init__(self, cells: CoarseCells) -> None:
        self.cells = cells
        self.counts = ContingencyCounts(cells.cardinalities, cells.plan)

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        codes_NC = self.cells.encoder.encode(batch).codes_NC
        coarse = [cell_of[codes_NC[:, i]] for i, cell_of in enumerate(self.cells.cell_of)]
        self.counts.update_codes(np.stack(coarse, axis=1).astype(np.uint16))

    def merge(self, other: CoarseCounts) -> None:
        """Add the counts of another part of the table."""
        self.counts.merge(other.counts)


def pair_score(
    real: Mapping[tuple[int, ...], np.ndarray], n_rows: int, synthetic: Mapping[tuple[int, ...], np.ndarray]
) -> float:
    """The exact score of synthetic rows; see the module.

    Args:
        real: counts of real rows in each pair's cells.
        n_rows: the noised number of real rows, at least 1.
        synthetic: counts of at least one synthetic row in the same cells.
    """
    distances = [
        0.5 * np.abs(counts / n_rows - synthetic[pair] / synthetic[pair].sum()).sum() for pair, counts in real.items()
    ]
    return float(1 - np.mean(distances))


def score_sensitivity(n_rows: int) -> float:
    """Most that one row more or less changes `pair_score`; see the module."""
    return 1 / (2 * n_rows)


def _merged(shares: np.ndarray) -> np.ndarray:
    """The coarse code of each code: the most frequent have one each, all others share the last."""
    order = np.argsort(-shares, kind="stable")
    cell_of = np.full(len(shares), min(len(shares), SCORE_BINS) - 1)
    kept = order[: SCORE_BINS - 1] if len(shares) > SCORE_BINS else order
    cell_of[kept] = np.arange(len(kept))
    return cell_of
