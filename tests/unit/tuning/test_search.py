"""What is searched and stopped, and what is refused with the reason, before a row is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.errors import ParameterError
from raysynth.tuning import sweep
from raysynth.tuning.choices import Listed, Study
from raysynth.tuning.search import Search
from raysynth.tuning.trials import FAILED, FINISHED, STOPPED, TrialResult

FEW = pd.DataFrame({"x": np.arange(60.0) % 7, "c": ["a", "b", "c"] * 20})
SPACE = {"tvae": {"latent_dim": [8, 16, 32]}, "copula": {"n_bins": (8, 16)}}


def search(**options: Any) -> Search:
    given: dict[str, Any] = {"methods": ("tvae", "copula", "ctgan"), "epsilons": (1.0, math.inf), "space": SPACE}
    return Search(**{**given, "n_trials": 2, "n_seeds": 3, "seed": 5, **options})


def test_without_search_and_scheduler_every_trial_is_plain() -> None:
    found = search()
    assert found.groups == [] and found.plain == found.trials and len(found.trials) == (2 + 2 + 1) * 2 * 3


def test_optuna_searches_each_method_at_each_epsilon_apart() -> None:
    found = search(search="optuna")
    keys = [(g.method, g.epsilon, g.number) for g in found.groups if isinstance(g, Study)]
    assert keys == [(m, e, 2) for m in ("tvae", "copula") for e in (1.0, math.inf)]
    assert {t.setting.method for t in found.plain} == {"ctgan"} and len(found.plain) == 6


def test_asha_stops_trainings_of_the_first_seed_alone() -> None:
    found = search(scheduler="asha")
    assert all(isinstance(g, Listed) for g in found.groups) and [g.number for g in found.groups] == [2, 2]
    grouped = [t for g in found.groups if isinstance(g, Listed) for t in g.trials]
    assert {(t.setting.method, t.seed) for t in grouped} == {("tvae", 5)}
    assert not any(t.setting.method == "tvae" for t in found.plain), "its other seeds follow once it is known"
    assert len(found.plain) == (2 + 1) * 2 * 3


def test_other_seeds_are_for_what_finished() -> None:
    found = search(scheduler="asha")
    first = [TrialResult(t, s) for t, s in zip(found.trials[::3], (FINISHED, STOPPED, FAILED), strict=False)]
    assert [t.seed for t in found.with_other_seeds(first)] == [5, 6, 7, 5, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "magic", "search_space": SPACE}, "search must be None or one of 'optuna'; found 'magic'"),
        ({"scheduler": "magic", "search_space": SPACE}, "scheduler must be None or one of 'asha'; found 'magic'"),
        ({"search": "optuna"}, "search='optuna' compares settings of a method"),
        ({"scheduler": "asha"}, "scheduler='asha' compares settings of a method"),
        ({"scheduler": "asha", "search_space": {"copula": SPACE["copula"]}}, "stops trainings in epochs, and copula"),
        ({"search": "optuna", "search_space": {"gan": {}}}, "'gan', which is not among"),
        ({"search": "optuna", "search_space": {"tvae": {"latent_dim": 3}}}, "'latent_dim' must be a list of values"),
    ],
    ids=lambda o: str(o)[:40],
)
def test_bad_searches(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(ParameterError, match=message):
        sweep("no such table", ["tvae", "copula"], out=tmp_path / "s", **options)


def test_trials_over_several_workers_cannot_be_stopped(tmp_path: Path) -> None:
    from ray.train import ScalingConfig

    options = {"scheduler": "asha", "search_space": SPACE, "scaling_config": ScalingConfig(num_workers=2)}
    with pytest.raises(ParameterError, match="in the trial's own process; leave out scaling_config"):
        sweep(FEW, ["tvae", "copula"], out=tmp_path / "s", **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"search": "optuna"}, "takes no search: it draws each setting by the scores of earlier ones"),
        ({"scheduler": "asha"}, "takes no scheduler: to stop a run by its score releases that score"),
    ],
    ids=["search", "scheduler"],
)
def test_a_private_selection_refuses_both_with_the_reason(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    given = {"selection": "private", "search_space": SPACE, **options}
    with pytest.raises(ParameterError, match=reason):
        sweep("no such table", ["tvae", "copula"], [1.0], out=tmp_path / "s", **given)
    assert not (tmp_path / "s").exists()
