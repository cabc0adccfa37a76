"""Which attacks surely gain, when many were tried: p-values that allow for all of them together.

With six attacks at 95 % up to one in four tables that leak nothing would be accused. So the verdict holds for all
attacks at once: a table that leaks nothing is accused by any of them with probability 0.05 at most.

- Attacks on single targets share their targets. Where nothing leaks, who of the targets was a member is chance, so the
  labels can be dealt anew, to all attacks alike: the largest statistic over all attacks is compared with its own
  distribution (max-T by permutation; Westfall and Young 1993, algorithm 4.1), which allows for how much attacks agree.
  A scoring attack is asked for its mean rank, and for how many members are among the highest scores, since a table that
  gives a few rows away moves the mean by next to nothing.
- For all others (claims about the whole table; attacks without holdout rows) labels cannot be dealt anew: their
  p-values belong to their intervals.
- Both are joined by Holm's (1979) method, the attacks on targets as one hypothesis until all of them are rejected.

That something is gained does not say that it is more than `NEGLIGIBLE`: few targets, of whom nearly all are found by
chance, have wide intervals. So the words that accuse a table also ask for an interval of the figure, at Bonferroni's
level over all attacks, that lies above what is negligible; else it is 'not decided', and more targets would decide it.

Shape legend: N targets (members first), K statistics, B permutations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysynth.attacks.attack import Outcome
from raysynth.comparison import rates
from raysynth.comparison.intervals import UNDEFINED, Estimate

ERROR = 0.05  # probability that a table that leaks nothing is accused
PERMUTATIONS = 2_000
TAILS = (0.01, 0.05)  # shares of all targets that count as the highest scores
_FEWEST_HIGHEST = 8
_SMALLEST_P, _HALVINGS = 1e-6, 16
SLIGHT, LARGE = 0.1, 0.3  # of what could be gained over the baseline: the scale of all words and verdicts
NEGLIGIBLE = 0.03  # of success over the baseline: what is allowed


@dataclass(frozen=True)
class Verdict:
    """What is said of one attack beside others.

    Args:
        p_value: probability of as much or more where nothing leaks, by any of the attacks; two-sided, as the 95 %
            intervals are; NaN: not measured.
        p_of_mean: the same for the mean over all targets, without the highest scores; None: `p_value`.
        gain: over the baseline; its interval is at Bonferroni's level over all attacks.
        surest: share of members among the targets that the attack is surest of, where that surely gains; its interval
            is at Bonferroni's level over all such shares of all attacks.
    """

    p_value: float
    p_of_mean: float | None = None
    gain: Estimate = UNDEFINED
    surest: Estimate | None = None

    @property
    def found(self) -> bool:
        """Whether the attack surely gains something, all attacks considered."""
        return self.p_value <= ERROR

    @property
    def on_few(self) -> bool:
        """Whether the gain shows in the highest scores only, not in the mean over all targets."""
        return self.found and self.p_of_mean is not None and self.p_of_mean > ERROR

    @property
    def few_exposed(self) -> bool:
        """Whether a guess that the surest targets are members gains `LARGE`, and surely more than is negligible."""
        s = self.surest
        return s is not None and s.value > 0.5 + LARGE / 2 and s.low > 0.5 + NEGLIGIBLE

    def at_least(self, factor: float, level: float) -> Verdict:
        """With its p-values multiplied, and raised to a level; at most 1."""

        def raised(p: float) -> float:
            return min(max(factor * p, level), 1.0)

        of_mean = None if self.p_of_mean is None else raised(self.p_of_mean)
        return replace(self, p_value=raised(self.p_value), p_of_mean=of_mean)


def corrected(
    outcomes: Mapping[str, tuple[Outcome, bool]],
    rounds: Sequence[tuple[int, int]],
    more: Mapping[str, float] | None = None,
) -> dict[str, Verdict]:
    """The verdict on each attack.

    Args:
        outcomes: of each attack its pooled trials, and whether they are scores.
        rounds: members and others of each experiment, in the order of the pooled trials.
        more: two-sided p-values of further tests, by name, which are judged with the attacks.
    """
    sizes = tuple(sum(part) for part in zip(*rounds, strict=True))
    joint = {name: found for name, found in outcomes.items() if _can_be_permuted(found[0], sizes)}
    units = [] if not joint else [_by_permutation(joint, rounds)]
    for name, (outcome, scores) in outcomes.items():
        if name not in joint:
            units.append({name: Verdict(p_of_intervals(outcome, scores))})
    units += [{name: Verdict(p)} for name, p in (more or {}).items()]
    measured = [u for u in units if not all(math.isnan(v.p_value) for v in u.values())]
    undefined = {name: v for u in units if u not in measured for name, v in u.items()}
    judged = _holm(measured) | undefined
    level = 1 - ERROR / max(sum(not math.isnan(v.p_value) for v in judged.values()), 1)
    gains = {name: figures(*found, level)[2] for name, found in outcomes.items()}
    return {name: replace(v, gain=gains.get(name, UNDEFINED)) for name, v in judged.items()}


def in_words(verdict: Verdict, risk: float) -> str:
    """The verdict by the size of the effect; `risk`: the share of what could be gained over the baseline."""
    if math.isnan(verdict.p_value):
        return "not measured"
    if not verdict.found:
        return "no gain shown"
    undecided = verdict.on_few or (verdict.gain.value > NEGLIGIBLE and not verdict.gain.low > NEGLIGIBLE)
    if verdict.few_exposed and (undecided or risk < SLIGHT):
        return "gain on few rows"
    if undecided:
        return "not decided"
    return "slight gain" if risk < SLIGHT else "clear gain" if risk < LARGE else "large gain"


def rows_to_decide(value: float, low: float, allowed: float) -> float:
    """How many times as many rows would bring the lower end of a figure's interval above what is allowed.

    Were the figure as it is: a half-width falls with the root of the number of rows. NaN where it is not above it.
    """
    return ((value - low) / (value - allowed)) ** 2 if value > allowed else math.nan


def p_of_intervals(outcome: Outcome, scores: bool) -> float:
    """The two-sided p-value at which the gain's interval just touches 0 from above; 1 where there is no gain."""
    gain = figures(outcome, scores, rates.LEVEL)[2]
    if math.isnan(gain.low) or gain.value <= 0:
        return math.nan if math.isnan(gain.low) else 1.0
    low, high = math.log(_SMALLEST_P), 0.0  # the bound grows with p
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if figures(outcome, scores, 1 - math.exp(middle))[2].low > 0:
            high = middle
        else:
            low = middle
    return math.exp(high)


def _can_be_permuted(outcome: Outcome, sizes: tuple[int, ...]) -> bool:
    """Whether these are the trials of all targets, each independent of the others."""
    independent = outcome.by_target and outcome.member_clusters is None
    return independent and (len(outcome.members), len(outcome.others)) == sizes


def _by_permutation(
    outcomes: Mapping[str, tuple[Outcome, bool]], rounds: Sequence[tuple[int, int]]
) -> dict[str, Verdict]:
    """Step-down max-T over the statistics of all attacks; labels are dealt anew within each experiment."""
    parts = {name: _statistics(*found) for name, found in outcomes.items()}
    values_NK = np.column_stack([column for part in parts.values() for column in part])
    member_N, round_N = _labels(rounds)
    drawn_BK = _permuted(values_NK, member_N, round_N)
    mean_K, spread_K = drawn_BK.mean(axis=0), drawn_BK.std(axis=0)
    spread_K = np.where(spread_K > 1e-9, spread_K, np.inf)
    p_K = _step_down((values_NK[member_N].sum(axis=0) - mean_K) / spread_K, (drawn_BK - mean_K) / spread_K)
    verdicts, at, level = {}, 0, 1 - ERROR / max(values_NK.shape[1] - len(parts), 1)
    for name, part in parts.items():
        tails = [k for k in range(at + 1, at + len(part)) if p_K[k] <= ERROR]
        shares = [rates.share(member_N[values_NK[:, k] > 0].astype(float), level=level) for k in tails]
        surest = max(shares, key=lambda s: s.low, default=None)
        verdicts[name] = Verdict(float(p_K[at : at + len(part)].min()), float(p_K[at]), surest=surest)
        at += len(part)
    return verdicts


def _statistics(outcome: Outcome, scores: bool) -> list[np.ndarray]:
    """Values (N,) whose sum over members is compared: successes; of scores the ranks, and who is among the highest."""
    values_N = np.concatenate([outcome.members, outcome.others])
    if not scores:
        return [values_N]
    from scipy.stats import rankdata

    ranks_N = rankdata(values_N)
    n = len(values_N)
    least = [np.sort(ranks_N)[-min(max(round(share * n), _FEWEST_HIGHEST), n)] for share in TAILS]
    return [ranks_N, *((ranks_N >= rank).astype(float) for rank in least)]


def _labels(rounds: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Of each target whether it is a member, and its experiment (N,); members of all experiments first."""
    members, others = ([part[side] for part in rounds] for side in (0, 1))
    experiments = np.arange(len(rounds))
    member_N = np.arange(sum(members) + sum(others)) < sum(members)
    return member_N, np.concatenate([np.repeat(experiments, members), np.repeat(experiments, others)])


def _permuted(values_NK: np.ndarray, member_N: np.ndarray, round_N: np.ndarray) -> np.ndarray:
    """Sums over members (B, K) with labels dealt anew within each experiment."""
    rng = np.random.default_rng(0)
    sums_BK = np.zeros((PERMUTATIONS, values_NK.shape[1]))
    for experiment in np.unique(round_N):
        mine = np.flatnonzero(round_N == experiment)
        labels_Bn = np.tile(member_N[mine].astype(float), (PERMUTATIONS, 1))
        sums_BK += rng.permuted(labels_Bn, axis=1) @ values_NK[mine]
    return sums_BK


def _step_down(found_K: np.ndarray, drawn_BK: np.ndarray) -> np.ndarray:
    """Adjusted two-sided p-values (K,): each statistic against the largest of those that are not larger than it."""
    order = np.argsort(-found_K)
    largest_BK = np.maximum.accumulate(drawn_BK[:, order[::-1]], axis=1)[:, ::-1]
    above_K = (largest_BK >= found_K[order] - 1e-9).sum(axis=0)
    one_sided = np.maximum.accumulate((1 + above_K) / (1 + len(drawn_BK)))
    result = np.empty(len(order))
    result[order] = np.minimum(2 * one_sided, 1.0)
    return result


def _holm(units: Sequence[Mapping[str, Verdict]]) -> dict[str, Verdict]:
    """Holm's method over units: as long as one hypothesis of a unit stands, the whole unit counts."""
    ordered = sorted(units, key=lambda unit: max(v.p_value for v in unit.values()))
    adjusted: dict[str, Verdict] = {}
    whole = [0.0]  # whole[j]: level at which the first j units are wholly rejected
    for unit in ordered:
        left = len(ordered) - len(whole) + 1
        whole.append(min(max(whole[-1], left * max(v.p_value for v in unit.values())), 1.0))
    for position, unit in enumerate(ordered):
        for name, verdict in unit.items():
            steps = [verdict.at_least(len(ordered) - j, whole[j]) for j in range(position + 1)]
            adjusted[name] = min(steps, key=lambda v: v.p_value)
    return adjusted


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
