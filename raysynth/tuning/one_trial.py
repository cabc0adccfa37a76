"""One trial: fit, sample, evaluate and attack, in this process; and the table that trials share. No Ray here.

Statistics depend on the rows, the schema and the listed kinds; an encoder on the statistics and on its form (bins or
modes, and how many). So fits that ask for the same get the same objects, and learn exactly what they would have learned
alone. Under a budget nothing here applies: what a private fit knows of the rows it has released itself, with noise of
its own, and its ledger says so; to give it exact statistics would be a leak, to give it another fit's a debt.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raysynth.comparison.intervals import Estimate
from raysynth.errors import RaysynthError
from raysynth.files.storage import Folder
from raysynth.fitting.method import EncodedTable, EncoderForm
from raysynth.fitting.opening import M, fit_opened, open_table, privacy_scope
from raysynth.schema.table import TableSchema
from raysynth.tuning.trials import (
    FAILED,
    FINISHED,
    STARTED,
    STOPPED,
    Setting,
    Trial,
    TrialResult,
    result_at,
    result_path,
)

if TYPE_CHECKING:
    from raysynth.fitting.method import Method, OpenedTable
    from raysynth.methods.base import Synthesizer
    from raysynth.schema.columns import Kind


@dataclass(frozen=True)
class SharedTable:
    """A table with exact statistics, encoders and encoded rows, for fits without a budget.

    Args:
        opened: what such a fit learns from.
        schema: declared by the models.
        kinds: listed by the models.
        entity: named by the models.
    """

    opened: OpenedTable
    schema: TableSchema | None
    kinds: dict[Kind, Any]
    entity: str | None = None

    @classmethod
    def of(cls, models: Sequence[Method], data: Any) -> SharedTable | None:
        """Open the table for the first model that shares, and encode it in each form that such models ask for.

        Raises:
            DataError, SchemaError, ConstraintError: as `fit`.
        """
        able = [m for m in models if _shares(m)]
        if not able:
            return None
        first = able[0]
        shared = cls(open_table(first, data, None), first._declared_schema(), first._listed_kinds(), first.entity)
        forms = dict.fromkeys(EncoderForm.of(m) for m in able if shared.serves(m))
        return replace(shared, opened=replace(shared.opened, encoded={f: _encoded(shared.opened, f) for f in forms}))

    def serves(self, model: Method) -> bool:
        """Whether a model has no budget, learns a table, and declares the same about it."""
        said = model._declared_schema(), model._listed_kinds(), model.entity
        return _shares(model) and said == (self.schema, self.kinds, self.entity)

    def fit(self, model: M) -> M:
        """As `model.fit(data)` with the same result, but nothing that is here is computed again."""
        return fit_opened(model, self.opened, None)


def _shares(model: Method) -> bool:

    return privacy_scope(model) is None and not model.learns_sequences


def _encoded(opened: OpenedTable, form: EncoderForm) -> EncodedTable:
    from raysynth.fitting.prepared import Prepared

    encoder = form.build(opened.modelled_schema, opened.statistics.columns)
    prepared = Prepared(opened.table, opened.modelled_schema, opened.statistics, encoder, seed=0)
    return EncodedTable(encoder, prepared.encoded() if prepared.fits_in_memory else None)


OBJECTIVES = ("utility", "similarity", "ml_efficacy")
PROGRESS, NINTHS = "ninths_of_training", 9
LOOKS = (Fraction(1, 9), Fraction(1, 3))  # of a training, where a scheduler may stop it
Course = tuple[tuple[float, float], ...]
Tell = Callable[[dict[str, Any]], None]
_ATTACK_EXPERIMENTS = 5
_EVALUATION_SECONDS = 1.2  # and attack, where what follows from the real rows alone is known
_FIT_SECONDS = {  # a cell, and a column of what is learned in a number of rows that is fixed (docs/benchmarks.md)
    "copula": (1e-6, 0.02),
    "bayesian_network": (3e-6, 0.015),
    "trees": (25e-6, 0.0),
    "autoregressive": (0.0, 1.5),
    "tvae": (0.0, 2.4),
}
_OTHER_FIT = (0.0, 24.0)


@dataclass(frozen=True)
class Task:
    """What all trials of a sweep share.

    Args:
        train: the rows that every trial learns from.
        holdout: rows that none learns from: they test models and serve the attack.
        schema: of both, inferred once from the rows: for evaluation, and for fits without differential privacy.
        declared: the user's schema or None: all that a fit with differential privacy may know beforehand.
        targets: columns that models predict.
        objective: 'utility' (mean of similarity and machine-learning efficacy), or one of these two.
        delta: of every finite epsilon.
        fixed: constructor arguments of every synthesizer (scaling_config ...).
        folder: where models and results are kept.
        shared: statistics, encoders and encoded rows for fits without a budget, computed once; None: each its own.
        private: the same task for every finite epsilon, its rows read through the private door, where other trials
            have no budget and need what an exact reading finds; None: this one serves all.
    """

    train: pa.Table
    holdout: pa.Table
    schema: TableSchema
    declared: TableSchema | None
    targets: tuple[str, ...]
    objective: str
    delta: float | None
    folder: Folder
    fixed: dict[str, Any] = field(default_factory=dict)
    shared: SharedTable | None = None
    private: Task | None = None

    def expected_seconds(self, trial: Trial) -> float:
        """What a trial takes about on an idle core, in a process that has run one; what others took corrects it."""
        n_columns = self.train.num_columns
        cells = self.train.num_rows * n_columns
        of_cells, of_columns = _FIT_SECONDS.get(trial.setting.method, _OTHER_FIT)
        return of_cells * cells + of_columns * n_columns + _EVALUATION_SECONDS

    def of(self, setting: Setting) -> Task:
        """The task as a setting's trials see it."""
        return self if self.private is None or math.isinf(setting.epsilon) else self.private

    def schema_of(self, setting: Setting) -> TableSchema | None:
        """What a fit may know of the columns: under a budget nothing that was inferred from the rows."""
        return self.schema if math.isinf(setting.epsilon) else self.declared

    def model_path(self, trial: Trial) -> Folder:
        """Where the model of a trial is."""
        return self.folder / "models" / f"{trial.key}.raysynth"

    def result_path(self, trial: Trial) -> Folder:
        """Where the result of a trial is."""
        return result_path(self.folder, trial)

    def run(self, trial: Trial, tell: Tell | None = None) -> dict[str, Any]:
        """Run a trial and keep its result; what is reported to Ray Tune at the end, and through `tell` on the way.

        A trial that is settled already is not run again: it reports its figures once more, so that a search or a
        scheduler that goes on after a stop knows what it knew.
        """
        kept = result_at(self.result_path(trial))
        if kept is not None and kept.settled:
            for i in range(len(kept.course) if tell is not None else 0):
                tell(told(kept.course[: i + 1]))  # type: ignore[misc]
            return told(kept.course, kept)
        TrialResult(trial, STARTED).write(self.result_path(trial))
        result = run_trial(trial, self.of(trial.setting), tell)
        return told(result.course, result)


def told(course: Course, ended: TrialResult | None = None) -> dict[str, Any]:
    """What is reported to Ray Tune of a trial: its objective, so far or at its end, and its progress in ninths.

    One that failed has the lowest objective there is; one that was stopped keeps what it had.
    """
    if ended is None or ended.status == STOPPED:
        share, utility = course[-1]
    else:
        share, utility = 1.0, -math.inf if math.isnan(ended.utility) else ended.utility
    return {"utility": utility, PROGRESS: round(NINTHS * share, 9), "course": [list(point) for point in course]}


def synthesizer(setting: Setting, seed: int | None, delta: float | None, **fixed: Any) -> Synthesizer:
    """An unfitted synthesizer; differentially private for a finite epsilon."""
    from raysynth.api import new_synthesizer

    private = {} if math.isinf(setting.epsilon) else {"epsilon": setting.epsilon, "delta": delta}
    return new_synthesizer(setting.method, seed=seed, verbose=False, **fixed, **dict(setting.parameters), **private)


def run_trial(trial: Trial, task: Task, tell: Tell | None = None) -> TrialResult:
    """Fit, sample as many rows, evaluate and attack; keeps the model, then the result. A failure is a result, too.

    Args:
        tell: is called with the objective of the model so far, on the way; what it raises that is no `Exception`
            ends the trial without a result.
    """
    seconds: dict[str, float] = {}
    course: list[tuple[float, float]] = []

    def look(model: Synthesizer, share: Fraction) -> None:
        with _timed(seconds, "looks"):
            figures = measure(model.sample_arrow(task.train.num_rows, seed=trial.seed), task, trial.seed)
        course.append((float(share), objective(figures, task.objective)))
        if tell is not None:
            tell(told(tuple(course)))

    try:
        with _timed(seconds, "fit"):
            model = fitted(trial, task, None if tell is None else look)
        with _timed(seconds, "sample"):
            synthetic = model.sample_arrow(task.train.num_rows, seed=trial.seed)
        with _timed(seconds, "evaluate"):
            figures = measure(synthetic, task, trial.seed)
        with _timed(seconds, "attack"):
            attack = attacked(synthetic, task, trial.seed)
        model.save(task.model_path(trial))
        utility = objective(figures, task.objective)
        result = TrialResult(trial, FINISHED, utility, figures, attack, seconds)
    except Exception as error:  # whatever went wrong with one trial is reported with it, and the others go on
        known = isinstance(error, RaysynthError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        result = TrialResult(trial, FAILED, seconds=seconds, error=message)
    result = replace(result, course=tuple(course))
    result.write(task.result_path(trial))
    return result


def fitted(trial: Trial, task: Task, look: Callable[[Synthesizer, Fraction], None] | None = None) -> Synthesizer:
    """The model of a trial; without a budget from the shared statistics, which give the same as its own would.

    Args:
        look: looks at a model that trains in epochs, at `LOOKS`.
    """
    from raysynth.fitting.method import Watcher

    schema = task.schema_of(trial.setting)
    model = synthesizer(trial.setting, trial.seed, task.delta, schema=schema, **task.fixed)
    model._watcher = None if look is None else Watcher(LOOKS, look)
    if task.shared is not None and task.shared.serves(model):
        return task.shared.fit(model)
    return model.fit(task.train)


def measure(synthetic: pa.Table, task: Task, seed: int) -> dict[str, float]:
    """Similarity, accuracy and machine-learning efficacy of synthetic rows."""
    from raysynth.comparison.pairing import pair_tables
    from raysynth.evaluation.efficacy import relative_score, targets_efficacy
    from raysynth.evaluation.evaluate import compare_tables, read_rows

    tables = pair_tables(task.train, synthetic, task.holdout, schema=task.schema)
    similarity = compare_tables(tables)
    figures = {"similarity": similarity.quality}
    figures |= {f"{k}_accuracy": value for k, (value, _) in similarity.accuracies.items()}
    if task.targets:
        rows = read_rows(tables, seed)
        sides = rows["real"], rows["synthetic"], rows["holdout"]
        found = targets_efficacy(task.targets, *sides, models=("gradient boosting",))
        figures["ml_efficacy"] = relative_score(found)
        figures |= {f"ml_efficacy of {t.target}": t.score for t in found}
    return figures


def attacked(synthetic: pa.Table, task: Task, seed: int) -> Estimate:
    """Advantage of the strongest membership attack: 2 * AUC - 1, with its interval."""
    from raysynth.attacks.run import run_privacy_attacks

    found = run_privacy_attacks(
        task.train,
        synthetic,
        attack_types=["membership_inference"],
        n_experiments=_ATTACK_EXPERIMENTS,
        holdout_data=task.holdout,
        schema=task.schema,
        seed=seed,
    )
    auc = found.intervals["membership_inference"]
    return Estimate(2 * auc.value - 1, 2 * auc.low - 1, 2 * auc.high - 1)


def objective(figures: dict[str, float], name: str) -> float:
    """The figure that a sweep maximises; without a target that can be predicted, utility is similarity."""
    if name != "utility":
        return figures.get(name, math.nan)
    parts = [figures[k] for k in ("similarity", "ml_efficacy") if not math.isnan(figures.get(k, math.nan))]
    return sum(parts) / len(parts) if parts else math.nan


def results_of(trials: Sequence[Trial], task: Task) -> dict[Trial, TrialResult]:
    """The results that are on storage already, of trials that are not run again."""
    found = ((t, result_at(task.result_path(t))) for t in trials)
    return {trial: result for trial, result in found if result is not None and result.settled}


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the seconds of what is inside, without those that something else inside added to a name of its own."""
    begun, before = time.perf_counter(), sum(seconds.values())
    yield
    others = sum(seconds.values()) - before
    seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - begun - others, 3)
