"""From trials to a choice: settings with their error bars over seeds, the Pareto front, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raysynth.comparison.intervals import FEWEST_REPEATS, Estimate, mean_of_repeats
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
        """Mean over seeds, with its 95 % interval within 0 and 1 (none for fewer than three seeds)."""
        return mean_of_repeats([r.utility for r in self.results])

    @property
    def attack(self) -> Estimate:
        """Mean advantage of the attack over seeds, with its 95 % interval (none for two); of one seed, the attack's."""
        if len(self.results) == 1:
            return self.results[0].attack
        return mean_of_repeats([r.attack.value for r in self.results], (-1.0, 1.0))

    def cost(self, against: str) -> float:
        """What utility is weighed `against`: 'epsilon', or the 'attack' advantage (at least 0)."""
        return self.setting.epsilon if against == "epsilon" else max(self.attack.value, 0.0)

    def gain_over(self, other: Candidate) -> Estimate:
        """Mean of this utility minus that of `other` over the seeds that both have, with its interval.

        Fits of one seed share what is random in them, so their differences say more than two intervals side by side.
        """
        others = {r.trial.seed: r.utility for r in other.results}
        shared = [r.utility - others[r.trial.seed] for r in self.results if r.trial.seed in others]
        return mean_of_repeats(shared, (-1.0, 1.0))

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
    """The candidate of the smallest epsilon whose utility does not differ measurably from the chosen one's.

    Decided by the interval of differences, seed by seed; none where fewer than three seeds are shared.
    """
    near = [c for c in found if c.setting.epsilon < chosen.setting.epsilon and chosen.gain_over(c).low <= 0]
    return min(near, key=lambda c: (c.setting.epsilon, -c.utility.value), default=None)


def told_apart(found: Sequence[Candidate]) -> bool:
    """Whether the candidates have enough seeds for error bars."""
    return all(len(c.results) >= FEWEST_REPEATS for c in found)
