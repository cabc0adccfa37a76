"""The verdict over all attacks: how often it accuses by chance, what it finds, and in which words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from raysynth.attacks.attack import Outcome
from raysynth.attacks.verdicts import ERROR, Verdict, corrected, in_words

ROUNDS = [(40, 40), (35, 35)]
N = 75
REPETITIONS = 100
MOST = int(binom.ppf(1 - 1e-4, REPETITIONS, ERROR))  # accused tables that a right verdict exceeds once in 10,000 runs


def scores(shift: float, seed: int, few: int = 0) -> tuple[Outcome, bool]:
    """Scores of members and others; the first `few` members are above everybody."""
    rng = np.random.default_rng(seed)
    members = rng.normal(shift, 1, N)
    members[:few] = 10
    return Outcome(members, rng.normal(0, 1, N), by_target=True), True


def successes(chance: float, seed: int, *, by_target: bool = True) -> tuple[Outcome, bool]:
    """Successes on members with a chance, on others of a half."""
    rng = np.random.default_rng(seed)
    sides = [(rng.random(N) < p).astype(float) for p in (chance, 0.5)]
    return Outcome(*sides, by_target=by_target), False


def six_attacks(seed: int) -> dict[str, tuple[Outcome, bool]]:
    """Four attacks on targets, two of which nearly agree, and two of claims; none has anything to find."""
    first = scores(0, 7 * seed)
    noise = np.random.default_rng(7 * seed + 1).normal(0, 0.1, (2, N))
    twin = Outcome(first[0].members + noise[0], first[0].others + noise[1], by_target=True), True
    others = {f"records {i}": successes(0.5, 7 * seed + 2 + i) for i in (0, 1)}
    claims = {f"claims {i}": successes(0.5, 7 * seed + 4 + i, by_target=False) for i in (0, 1)}
    return {"first": first, "twin": twin, **others, **claims}


@pytest.mark.statistical
def test_of_tables_that_leak_nothing_one_in_twenty_is_accused_at_most() -> None:
    """False alarm of this test: once in 10,000 runs. Six verdicts by themselves would accuse about one in eight."""
    accused = [any(v.found for v in corrected(six_attacks(seed), ROUNDS).values()) for seed in range(REPETITIONS)]
    assert sum(accused) <= MOST


def test_a_gain_is_found_among_attacks_that_find_nothing() -> None:
    found = corrected(six_attacks(1) | {"real": scores(1.0, 1), "claim": successes(0.95, 2, by_target=False)}, ROUNDS)
    assert {name for name, v in found.items() if v.found} == {"real", "claim"}
    assert found["real"].p_value < 0.01 and not found["real"].on_few


def test_a_few_rows_that_are_given_away_are_found_though_the_mean_hardly_moves() -> None:
    found = corrected({"few": scores(0, 3, few=9), "none": scores(0, 4)}, ROUNDS)
    assert found["few"].on_few and not found["none"].found
    assert in_words(found["few"], 0.02) == "gain on few rows"


def test_a_few_rows_that_are_given_away_are_no_slight_gain_where_the_mean_moves_too() -> None:
    """Of 400 targets a side 20 members stand out, and all members lie a little higher; without the 20 it is slight."""
    rng = np.random.default_rng(0)
    others, members = rng.normal(0, 1, 400), rng.normal(0.2, 1, 400)
    found = {}
    for name, exposed in (("few", 20), ("none", 0)):
        planted = np.concatenate([np.full(exposed, 10.0), members[exposed:]])
        outcome = Outcome(planted, others, by_target=True), True
        found[name] = corrected({"one": outcome}, [(400, 400)])["one"]
    assert found["few"].few_exposed and not found["few"].on_few and not found["none"].few_exposed
    assert in_words(found["few"], 0.09) == "gain on few rows" and in_words(found["few"], 0.6) == "large gain"
    assert found["none"].found and in_words(found["none"], 0.09) == "slight gain"


def test_of_one_attack_the_p_value_is_that_of_its_interval() -> None:
    alone = corrected({"claims": successes(0.7, 5, by_target=False)}, ROUNDS)["claims"]
    beside = corrected({"claims": successes(0.7, 5, by_target=False), **six_attacks(6)}, ROUNDS)["claims"]
    assert 0 < alone.p_value < 0.05
    assert beside.p_value > alone.p_value


def test_trials_that_depend_on_each_other_are_not_permuted() -> None:
    """Ten clusters of equal scores, five on each side, in one order: 75 independent trials would make it sure."""
    rng = np.random.default_rng(0)
    side = np.repeat(np.arange(5), 15)
    outcome = Outcome(rng.normal(0.4, 1, 5)[side], rng.normal(0, 1, 5)[side], side, 5 + side, by_target=True)
    assert not corrected({"clustered": (outcome, True)}, ROUNDS)["clustered"].found


def test_what_was_not_measured_is_no_finding_and_costs_the_others_nothing() -> None:
    nothing = {"unmeasured": (Outcome(np.ones(N), np.zeros(0)), False)}
    found = corrected(nothing | {"claims": successes(0.7, 5, by_target=False)}, ROUNDS)
    alone = corrected({"claims": successes(0.7, 5, by_target=False)}, ROUNDS)
    assert math.isnan(found["unmeasured"].p_value) and found["claims"] == alone["claims"]


@pytest.mark.parametrize(
    ("p", "risk", "words"),
    [
        (0.2, 0.5, "no gain shown"),
        (0.01, 0.048, "slight gain"),
        (0.01, 0.2, "clear gain"),
        (0.01, 0.6, "large gain"),
        (math.nan, 0.5, "not measured"),
    ],
)
def test_words_follow_the_size_of_the_effect(p: float, risk: float, words: str) -> None:
    assert in_words(Verdict(p), risk) == words
