"""One trial: what it tells, what it keeps, and that a settled one is not run again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysynth.tuning.one_trial import PROGRESS, Task, results_of, told
from raysynth.tuning.preparation import prepared_task
from raysynth.tuning.trials import FAILED, FINISHED, STARTED, STOPPED, Setting, Trial, TrialResult
from raysynth.tuning.winners import Budget

TVAE = Trial(Setting("tvae", math.inf, (("epochs", 9),)), 0)
COURSE = ((1 / 9, 0.5), (1 / 3, 0.7))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    rows = pa.table({"x": x, "c": np.where(x > 0, "a", "b").tolist()})
    for name in ("trials", "models"):
        (tmp_path / name).mkdir()
    sides = rows.slice(0, 240), rows.slice(240)
    return prepared_task(*sides, targets=(), objective="similarity", budget=Budget(None, None), folder=tmp_path)


def test_a_watched_training_tells_its_objective_on_the_way(task: Task) -> None:
    heard: list[dict[str, Any]] = []
    last = task.run(TVAE, heard.append)
    assert [h[PROGRESS] for h in heard] == [1.0, 3.0] and last[PROGRESS] == 9.0
    kept = TrialResult.read(task.result_path(TVAE))
    assert kept.finished and [list(p) for p in kept.course] == heard[1]["course"] == last["course"]
    assert last["utility"] == kept.utility and 0 < heard[0]["utility"] <= 1
    assert set(kept.seconds) == {"looks", "fit", "sample", "evaluate", "attack"}


def test_a_training_that_is_stopped_leaves_no_figures(task: Task) -> None:
    def stop(what: dict[str, Any]) -> None:
        raise SystemExit  # as Ray Tune ends a trial that it has stopped

    with pytest.raises(SystemExit):
        task.run(TVAE, stop)
    assert TrialResult.read(task.result_path(TVAE)).status == STARTED and not task.model_path(TVAE).exists()


@pytest.mark.parametrize(("status", "utility"), [(FINISHED, 0.8), (STOPPED, math.nan)], ids=["finished", "stopped"])
def test_what_is_settled_tells_again_and_is_not_run(task: Task, status: str, utility: float) -> None:
    TrialResult(TVAE, status, utility, course=COURSE).write(task.result_path(TVAE))
    before, heard = task.result_path(TVAE).stat().st_mtime_ns, list[dict[str, Any]]()
    last = task.run(TVAE, heard.append)
    assert [(h[PROGRESS], h["utility"]) for h in heard] == [(1.0, 0.5), (3.0, 0.7)]
    assert last["utility"] == (0.8 if status == FINISHED else 0.7) and last[PROGRESS] == (
        9 if status == FINISHED else 3
    )
    assert task.result_path(TVAE).stat().st_mtime_ns == before


def test_what_failed_tells_the_lowest_objective_and_is_run_again(task: Task) -> None:
    assert told((), TrialResult(TVAE, FAILED))["utility"] == -math.inf
    other = Trial(Setting("copula", math.inf), 0)
    for trial, status in ((TVAE, FAILED), (other, STARTED)):
        TrialResult(trial, status).write(task.result_path(trial))
    assert results_of([TVAE, other], task) == {}
    assert task.run(other)["utility"] > 0.5 and list(results_of([TVAE, other], task)) == [other]
