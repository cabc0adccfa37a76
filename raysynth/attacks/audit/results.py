"""What an audit found: lower bounds of epsilon, each by one experiment, beside the claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysynth.files.notebook import html_table


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
