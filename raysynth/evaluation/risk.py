"""The privacy risk score: one number in [0, 1], and every part that it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from raysynth.evaluation.privacy import Check, largest_risk

# what each metric of `privacy_risk_score` is made of, by keys of checks
PARTS: dict[str, tuple[str, ...]] = {
    "identifiability": ("identifiability",),
    "membership_inference": ("membership_inference", "attack_membership_inference", "proximity"),
    "attribute_disclosure": ("attribute_disclosure",),
    "attribute_inference": ("attack_attribute_inference",),
    "model_inversion": ("attack_model_inversion",),
    "closer_to_training": ("closer_to_training",),
    "exact_copies": ("exact_copies",),
}


class PrivacyRisk(float):
    """A risk in [0, 1] that is a float, with the parts behind it.

    The rule: each part is a published figure beside what rows of other people score in its place, and its risk is the
    excess, (figure - baseline) / (1 - baseline), cut to [0, 1]; an attack counts only where its gain is surely above 0.
    The score is the largest of these risks: a table is as exposed as its weakest side. NaN: no part is defined.
    """

    parts: Mapping[str, Check]

    def __new__(cls, checks: Iterable[Check]) -> PrivacyRisk:
        """The score of some checks; those without a risk are kept as parts, and do not count."""
        parts = {c.key: c for c in checks}
        score = super().__new__(cls, largest_risk(parts.values()))
        score.parts = MappingProxyType(parts)
        return score

    def __reduce__(self) -> tuple[type[PrivacyRisk], tuple[tuple[Check, ...]]]:
        return PrivacyRisk, (tuple(self.parts.values()),)

    def of_metric(self, metric: str) -> float:
        """The largest risk among a metric's parts; NaN where none is defined."""
        return largest_risk(c for key, c in self.parts.items() if key in PARTS[metric])

    def summary(self) -> str:
        """The score and its parts as text, one a line."""
        lines = [f"Privacy risk {float(self):.4f}  (0: no part found a leak, which proves nothing; 1: all given away)"]
        for c in self.parts.values():
            risk = "not measured" if math.isnan(c.risk) else f"{c.risk:.4f}"
            lines.append(f"  {c.title:<42} {risk}  ({c.figure}, baseline {c.baseline:.3f})")
        return "\n".join(lines)
