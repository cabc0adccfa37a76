"""One run inside a private selection: a fit from shared statistics, its noised score, and nothing else. No Ray here."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.accounting.ledger import gaussian
from raysynth.dp.accounting.run_scope import RunScope
from raysynth.dp.mechanisms.counts import gaussian_vector
from raysynth.fitting.opened import OpenedTable, as_modelled
from raysynth.fitting.opening import fit_opened, open_table
from raysynth.methods.base import Synthesizer
from raysynth.statistics.noised import NoisedStatistics
from raysynth.tuning.one_trial import Tell
from raysynth.tuning.pair_score import CoarseCells, pair_score, score_sensitivity
from raysynth.tuning.private_plan import PrivatePlan
from raysynth.tuning.trials import FAILED, FINISHED, Trial, TrialResult, result_path

MOST_SCORED = 50_000  # synthetic rows of a score
_FAILED = "the run failed"


@dataclass(frozen=True)
class PrivateTask:
    """What all runs share; it holds exact counts and the rows: private.

    Args:
        plan: budgets and settings.
        table: the rows.
        statistics: released once, before all runs.
        counts: exact counts of the pairs that the score compares.
        folder: where results and models are until the choice is made.
    """

    plan: PrivatePlan
    table: Table
    statistics: NoisedStatistics
    counts: dict[tuple[int, ...], np.ndarray]
    folder: Path

    def model_path(self, trial: Trial) -> Path:
        """Where the model of a run is."""
        return self.folder / "models" / f"{trial.key}.raysynth"

    def result_path(self, trial: Trial) -> Path:
        """Where the result of a run is."""
        return result_path(self.folder, trial)

    def run(self, trial: Trial, tell: Tell | None = None) -> dict[str, Any]:
        """Run a trial and keep its result; reports nothing to Ray Tune but that it ended."""
        run_private_trial(trial, self)
        return {"done": 1.0}


def run_private_trial(trial: Trial, task: PrivateTask) -> TrialResult:
    """Fit, sample and score; keeps the model, then the result. A failure scores minus infinity: it is never chosen."""
    plan, statistics = task.plan, task.statistics
    try:
        model = plan.unfitted(trial.setting)
        scope = _run_scope(trial, task)
        sensitivity = score_sensitivity(scope.n_rows)
        scope.charge(gaussian("score of a fit", plan.score_multiplier, sensitivity=sensitivity))
        opened = open_table(model, task.table, scope, released=statistics)
        fit_opened(model, opened, scope)
        score = pair_score(task.counts, scope.n_rows, _synthetic_counts(model, opened, scope.n_rows))
        noised = gaussian_vector(np.array([score]), plan.score_multiplier, scope.noise, sensitivity=sensitivity)
        model.save(task.model_path(trial))
        result = TrialResult(trial, FINISHED, float(noised[0]))
    except Exception as error:  # whatever went wrong, no other run may learn of it
        result = TrialResult(trial, FAILED, error=f"{_FAILED}: {type(error).__name__}: {error}")
    result.write(task.result_path(trial))
    return result


def _run_scope(trial: Trial, task: PrivateTask) -> RunScope:
    _, paid = task.plan.opener()
    return RunScope(
        paid.budget,
        task.plan.runs[trial.setting.epsilon],
        max(1, task.statistics.n_rows),
        preprocessing_share=paid.preprocessing_share,
        noise=paid.noise,
    )


def _synthetic_counts(model: Synthesizer, opened: OpenedTable, n_rows: int) -> dict[tuple[int, ...], np.ndarray]:
    """Counts of synthetic rows in the cells of the score."""
    rows = model.sample_arrow(min(n_rows, MOST_SCORED), seed=secrets.randbits(61))
    table, _, _ = as_modelled(as_table(rows, min_rows=1), opened.schema)
    return CoarseCells.of(opened).count(table)
