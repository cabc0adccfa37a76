"""Searches by Optuna and early stopping by ASHA on Ray Tune: what is drawn, stopped, kept, and never done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.tuning import SweepResult, sweep

pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("fresh_two_cpus")
NETWORK = {"bayesian_network": {"max_parents": (1, 4), "n_bins": [5, 20], "equivalent_sample_size": (1.0, 50.0)}}
RATES = [2e-3, 1e-6, 1e-7, 1e-8]  # the last three learn nothing in nine epochs


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    return pd.DataFrame({"x": x, "y": x + rng.normal(size=400), "c": np.where(x + rng.normal(size=400) > 0, "a", "b")})


def run(table: pd.DataFrame, out: Path, methods: list[str], space: Any, **options: Any) -> SweepResult:
    """One trial at a time, since each process of Ray Tune takes seconds to start; `test_sweep.py` has two."""
    given = {"n_seeds": 2, "n_trials": 4, "objective": "similarity", "seed": 3, "max_concurrent_trials": 1, **options}
    return sweep(table, methods, out=out, search_space=space, **given)


def written(folder: Path) -> dict[str, int]:
    return {f.name: f.stat().st_mtime_ns for f in (folder / "trials").glob("*.json")}


@pytest.fixture(scope="module")
def searched(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    out = tmp_path_factory.mktemp("optuna") / "out"
    return run(table, out, ["copula", "bayesian_network"], NETWORK, search="optuna")


def test_optuna_draws_settings_and_each_is_fitted_with_every_seed(searched: SweepResult) -> None:
    drawn = searched.table[searched.table["method"] == "bayesian_network"]
    assert (searched.table["status"] == "finished").all()
    assert len(drawn) == 8 and set(drawn["seed"]) == {3, 4}
    assert drawn["max_parents"].between(1, 4).all() and set(drawn["n_bins"]) <= {5, 20}
    assert drawn["equivalent_sample_size"].nunique() == 4
    assert (searched.table["method"] == "copula").sum() == 2, "a method without a space is tried as it is"
    assert searched.best().sample(5, seed=0).shape == (5, 3)


def test_a_finished_search_draws_nothing_again(searched: SweepResult, table: pd.DataFrame) -> None:
    before = written(searched.folder)
    again = run(table, searched.folder, ["copula", "bayesian_network"], NETWORK, search="optuna")
    assert again.repeated == len(again.results) == 10 and written(searched.folder) == before
    pd.testing.assert_frame_equal(again.table, searched.table)


def test_a_search_that_was_killed_goes_on_from_what_was_drawn(
    searched: SweepResult, table: pd.DataFrame, tmp_path: Path
) -> None:
    """As if the process had died when two settings were finished and a third one was being fitted."""
    folder = Path(shutil.copytree(searched.folder, tmp_path / "s"))
    files = sorted((folder / "trials").glob("bayesian_network-*-seed3-*.json"))
    cut_short = json.loads(files[2].read_text())
    files[2].write_text(json.dumps({**cut_short, "status": "started", "utility": "nan", "figures": {}}))
    for file in (files[3], *(folder / "trials").glob("bayesian_network-*-seed4-*.json")):
        file.unlink()
    (folder / "searched" / "bayesian_network-epsinf.json").unlink()
    before = written(folder)
    again = run(table, folder, ["copula", "bayesian_network"], NETWORK, search="optuna")
    after = written(folder)
    assert again.repeated == 2 + 2 and len(again.results) == 10 and not again.failed  # two of the copula
    assert [before[f.name] == after[f.name] for f in files[:3]] == [True, True, False]
    settled = json.loads(files[2].read_text())
    assert settled["status"] == "finished" and settled["trial"] == cut_short["trial"], "it was not drawn again"


@pytest.fixture(scope="module")
def stopped(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return stopping(table, tmp_path_factory.mktemp("asha") / "out")


def stopping(table: pd.DataFrame, out: Path) -> SweepResult:
    space = {"tvae": {"learning_rate": RATES, "epochs": [18], "calibrate_marginals": [False]}}
    options = {"scheduler": "asha", "seed": 0}
    return run(table, out, ["copula", "tvae"], space, **options)


def test_hopeless_trials_are_stopped_and_are_no_candidates(stopped: SweepResult) -> None:
    rows = stopped.table[stopped.table["method"] == "tvae"].set_index("learning_rate")
    assert not stopped.failed and len(stopped.stopped) >= 1
    assert set(rows["status"]) == {"finished", "stopped"}
    assert (rows.loc[[2e-3], "status"] == "finished").all() and len(rows.loc[[2e-3]]) == 2
    ended = rows[rows["status"] == "stopped"]
    assert ended["stopped_at"].isin([1 / 9, 1 / 3]).all() and ended["utility"].isna().all()
    assert set(ended["seed"]) == {0}, "the other seeds of what was stopped are not fitted"
    best = stopped.best()
    names = {c.setting.label for c in stopped.candidates}
    assert not any(r.trial.setting.label in names for r in stopped.stopped) and best.sample(5, seed=0).shape == (5, 3)
    assert f"{len(stopped.stopped)} trials were stopped early" in stopped.explain()
    assert stopped.record()["stopped"] == len(stopped.stopped) and stopped.record()["failed"] == 0
    stopped.generate_report(stopped.folder / "r.html")
    assert f"{len(stopped.stopped)} stopped early" in (stopped.folder / "r.html").read_text(encoding="utf-8")


def test_a_stopped_trial_is_not_run_again(stopped: SweepResult, table: pd.DataFrame) -> None:
    before = written(stopped.folder)
    assert stopping(table, stopped.folder).repeated == len(stopped.results)
    assert written(stopped.folder) == before
    (stopped.folder / "searched" / "tvae-epsinf.json").unlink()  # as if killed before the search was over
    again = stopping(table, stopped.folder)
    assert written(stopped.folder) == before, "what is settled tells again, and is not run"
    pd.testing.assert_frame_equal(again.table, stopped.table)


@pytest.mark.slow  # each alone is above, and epsilon `test_sweep.py`'s
def test_optuna_and_asha_together_also_at_a_finite_epsilon(table: pd.DataFrame, tmp_path: Path) -> None:
    space = {"tvae": {"learning_rate": (1e-6, 1e-2), "epochs": [6]}, "copula": {"n_bins": (4, 40)}}
    options = {"search": "optuna", "scheduler": "asha", "n_seeds": 1, "n_trials": 1, "epsilons": [5.0]}
    found = run(table, tmp_path / "s", ["tvae", "copula"], space, **options)
    assert not found.failed and found.table["method"].tolist() == ["tvae", "copula"]
    assert (found.table.loc[found.table["method"] == "copula", "status"] == "finished").all()
    assert "for the data's holder only" in found.label
