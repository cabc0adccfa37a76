"""Calibration: where nothing can leak, the intervals cover the baseline; a small bias of an attack is caught.

In each repetition real, synthetic and holdout rows are independent samples of one population, so each attack's gain is
0, and its 95 % interval must cover that in 95 % of repetitions. The fewest that may cover it are set such that a
correct set of attacks fails less than once in a thousand runs, all attacks together (Bonferroni; exact binomial tails).
Attacks with a bias of 0.05 planted are caught with probability above 0.999: their intervals are some 0.04 wide to
either side, and cover 0 in less than half of the repetitions. The larger run, with all attacks on tables, is
`bench_attacks.py calibration`.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from raysynth.attacks.attack import Attack, Outcome, Scene
from raysynth.attacks.attribute import NearestAttributeAttack
from raysynth.attacks.inversion import TableInversionAttack
from raysynth.attacks.linkability import LinkabilityAttack
from raysynth.attacks.neighbourhood import DistanceAttack
from raysynth.attacks.singling_out import UnivariateSinglingOut
from raysynth.comparison.intervals import Estimate
from raysynth.privacy import run_privacy_attacks
from tests.unit.attacks.conftest import population

# a minute; `test_verdicts.py`, `test_false_alarms.py` and `test_power.py` ask each time, of fewer tables
pytestmark = [pytest.mark.statistical, pytest.mark.slow]

REPETITIONS, ROWS, TARGETS = 36, 800, 700
BIAS = 0.05
CORRECT: list[type[Attack]] = [
    *(DistanceAttack, NearestAttributeAttack, LinkabilityAttack, UnivariateSinglingOut, TableInversionAttack),
]


class BiasedDistance(DistanceAttack):
    """A tenth of the members score above everybody: 0.1 x 1 + 0.9 x 0.5 is a success rate of 0.55."""

    name = "biased_distance"

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """Members favoured."""
        found = super().run(scene, rng)
        favoured = rng.random(len(found.members)) < 2 * BIAS
        top = max(found.members.max(), found.others.max()) + 1
        return Outcome(np.where(favoured, top, found.members), found.others)


class BiasedAttribute(NearestAttributeAttack):
    """Some failures on members count as successes, so that the share of these is 0.05 larger."""

    name = "biased_attribute"

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """Members favoured."""
        found = super().run(scene, rng)
        favoured = rng.random(len(found.members)) < BIAS / (1 - found.members.mean())
        return Outcome(np.where(favoured, 1.0, found.members), found.others)


BIASED = [BiasedDistance, BiasedAttribute]
FEWEST = int(binom.ppf(1e-3 / len(CORRECT), REPETITIONS, 0.95))


@pytest.fixture(scope="module")
def covered() -> dict[str, int]:
    """In how many repetitions each attack's interval covers no gain."""
    counts: dict[str, int] = {}
    for repetition in range(REPETITIONS):
        attacks = [kind() for kind in (*CORRECT, *BIASED)]
        tables = [population(n, 1000 + 3 * repetition + i) for i, n in enumerate((ROWS, ROWS, 2 * TARGETS))]
        results = run_privacy_attacks(*tables[:2], attacks, 2, tables[2], n_targets=TARGETS, seed=repetition)
        for name, found in results.details.items():
            counts[name] = counts.get(name, 0) + covers_nothing(found.gain)
    return counts


def covers_nothing(gain: Estimate) -> bool:
    return bool(gain.low <= 0 <= gain.high)


@pytest.mark.parametrize("kind", CORRECT, ids=lambda kind: kind.name)
def test_intervals_cover_the_baseline_where_nothing_leaks(covered: dict[str, int], kind: type[Attack]) -> None:
    assert covered[kind.name] >= FEWEST


@pytest.mark.parametrize("kind", BIASED, ids=lambda kind: kind.name)
def test_a_planted_bias_is_caught(covered: dict[str, int], kind: type[Attack]) -> None:
    assert covered[kind.name] < FEWEST
