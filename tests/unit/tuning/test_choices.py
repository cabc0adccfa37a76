"""Optuna's suggestions as trials: there and back, as many as there are, and again what is known."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from raysynth.errors import ParameterError
from raysynth.tuning.choices import Listed, Study, installed_optuna
from raysynth.tuning.trials import Setting, Trial

SPACE = {"layers": [[64], [64, 64]], "rate": (0.001, 0.1), "width": (8, 64)}


def study(**options: Any) -> Study:
    return Study.of("tvae", 1.0, 3, SPACE, **{"n_trials": 5, **options})


def test_a_suggestion_becomes_a_trial_and_back() -> None:
    config = {"layers": 1, "rate": 0.02, "width": 9}
    trial = study().trial(config)
    assert trial == Trial(Setting("tvae", 1.0, (("layers", (64, 64)), ("rate", 0.02), ("width", 9))), 3)
    assert study().point(trial) == config and study().holds(trial)
    assert not study().holds(Trial(trial.setting, 4)), "another seed"
    assert not study().holds(Trial(Setting("tvae", 2.0, trial.setting.parameters), 3)), "another epsilon"
    assert not study().holds(Trial(Setting("tvae", 1.0, trial.setting.parameters[:2]), 3)), "other parameters"


def test_no_more_settings_are_drawn_than_there_are() -> None:
    assert study().number == 5
    assert Study.of("tvae", 1.0, 0, {"width": (8, 9), "layers": [[64], [64, 64]]}, 9).number == 4


def test_a_list_is_taken_by_position() -> None:
    trials = (Trial(Setting("copula", math.inf), 0), Trial(Setting("copula", math.inf), 1))
    listed = Listed(trials)
    assert listed.trial({"position": 1}) == trials[1] and listed.number == 2 and listed.key == "copula-epsinf"


def test_what_is_known_is_suggested_first_and_new_draws_differ() -> None:
    pytest.importorskip("optuna")
    fresh = study().searcher([])
    drawn = [study().trial(fresh.suggest(str(i)) or {}) for i in range(2)]
    again = study().searcher(drawn)
    repeated = [study().trial(again.suggest(str(i)) or {}) for i in range(4)]
    assert repeated[:2] == drawn and len(set(repeated)) == 4, "a sampler that starts anew does not repeat itself"


def test_each_trial_has_one_that_takes_about_as_long_for_the_progress() -> None:
    trials = (Trial(Setting("copula", math.inf), 0), Trial(Setting("tvae", 1.0), 1))
    assert Listed(trials).typical == trials
    assert len(study().typical) == study().number and {t.setting.method for t in study().typical} == {"tvae"}


def test_without_optuna_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ParameterError, match=r"not installed: pip install 'raysynth\[tune\]'"):
        installed_optuna()
