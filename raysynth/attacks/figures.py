"""The figures of an attack's trials: success, baseline, gain and risk, with intervals of any level."""

from __future__ import annotations

import math

from raysynth.attacks.attack import Outcome
from raysynth.comparison import rates
from raysynth.comparison.intervals import UNDEFINED, Estimate


def figures(outcome: Outcome, scores: bool, level: float) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """Success, baseline, gain and risk of some trials; `scores`: whether they are scores, `level`: of the intervals."""
    success, baseline = success_of(outcome, scores, level), baseline_of(outcome, scores, level)
    if math.isnan(baseline.value):
        return success, baseline, UNDEFINED, UNDEFINED
    return success, baseline, rates.difference(success, baseline), rates.excess(success, baseline)


def success_of(outcome: Outcome, scores: bool, level: float = rates.LEVEL) -> Estimate:
    """AUC of scores, share of successes."""
    if scores:
        return rates.auc(outcome.members, outcome.others, outcome.member_clusters, outcome.other_clusters, level)
    return rates.share(outcome.members, outcome.member_clusters, level)


def baseline_of(outcome: Outcome, scores: bool, level: float = rates.LEVEL) -> Estimate:
    """What rows of people in neither table get."""
    if scores:
        return Estimate(0.5, 0.5, 0.5)
    if outcome.known_baseline is not None:
        return Estimate(outcome.known_baseline, outcome.known_baseline, outcome.known_baseline)
    return rates.share(outcome.others, outcome.other_clusters, level)
