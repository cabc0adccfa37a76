"""The verdict over all attacks: how often it accuses by chance, what it finds, and in which words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from raysynth.attacks.attack import Outcome
from raysynth.attacks.verdicts import ERROR, Verdict, corrected, in_words, rows_to_decide
from raysynth.comparison.intervals import Estimate

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
    """Of 4,000 targets a side 200 members stand out, and all members lie a bit higher; without the 200 it is slight."""
    rng = np.random.default_rng(0)
    others, members = rng.normal(0, 1, 4000), rng.normal(0.17, 1, 4000)
    found = {}
    for name, exposed in (("few", 200), ("none", 0)):
        planted = np.concatenate([np.full(exposed, 10.0), members[exposed:]])
        outcome = Outcome(planted, others, by_target=True), True
        found[name] = corrected({"one": outcome}, [(4000, 4000)])["one"]
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
        (0.01, 0.13, "not decided"),
        (0.01, 0.2, "clear gain"),
        (0.01, 0.6, "large gain"),
        (math.nan, 0.5, "not measured"),
    ],
)
def test_words_follow_the_size_of_the_effect(p: float, risk: float, words: str) -> None:
    gain = Estimate(risk / 2, risk / 2 - 0.04, risk / 2 + 0.04)
    assert in_words(Verdict(p, gain=gain), risk) == words


def test_few_rows_that_are_surely_told_decide_where_the_mean_does_not() -> None:
    mean, few = Estimate(0.059, 0.012, 0.106), Estimate(0.84, 0.65, 0.95)
    assert in_words(Verdict(0.001, 0.001, mean, few), 0.118) == "gain on few rows"
    assert in_words(Verdict(0.001, 0.001, mean, Estimate(0.74, 0.49, 0.9)), 0.118) == "not decided"
    assert in_words(Verdict(0.001, 0.001, Estimate(0.079, 0.033, 0.126), few), 0.158) == "clear gain"


@pytest.mark.parametrize("seed", range(4))
def test_what_few_targets_do_not_decide_as_many_as_are_told_do(seed: int) -> None:
    """A gain of .2 in AUC; with four times the rows that are told its interval lies above what is allowed."""
    few, rng = judged(0.5, 60, seed), np.random.default_rng(seed)
    while not (few.found and in_words(few, 2 * few.gain.value) == "not decided"):
        few = judged(0.5, 60, int(rng.integers(2**31)))
    times = rows_to_decide(few.gain.value, few.gain.low, 0.03)
    assert 1 < times < 100
    many = judged(0.5, int(60 * 4 * times), seed)
    assert many.gain.low > 0.03 and in_words(many, 2 * many.gain.value) in ("clear gain", "large gain")


def test_targets_that_stand_out_by_chance_accuse_nobody_and_more_of_them_do() -> None:
    """All of the eight surest of 150 targets are members: beside four other attacks that is rare, and no proof."""
    words = {}
    for times in (1, 4):
        rng, n = np.random.default_rng(5), 75 * times
        outcomes = {f"{i}": (Outcome(rng.normal(0, 1, n), rng.normal(0, 1, n), by_target=True), True) for i in range(5)}
        outcomes["0"][0].members[: 8 * times] = 10
        found = corrected(outcomes, [(n, n)])["0"]
        words[times] = in_words(found, 0.05)
        assert found.surest is None or found.surest.value == 1
    assert words == {1: "not decided", 4: "gain on few rows"}


def judged(shift: float, n: int, seed: int) -> Verdict:
    """The verdict on one attack whose scores of members are so much higher, beside one that finds nothing."""
    rng = np.random.default_rng(seed)
    sides = [(rng.normal(own, 1, n), rng.normal(0, 1, n)) for own in (shift, 0)]
    outcomes = {str(i): (Outcome(*s, by_target=True), True) for i, s in enumerate(sides)}
    return corrected(outcomes, [(n, n)])["0"]
