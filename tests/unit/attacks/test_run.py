"""run_privacy_attacks: the mapping, what is possible without a holdout, bad input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from raysynth.attacks.results import AttackResults
from raysynth.attacks.verdicts import Verdict
from raysynth.comparison.intervals import Estimate
from raysynth.errors import DataError, ParameterError
from raysynth.evaluation.attacks import attack_checks, attack_purpose
from raysynth.privacy import MembershipAttack, Records, ThreatModel, View, run_privacy_attacks


class Oracle(MembershipAttack):
    """Knows nothing and guesses by one column."""

    name = "oracle"
    title = "By age"
    threat = ThreatModel()

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        assert view.reference is None, "the threat model grants no reference"
        return targets.rows.numbers_NV[:, 0]


def test_results_are_a_mapping_of_floats_with_details(
    real: pd.DataFrame, copies: pd.DataFrame, holdout: pd.DataFrame
) -> None:
    results = run_privacy_attacks(real, copies, ["membership_inference"], n_experiments=3, holdout_data=holdout)
    assert isinstance(results, Mapping)
    assert [f"{k}: {v:.4f}" for k, v in results.items()]
    assert results["membership_inference"] > 0.9
    frame = results.to_frame()
    assert list(frame["attack"]) == list(results.details)
    assert (frame["success_low"] <= frame["success"]).all()
    best = results.strongest("membership_inference")
    assert best.curve is not None and best.curve.true_positive[-1] == 1
    assert results.intervals["membership_inference"].low <= best.success.low


def test_without_a_holdout_it_is_proximity_and_says_so(real: pd.DataFrame, copies: pd.DataFrame) -> None:
    results = run_privacy_attacks(real, copies, ["membership_inference"])
    assert set(results.details) == {"proximity"}
    assert results["membership_inference"] > 0.65  # half of the copies lie on the other side
    assert "membership cannot be measured" in results.summary()


def test_an_own_attack_sees_only_what_its_threat_model_grants(
    real: pd.DataFrame, fresh: pd.DataFrame, holdout: pd.DataFrame
) -> None:
    results = run_privacy_attacks(real, fresh, [Oracle()], holdout_data=holdout)
    assert 0.4 < results["oracle"] < 0.6


def test_bad_input_names_the_cure(real: pd.DataFrame, fresh: pd.DataFrame, holdout: pd.DataFrame) -> None:
    with pytest.raises(ParameterError, match="unknown attack 'telepathy'.*membership_inference"):
        run_privacy_attacks(real, fresh, ["telepathy"])
    with pytest.raises(ParameterError, match="needs holdout_data"):
        run_privacy_attacks(real, fresh, ["distance"])
    with pytest.raises(ParameterError, match="n_experiments"):
        run_privacy_attacks(real, fresh, n_experiments=0)
    with pytest.raises(ParameterError, match="twice"):
        run_privacy_attacks(real, fresh, ["distance", "membership_inference"], holdout_data=holdout)
    with pytest.raises(DataError, match="has 5 rows; attacks need at least 20"):
        run_privacy_attacks(real[:5], fresh)
    with pytest.raises(DataError, match="lacks 'city'"):
        run_privacy_attacks(real, fresh.drop(columns="city"))


def test_what_is_not_decided_is_no_failure_on_any_page_and_a_few_surest_rows_are_shown(
    real: pd.DataFrame, fresh: pd.DataFrame, holdout: pd.DataFrame
) -> None:
    """Verdicts put in the place of those that were found: the words, the checks and the purposes follow these."""
    results = run_privacy_attacks(real, fresh, ["distance"], n_experiments=2, holdout_data=holdout)
    wide, exposed = Estimate(0.09, -0.02, 0.2), Estimate(0.9, 0.7, 0.99)
    shown = {}
    for name, verdict in (
        ("not decided", Verdict(0.01, gain=wide)),
        ("gain on few rows", Verdict(0.01, 0.4, gain=wide, surest=exposed)),
    ):
        own = {"distance": replace(results.details["distance"], verdict=verdict)}
        found = AttackResults(own, results.families)
        (check,) = attack_checks(found)
        shown[name] = check.in_words, attack_purpose(found, None).answer, check.figure == exposed
        assert name.upper() in found.summary() and own["distance"].in_words == name
    assert shown == {"not decided": ("not decided", "with care", False), "gain on few rows": ("fail", "no", True)}
    undecided = AttackResults({"distance": replace(results.details["distance"], verdict=Verdict(0.01, gain=wide))}, {})
    assert "about 3.4 times as many targets would decide" in undecided.summary()  # (.11 / .06) squared
