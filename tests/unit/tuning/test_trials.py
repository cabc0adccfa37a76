"""Trials as values: the same call gives the same trials; results survive their files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from raysynth.comparison.intervals import Estimate
from raysynth.errors import ParameterError, StorageError
from raysynth.tuning.trials import FAILED, FINISHED, Setting, Trial, TrialResult, all_trials

SPACE = {"ctgan": {"epochs": [10, 20], "dropout": (0.1, 0.5), "width": (32, 64)}}


def test_every_setting_is_tried_with_every_seed() -> None:
    trials = all_trials(["copula", "ctgan"], [1.0, math.inf], 3, {}, 8, seed=5)
    assert len(trials) == len({t.key for t in trials}) == 12
    assert {t.seed for t in trials} == {5, 6, 7}


def test_the_same_call_draws_the_same_settings_within_their_space() -> None:
    first, second = (all_trials(["copula", "ctgan"], [math.inf], 2, SPACE, 4, seed=1) for _ in range(2))
    assert first == second
    drawn = {t.setting.parameters for t in first if t.setting.method == "ctgan"}
    assert len(drawn) == 4 and len(first) == 2 * 5
    for parameters in map(dict, drawn):
        assert parameters["epochs"] in (10, 20) and 0.1 <= parameters["dropout"] <= 0.5
        assert isinstance(parameters["width"], int) and 32 <= parameters["width"] <= 64


def test_a_small_space_is_not_tried_twice() -> None:
    assert len(all_trials(["ctgan"], [math.inf], 1, {"ctgan": {"epochs": [1, 2]}}, 9, seed=0)) == 2


def test_hidden_layers_can_be_searched() -> None:
    space = {"tvae": {"encoder_layers": [[64], [64, 64]]}}
    trials = all_trials(["tvae"], [math.inf], 1, space, 9, seed=0)
    assert {dict(t.setting.parameters)["encoder_layers"] for t in trials} == {(64,), (64, 64)}


@pytest.mark.parametrize("values", [7, [], (2, 1), "ab"])
def test_a_space_that_cannot_be_drawn_from_is_named(values: object) -> None:
    with pytest.raises(ParameterError, match="'epochs' must be a list"):
        all_trials(["ctgan"], [math.inf], 1, {"ctgan": {"epochs": values}}, 2, seed=0)
    with pytest.raises(ParameterError, match="'gan', which is not among"):
        all_trials(["ctgan"], [math.inf], 1, {"gan": {}}, 2, seed=0)


@pytest.mark.parametrize(
    "result",
    [
        TrialResult(
            Trial(Setting("ctgan", 0.5, (("dims", (64, 64)), ("epochs", 3))), 2),
            FINISHED,
            0.75,
            {"similarity": 0.9, "ml_efficacy": math.nan},
            Estimate(0.1, -0.05, 0.25),
            {"fit": 1.5},
        ),
        TrialResult(Trial(Setting("copula", math.inf), 0), FAILED, error="no rows"),
    ],
    ids=["finished", "failed"],
)
def test_a_result_is_read_as_it_was_written(result: TrialResult, tmp_path: Path) -> None:
    result.write(tmp_path / "a.json")
    json.loads((tmp_path / "a.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    found = TrialResult.read(tmp_path / "a.json")
    assert str(found) == str(result)  # NaN equals itself as text


def test_a_damaged_result_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"trial": {}}')
    with pytest.raises(StorageError, match="delete it"):
        TrialResult.read(tmp_path / "a.json")
