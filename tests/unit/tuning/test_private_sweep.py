"""A private selection, trials in this process: one draw, one release of statistics, one winner, nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from object_store import object_store

from raysynth.data.table import as_table
from raysynth.errors import ParameterError
from raysynth.files.storage import place
from raysynth.methods.registry import load_synthetic_model
from raysynth.tuning import SweepResult, private_sweep, sweep
from raysynth.tuning.private_sweep import PrivateFolder, chosen
from raysynth.tuning.trials import FAILED, FINISHED, Setting, Trial, TrialResult

ROWS = 400
EPSILONS = [0.5, 1.0]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    return pd.DataFrame({"x": x, "y": x + rng.normal(size=ROWS), "c": np.where(x > 0, "yes", "no")})


def in_process(trials: Sequence[Trial], task: Any, room: Any) -> None:
    for trial in trials:
        task.run(trial)


def run(table: pd.DataFrame, out: str | Path, **options: Any) -> SweepResult:
    given = {"methods": ["copula"], "epsilons": EPSILONS, "selection": "private", "mean_trials": 3.0, **options}
    return sweep(table, out=out, **given)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_sweep, "run_trials", in_process)


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four runs, whenever a number is drawn; the list counts the draws."""
    from raysynth.dp.accounting.selection import Repetitions

    draws: list[int] = []

    def draw(self: Repetitions, noise: object) -> int:
        draws.append(1)
        return 4

    monkeypatch.setattr(Repetitions, "draw", draw)
    return draws


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each release of statistics was made of."""
    from raysynth.statistics import noised

    made: list[int] = []
    release = noised.release_statistics

    def counted(table: Any, *arguments: Any, **options: Any) -> Any:
        made.append(table.n_rows)
        return release(table, *arguments, **options)

    monkeypatch.setattr(noised, "release_statistics", counted)
    return made


def test_only_the_winner_is_shown_and_its_ledger_holds_statistics_and_choice(
    table: pd.DataFrame,
    tmp_path: Path,
    four: list[int],
    releases: list[int],
    recomputed: Callable[[Any], tuple[float, float]],
) -> None:
    found = run(table, tmp_path)
    assert releases == [0, ROWS], "planned on no rows, released once"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["sweep.json", "winner.json", "winner.raysynth"]
    assert len(found.results) == 1 and found.results[0].trial.seed == 0 and not found.results[0].seconds
    model = found.best()
    spent = model.privacy_spent_
    assert spent is not None and spent.guarantee
    events = spent.ledger.events
    assert [str(e.mechanism) for e in events].count("selection") == 1 and str(events[-1].mechanism) == "selection"
    assert {e.released for e in events[:-1]} >= {"histogram of 'x'", "which values of 'c' occur", "number of rows"}
    assert not any("score" in e.released or "moments" in e.released for e in events), "runs are inside the selection"
    assert events[-1].delta == pytest.approx(spent.delta / 2)
    recount, error = recomputed(model)
    assert recount <= spent.epsilon * 1.01 + error and recount >= 0.9 * spent.epsilon
    assert events[-1].epsilon < spent.epsilon < events[-1].epsilon + 1.0  # type: ignore[operator]
    assert found.results[0].trial.setting.epsilon == spent.epsilon == found.table["epsilon"][0]
    assert len(model.sample(10, seed=0)) == 10


def test_in_a_bucket_nothing_but_the_winner_is_left(table: pd.DataFrame, four: list[int]) -> None:
    with object_store("127.0.0.1"):
        found = run(table, "s3://bucket/chosen")
        assert sorted(place("s3://bucket/chosen").sizes()) == ["sweep.json", "winner.json", "winner.raysynth"]
        assert len(found.best().sample(10, seed=0)) == 10
        assert run(table, "s3://bucket/chosen").results[0].utility == found.results[0].utility


def test_every_result_says_which_mode_holds(table: pd.DataFrame, tmp_path: Path, four: list[int]) -> None:
    found = run(table, tmp_path)
    assert "nothing but the winner" in found.label and "chosen privately" in found.explain()
    assert found.record()["selection"] == "private"
    found.generate_report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Private selection." in page and "how many there were, are not told" in page
    events = load_synthetic_model(tmp_path / "winner.raysynth").privacy_spent_.ledger  # type: ignore[union-attr]
    assert "selection='private'" in list(events)[-1].released
    with pytest.raises(ParameterError, match="no setting is within the limits"):
        found.best(max_epsilon=1.0)


def test_a_stopped_selection_goes_on_with_the_same_draw_and_the_same_statistics(
    table: pd.DataFrame, tmp_path: Path, four: list[int], releases: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after two of four runs; then killed again before the winner is kept."""
    done: list[str] = []

    def stopping(limit: float) -> Callable[..., None]:
        def some(trials: Sequence[Trial], task: Any, room: Any) -> None:
            for trial in trials:
                if len(done) >= limit:
                    raise KeyboardInterrupt
                task.run(trial)
                done.append(trial.key)

        return some

    monkeypatch.setattr(private_sweep, "run_trials", stopping(2))
    with pytest.raises(KeyboardInterrupt):
        run(table, tmp_path)
    files = PrivateFolder(tmp_path)
    draw, statistics = ((files.private / n).read_bytes() for n in ("draw.json", "statistics.zip"))
    assert len(json.loads(draw)) == 4 and not files.is_done
    monkeypatch.setattr(private_sweep, "run_trials", stopping(math.inf))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PrivateFolder, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(table, tmp_path)
    assert (files.private / "draw.json").read_bytes() == draw
    assert (files.private / "statistics.zip").read_bytes() == statistics
    scores = [json.loads(f.read_text())["utility"] for f in (files.private / "trials").iterdir()]
    found = run(table, tmp_path)
    assert len(done) == len(set(done)) == 4, "no run was repeated"
    assert found.results[0].utility == max(scores)
    assert sum(four) == 1 and [n for n in releases if n] == [ROWS]
    again = run(table, tmp_path)
    assert str(again.results) == str(found.results) and sum(four) == 1, "nor is a finished selection made again"


def test_a_release_that_was_cut_short_is_charged_twice(
    table: pd.DataFrame, tmp_path: Path, four: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(private_sweep, "write_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(table, tmp_path)
    spent = run(table, tmp_path).best().privacy_spent_
    assert spent is not None
    assert [e.released for e in spent.ledger].count("number of rows") == 2


def test_a_failed_run_is_never_chosen_and_shows_nothing(
    table: pd.DataFrame, tmp_path: Path, four: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs but the third fail; its setting wins. Then all fail: no winner, and no word about why."""
    calls: list[int] = []
    fit = private_sweep.fit_opened

    def failing(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) != 3:
            raise MemoryError("row 17 is too large")
        return fit(*arguments)

    monkeypatch.setattr(private_sweep, "fit_opened", failing)
    found = run(table, tmp_path / "a")
    assert len(calls) == 4 and found.results[0].finished
    nothing = run(table, tmp_path / "b")
    assert nothing.results == () and "row 17" not in repr([p.read_text() for p in (tmp_path / "b").glob("*.json")])
    with pytest.raises(ParameterError, match="released no winner"):
        nothing.best()


def test_the_score_of_a_run_is_noised_and_paid_for_by_the_run(
    table: pd.DataFrame, tmp_path: Path, four: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes, drawn, kept = [], [], []
    scope_of, draw = private_sweep._run_scope, private_sweep.gaussian_vector
    run_one = private_sweep.run_private_trial

    def noted_scope(*arguments: Any) -> Any:
        scopes.append(scope_of(*arguments))
        return scopes[-1]

    def noted_draw(values: np.ndarray, multiplier: float, noise: Any, *, sensitivity: float) -> np.ndarray:
        noised = draw(values, multiplier, noise, sensitivity=sensitivity)
        drawn.append((values[0], multiplier, sensitivity, noised[0]))
        return noised

    def noted_run(*arguments: Any) -> TrialResult:
        kept.append(run_one(*arguments))
        return kept[-1]

    monkeypatch.setattr(private_sweep, "_run_scope", noted_scope)
    monkeypatch.setattr(private_sweep, "gaussian_vector", noted_draw)
    monkeypatch.setattr(private_sweep, "run_private_trial", noted_run)
    run(table, tmp_path)
    assert len(scopes) == len(drawn) == len(kept) == 4
    for scope, (exact, multiplier, sensitivity, noised), result in zip(scopes, drawn, kept, strict=True):
        paid = scope.ledger.events[0]
        assert paid.released == "score of a fit", "before anything of the run is released"
        assert (multiplier, sensitivity) == (paid.noise_multiplier, paid.sensitivity)
        assert result.utility == noised != exact
        assert scope.run.covers(scope.ledger)


def test_no_runs_release_nothing(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raysynth.dp.accounting.selection import Repetitions

    monkeypatch.setattr(Repetitions, "draw", lambda *_: 0)
    found = run(table, tmp_path, trials_law="poisson")
    assert found.results == () and list(found.table) == []


def test_the_highest_score_is_chosen_and_failures_are_below_all() -> None:
    trials = [Trial(Setting("copula", 1.0), i) for i in range(3)]
    results = [
        TrialResult(trials[0], FINISHED, -3.0),
        TrialResult(trials[1], FAILED),
        TrialResult(trials[2], FINISHED, 0.2),
    ]
    assert chosen(results) == results[2] and chosen(results[:2]) == results[0] and chosen(results[1:2]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilons": [1.0, math.inf]}, "every epsilon must be finite"),
        ({"target_columns": "c"}, "takes no target_columns: runs are scored by pairs"),
        ({"holdout_data": "rows"}, "takes no holdout_data"),
        ({"objective": "ml_efficacy"}, "takes no objective"),
        ({"methods": ["timegan"]}, "takes no epsilon"),
        ({"trials_law": "grid"}, "the number of trials is 'geometric' or 'poisson'"),
        ({"mean_trials": 0.0}, "mean number of trials"),
        ({"delta": 0.0}, "delta must be a number between 0 and 1"),
        ({"epsilon_limit": 1.0}, r"would cost epsilon = 2\.\d+ .* above epsilon_limit = 1"),
        ({"search_space": {"copula": {"statistics_share": [0.1, 0.2]}}}, "varies statistics_share"),
        ({"search_space": {"copula": {"n_bins": [1]}}}, "n_bins must be"),
        ({"parameters": {"privacy_unit": "c"}}, "leave out privacy_unit"),
        ({"selection": "internal", "epsilon_limit": 1.0}, "belongs to selection='private'"),
    ],
    ids=lambda o: str(o)[:30],
)
def test_refusals_come_before_the_rows_are_opened(
    options: dict[str, Any], message: str, table: pd.DataFrame, tmp_path: Path, releases: list[int]
) -> None:
    with pytest.raises(ParameterError, match=message):
        run(table, tmp_path / "s", **options)
    assert not any(releases) and not (tmp_path / "s").exists()


def test_a_larger_space_costs_what_its_largest_epsilon_does(table: pd.DataFrame) -> None:
    from raysynth.dp.accounting.selection import Repetitions
    from raysynth.tuning.private_plan import planned

    def cost(*settings: Setting) -> float:
        plan = planned(as_table(table), settings, None, 1e-5, {}, Repetitions(3.0))
        return float(plan.choice.epsilon or 0.0)

    network, copula = Setting("bayesian_network", 0.5), Setting("copula", 0.5)
    assert cost(network) == cost(network, copula) == cost(copula, network)
    plans = [
        planned(as_table(table), own, None, 1e-5, {}, Repetitions(3.0))
        for own in ([network, copula], [copula, network])
    ]
    assert plans[0].statistics == plans[1].statistics and plans[0].runs == plans[1].runs
    assert plans[0].opener()[1].preprocessing_share == 0.2  # the network's, the larger of both
    assert cost(copula) < cost(copula, Setting("bayesian_network", 2.0))
