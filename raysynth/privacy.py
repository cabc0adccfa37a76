"""Privacy: what attackers of stated knowledge can find out from a synthetic table, in figures with baselines.

The public names; what they do stands in `raysynth.attacks`.
"""

from __future__ import annotations

from raysynth.attacks.attack import (
    Attack,
    ClaimAttack,
    MembershipAttack,
    Outcome,
    RecordAttack,
    Records,
    Scene,
    ThreatModel,
    View,
)
from raysynth.attacks.audit.results import AuditedAttack, EpsilonAudit
from raysynth.attacks.audit.run import audit_epsilon
from raysynth.attacks.neighbourhood import vulnerable_records
from raysynth.attacks.registry import ATTACKS, FAMILIES
from raysynth.attacks.results import AttackResult, AttackResults
from raysynth.attacks.run import run_privacy_attacks

__all__ = [
    "ATTACKS",
    "FAMILIES",
    "Attack",
    "AttackResult",
    "AttackResults",
    "AuditedAttack",
    "ClaimAttack",
    "EpsilonAudit",
    "MembershipAttack",
    "Outcome",
    "RecordAttack",
    "Records",
    "Scene",
    "ThreatModel",
    "View",
    "audit_epsilon",
    "run_privacy_attacks",
    "vulnerable_records",
]
