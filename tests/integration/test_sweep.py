"""A sweep on Ray Tune: trials side by side, results kept, a stopped sweep goes on, a failed trial is reported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from raysynth import infer_schema
from raysynth.errors import ParameterError
from raysynth.running.forecast import left_in_all
from raysynth.tuning import SweepResult, sweep
from raysynth.tuning.choices import Listed
from raysynth.tuning.on_ray import TrialProgress, trials_shown
from raysynth.tuning.trials import Setting, Trial

pytestmark = pytest.mark.usefixtures("fresh_two_cpus")
METHODS = ["copula", "bayesian_network"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    return pd.DataFrame(
        {"x": x, "y": x + rng.normal(size=600), "c": np.where(x + rng.normal(size=600) > 0, "yes", "no")}
    )


def run(table: pd.DataFrame, out: Path) -> SweepResult:
    """One setting of the network cannot be fitted: its order names a column that the table has not."""
    space = {"bayesian_network": {"order": [["x", "y"], ["no such column"]]}}
    given = {"search_space": space, "n_trials": 2, "parameters": {"schema": "schema.json"}}
    return sweep(table, METHODS, out=out, n_seeds=2, target_columns="c", seed=3, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def swept(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SweepResult]:
    """In a folder by a relative name, where the tests of this module then stay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sweep"))
        infer_schema(table).save("schema.json")
        yield run(table, Path("out"))


def test_a_relative_folder_is_the_callers(swept: SweepResult) -> None:
    """Tune runs each trial in a folder of its own; results and models must not land there."""
    assert swept.folder == Path.cwd() / "out"
    assert len(list((Path.cwd() / "out" / "models").glob("*.raysynth"))) == 4


def test_every_trial_has_its_figures_and_a_failed_one_its_reason(swept: SweepResult) -> None:
    status = swept.table["status"].tolist()
    assert status.count("finished") == 4 and status.count("failed") == 2
    assert all("no modelled column" in r.error for r in swept.failed)
    done = swept.table[swept.table["status"] == "finished"]
    assert done["utility"].between(0.5, 1).all() and done["similarity"].between(0.5, 1).all()
    assert (done["attack_low"] <= done["attack"]).all() and (done["fit_seconds"] > 0).all()


def test_the_progress_of_trials_says_what_is_left_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes start, two trials at a time; a private selection, which expects nothing, says nothing."""
    monkeypatch.setattr("raysynth.running.forecast._crowd", lambda: 1.0)
    choices = Listed(tuple(Trial(Setting("copula", math.inf), seed) for seed in range(4)))
    for expected, least in ((lambda trial: 100.0, 190.0), (None, None)):
        with trials_shown(choices, 2, expected):
            callback = TrialProgress()
            for i in range(2):
                callback.on_trial_start(0, [], SimpleNamespace(trial_id=f"t{i}", config={"position": i}))
            told = left_in_all()
            assert (told is None) == (least is None)
            if told is not None and least is not None:
                assert told[0] == "trials" and least < told[1] < 210.0
            for i in range(2):
                callback.on_trial_complete(0, [], SimpleNamespace(trial_id=f"t{i}", config={"position": i}))
        assert left_in_all() is None


def test_best_is_a_fitted_model_and_the_report_is_written(swept: SweepResult) -> None:
    model = swept.best()
    assert len(model.sample(25, seed=0)) == 25
    swept.generate_report(swept.folder / "report.html")
    assert "Pareto" not in swept.explain() and "highest mean utility" in swept.explain()


def test_a_stopped_sweep_goes_on_and_repeats_no_finished_trial(swept: SweepResult, table: pd.DataFrame) -> None:
    """One result is taken away, as if the sweep had been killed before it; failed trials are tried again."""
    files = sorted((swept.folder / "trials").glob("*.json"))
    kept = {f: f.stat().st_mtime_ns for f in files if '"finished"' in f.read_text()}
    lost = next(iter(kept))
    before = lost.read_text()
    lost.unlink()
    again = run(table, swept.folder)
    assert again.repeated == 3
    assert {f for f, t in kept.items() if f.stat().st_mtime_ns != t} == {lost}
    assert again.table.drop(columns=[c for c in again.table if "seconds" in c]).equals(
        swept.table.drop(columns=[c for c in swept.table if "seconds" in c])
    )
    assert before.split('"seconds"')[0] == lost.read_text().split('"seconds"')[0]


def test_a_proxy_sweep_opens_the_private_rows_for_the_winner_alone(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public table takes the sweep; the private one is opened once, by `best`, and a second winner is refused."""
    from raysynth.methods.base import Synthesizer

    public = table.sample(frac=1, replace=True, random_state=1).reset_index(drop=True)
    private = table.assign(x=table["x"] + 100)
    opened: list[int] = []
    fit = Synthesizer.fit

    def counted(self: Synthesizer, data: object) -> Synthesizer:
        opened.append(1)
        return fit(self, data)

    monkeypatch.setattr(Synthesizer, "fit", counted)
    found = sweep(
        private, METHODS, out=tmp_path / "s", n_seeds=1, selection="proxy", proxy_data=public, objective="similarity"
    )
    assert opened == []  # trials ran in other processes, on the public rows
    assert "no figure here was computed from the private rows" in found.label
    model = found.best()
    assert opened == [1] and model.sample(50, seed=0)["x"].mean() > 50
    assert found.best().sample(5, seed=1).equals(model.sample(5, seed=1)) and opened == [1]
    other = next(c for c in found.candidates if c.setting.method != model.method)
    with pytest.raises(ParameterError, match="second one would be a second release"):
        found.winner(other)
    assert math.isinf(other.setting.epsilon)


def test_a_proxy_sweep_opens_two_ledgers_on_the_private_rows(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the proxy's fit, one for the winner's; trials run on proxy rows, in processes that have no others."""
    from raysynth.statistics import noised

    scopes: list[object] = []
    release = noised.release_statistics

    def counted(rows: object, schema: object, scope: object, **options: object) -> object:
        scopes.append(scope)
        return release(rows, schema, scope, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(noised, "release_statistics", counted)
    given = {"n_seeds": 1, "selection": "proxy", "proxy_epsilon": 1.0, "objective": "similarity"}
    found = sweep(table, ["copula"], [2.0], out=tmp_path / "s", **given)
    assert len(scopes) == 1
    model = found.best()
    assert len(scopes) == 2 and scopes[0] is not scopes[1]
    found.best()
    assert len(sweep(table, ["copula"], [2.0], out=tmp_path / "s", **given).results) == 1
    assert len(scopes) == 2, "neither asking again nor resuming opens the rows"
    spent = model.privacy_spent_
    assert spent is not None and len(spent.ledger) == sum(len(s.ledger) for s in scopes)  # type: ignore[attr-defined]
    assert sum(e.released.startswith("proxy: ") for e in spent.ledger) == len(scopes[0].ledger)  # type: ignore[attr-defined]


@pytest.mark.slow  # in one process it is `unit/tuning/test_private_sweep.py`'s
def test_a_private_selection_over_ray_shows_its_winner_alone(table: pd.DataFrame, tmp_path: Path) -> None:
    found = sweep(table, METHODS, [1.0], out=tmp_path / "s", selection="private", mean_trials=2.0)
    assert len(found.results) == 1 and found.results[0].finished
    assert sorted(f.name for f in (tmp_path / "s").iterdir()) == ["sweep.json", "winner.json", "winner.raysynth"]
    model = found.best()
    assert model.privacy_spent_ is not None and model.privacy_spent_.guarantee
    assert len(model.sample(20, seed=0)) == 20
