"""Which method and which epsilon for my table: the trade-off of privacy and utility, swept over a cluster."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysynth.data.table import as_table
from raysynth.dp.accounting.ledger import ROW
from raysynth.dp.accounting.odometer import Odometer, record_use
from raysynth.dp.accounting.selection import GEOMETRIC, Repetitions
from raysynth.errors import ParameterError
from raysynth.files.storage import local_path
from raysynth.schema.table import TableSchema
from raysynth.statistics.dated_table import declared_types
from raysynth.tuning import winners
from raysynth.tuning.domains import checked_space
from raysynth.tuning.on_ray import Room
from raysynth.tuning.one_trial import OBJECTIVES
from raysynth.tuning.preparation import prepared_task, split
from raysynth.tuning.private_plan import affordable_plan
from raysynth.tuning.private_sweep import PRIVATE_FOLDER, check_private, private_sweep
from raysynth.tuning.results import SweepResult
from raysynth.tuning.search import Search, run_search
from raysynth.tuning.sweep_folder import claim, note_of, require_same_sweep
from raysynth.tuning.trials import Trial, TrialResult

if TYPE_CHECKING:
    from ray.train import RunConfig, ScalingConfig

    from raysynth.methods.base import Synthesizer

SELECTIONS = ("internal", "proxy", "private")


def sweep(
    data: Any,
    methods: Sequence[str] | None = None,
    epsilons: Sequence[float] = (math.inf,),
    *,
    out: str | os.PathLike[str],
    n_seeds: int = 3,
    search_space: Mapping[str, Mapping[str, Any] | None] | None = None,
    n_trials: int = 8,
    search: str | None = None,
    scheduler: str | None = None,
    objective: str = "utility",
    target_columns: Sequence[str] | str | None = None,
    holdout_data: Any = None,
    holdout_share: float = 0.2,
    entity: str | None = None,
    selection: str = "internal",
    proxy_data: Any = None,
    proxy_epsilon: float = 1.0,
    mean_trials: float = 10.0,
    trials_law: str = GEOMETRIC,
    epsilon_limit: float | None = None,
    delta: float | None = None,
    schema: TableSchema | str | os.PathLike[str] | None = None,
    parameters: dict[str, Any] | None = None,
    max_rows: int = 200_000,
    cpus_per_trial: float = 1.0,
    max_concurrent_trials: int | None = None,
    scaling_config: ScalingConfig | None = None,
    run_config: RunConfig | None = None,
    seed: int = 0,
) -> SweepResult:
    """Fit, sample, evaluate and attack every method at every epsilon with several seeds, side by side on Ray Tune.

    Each trial's model and figures are kept in `out` as they come; the same call on the same folder goes on where an
    earlier one was stopped, and repeats no finished trial. A trial that fails is reported and the others go on.

    Statistics, encoders and encoded rows of trials without a budget are computed once, by the sweep, and shared through
    Ray's object store. A finite epsilon shares nothing: each such trial opens the rows by itself, and all that it knows
    of them are noised releases in its own ledger (only selection='private', whose ledger says so, releases statistics
    once for all). What an evaluation computes of the real rows alone, each process computes once.

    Every figure of a trial on private rows is itself a release. `selection` says how the search is kept private:

    - 'internal': it is not. All figures are for the data's holder only, and a model chosen by them has a ledger that
      says 'not covered by epsilon' of the choice.
    - 'proxy': the private rows are opened twice at most. A Bayesian network with a budget of its own (`proxy_epsilon`)
      is fitted to them once, or `proxy_data`, a public table of the same columns, takes its place; the whole sweep runs
      on proxy rows; `best()` fits the winner, alone, to the private rows. Its ledger holds both.
    - 'private': the best of a random number of fits of random settings, by one mechanism (Papernot and Steinke 2022).
      Statistics are released once, every fit has a noised score of its own, and only the winner is kept and shown; its
      ledger covers the choice. All is charged for the largest epsilon: with ten fits on average about 2.4 times it. All
      rows are learned, none is held back, and no attack is measured.

    Args:
        data: any table that `fit` takes.
        methods: names of methods; None: all that take every epsilon asked for.
        epsilons: infinity: without differential privacy.
        out: folder for models, results and the report.
        n_seeds: fits of each setting, for the error bars; not with selection='private'.
        search_space: {method: {parameter: [values] or (low, high)}}; None for a method: the values that it declares
            itself; methods left out keep their defaults.
        n_trials: settings of each method in `search_space`, at each epsilon with a search.
        search: None: settings are drawn at random. 'optuna' (pip install 'raysynth[tune]'): each is drawn from what
            earlier ones gave, apart for every method and epsilon, by fits with the first seed; those that were found
            are then fitted with the others. With several trials at a time it depends on which of them ends first.
            The first ten settings of each are random: let `n_trials` be well above ten.
        scheduler: None: every trial runs to its end. 'asha': a neural trial tells its objective after a ninth and a
            third of its training, and is stopped there unless it is among the best third of its method and epsilon so
            far; trials of the first seed only. At a finite epsilon such a figure is one more release that no ledger
            holds, which selection='internal' allows.
        objective: 'utility' (mean of similarity and machine-learning efficacy), 'similarity' or 'ml_efficacy'.
        target_columns: what models predict; None: one is chosen as in an evaluation.
        holdout_data: real rows that no trial learns from; None: a share of `data` is set aside.
        holdout_share: of the rows, where no holdout is given.
        entity: the column that says whose each row is, where persons have several: their rows are held out together.
            None: one that looks like it.
        selection: see above.
        proxy_data: a public table.
        proxy_epsilon: of the Bayesian network, with selection='proxy' and no public table.
        mean_trials: with selection='private' the mean number of fits; how many there were is never told.
        trials_law: 'geometric' (at least one) or 'poisson' (cheaper for about three; there may be none).
        epsilon_limit: with selection='private' the most that statistics and choice may cost together.
        delta: of every finite epsilon; None: 1e-5.
        schema: declared schema; the only thing beside its own noised statistics that a private fit knows.
        parameters: constructor arguments of every synthesizer, for example {'public_types': True}. An `odometer` counts
            what the sweep itself releases: exact figures without a guarantee, or what a private one costs in all.
        max_rows: a sweep is about choosing: of a larger table so many rows are drawn at random.
        cpus_per_trial: processors of one trial.
        max_concurrent_trials: most trials at a time; None: as many as fit.
        scaling_config, run_config: of trials that train on several workers, as for `fit`.
        seed: of the split, the random settings and the trials.

    Raises:
        ParameterError: names what is out of range, which method takes no epsilon, or what a private selection costs
            where that is above the limit; before the rows are opened.
        DataError: the table has too few rows, or cannot be read.
        StorageError: `out` holds another sweep.
    """
    _check(objective, selection, n_seeds, n_trials, holdout_share, epsilons, proxy_data, epsilon_limit)
    methods, targets = _methods(methods, epsilons), _listed(target_columns)
    declared, parameters = _declared(schema, parameters or {})
    odometer = parameters.pop("odometer", None)
    spread, folder = _spread(scaling_config, run_config), local_path(out, "out")  # Tune changes the working directory
    budget = winners.Budget(delta, declared, {**parameters, **spread})
    room = Room(cpus_per_trial, max_concurrent_trials, scaling_config)
    n_seeds = 1 if selection == "private" else n_seeds
    space = checked_space(search_space or {})
    search_for = Search(tuple(methods), tuple(epsilons), space, n_trials, n_seeds, seed, search, scheduler)
    if selection == "private":
        given = {"holdout_data": holdout_data, "target_columns": targets, "proxy_data": proxy_data, **spread}
        given |= {"objective": None if objective == OBJECTIVES[0] else objective}
        given |= {"search": search, "scheduler": scheduler, "entity": entity}
        given |= {name: budget.fixed.get(name) or None for name in ("privacy_unit", "keep_shards")}
        check_private(epsilons, space, given)
        repetitions = Repetitions(mean_trials, trials_law)
        return _privately(data, search_for.trials, budget, repetitions, epsilon_limit, folder, room, odometer)
    search_for.check(spread)
    note = note_of(*search_for.note, objective, selection, targets, seed, max_rows, *filter(None, [entity]))
    require_same_sweep(folder, note)
    source: Any = data
    # where every trial has a budget the rows are read as these read them; exact ones need what a sniffer finds
    private = None if any(map(math.isinf, epsilons)) else declared_types(declared) or {}
    paying = replace(budget, fixed={**budget.fixed, "odometer": odometer})
    if selection == "proxy":
        source = winners.proxy_rows(data, proxy_data, proxy_epsilon, paying, folder, seed)
    else:
        record_use(odometer, "a sweep by exact figures")
    given_holdout = holdout_data if selection == "internal" else None
    train, holdout = split(source, given_holdout, holdout_share, max_rows, seed, entity, private=private)
    task = prepared_task(
        train, holdout, targets=targets, objective=objective, budget=budget, folder=folder, entity=entity
    )
    claim(folder, note)
    trials, repeated = run_search(search_for, task, room)
    results = tuple(TrialResult.read(task.result_path(t)) for t in trials)
    winner = partial(winners.trial_winner, task=task)
    if selection == "proxy":
        winner = partial(winners.fitted_winner, data=data, budget=paying, folder=folder)
    return SweepResult(results, selection, objective, folder, winner, repeated)


def _privately(
    data: Any,
    trials: Sequence[Trial],
    budget: winners.Budget,
    repetitions: Repetitions,
    limit: float | None,
    folder: Path,
    room: Room,
    odometer: str | os.PathLike[str] | None,
) -> SweepResult:
    """`selection='private'`: what it costs first, from names and types alone."""
    table = as_table(data, min_rows=0, declared=declared_types(budget.schema), private=True)
    plan = affordable_plan(table, [t.setting for t in trials], budget, repetitions, limit)
    law = (repetitions.mean, repetitions.law)
    note = note_of(trials, "private", budget.delta, *law, budget.fixed, budget.schema)
    require_same_sweep(folder, note)
    claim(folder, note, (PRIVATE_FOLDER,))
    if odometer is not None:
        Odometer(odometer).reserve("a private selection", plan.epsilon, plan.delta, unit=ROW)
    return private_sweep(plan, table, folder, room)


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


def _check(
    objective: str,
    selection: str,
    n_seeds: int,
    n_trials: int,
    holdout_share: float,
    epsilons: Sequence[float],
    proxy_data: Any,
    epsilon_limit: float | None,
) -> None:
    if objective not in OBJECTIVES:
        raise ParameterError(f"objective must be one of {', '.join(OBJECTIVES)}; found {objective!r}")
    if selection not in SELECTIONS:
        raise ParameterError(f"selection must be one of {', '.join(SELECTIONS)}; found {selection!r}")
    if proxy_data is not None and selection != "proxy":
        raise ParameterError("proxy_data belongs to selection='proxy'")
    if epsilon_limit is not None and selection != "private":
        raise ParameterError("epsilon_limit belongs to selection='private'; elsewhere each trial has its own epsilon")
    for name, value in (("n_seeds", n_seeds), ("n_trials", n_trials)):
        if not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name} must be a whole number >= 1; found {value!r}")
    if not 0 < holdout_share < 1:
        raise ParameterError(f"holdout_share must be between 0 and 1; found {holdout_share!r}")
    if not epsilons or any(not e > 0 for e in epsilons):
        raise ParameterError(f"epsilons must be numbers > 0, or inf; found {list(epsilons)!r}")


def _declared(schema: Any, parameters: dict[str, Any]) -> tuple[TableSchema | None, dict[str, Any]]:
    """The schema, read here since trials run in other folders, and the parameters without it."""
    others = {name: value for name, value in parameters.items() if name != "schema"}
    if schema is not None and "schema" in parameters:
        raise ParameterError("the schema is given twice: as schema and in parameters; leave one out")
    schema = parameters.get("schema") if schema is None else schema
    return (TableSchema.load(schema) if isinstance(schema, str | os.PathLike) else schema), others


def _spread(scaling: ScalingConfig | None, run: RunConfig | None) -> dict[str, Any]:
    return {k: v for k, v in (("scaling_config", scaling), ("run_config", run)) if v is not None}


def _listed(columns: Sequence[str] | str | None) -> tuple[str, ...] | None:
    return None if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)
