"""The trials of a sweep on Ray Tune: one function trainable, as many at a time as the processors allow.

A trial of one worker trains inside its own process, on one thread. A wider one reserves nothing itself: Ray Train
places its workers, and only as many trials run at a time as have all their workers' processors, so that none waits for
another. Each trial keeps its result on storage before it reports, so a sweep that was killed goes on with the trials
that are missing; a trial whose process died is tried again, then reported as failed.

The trials of one method at one epsilon are halved asynchronously (ASHA; Li et al. 2020, algorithm 2): a trial reports
its objective after a ninth and after a third of its training, and one that is not among the best third of those that
came so far is stopped there. What it had is kept at once, so that it is not run again.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from raysynth.errors import ClusterError, ParameterError
from raysynth.files.storage import Folder, place, require_shared, write_atomically
from raysynth.running.forecast import forecast, part
from raysynth.running.progress import progress
from raysynth.running.runner import in_this_process
from raysynth.tuning.choices import Choices, Listed, study_key
from raysynth.tuning.one_trial import NINTHS, PROGRESS, Tell
from raysynth.tuning.trials import FAILED, STOPPED, Trial, TrialResult, has_ended, result_path

if TYPE_CHECKING:
    from ray.train import ScalingConfig
    from ray.tune import Callback, Tuner
    from ray.tune.search import Searcher

_PROCESS_SECONDS = 4.0  # that the first trial of a process takes more: it imports, and looks at the real rows
Expected = Callable[[Trial], float]
_MARK = ".driver"  # in the folder of a sweep: what every node must see
_LOST_PROCESSES = 1  # how often a trial is started again after the loss of its process
_QUIET = {  # Tune prints how many trials there are, which a private selection must not tell
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class TrialTask(Protocol):
    """What trials share; it pickles."""

    @property
    def folder(self) -> Folder:
        """Folder of the sweep."""
        ...

    def result_path(self, trial: Trial) -> Folder:
        """Where the result of a trial is."""
        ...

    def run(self, trial: Trial, tell: Tell | None = None) -> dict[str, Any]:
        """Run a trial and keep its result; what is reported to Ray Tune at the end, and through `tell` on the way."""
        ...


@dataclass(frozen=True)
class Room:
    """How many trials run at a time.

    Args:
        cpus_per_trial: processors that a trial of one worker reserves; a fraction lets several share one.
        max_concurrent: most trials at a time; None: as many as fit.
        scaling_config: of trials that train on several workers.
    """

    cpus_per_trial: float = 1.0
    max_concurrent: int | None = None
    scaling_config: ScalingConfig | None = None

    @property
    def reserved(self) -> float:
        """Processors that Tune keeps for a trial; of a wider one Ray Train does."""
        return 0.0 if self.scaling_config is not None else self.cpus_per_trial

    def at_once(self, resources: dict[str, float]) -> int:
        """How many trials a cluster takes at a time; raises `ParameterError` where none fits."""
        fits = _at_once(resources, self.cpus_per_trial, self.scaling_config)
        return fits if self.max_concurrent is None else min(fits, self.max_concurrent)


def run_trials(trials: Sequence[Trial], task: TrialTask, room: Room, expected: Expected | None = None) -> None:
    """Run the trials; each leaves its result at `task.result_path(trial)`. Arguments and errors as of `run_choices`."""
    run_choices(Listed(tuple(trials)), task, room, expected=expected)


def run_choices(
    choices: Choices,
    task: TrialTask,
    room: Room,
    *,
    searcher: Searcher | None = None,
    stops_early: bool = False,
    expected: Expected | None = None,
) -> None:
    """Run one search; each trial leaves its result at `task.result_path(trial)`.

    Args:
        choices: the trials.
        searcher: what draws them; None: they are listed.
        stops_early: by ASHA, see the head of this file.
        expected: seconds of a trial, for the progress; None: how long all will take is not told (a private selection).

    Raises:
        ParameterError: no trial fits the cluster. ClusterError: Ray cannot be reached, or Tune itself failed.
    """
    from raysynth.running.ray_session import start_ray

    at_once = room.at_once(start_ray().cluster_resources())
    if not choices.number:
        return
    write_atomically(task.folder / _MARK, b"", private=True)
    tuner = _tuner(choices, task, room.reserved, at_once, searcher, stops_early)
    with _environment(_QUIET), _errors_only("ray.tune"), trials_shown(choices, at_once, expected):
        try:
            grid = tuner.fit()
        except (RuntimeError, tune.TuneError) as error:
            raise ClusterError(
                f"Ray Tune failed: {error}; finished trials are kept in '{task.folder}', the same call goes on"
            ) from error
    for found in (grid[i] for i in range(len(grid))):
        if found.error and found.config:
            trial = choices.trial(found.config)
            if not has_ended(task.result_path(trial)):
                lost = TrialResult(trial, FAILED, error=f"its process died: {found.error}")
                lost.write(task.result_path(trial))


def _tuner(
    choices: Choices, task: TrialTask, cpus: float, at_once: int, searcher: Searcher | None, stops_early: bool
) -> Tuner:
    scheduler, where = None, place(task.folder)
    callbacks: list[Callback] = [TrialProgress()]
    if stops_early:
        scheduler = asha()
        callbacks.append(KeepStopped(task.folder, choices))
    trainable = tune.with_parameters(_trainable, task=task, choices=choices, watched=stops_early)
    listed = {"position": tune.grid_search(list(range(choices.number)))}
    return tune.Tuner(
        tune.with_resources(trainable, {"CPU": cpus}),
        param_space=listed if searcher is None else None,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=at_once,
            reuse_actors=True,
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=1 if searcher is None else choices.number,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=where.path,
            storage_filesystem=where.filesystem,
            failure_config=tune.FailureConfig(max_failures=_LOST_PROCESSES),
            callbacks=callbacks,
            verbose=0,
        ),
    )


def _trainable(config: dict[str, Any], task: TrialTask, choices: Choices, watched: bool) -> None:
    """One trial in a process of Tune's."""
    import torch
    from threadpoolctl import threadpool_limits

    require_shared(task.folder / _MARK)
    torch.set_num_threads(1)
    os.environ["RAYSYNTH_QUIET"] = "1"
    with threadpool_limits(1), in_this_process():
        told = task.run(choices.trial(config), tune.report if watched else None)
    tune.report(told)


def _at_once(resources: dict[str, float], cpus_per_trial: float, scaling: ScalingConfig | None) -> int:
    """How many trials fit the cluster at a time; raises `ParameterError` where none does."""
    if not 0 < cpus_per_trial < math.inf:
        raise ParameterError(f"cpus_per_trial must be > 0; found {cpus_per_trial!r}")
    needed, found = {"CPU": cpus_per_trial}, resources
    if scaling is not None:
        needed = {k: v for k, v in scaling.total_resources.items() if v > 0}
    fits = min(int(found.get(name, 0.0) / amount + 1e-9) for name, amount in needed.items())
    if fits < 1:
        shown = ", ".join(f"{v:g} {k} of {found.get(k, 0.0):g}" for k, v in needed.items())
        raise ParameterError(f"one trial needs {shown} in this cluster; ask for fewer workers or cpus_per_trial")
    return fits


@contextmanager
def _errors_only(name: str) -> Iterator[None]:
    """No warnings of a logger and those below it."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


_KEPT_SHARE = 3  # one of so many goes on


def asha() -> ASHAScheduler:
    """The scheduler; its time is the share of a training, since trainings differ in epochs."""
    return ASHAScheduler(
        time_attr=PROGRESS, metric="utility", mode="max", max_t=NINTHS, grace_period=1, reduction_factor=_KEPT_SHARE
    )


class KeepStopped(tune.Callback):
    """Writes the result of each trial that is stopped, when it is stopped.

    Args:
        folder: of the sweep.
        choices: what Tune runs. (No rows: Tune writes its callbacks to storage.)
    """

    def __init__(self, folder: Folder, choices: Choices) -> None:
        self.folder, self.choices = folder, choices
        self._latest: dict[str, dict[str, Any]] = {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Remember the latest report of a trial."""
        self._latest[trial.trial_id] = dict(result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial that is complete for Tune and has left no result was stopped."""
        told = self._latest.pop(trial.trial_id, None)
        if told is None:
            return
        stopped = self.choices.trial(told["config"])
        path = result_path(self.folder, stopped)
        if not has_ended(path):
            course = tuple((float(share), float(utility)) for share, utility in told["course"])
            at = {"stopped_at": course[-1][0], "utility_then": course[-1][1]}
            TrialResult(stopped, STOPPED, figures=at, course=course).write(path)


_progress: ContextVar[_Progress | None] = ContextVar("progress", default=None)


@dataclass
class _Progress:
    """Of the trials that run: what moves the bar, and the parts of the forecast that have begun."""

    advance: Callable[[float], None]
    started: int = 0
    running: dict[str, ExitStack] = field(default_factory=dict)

    def begin(self, trial: Any) -> None:
        """A trial starts, maybe again."""
        if trial.trial_id not in self.running:
            self.running[trial.trial_id] = ExitStack()
            self.running[trial.trial_id].enter_context(part(_part(trial.config.get("position", self.started))))
            self.started += 1

    def end(self, trial: Any) -> None:
        """A trial has ended."""
        self.running.pop(trial.trial_id, ExitStack()).close()
        self.advance(1)


class TrialProgress(tune.Callback):
    """Moves the progress of `trials_shown` as trials begin and end; it holds none itself, since Tune pickles it."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """One more has begun."""
        if (shown := _progress.get()) is not None:
            shown.begin(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """One more has ended."""
        if (shown := _progress.get()) is not None:
            shown.end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """One more has ended, without a result."""
        self.on_trial_complete(iteration, trials, trial)


@contextmanager
def trials_shown(choices: Choices, at_once: int, expected: Expected | None) -> Iterator[None]:
    """Progress over the trials, for the duration of the block; a private selection does not tell their number."""
    seconds: dict[str, float] = {}
    kinds: dict[str, str] = {}
    if expected is not None:
        for i, trial in enumerate(choices.typical):
            is_first = i < at_once  # in its process
            seconds[_part(i)] = expected(trial) + _PROCESS_SECONDS * is_first
            kinds[_part(i)] = study_key(trial.setting.method, trial.setting.epsilon) + " first" * is_first
    with forecast("trials", seconds, kinds, at_once=at_once), progress("trials", choices.number) as advance:
        token = _progress.set(_Progress(advance))
        try:
            yield
        finally:
            _progress.reset(token)


def _part(number: int) -> str:
    return f"trial {number}"
