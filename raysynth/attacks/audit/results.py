"""What an audit found: lower bounds of epsilon, each by one experiment, beside the claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from raysynth.comparison.rates import auc, clopper_pearson
from raysynth.errors import ParameterError
from raysynth.files.notebook import html_table

LARGEST = 60.0  # no experiment of any size shows more


def game_bound(hits: int, members: int, false_alarms: int, others: int, *, delta: float, confidence: float) -> float:
    """What a membership game shows: epsilon is at least this, with the given confidence.

    An (epsilon, delta)-private mechanism gives every test TPR <= e^epsilon FPR + delta and, with the worlds exchanged,
    1 - FPR <= e^epsilon (1 - TPR) + delta (Kairouz, Oh and Viswanath 2015, theorem 2.1). TPR from below and FPR from
    above, by Clopper and Pearson at half the error each, bound epsilon from below in both ways at once.

    Args:
        hits, members: trials with the canary that the adversary took for such, of how many.
        false_alarms, others: trials without it that the adversary took for such, of how many.
        delta: of the claim.
        confidence: for example 0.95; the chance that the bound is too high is at most 1 - confidence.
    """
    check_confidence(confidence)
    tpr = clopper_pearson(hits, members, confidence).low  # its two tails have half the error: the lower one counts
    fpr = clopper_pearson(false_alarms, others, confidence).high
    ways = ((tpr - delta, fpr), (1 - fpr - delta, 1 - tpr))
    return max(0.0, *(math.log(a / b) for a, b in ways if a > 0 and b > 0))


def gaussian_mu(inside: np.ndarray, outside: np.ndarray, confidence: float) -> float:
    """The mu of Gaussian differential privacy that losses with and without the canary show at least.

    `confidence`: of the bound, one-sided.
    """
    area = auc(inside, outside, level=2 * confidence - 1)
    return max(0.0, math.sqrt(2) * float(ndtri(min(area.low, 1 - 1e-12))))


def one_run_bound(canaries: int, guesses: int, right: int, *, delta: float, confidence: float) -> float:
    """What one run shows in which each canary was in with chance 1/2 and `guesses` of them were guessed.

    Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2: for an (epsilon, delta)-private mechanism

        P(right >= v) <= P(W >= v) + 2 m delta max_(1 <= i <= v) P(v > W >= v - i) / i,   W ~ Bin(guesses, p),

    with p = e^epsilon / (1 + e^epsilon) and m canaries. The bound is the largest epsilon that this refutes.

    Args:
        canaries: m.
        guesses: how many were guessed to be in or out; fixed before the run.
        right: of these.
        delta, confidence: as in `game_bound`.
    """
    check_confidence(confidence)
    if not 0 <= right <= guesses <= canaries:
        raise ParameterError(f"{right} right of {guesses} guesses on {canaries} canaries cannot be")
    return _largest_refuted(lambda eps: one_run_chance(canaries, guesses, right, eps, delta), 1 - confidence)


def one_run_chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Largest chance of so many right guesses under (epsilon, delta)-privacy; see `one_run_bound`."""
    from scipy.stats import binom

    p = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, p))
    if right == 0:
        return 1.0
    steps = np.arange(1, right + 1)
    slope = float((np.cumsum(binom.pmf(right - steps, guesses, p)) / steps).max())
    return min(1.0, tail + 2 * canaries * delta * slope)


def _largest_refuted(chance: Callable[[float], float], error: float) -> float:
    """The largest epsilon whose chance is below the error; the chance rises with epsilon."""
    if chance(0.0) >= error:
        return 0.0
    low, high = 0.0, 1.0
    while chance(high) < error:
        if high >= LARGEST:
            return LARGEST
        low, high = high, high * 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < error else (low, middle)
    return low


def check_confidence(confidence: float) -> None:
    """Raise `ParameterError` unless the confidence lies between 0.5 and 1."""
    if not 0.5 < confidence < 1:
        raise ParameterError(f"confidence must be between 0.5 and 1, such as 0.95; found {confidence!r}")


@dataclass(frozen=True)
class AuditedAttack:
    """The result of one experiment of an audit.

    Args:
        name: 'file', 'gradients' or 'releases'.
        lower_bound: epsilon is at least this, with `confidence`.
        largest: the lower bound that a perfect attack would have shown with as many trials.
        confidence: of this bound, in (0, 1).
        figures: the number of trials, and how often the adversary was right.
        looked_at: which part of the model file or of the gradients the adversary decided by.
        mu: of 'releases', what the whole curve shows as mu of Gaussian differential privacy at least.
        mu_claimed: the mu that the claim allows.
    """

    name: str
    lower_bound: float
    largest: float
    confidence: float
    figures: Mapping[str, int]
    looked_at: str
    mu: float | None = None
    mu_claimed: float | None = None

    def __str__(self) -> str:
        mu = "" if self.mu is None else f"; mu >= {self.mu:.3g} of {self.mu_claimed:.3g}"
        figures = ", ".join(f"{k} {v}" for k, v in self.figures.items())
        return (
            f"{self.name}: epsilon >= {self.lower_bound:.3g} (a perfect attack: {self.largest:.3g}; "
            f"confidence {self.confidence:.6g}; {figures}; by {self.looked_at}){mu}"
        )


@dataclass(frozen=True)
class EpsilonAudit:
    """The result of an audit: lower bounds of epsilon beside the claim.

    Args:
        epsilon, delta: the claim.
        confidence: of all bounds together.
        attacks: the experiments.
        unit: what one canary is: a row, all rows of a person, or a sequence.
    """

    epsilon: float
    delta: float
    confidence: float
    attacks: tuple[AuditedAttack, ...]
    unit: str

    @property
    def lower_bound(self) -> float:
        """Epsilon is at least this, with the audit's confidence."""
        return max(a.lower_bound for a in self.attacks)

    @property
    def largest(self) -> float:
        """The largest lower bound that a perfect attack could have shown."""
        return max(a.largest for a in self.attacks)

    @property
    def refuted(self) -> bool:
        """Whether the claim is broken: the lower bound is above it."""
        return self.lower_bound > self.epsilon

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        own = [{**vars(a), "figures": dict(a.figures)} for a in self.attacks]
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "unit": self.unit,
            "confidence": self.confidence,
            "lower_bound": self.lower_bound,
            "largest": self.largest,
            "refuted": self.refuted,
            "attacks": own,
        }

    def __str__(self) -> str:
        verdict = "REFUTED" if self.refuted else "not refuted"
        claim = f"claim: epsilon = {self.epsilon:g}, delta = {self.delta:g} for one {self.unit} more or less"
        lines = [f"{claim}: {verdict}"]
        return "\n".join([*lines, *(f"  {a}" for a in self.attacks)])

    def _repr_html_(self) -> str:
        rows = [(a.name, f"{a.lower_bound:.3g}", f"{a.largest:.3g}", a.looked_at) for a in self.attacks]
        header = ("attack", "epsilon is at least", "a perfect attack", "went by")
        return html_table(str(self).partition("\n")[0], header, rows)
