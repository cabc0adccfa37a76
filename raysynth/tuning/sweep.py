"""Which method and which epsilon for my table: the trade-off of privacy and utility, swept over a cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from raysynth.arguments import check_one_of, check_whole
from raysynth.data.table import as_table
from raysynth.dp.accounting.ledger import ROW
from raysynth.dp.accounting.odometer import Odometer, record_use
from raysynth.dp.accounting.selection import GEOMETRIC, Repetitions
from raysynth.errors import ParameterError
from raysynth.files.storage import Folder, folder_at
from raysynth.running.stages import stage
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import declared_types
from raysynth.tuning import winners
from raysynth.tuning.on_ray import Room
from raysynth.tuning.one_trial import OBJECTIVES, Task
from raysynth.tuning.preparation import prepared_task, split, warn_of_text
from raysynth.tuning.private_plan import affordable_plan
from raysynth.tuning.private_sweep import PRIVATE_FOLDER, REFUSED, check_private, private_sweep
from raysynth.tuning.results import SweepResult
from raysynth.tuning.search import Search, run_search
from raysynth.tuning.trials import TrialResult, checked_space, claim, note_of, require_same_sweep

if TYPE_CHECKING:
    from ray.train import RunConfig, ScalingConfig

    from raysynth.methods.base import Synthesizer
    from raysynth.tuning.front import Candidate

Columns = Sequence[str] | str | None


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What every sweep says of its trials.

    Args:
        methods: names of methods; None: all that take every epsilon asked for.
        epsilons: infinity: without differential privacy.
        out: folder or URI for models, results and the report; over several nodes one that all of them see.
        search_space: {method: {parameter: [values] or (low, high)}}; None for a method: the values that it declares
            itself; methods left out keep their defaults.
        n_trials: settings of each method in `search_space`, at each epsilon with a search.
        delta: of every finite epsilon; None: 1e-5.
        schema: declared schema; the only thing beside its own noised statistics that a private fit knows.
        parameters: constructor arguments of every synthesizer, for example {'public_types': True}.
        cpus_per_trial: processors of one trial.
        max_concurrent_trials: most trials at a time; None: as many as fit.
        seed: of the split, the random settings and the trials.
        odometer: private folder that counts what is released of the table, the sweep's own exact figures and choices
            among it.
    """

    selection: ClassVar[str]

    methods: Sequence[str] | None = None
    epsilons: Sequence[float] = (math.inf,)
    out: str | os.PathLike[str]
    search_space: Mapping[str, Mapping[str, Any] | None] | None = None
    n_trials: int = 8
    delta: float | None = None
    schema: TableSchema | str | os.PathLike[str] | None = None
    parameters: dict[str, Any] | None = None
    cpus_per_trial: float = 1.0
    max_concurrent_trials: int | None = None
    seed: int = 0
    odometer: str | os.PathLike[str] | None = None

    def run(self, data: Any) -> SweepResult:
        """Fit, sample and evaluate all trials on a table, in any form that `fit` takes."""
        raise NotImplementedError

    def _budget(self, spread: dict[str, Any]) -> winners.Budget:
        declared, parameters = _declared(self.schema, self.parameters or {})
        return winners.Budget(self.delta, declared, {**parameters, **spread})

    def _search(self, n_seeds: int, search: str | None = None, scheduler: str | None = None) -> Search:
        if not self.epsilons or any(not e > 0 for e in self.epsilons):
            raise ParameterError(f"epsilons must be numbers > 0, or inf; found {list(self.epsilons)!r}")
        check_whole("n_seeds", n_seeds)
        check_whole("n_trials", self.n_trials)
        methods, space = _methods(self.methods, self.epsilons), checked_space(self.search_space or {})
        return Search(tuple(methods), tuple(self.epsilons), space, self.n_trials, n_seeds, self.seed, search, scheduler)


@dataclass(frozen=True, kw_only=True)
class EvaluatedTrials(Trials):
    """Trials whose figures come from an evaluation with rows held out.

    Args:
        n_seeds: fits of each setting, for the error bars.
        search: None: settings are drawn at random. 'optuna' (pip install 'raysynth[tune]'): each is drawn from what
            earlier ones gave, apart for every method and epsilon, by fits with the first seed; those that were found
            are then fitted with the others. With several trials at a time it depends on which of them ends first.
            The first ten settings of each are random: let `n_trials` be well above ten.
        scheduler: None: every trial runs to its end. 'asha': a neural trial reports its objective after a ninth and a
            third of its training, and is stopped there unless it is among the best third of its method and epsilon so
            far; trials of the first seed only. At a finite epsilon such a figure is one more release that no ledger
            holds, which selection='internal' allows.
        objective: 'utility' (mean of similarity and machine-learning efficacy), 'similarity' or 'ml_efficacy'.
        target_columns: what models predict; None: one is chosen as in an evaluation.
        holdout_share: of the rows that no trial learns from.
        entity: the column that says whose each row is, where persons have several: their rows are held out together.
            None: one that looks like it.
        max_rows: a sweep is about choosing: of a larger table so many rows are drawn at random.
        scaling_config, run_config: of trials that train on several workers, as for `fit`.
    """

    n_seeds: int = 3
    search: str | None = None
    scheduler: str | None = None
    objective: str = "utility"
    target_columns: Columns = None
    holdout_share: float = 0.2
    entity: str | None = None
    max_rows: int = 200_000
    scaling_config: ScalingConfig | None = None
    run_config: RunConfig | None = None

    def run(self, data: Any) -> SweepResult:
        """Split the rows, run the trials that have no result yet, and gather all results."""
        check_one_of("objective", self.objective, OBJECTIVES)
        if not 0 < self.holdout_share < 1:
            raise ParameterError(f"holdout_share must be between 0 and 1; found {self.holdout_share!r}")
        given = (("scaling_config", self.scaling_config), ("run_config", self.run_config))
        spread = {k: v for k, v in given if v is not None}
        folder, targets = folder_at(self.out, "out"), _listed(self.target_columns)
        search = self._search(self.n_seeds, self.search, self.scheduler)
        search.check(spread)
        budget, entity = self._budget(spread), self.entity
        for setting in dict.fromkeys(t.setting for t in search.trials):  # a value at fault is refused before any work
            winners.check_setting(setting, budget)
        rest = (self.objective, self.selection, targets, self.seed, self.max_rows, *filter(None, [entity]))
        note = note_of(*search.note, *rest)
        require_same_sweep(folder, note)
        rows, holdout = self._rows(data, budget, folder)
        # where every trial has a budget, rows are read as these read them; exact ones need what a sniffer finds
        types = declared_types(budget.schema) or {}
        if not all(map(math.isinf, self.epsilons)):
            warn_of_text(rows, budget.schema)
        private = None if any(map(math.isinf, self.epsilons)) else types
        with stage("preparing the trials"):
            parts = split(rows, holdout, self.holdout_share, self.max_rows, self.seed, entity, private=private)
            prepared = partial(prepared_task, objective=self.objective, budget=budget, folder=folder, entity=entity)
            task = prepared(parts.train, parts.holdout, targets=targets)
            if private is None and not all(map(math.isinf, self.epsilons)):
                read = parts.read_privately(rows, holdout, types)
                task = replace(task, private=prepared(*read, targets=task.targets))
        claim(folder, note)
        room = Room(self.cpus_per_trial, self.max_concurrent_trials, self.scaling_config)
        trials, repeated = run_search(search, task, room)
        results = tuple(TrialResult.read(task.result_path(t)) for t in trials)
        winner = self._winner(data, task, budget)
        shown = f"{len(parts.train):,} learned from, {len(parts.holdout):,} held out"
        return SweepResult(results, self.selection, self.objective, folder, winner, repeated, _path(data), shown)

    def _rows(self, data: Any, budget: winners.Budget, folder: Folder) -> tuple[Any, Any]:
        """The rows to learn and hold out from, and the holdout where it is given."""
        raise NotImplementedError

    def _winner(self, data: Any, task: Task, budget: winners.Budget) -> Callable[[Candidate], Synthesizer]:
        """How the model of the winner comes about."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class InternalSweep(EvaluatedTrials):
    """All figures are for the data's holder; `holdout_data`: real rows for the evaluation, in place of a share."""

    selection: ClassVar[str] = "internal"
    holdout_data: Any = None

    def _rows(self, data: Any, budget: winners.Budget, folder: Folder) -> tuple[Any, Any]:
        record_use(self.odometer, "a sweep by exact figures")
        return data, self.holdout_data

    def _winner(self, data: Any, task: Task, budget: winners.Budget) -> Callable[[Candidate], Synthesizer]:
        return partial(winners.trial_winner, task=task)


@dataclass(frozen=True, kw_only=True)
class ProxySweep(EvaluatedTrials):
    """The sweep runs on stand-in rows.

    Args:
        proxy_data: a public table of the same columns; None: a Bayesian network makes the rows.
        proxy_epsilon: of that network.
    """

    selection: ClassVar[str] = "proxy"
    proxy_data: Any = None
    proxy_epsilon: float = 1.0

    def _rows(self, data: Any, budget: winners.Budget, folder: Folder) -> tuple[Any, Any]:
        paying = self._paying(budget)
        return winners.proxy_rows(data, self.proxy_data, self.proxy_epsilon, paying, folder, self.seed), None

    def _winner(self, data: Any, task: Task, budget: winners.Budget) -> Callable[[Candidate], Synthesizer]:
        return partial(winners.fitted_winner, data=data, budget=self._paying(budget), folder=task.folder)

    def _paying(self, budget: winners.Budget) -> winners.Budget:
        """Of the two fits that see the private rows: the odometer counts them, and no trial on other rows."""
        return replace(budget, fixed={**budget.fixed, "odometer": self.odometer})


@dataclass(frozen=True, kw_only=True)
class PrivateSelection(Trials):
    """The best of a random number of fits.

    Args:
        mean_trials: the mean number of fits; how many there were is never shown.
        trials_law: 'geometric' (at least one) or 'poisson' (cheaper for about three; there may be none).
        epsilon_limit: the most that statistics and choice may cost together.
    """

    selection: ClassVar[str] = "private"
    mean_trials: float = 10.0
    trials_law: str = GEOMETRIC
    epsilon_limit: float | None = None

    def run(self, data: Any) -> SweepResult:
        """Find what the choice costs, from names and types alone; then release statistics and fit."""
        search, budget = self._search(1), self._budget({})
        check_private(search.epsilons, search.space, budget.fixed)
        repetitions, folder = Repetitions(self.mean_trials, self.trials_law), folder_at(self.out, "out")
        table = as_table(data, min_rows=0, declared=declared_types(budget.schema), private=True)
        trials = search.trials
        settings = [t.setting for t in trials]
        plan = affordable_plan(table, settings, budget, repetitions, self.epsilon_limit)
        law = (repetitions.mean, repetitions.law)
        note = note_of(trials, self.selection, budget.delta, *law, budget.fixed, budget.schema)
        require_same_sweep(folder, note)
        claim(folder, note, (PRIVATE_FOLDER,))
        if self.odometer is not None:
            Odometer(self.odometer).reserve("a private selection", plan.epsilon, plan.delta, unit=ROW)
        found = private_sweep(plan, table, folder, Room(self.cpus_per_trial, self.max_concurrent_trials, None))
        return replace(found, data=_path(data))


SELECTIONS: dict[str, type[Trials]] = {c.selection: c for c in (InternalSweep, ProxySweep, PrivateSelection)}


def sweep(
    data: Any,
    methods: Sequence[str] | None = None,
    epsilons: Sequence[float] = (math.inf,),
    *,
    selection: str = "internal",
    **options: Any,
) -> SweepResult:
    """Fit, sample, evaluate and attack every method at every epsilon with several seeds, side by side on Ray Tune.

    Each trial's model and figures are kept in `out` as they come; the same call on the same folder resumes where an
    earlier one was stopped, and repeats no finished trial. A trial that fails is reported and the others go on.

    Statistics, encoders and encoded rows of trials without a budget are computed once, by the sweep, and shared through
    Ray's object store. A finite epsilon shares nothing: each such trial opens the rows by itself, and all that it knows
    of them are noised releases in its own ledger. What an evaluation computes of the real rows alone, each process
    computes once.

    Every figure of a trial on private rows is itself a release. `selection` says how the search is kept private:

    - 'internal': it is not. All figures are for the data's holder only, and a model chosen by them has a ledger that
      says 'not covered by epsilon' of the choice.
    - 'proxy': see `proxy_sweep`. 'private': see `private_selection`.

    Args:
        data: any table that `fit` takes.
        methods, epsilons: as in `Trials`.
        selection: see above.
        options: the arguments of `Trials` (`out` is needed), `EvaluatedTrials` and `InternalSweep`.

    Raises:
        ParameterError: names what is out of range, which method takes no epsilon, or what a private selection costs
            where that is above the limit; before the rows are opened.
        DataError: the table has too few rows, or cannot be read.
        StorageError: `out` holds another sweep.
    """
    check_one_of("selection", selection, SELECTIONS)
    kind = SELECTIONS[selection]
    return kind(methods=methods, epsilons=epsilons, **_own(kind, options)).run(data)


def proxy_sweep(
    data: Any, methods: Sequence[str] | None = None, epsilons: Sequence[float] = (math.inf,), **options: Any
) -> SweepResult:
    """A sweep on stand-in rows, which may be shown to anybody; the private rows are opened twice at most.

    A Bayesian network with a budget of its own (`proxy_epsilon`) is fitted to them once, or `proxy_data` takes its
    place; the whole sweep runs on those rows; `best()` fits the winner, alone, to the private rows. Its ledger holds
    both.

    Args:
        data, methods, epsilons: as in `sweep`.
        options: the arguments of `Trials` (`out` is needed), `EvaluatedTrials` and `ProxySweep`.

    Raises as `sweep` does.
    """
    return sweep(data, methods, epsilons, selection=ProxySweep.selection, **options)


def private_selection(
    data: Any, methods: Sequence[str] | None = None, epsilons: Sequence[float] = (1.0,), **options: Any
) -> SweepResult:
    """A sweep within the budget: the best of a random number of fits (Papernot and Steinke 2022).

    Statistics are released once, every fit has a noised score of its own, and only the winner is kept and shown; its
    ledger covers the choice. All is charged for the largest epsilon: with ten fits on average about 2.4 times it. All
    rows are learned, none is held back, and no attack is measured.

    Args:
        data, methods, epsilons: as in `sweep`; every epsilon is finite.
        options: the arguments of `Trials` (`out` is needed) and `PrivateSelection`.

    Raises as `sweep` does.
    """
    return sweep(data, methods, epsilons, selection=PrivateSelection.selection, **options)


def _own(kind: type[Trials], options: dict[str, Any]) -> dict[str, Any]:
    """The options without those of other kinds that have their defaults; raises `ParameterError` for other values."""
    kept = {}
    for name, value in options.items():
        defaults = {c.selection: f.default for c in SELECTIONS.values() for f in fields(c) if f.name == name}
        if kind.selection in defaults or not defaults:  # an unknown one is refused by the constructor, as in any call
            kept[name] = value
            continue
        default = next(iter(defaults.values()))
        if value is None or (default is not None and value == default):
            continue
        if kind is PrivateSelection and name in REFUSED:
            raise ParameterError(f"selection='private' takes no {name}: {REFUSED[name]}")
        raise ParameterError(f"{name} belongs to {' or '.join(f'selection={s!r}' for s in defaults)}")
    return kept


def _methods(methods: Sequence[str] | None, epsilons: Sequence[float]) -> list[str]:
    """The methods to try; raises `ParameterError` for one that takes no epsilon where a finite one is asked for."""
    from raysynth.methods.registry import METHODS, synthesizer_class

    wanted = list(METHODS) if methods is None else [methods] if isinstance(methods, str) else list(methods)
    finite = [e for e in epsilons if not math.isinf(e)]
    private = {m: _is_private(synthesizer_class(m)) for m in wanted}  # an unknown one is refused here
    if finite and methods is None:
        wanted = [m for m in wanted if private[m]]
    if finite and (without := [m for m in wanted if not private[m]]):
        able = ", ".join(m for m in METHODS if _is_private(synthesizer_class(m)))
        by_sequence = synthesizer_class(without[0]).has_differential_privacy
        where = "a sweep, whose rows are no sequences" if by_sequence else "this version"
        raise ParameterError(
            f"method '{without[0]}' takes no epsilon in {where}, and epsilon = {finite[0]:g} was asked for; leave "
            f"the method out, sweep it at epsilon inf alone, or take one of: {able or 'none yet'}"
        )
    if not wanted:
        raise ParameterError("no method takes the epsilons asked for in this version; sweep at epsilon inf")
    return wanted


def _is_private(method: type[Synthesizer]) -> bool:
    """Whether a method learns rows within a budget; that of sequences is by sequence, which a sweep does not divide."""
    return method.has_differential_privacy and not method.learns_sequences


def _declared(schema: Any, parameters: dict[str, Any]) -> tuple[TableSchema | None, dict[str, Any]]:
    """The schema, read here since trials run in other folders, and the parameters without it."""
    others = {name: value for name, value in parameters.items() if name != "schema"}
    if schema is not None and "schema" in parameters:
        raise ParameterError("the schema is given twice: as schema and in parameters; leave one out")
    schema = parameters.get("schema") if schema is None else schema
    return (TableSchema.load(schema) if isinstance(schema, str | os.PathLike) else schema), others


def _path(data: Any) -> str:
    return os.fspath(data) if isinstance(data, str | os.PathLike) else ""


def _listed(columns: Sequence[str] | str | None) -> tuple[str, ...] | None:
    return None if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)
