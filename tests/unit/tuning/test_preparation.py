"""What trials share: computed once by the sweep, with the same results as trials that share nothing."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.attacks import neighbourhood
from raysynth.errors import DataError
from raysynth.evaluation import efficacy
from raysynth.fitting import opening
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.tuning import SweepResult, sweep
from raysynth.tuning.one_trial import Task
from raysynth.tuning.preparation import split, warn_of_text
from raysynth.tuning.trials import Trial

module = importlib.import_module("raysynth.tuning.search")
METHODS = ["copula", "bayesian_network"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    return pd.DataFrame({"x": x, "y": x + rng.normal(size=400), "c": np.where(x + rng.normal(size=400) > 0, "a", "b")})


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Trials run in this process; the tasks that they were given."""
    given: list[Task] = []

    def in_process(trials: Sequence[Trial], task: Task, room: Any, expected: Callable[[Trial], float]) -> None:
        given.append(task)
        assert all(expected(trial) > 0 for trial in trials), "the progress needs a guess of each trial"
        for trial in trials:
            task.run(trial)

    monkeypatch.setattr(module, "run_trials", in_process)
    return given


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[int]:
    calls: list[int] = []
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, call)
    return calls


def figures(found: SweepResult) -> pd.DataFrame:
    return found.table.drop(columns=[c for c in found.table if "seconds" in c])


def test_the_table_is_opened_once_for_all_trials_without_a_budget(
    table: pd.DataFrame, tmp_path: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = counted(monkeypatch, opening, "open_exactly")
    found = sweep(table, METHODS, out=tmp_path / "a", n_seeds=2, target_columns="c")
    assert not found.failed and len(found.results) == 4 and opened == [1]
    assert tasks[0].shared is not None and len(tasks[0].shared.opened.encoded) == 2

    monkeypatch.setattr(module, "with_shared_table", lambda task, settings: replace(task, shared=None))
    apart = sweep(table, METHODS, out=tmp_path / "b", n_seeds=2, target_columns="c")
    assert len(opened) == 5, "one by one, each trial opens it"
    pd.testing.assert_frame_equal(figures(found), figures(apart))


def test_a_trial_with_a_budget_is_given_nothing_that_others_computed(
    table: pd.DataFrame, tmp_path: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = counted(monkeypatch, opening, "open_exactly")
    released = counted(monkeypatch, opening, "open_privately")
    sweep(table, ["copula"], [1.0, math.inf], out=tmp_path / "a", n_seeds=2, objective="similarity")
    assert exact == [1] and released == [1, 1], "each finite trial makes releases of its own"


def test_what_follows_from_real_rows_alone_is_evaluated_once(
    table: pd.DataFrame, tmp_path: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = counted(monkeypatch, efficacy, "_model")
    bandwidths = counted(monkeypatch, neighbourhood, "_likeliest_bandwidth")
    table = table.assign(y=table["y"] + 0.5)  # no other test has these rows
    found = sweep(table, METHODS, out=tmp_path / "a", n_seeds=2, target_columns="c")
    assert not found.failed
    assert len(trained) == 5, "on each trial's rows, and once on the real ones"
    assert len(bandwidths) == 2, "one for each division of the holdout"


def test_rows_that_cannot_be_opened_are_told_by_each_trial(
    table: pd.DataFrame, tmp_path: Path, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"bayesian_network": {"order": [["no such column"]]}}
    found = sweep(table, METHODS, out=tmp_path / "a", n_seeds=1, search_space=space, objective="similarity")
    assert [r.finished for r in found.results] == [True, False] and "no modelled column" in found.failed[0].error


def test_held_out_rows_are_of_other_persons() -> None:
    ids = [f"P{v:07d}" for v in np.repeat(np.arange(60) * 7919, 4)]
    rows = pd.DataFrame({"patient_id": ids, "x": np.random.default_rng(0).normal(size=240)})
    for frame, entity in ((rows, None), (rows.rename(columns={"patient_id": "p"}).assign(x=1.5), "p")):
        name = frame.columns[0]
        parts = split(frame, None, 0.2, 1000, 0, entity)
        train, held = parts.train, parts.holdout
        assert train.num_rows + held.num_rows == 240
        assert 30 <= held.num_rows <= 60
        assert not set(train[name].to_pylist()) & set(held[name].to_pylist())


def test_a_finite_epsilon_beside_inf_is_read_through_the_private_door(
    table: pd.DataFrame, tmp_path: Path, tasks: list[Task]
) -> None:
    """A sniffer takes digits for numbers and so looks at rows; the private door takes what is declared, or text."""
    file = tmp_path / "rows.csv"
    table.assign(code=np.arange(400) % 5).to_csv(file, index=False)
    schema = TableSchema(tuple(ColumnSchema(n, Kind.CONTINUOUS, "double", bounds=(-9, 9)) for n in ("x", "y")))
    found = sweep(
        str(file), ["copula"], [1.0, math.inf], out=tmp_path / "a", n_seeds=1, objective="similarity", schema=schema
    )
    assert not found.failed, found.failed
    exact, private = tasks[0], tasks[0].private
    assert private is not None and private.private is None
    assert pa.types.is_integer(exact.train.schema.field("code").type)
    assert not pa.types.is_integer(private.train.schema.field("code").type)
    assert exact.train["x"].to_pylist() == private.train["x"].to_pylist(), "the same rows"
    assert exact.holdout["x"].to_pylist() == private.holdout["x"].to_pylist()
    finite, other = (Trial(s.setting, 0).setting for s in (r.trial for r in found.results))
    assert {exact.of(finite) is exact, exact.of(other) is exact} == {True, False}


def test_undeclared_columns_of_a_file_under_a_budget_are_told(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.warns(UserWarning, match="a sweep within a budget reads these columns of .* as TEXT.*'x', 'y', 'c'"):
        warn_of_text(tmp_path / "rows.csv", None)
    declared = TableSchema(tuple(ColumnSchema(n, Kind.CONTINUOUS, "double") for n in "xy"))
    with pytest.warns(UserWarning, match="no types: 'c'"):
        warn_of_text(tmp_path / "rows.csv", declared)


def test_lines_that_are_no_rows_are_refused_where_both_doors_are_used(table: pd.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    table.assign(c=np.where(np.arange(400) == 7, "a\nb", table["c"])).to_csv(file, index=False)
    parts = split(str(file), None, 0.2, 1000, 0)
    with pytest.raises(DataError, match="400 rows, but 401"):
        parts.read_privately(str(file), None, {})
