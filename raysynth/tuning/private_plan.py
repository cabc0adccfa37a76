"""What a private selection will cost, from public values alone, before a row is read.

Three parts: the statistics, released once with the share that the smallest epsilon gives them; one run, which may cost
what the largest epsilon leaves beside them, its noised score included; and the choice of the best of K runs. Half of
delta is the choice's, the rest that of the statistics. The two compose: the parameters of the choice do not depend on
what the statistics come out as.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from raysynth.data.fragments import Table
from raysynth.dp.accounting.accountant import total_epsilon
from raysynth.dp.accounting.budget import DEFAULT_DELTA, PrivacyBudget
from raysynth.dp.accounting.calibration import calibrated
from raysynth.dp.accounting.ledger import Event, Ledger, gaussian, selection
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.accounting.selection import Repetitions, RunBudget, most_order, selection_epsilon
from raysynth.errors import ParameterError
from raysynth.fitting.opening import open_table, privacy_scope
from raysynth.methods.base import Synthesizer
from raysynth.schema.table import TableSchema
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
