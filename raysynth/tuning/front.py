"""From trials to a choice: settings with their error bars over seeds, the Pareto front, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from raysynth.comparison.intervals import Estimate
from raysynth.tuning.trials import Setting, TrialResult

AGAINST = ("epsilon", "attack")


@dataclass(frozen=True)
class Candidate:
    """A setting with its finished trials.

    Args:
        setting: method, parameters, epsilon.
        results: one a seed.
    """

    setting: Setting
    results: tuple[TrialResult, ...]

    @property
    def utility(self) -> Estimate:
        """Mean over seeds, with Student's 95 % interval (none for one seed)."""
        return mean_over_seeds([r.utility for r in self.results])

    @property
    def attack(self) -> Estimate:
        """Mean advantage of the attack over seeds, with Student's 95 % interval; of one seed, the attack's own."""
        if len(self.results) == 1:
            return self.results[0].attack
        return mean_over_seeds([r.attack.value for r in self.results])

    def cost(self, against: str) -> float:
        """What utility is weighed against: 'epsilon', or the 'attack' advantage (below 0 it counts as 0)."""
        return self.setting.epsilon if against == "epsilon" else max(self.attack.value, 0.0)

    @property
    def best_result(self) -> TrialResult:
        """Of its seeds the one of highest utility."""
        return max(self.results, key=lambda r: r.utility)


def candidates(results: Iterable[TrialResult]) -> tuple[Candidate, ...]:
    """Settings with at least one finished trial of defined utility, best first."""
    groups: dict[Setting, list[TrialResult]] = {}
    for result in results:
        if result.finished and not math.isnan(result.utility):
            groups.setdefault(result.trial.setting, []).append(result)
    found = [Candidate(setting, tuple(of)) for setting, of in groups.items()]
    return tuple(sorted(found, key=lambda c: (-c.utility.value, c.setting.epsilon)))


def pareto_front(found: Sequence[Candidate], against: str = "epsilon") -> tuple[Candidate, ...]:
    """The candidates that no other beats in utility at the same or a lower cost; cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(found, key=lambda c: (c.cost(against), -c.utility.value)):
        if not front or candidate.utility.value > front[-1].utility.value:
            front.append(candidate)
    return tuple(front)


def choose(
    found: Sequence[Candidate],
    max_epsilon: float = math.inf,
    min_utility: float = -math.inf,
    max_attack: float = math.inf,
) -> Candidate | None:
    """The candidate of highest mean utility within the limits; None where none is within them."""
    allowed = [
        c
        for c in found
        if c.setting.epsilon <= max_epsilon
        and c.utility.value >= min_utility
        and (math.isinf(max_attack) or c.attack.value <= max_attack)
    ]
    return max(allowed, key=lambda c: (c.utility.value, -c.setting.epsilon), default=None)


def cheaper(found: Sequence[Candidate], chosen: Candidate) -> Candidate | None:
    """A candidate of smaller epsilon whose utility cannot be told from the chosen one's: the smallest such epsilon."""
    near = [
        c
        for c in found
        if c.setting.epsilon < chosen.setting.epsilon
        and not math.isnan(c.utility.high)
        and c.utility.high >= chosen.utility.value
    ]
    return min(near, key=lambda c: (c.setting.epsilon, -c.utility.value), default=None)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Mean with Student's 95 % interval; the bounds are NaN for fewer than two values."""
    from scipy.stats import t

    known = np.array([v for v in values if not math.isnan(v)])
    if len(known) == 0:
        return Estimate(math.nan)
    mean = float(known.mean())
    if len(known) == 1:
        return Estimate(mean)
    half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return Estimate(mean, mean - half, mean + half)
