"""AttackCampaign in this process: power, calibration, resuming, early stop, bad input, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.campaigns import AttackCampaign, Trial, campaign
from raysynth.campaigns.trial import make_world, training_table
from raysynth.dp.accounting.odometer import Odometer
from raysynth.errors import DataError, ParameterError, StorageError
from tests.unit.campaigns.conftest import Independent, Memoriser


def new(data: pd.DataFrame, path: Path, **changes: Any) -> AttackCampaign:
    settings: dict[str, Any] = {"n_models": 20, "n_targets": 8, "n_training": 60, "seed": 3, "where": "local"}
    settings |= {"attacks": ["distance"], "methods": {"copies": Memoriser(), "fresh": Independent()}, **changes}
    return AttackCampaign(data, storage_path=path, **settings)


def test_a_memoriser_is_found_and_independent_rows_are_not(data: pd.DataFrame, tmp_path: Path) -> None:
    odometer = Odometer(tmp_path / "odometer")
    results = new(data, tmp_path, attacks=["distance", "density_ratio"], odometer=odometer.folder).run()
    assert [(c.what, c.guarantee) for c in odometer.charges] == [("an attack campaign on exact rows", False)]
    copies, fresh = (results.game(m, "distance") for m in ("copies", "fresh"))
    assert copies.auc().value == 1 and copies.auc().low > 0.65  # exact, of ten pairs of models
    assert fresh.auc().low < 0.5 < fresh.auc().high  # misses 0.5 in 5 % of campaigns; the seed is fixed
    frame = results.to_frame()
    assert len(frame) == 4 and set(frame["models"]) == {20}
    exposed = results.per_record()
    assert exposed["method"][0] == "copies" and exposed["auc"][0] > 0.9
    assert len(exposed) == 4 * 8
    assert json.dumps(results.to_dict(), allow_nan=False)


def test_each_target_is_in_one_model_of_every_pair(data: pd.DataFrame, tmp_path: Path) -> None:
    plan = new(data, tmp_path).plan
    for seed in range(0, 20, 2):
        assert (plan.inside(seed, 8) != plan.inside(seed + 1, 8)).all()


@pytest.mark.parametrize("targets", ["vulnerable", "random"])
def test_targets_are_of_different_persons_of_whom_nothing_else_is_known(
    data: pd.DataFrame, tmp_path: Path, targets: str
) -> None:
    """Persons of three rows each, by a column that does not look like it."""
    persons = data.assign(hint=[f"h{i // 3:03d}" for i in range(len(data))])
    plan = new(persons, tmp_path, targets=targets, entity="hint", n_training=30).plan
    world = make_world(plan, persons)
    own = persons["hint"].iloc[world.target_rows]
    assert own.nunique() == len(own) == 8 and "entity" in plan.record()
    for others in (world.population, world.reference):
        numbers = others.rows.owners_N
        assert numbers is not None and world.targets.rows.owners_N is not None
        assert not np.isin(numbers, world.targets.rows.owners_N).any()


def test_all_tables_of_a_replace_one_game_are_of_one_size(data: pd.DataFrame, tmp_path: Path) -> None:
    for n_training, expected in ((None, 196), (60, 68)):
        one = new(data, tmp_path, game="replace_one", n_training=n_training)
        world = make_world(one.plan, data)
        tables = [training_table(world, one.plan.inside(s, 8), np.random.default_rng(s)) for s in range(4)]
        assert {len(t) for t in tables} == {expected}
    with pytest.raises(DataError, match="of which 8 may take a target's place"):
        make_world(new(data, tmp_path, game="replace_one", n_training=190).plan, data)


def test_a_killed_campaign_goes_on_with_nothing_lost_or_repeated(
    data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = new(data, tmp_path / "whole", n_models=8).run()
    ran: list[str] = []
    original = campaign.run_trial

    def killed_after_seven(world: Any, trial: Trial) -> Any:
        if len(ran) == 7:
            raise KeyboardInterrupt
        ran.append(trial.key)
        return original(world, trial)

    monkeypatch.setattr(campaign, "run_trial", killed_after_seven)
    with pytest.raises(KeyboardInterrupt):
        new(data, tmp_path / "killed", n_models=8).run()
    monkeypatch.setattr(campaign, "run_trial", lambda w, t: (ran.append(t.key), original(w, t))[1])
    resumed = new(data, tmp_path / "killed", n_models=8).run()
    assert len(ran) == len(set(ran)) == 16
    columns = [c for c in whole.to_frame() if c != "seconds"]
    pd.testing.assert_frame_equal(whole.to_frame()[columns], resumed.to_frame()[columns])


def test_more_models_may_be_asked_for_but_nothing_else_may_change(data: pd.DataFrame, tmp_path: Path) -> None:
    new(data, tmp_path, n_models=2).run()
    assert set(new(data, tmp_path, n_models=4).run().to_frame()["models"]) == {4}
    with pytest.raises(StorageError, match="holds another campaign"):
        new(data, tmp_path, seed=4).run()


def test_one_other_value_in_a_row_that_is_no_target_is_another_campaign(data: pd.DataFrame, tmp_path: Path) -> None:
    new(data, tmp_path, n_models=2, targets=[5, 3, 8]).run()
    changed = data.copy()
    changed.loc[300, "height"] += 1e-6
    with pytest.raises(StorageError, match="holds another campaign"):
        new(changed, tmp_path, n_models=2, targets=[5, 3, 8]).run()
    assert len(new(data, tmp_path, n_models=2, targets=[5, 3, 8]).run().games) == 2


def test_it_stops_early_where_the_answer_is_clear(data: pd.DataFrame, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"n_models": 200, "confidence_target": 0.15, "attacks": ["distance"]}
    results = new(data, tmp_path, **settings).run()
    game = results.game("copies", "distance")
    assert 20 <= len(game.models_S) < 120
    assert (game.auc().high - game.auc().low) / 2 <= 0.15
    again = new(data, tmp_path, **settings).run()
    assert len(again.game("copies", "distance").models_S) == len(game.models_S)


def test_a_failed_trial_is_told_and_tried_again(
    data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = campaign.run_trial

    def fails_once(world: Any, trial: Trial) -> Any:
        if trial.seed == 1:
            raise DataError("no luck")
        return original(world, trial)

    monkeypatch.setattr(campaign, "run_trial", fails_once)
    results = new(data, tmp_path, n_models=4, methods={"copies": Memoriser()}).run()
    assert results.failures == {"copies-none-000001": "DataError: no luck"}
    monkeypatch.setattr(campaign, "run_trial", original)
    assert new(data, tmp_path, n_models=4, methods={"copies": Memoriser()}).run().failures == {}


def test_shadow_features_are_told_by_the_other_models(data: pd.DataFrame, tmp_path: Path) -> None:
    results = new(data, tmp_path, n_models=30, attacks=["shadow"], methods={"copies": Memoriser()}).run()
    assert results.game("copies", "shadow").auc().low > 0.7


def test_a_campaign_of_two_models_claims_nothing(data: pd.DataFrame, tmp_path: Path) -> None:
    results = new(data, tmp_path / "c", n_models=2).run()
    text = results.summary()
    assert "nan" not in text and "[" not in text and "epsilon not measured" in text
    results.write_report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "not measured" in page and ">nan<" not in page and '"nan"' not in page


def test_the_report_is_one_page_with_curves(data: pd.DataFrame, tmp_path: Path) -> None:
    new(data, tmp_path / "c", n_models=4).run().write_report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('class="roc"') == 2 and "Risk of each record" in page
    assert "http://" not in page and "https://" not in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_models": 3}, "n_models must be an even number"),
        ({"epsilons": [0]}, "epsilons holds 0"),
        ({"attacks": ["linkability"]}, "membership games; 'linkability' does not score"),
        ({"attacks": ["telepathy"]}, "unknown attack 'telepathy'"),
        ({"game": "chess"}, "game must be one of add_remove, replace_one"),
        ({"methods": {}}, "methods is empty"),
        ({"targets": [9999]}, "rows run from 0 to 399"),
        ({"confidence_target": 0.6}, "confidence_target must be None or between 0 and 0.5"),
        ({"epsilons": [1.0]}, "has no differential privacy"),
        ({"n_training": 399}, "are left; give more rows or a smaller n_training"),
        ({"n_targets": 150}, "four times as many rows as targets"),
    ],
)
def test_bad_input_names_the_cure(data: pd.DataFrame, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ParameterError, DataError), match=message):
        new(data, tmp_path, **changes).run()


def test_scores_of_a_game_come_back_in_place(data: pd.DataFrame, tmp_path: Path) -> None:
    """Rows of the data are the targets asked for, and members are where the plan says."""
    one = new(data, tmp_path, targets=[5, 3, 8], n_models=4)
    game = one.run().game("copies", "distance")
    assert game.targets_T.tolist() == [3, 5, 8]
    assert (game.inside_ST == np.array([one.plan.inside(s, 3) for s in range(4)])).all()
