"""`selection='private'`: the best of a random number of fits, of which nothing but the winner is ever shown.

The folder of the sweep, while it runs, holds a private part: the drawn settings (and with them the number of runs,
drawn once), the released statistics with the ledger of what was charged for them, and the runs' results and models.
Once the winner is kept, the private part is deleted. A sweep that was stopped goes on with the same draw and the same
statistics; a run that was cut short with its process has shown nothing, and is run again; one that failed has scored
minus infinity, for good. (In a bucket that keeps versions, what was deleted can be had again.)

What an onlooker of the machine may still learn is how long it took, and from that something of the number of runs: the
guarantee is for what is released, not for a clock beside it.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.accounting.ledger import Event, Ledger, gaussian
from raysynth.dp.accounting.scope import RunScope
from raysynth.dp.mechanisms.counts import gaussian_vector
from raysynth.dp.mechanisms.noise import noise_source
from raysynth.errors import ParameterError
from raysynth.files.model_file import ModelContent, read_model, write_model
from raysynth.files.storage import Folder, place, write_atomically
from raysynth.fitting.method import OpenedTable, as_modelled
from raysynth.fitting.opening import fit_opened, open_table
from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import load_synthetic_model, with_ledger
from raysynth.running.plain_lines import told
from raysynth.statistics import noised_state
from raysynth.statistics.noised import NoisedStatistics
from raysynth.tuning.front import Candidate
from raysynth.tuning.on_ray import Room, run_trials
from raysynth.tuning.one_trial import Tell
from raysynth.tuning.private_plan import CoarseCells, PrivatePlan, pair_score, score_sensitivity
from raysynth.tuning.results import SweepResult
from raysynth.tuning.trials import FAILED, FINISHED, Setting, Space, Trial, TrialResult, result_path

PRIVATE_FOLDER = "private"
OBJECTIVE = "pairs of columns (noised)"
_WINNER_FILE, _WINNER_NOTE = "winner.raysynth", "winner.json"
_DRAW, _LEDGER, _STATISTICS = "draw.json", "ledger.json", "statistics.zip"


@dataclass(frozen=True)
class PrivateFolder:
    """The files of a private selection."""

    path: Folder

    @property
    def private(self) -> Folder:
        """What nobody but the data's holder may see; deleted at the end."""
        return self.path / PRIVATE_FOLDER

    @property
    def is_done(self) -> bool:
        """Whether the choice was made."""
        return (self.path / _WINNER_NOTE).exists()

    def drawn(self, plan: PrivatePlan) -> list[Trial]:
        """The runs: how many, and of which settings. Drawn once, before the first, from secret randomness."""
        path = self.private / _DRAW
        if not path.exists():
            noise = noise_source(bool(plan.fixed.get("secure_mode", False)))
            number = plan.repetitions.draw(noise)
            which = [] if number == 0 else (noise.uniform(number) * len(plan.settings)).astype(int).tolist()
            write_atomically(path, json.dumps(which).encode())
        which = json.loads(path.read_text(encoding="utf-8"))
        return [Trial(plan.settings[w], i) for i, w in enumerate(which)]

    def charged(self) -> tuple[Event, ...]:
        """Events of all attempts to release the statistics."""
        path = self.private / _LEDGER
        return Ledger.from_json(path.read_text(encoding="utf-8")).events if path.exists() else ()

    def statistics(self, plan: PrivatePlan, table: Table) -> NoisedStatistics:
        """The table's statistics: kept ones, else released now. The charge is written first: an attempt that is cut
        short is counted, too."""
        model, scope = plan.opener()
        path = self.private / _STATISTICS
        if path.exists():
            kept = read_model(path)
            schema = open_table(model, table, scope, released=NoisedStatistics(0, {})).modelled_schema
            return noised_state.from_state(kept.meta["statistics"], kept.arrays, schema)
        charge = Ledger((*self.charged(), *plan.statistics))
        write_atomically(self.private / _LEDGER, charge.to_json().encode())
        opened = open_table(model, table, scope)
        assert isinstance(opened.statistics, NoisedStatistics)
        meta, arrays = noised_state.to_state(opened.statistics, opened.modelled_schema)
        write_model(path, ModelContent({"statistics": meta}, arrays))
        return opened.statistics

    def keep(self, winner: TrialResult | None, model: Synthesizer | None) -> None:
        """Keep the winner, then delete everything else."""
        if model is not None:
            model.save(self.path / _WINNER_FILE)
        if winner is None:
            write_atomically(self.path / _WINNER_NOTE, b"null")
        else:
            winner.write(self.path / _WINNER_NOTE)

    def clear(self) -> None:
        """Delete all that may not be shown."""
        place(self.private).delete_all()

    def result(self) -> SweepResult:
        """The finished selection, as it was kept."""
        note = self.path / _WINNER_NOTE
        nothing = note.read_text(encoding="utf-8") == "null"
        results = () if nothing else (TrialResult.read(note),)
        return SweepResult(results, "private", OBJECTIVE, self.path, self._winner)

    def _winner(self, candidate: Candidate) -> Synthesizer:
        return load_synthetic_model(self.path / _WINNER_FILE)


def private_sweep(plan: PrivatePlan, table: Table, folder: Folder, room: Room) -> SweepResult:
    """Draw, run, choose, keep the winner, and forget the rest; goes on where an earlier call was stopped."""
    files = PrivateFolder(folder)
    if not files.is_done:
        trials = files.drawn(plan)
        task = private_task(plan, table, files)
        missing = [t for t in trials if not task.result_path(t).exists()]
        with told(only_public=True):  # how many were drawn is secret
            run_trials(missing, task, room)
        winner = chosen([TrialResult.read(task.result_path(t)) for t in trials])
        files.keep(*released(winner, task, files))
    files.clear()
    return files.result()


def private_task(plan: PrivatePlan, table: Table, files: PrivateFolder) -> PrivateTask:
    """What the runs share: statistics and the counts that scores compare with, from one pass each."""
    statistics = files.statistics(plan, table)
    model, scope = plan.opener()
    opened = open_table(model, table, scope, released=statistics)
    return PrivateTask(plan, table, statistics, CoarseCells.of(opened).count(opened.table), files.private)


def chosen(results: Sequence[TrialResult]) -> TrialResult | None:
    """The run of highest noised score; None where no run gave one."""
    scored = [r for r in results if r.status == FINISHED and not math.isnan(r.utility)]
    return max(scored, key=lambda r: r.utility, default=None)


def released(
    winner: TrialResult | None, task: PrivateTask, files: PrivateFolder
) -> tuple[TrialResult | None, Synthesizer | None]:
    """What of the winner leaves: its setting, its noised score and its model, with the ledger of the whole choice.

    Its epsilon becomes that of statistics and choice together; neither its number among the runs nor a time is kept.
    """
    if winner is None:
        return None, None
    setting = winner.trial.setting
    spent = task.plan.ledger(files.charged())
    model = with_ledger(load_synthetic_model(task.model_path(winner.trial)), spent)
    trial = Trial(Setting(setting.method, spent.epsilon, setting.parameters), 0)
    line = replace(winner, trial=trial, figures={"epsilon_of_one_fit": setting.epsilon})
    return line, model


def check_private(epsilons: Sequence[float], space: Space, parameters: Mapping[str, Any]) -> None:
    """Raise `ParameterError` for what makes no sense, or no privacy, in a private selection.

    Args:
        epsilons: of the space.
        space: hyper-parameters by method.
        parameters: constructor arguments of every synthesizer.
    """
    for name in ("keep_shards", "odometer"):
        if parameters.get(name):
            raise ParameterError(f"selection='private' takes no {name} in parameters: {REFUSED[name]}")
    if any(math.isinf(e) for e in epsilons):
        raise ParameterError(
            "selection='private' charges for the dearest setting of the space, so every epsilon must be finite; "
            "leave out inf"
        )
    if parameters.get("privacy_unit") is not None:
        raise ParameterError(
            "selection='private' counts single rows: its score has the sensitivity of one; leave out privacy_unit, "
            "or take selection='proxy'"
        )
    common = set(Synthesizer._parameter_names())
    for method, values in space.items():
        if shared := sorted(common & set(values)):
            raise ParameterError(
                f"search_space of '{method}' varies {shared[0]}, which all runs of a private selection share, since "
                "their statistics are released once; give it in parameters"
            )


REFUSED = {
    "target_columns": "runs are scored by pairs of columns, whose sensitivity is known; no score trains a model",
    "entity": "nothing is held out; name the persons by privacy_unit",
    "holdout_data": "runs are scored against the rows that they learn from, within the budget",
    "objective": "runs are scored by pairs of columns, whose sensitivity is known",
    "proxy_data": "it belongs to selection='proxy'",
    "search": "it draws each setting by the scores of earlier ones, while the cost of the choice holds for runs that "
    "know nothing of each other (Papernot and Steinke 2022)",
    "scheduler": "to stop a run by its score releases that score, and how others fared beside it; the cost of the "
    "choice holds for whole runs, of which the winner alone is shown",
    "scaling_config": "each run trains in one process",
    "odometer": "the choice is charged as a whole; give it to the sweep itself",
    "keep_shards": "its runs share one release of the statistics already",
    "run_config": "checkpoints and loss curves of runs would be releases of their own",
}


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
    folder: Folder

    def model_path(self, trial: Trial) -> Folder:
        """Where the model of a run is."""
        return self.folder / "models" / f"{trial.key}.raysynth"

    def result_path(self, trial: Trial) -> Folder:
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
