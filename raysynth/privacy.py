"""Privacy: what attackers of stated knowledge can find out from a synthetic table, in figures with baselines.

The public names; what they do stands in `raysynth.attacks`.
"""

from raysynth.attacks import (
    ATTACKS,
    FAMILIES,
    Attack,
    AttackResult,
    AttackResults,
    AuditedAttack,
    ClaimAttack,
    EpsilonAudit,
    MembershipAttack,
    Outcome,
    RecordAttack,
    Records,
    Scene,
    ThreatModel,
    View,
    audit_epsilon,
    run_privacy_attacks,
    vulnerable_records,
)

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
