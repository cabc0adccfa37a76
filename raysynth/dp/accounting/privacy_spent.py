"""What a fitted model has spent: the ledger with its total, as the model file and the report carry it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raysynth.dp.accounting.accountant import Spent, least_epsilon, spent
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import ROW, Ledger
from raysynth.errors import ModelFileError
from raysynth.files.notebook import html_table

MOST_EVENTS = 10_000
CLAIM_SECONDS = 2.0
CLAIM_TOLERANCE = 2e-3  # of epsilon: versions of the accountant's library round otherwise


@dataclass(frozen=True)
class PrivacySpent:
    """The ledger of every release made from the private rows, and its total; `model.privacy_spent_`.

    Args:
        ledger: all events, in order.
        total: epsilon and delta that they have together, and whether anything is guaranteed.
        budget: what was allowed.
        joint: where other models were learned with the same releases (`keep_shards`): what they and this one cost
            together when it was learned. Known to the fit alone: a file that held it would say that another fit's table
            was the same.
    """

    ledger: Ledger
    total: Spent
    budget: PrivacyBudget
    joint: Spent | None = None

    @classmethod
    def of(cls, ledger: Ledger, budget: PrivacyBudget, joint: Spent | None = None) -> PrivacySpent:
        """The total of a ledger, by the accountant."""
        return cls(ledger, spent(ledger, budget.delta), budget, joint)

    @property
    def epsilon(self) -> float:
        """Epsilon of all events together."""
        return self.total.epsilon

    @property
    def delta(self) -> float:
        """Delta at which `epsilon` holds."""
        return self.total.delta

    @property
    def guarantee(self) -> bool:
        """False where noise was seeded, or something is not covered."""
        return self.total.guarantee

    def with_note(self, released: str) -> PrivacySpent:
        """The same with one more entry that no epsilon covers, for example 'selection: not covered by epsilon'."""
        from raysynth.dp.accounting.ledger import not_covered

        return PrivacySpent.of(Ledger((*self.ledger, not_covered(released))), self.budget, self.joint)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an auditor recomputes epsilon from `ledger` at `delta`."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "guarantee": self.guarantee,
            "not_covered": list(self.total.not_covered),
            "budget": {"epsilon": self.budget.epsilon, "delta": self.budget.delta},
            "ledger": self.ledger.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PrivacySpent:
        """The inverse of `to_dict`; raises `ModelFileError`."""
        try:
            return cls(Ledger.from_dict(content["ledger"]), _spent(content), PrivacyBudget(**content["budget"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the privacy ledger of the model file cannot be read: {error}") from error

    def check_claim(self) -> PrivacySpent:
        """The same; raises `ModelFileError` where the stated total is less than what the ledger's own events cost.

        Consistency, not honesty: who writes a file can also leave an event out, and nothing in the file can show that.
        """
        if len(self.ledger) > MOST_EVENTS:
            raise ModelFileError(
                f"the privacy ledger holds {len(self.ledger):,} events; at most {MOST_EVENTS:,} are read"
            )
        covered = tuple(e for e in self.ledger if e.is_covered)
        missing = tuple(e.released for e in self.ledger if not e.is_covered)
        if self.guarantee and (missing or not all(e.guarantee for e in self.ledger)):
            raise ModelFileError("the model file claims a guarantee, and its privacy ledger holds what voids it")
        if set(missing) - set(self.total.not_covered):
            raise ModelFileError("the model file leaves out what its privacy ledger says is not covered by epsilon")
        if not 0 < self.delta < 1 or not self.epsilon >= 0:
            raise ModelFileError(f"the model file states epsilon {self.epsilon!r} and delta {self.delta!r}")
        least = least_epsilon(covered, self.delta, CLAIM_SECONDS)
        if self.epsilon < least * (1 - CLAIM_TOLERANCE):
            raise ModelFileError(
                f"the model file states epsilon {self.epsilon:.4g} at delta {self.delta:.3g}, and the events of its "
                f"own privacy ledger cost at least {least:.4g}; use another copy or refit"
            )
        return self

    def __str__(self) -> str:
        units = sorted({event.unit for event in self.ledger} - {ROW})
        about = f", for one {' and '.join(units)} more or less" if units else ""
        joint = "" if self.joint is None else f"; with all models learned from the same kept rows: {self.joint}"
        return f"{self.total}, in {len(self.ledger)} releases{about}{joint}"

    def _repr_html_(self) -> str:
        rows = [
            (e.released, e.mechanism, "" if e.noise_multiplier is None else f"{e.noise_multiplier:.4g}", e.steps)
            for e in self.ledger
        ]
        notes = [f"Not covered: {what}" for what in self.total.not_covered]
        return html_table(str(self), ("released", "mechanism", "noise multiplier", "steps"), rows, notes)


def _spent(content: dict[str, Any]) -> Spent:
    missing = tuple(str(x) for x in content["not_covered"])
    return Spent(float(content["epsilon"]), float(content["delta"]), bool(content["guarantee"]), missing)
