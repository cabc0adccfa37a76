"""Which method and which epsilon for my table: the trade-off of privacy and utility, swept over a cluster."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysynth.dp.budget import DEFAULT_DELTA
from raysynth.dp.selection import GEOMETRIC, Repetitions
from raysynth.errors import DataError, ParameterError, StorageError
from raysynth.schema import TableSchema
from raysynth.storage import write_atomically
from raysynth.table import Table, as_table
from raysynth.tuning import winners
from raysynth.tuning.on_ray import run_trials
from raysynth.tuning.one_trial import OBJECTIVES, Task, results_of
from raysynth.tuning.private_plan import PrivatePlan, planned
from raysynth.tuning.private_sweep import PRIVATE_FOLDER, check_private, private_sweep
from raysynth.tuning.results import SweepResult
from raysynth.tuning.trials import Space, Trial, TrialResult, all_trials

if TYPE_CHECKING:
    from ray.train import RunConfig, ScalingConfig

SELECTIONS = ("internal", "proxy", "private")
_FEWEST_ROWS = 40
_NOTE_FILE = "sweep.json"


def sweep(
    data: Any,
    methods: Sequence[str] | None = None,
    epsilons: Sequence[float] = (math.inf,),
    *,
    out: str | os.PathLike[str],
    n_seeds: int = 3,
    search_space: Space | None = None,
    n_trials: int = 8,
    objective: str = "utility",
    target_columns: Sequence[str] | str | None = None,
    holdout_data: Any = None,
    holdout_share: float = 0.2,
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
        search_space: {method: {parameter: [values] or (low, high)}}; methods left out keep their defaults.
        n_trials: random settings of each method in `search_space`.
        objective: 'utility' (mean of similarity and machine-learning efficacy), 'similarity' or 'ml_efficacy'.
        target_columns: what models predict; None: one is chosen as in an evaluation.
        holdout_data: real rows that no trial learns from; None: a share of `data` is set aside.
        holdout_share: of the rows, where no holdout is given.
        selection: see above.
        proxy_data: a public table.
        proxy_epsilon: of the Bayesian network, with selection='proxy' and no public table.
        mean_trials: with selection='private' the mean number of fits; how many there were is never told.
        trials_law: 'geometric' (at least one) or 'poisson' (cheaper for about three; there may be none).
        epsilon_limit: with selection='private' the most that statistics and choice may cost together.
        delta: of every finite epsilon; None: 1e-5.
        schema: declared schema; the only thing beside its own noised statistics that a private fit knows.
        parameters: constructor arguments of every synthesizer, for example {'public_types': True}.
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
    declared = TableSchema.load(schema) if isinstance(schema, str | os.PathLike) else schema
    n_seeds = 1 if selection == "private" else n_seeds
    trials = all_trials(methods, list(epsilons), n_seeds, search_space or {}, n_trials, seed)
    fixed = {**(parameters or {}), **_spread(scaling_config, run_config)}
    folder = Path(out)
    if selection == "private":
        given = {"holdout_data": holdout_data, "target_columns": targets, "proxy_data": proxy_data}
        given |= {"objective": None if objective == OBJECTIVES[0] else objective, **_spread(scaling_config, run_config)}
        check_private(epsilons, search_space or {}, {**given, "privacy_unit": fixed.get("privacy_unit")})
        table = as_table(data)
        plan = _private_plan(table, trials, declared, delta, fixed, Repetitions(mean_trials, trials_law), epsilon_limit)
        note = _note(trials, selection, delta, mean_trials, trials_law, fixed, declared)
        _require_same_sweep(folder, note)
        _claim(folder, note, (PRIVATE_FOLDER,))
        return private_sweep(plan, table, folder, cpus_per_trial=cpus_per_trial, max_concurrent=max_concurrent_trials)
    note = _note(trials, objective, selection, targets, seed, max_rows)
    _require_same_sweep(folder, note)
    budget = winners.Budget(delta=delta, schema=declared, fixed=fixed)
    source: Any = data
    if selection == "proxy":
        source = winners.proxy_rows(data, proxy_data, proxy_epsilon, budget, folder, seed)
    train, holdout = _split(source, holdout_data if selection == "internal" else None, holdout_share, max_rows, seed)
    task = _task(train, holdout, declared, targets, objective, delta, folder, fixed)
    _claim(folder, note)
    done = results_of(trials, task)
    missing = [t for t in trials if t not in done]
    for trial in missing:  # a failed trial is run again
        task.result_path(trial).unlink(missing_ok=True)
    run_trials(
        missing,
        task,
        cpus_per_trial=cpus_per_trial,
        max_concurrent=max_concurrent_trials,
        scaling_config=scaling_config,
    )
    results = tuple(TrialResult.read(task.result_path(t)) for t in trials)
    if selection == "proxy":
        winner = partial(winners.fitted_winner, data=data, budget=budget, folder=folder)
    else:
        winner = partial(winners.trial_winner, task=task)
    return SweepResult(results, selection, objective, folder, winner, repeated=len(done))


def _methods(methods: Sequence[str] | None, epsilons: Sequence[float]) -> list[str]:
    """The methods to try; raises `ParameterError` for one that takes no epsilon where a finite one is asked for."""
    from raysynth.synthesizers.registry import METHODS, synthesizer_class

    wanted = list(METHODS) if methods is None else [methods] if isinstance(methods, str) else list(methods)
    finite = [e for e in epsilons if not math.isinf(e)]
    private = {m: bool(getattr(synthesizer_class(m), "has_differential_privacy", False)) for m in wanted}
    if finite and methods is None:
        wanted = [m for m in wanted if private[m]]
    if finite and (without := [m for m in wanted if not private[m]]):
        able = ", ".join(m for m in METHODS if getattr(synthesizer_class(m), "has_differential_privacy", False))
        raise ParameterError(
            f"method '{without[0]}' takes no epsilon in this version, and epsilon = {finite[0]:g} was asked for; leave "
            f"the method out, sweep it at epsilon inf alone, or take one of: {able or 'none yet'}"
        )
    if not wanted:
        raise ParameterError("no method takes the epsilons asked for in this version; sweep at epsilon inf")
    return wanted


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


def _spread(scaling: ScalingConfig | None, run: RunConfig | None) -> dict[str, Any]:
    return {k: v for k, v in (("scaling_config", scaling), ("run_config", run)) if v is not None}


def _listed(columns: Sequence[str] | str | None) -> tuple[str, ...] | None:
    return None if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)


def _note(trials: Sequence[Trial], *rest: Any) -> str:
    """What is swept, as text: two sweeps are the same where their notes are."""
    return json.dumps({"trials": [t.key for t in trials], "rest": [str(r) for r in rest]}, indent=1)


def _require_same_sweep(folder: Path, note: str) -> None:
    path = folder / _NOTE_FILE
    if path.exists() and path.read_text(encoding="utf-8") != note:
        raise StorageError(
            f"'{folder}' holds another sweep (other methods, epsilons, seeds or options); choose a new folder, or call "
            "it as it was called"
        )


def _claim(folder: Path, note: str, parts: Sequence[str] = ("trials", "models")) -> None:
    for name in parts:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _NOTE_FILE, note.encode())


def _private_plan(
    table: Table,
    trials: Sequence[Trial],
    declared: TableSchema | None,
    delta: float | None,
    fixed: dict[str, Any],
    repetitions: Repetitions,
    limit: float | None,
) -> PrivatePlan:
    """What a private selection will do and cost; of the table only names and types are looked at."""
    if table.dataset is not None:
        raise ParameterError(
            "selection='private' reads all rows in each trial, which a Ray Dataset cannot serve inside a task; write "
            "it to Parquet and give the folder"
        )
    plan = planned(
        table, [t.setting for t in trials], declared, DEFAULT_DELTA if delta is None else delta, fixed, repetitions
    )
    if limit is not None and plan.epsilon > limit:
        raise ParameterError(
            f"this selection would cost epsilon = {plan.epsilon:.3g} (delta = {plan.delta:g}), above epsilon_limit = "
            f"{limit:g}; take smaller epsilons or fewer mean_trials. Nothing was read"
        )
    return plan


def _split(data: Any, holdout: Any, share: float, max_rows: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Rows to learn from, and rows that no trial sees; at most `max_rows` together (and of a given holdout)."""
    from raysynth.comparison.rows import sample_rows

    rng, table = np.random.default_rng(seed), as_table(data)
    rows = sample_rows(table, list(table.names), max_rows, rng)
    if rows.num_rows < _FEWEST_ROWS:
        raise DataError(f"a sweep needs at least {_FEWEST_ROWS} rows; {table.source} has {rows.num_rows}")
    if holdout is not None:
        other = as_table(holdout)
        return rows, sample_rows(other, list(table.names), max_rows, rng)
    order, n = rng.permutation(rows.num_rows), max(10, round(share * rows.num_rows))
    return rows.take(np.sort(order[n:])), rows.take(np.sort(order[:n]))


def _task(
    train: pa.Table,
    holdout: pa.Table,
    declared: TableSchema | None,
    targets: tuple[str, ...] | None,
    objective: str,
    delta: float | None,
    folder: Path,
    fixed: dict[str, Any],
) -> Task:
    """What all trials share, from one look at the rows: the schema and the target."""
    from raysynth.comparison.pairing import pair_tables
    from raysynth.evaluation.efficacy import checked_task, choose_target
    from raysynth.evaluation.evaluate import read_rows

    tables = pair_tables(train, holdout, schema=declared)
    rows = read_rows(tables, 0)["real"]
    if targets is None:
        chosen = choose_target(rows)
        targets = () if chosen is None else (chosen,)
    for target in targets:
        checked_task(target, rows, None)
    if objective == "ml_efficacy" and not targets:
        raise ParameterError("objective='ml_efficacy' needs a target, and no column can serve as one")
    return Task(train, holdout, tables.schema, declared, targets, objective, delta, folder, fixed)
