"""Asynchronous successive halving (ASHA; Li et al. 2020, algorithm 2) of the trials of one method at one epsilon.

A trial reports its objective after a ninth and after a third of its training; one that is not among the best third of
those that came so far is stopped there. What it had is kept at once, so that it is not run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from raysynth.tuning.choices import Choices
from raysynth.tuning.one_trial import NINTHS, PROGRESS
from raysynth.tuning.trials import STOPPED, TrialResult, has_ended, result_path

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

    def __init__(self, folder: Path, choices: Choices) -> None:
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
