"""Privacy: what attackers of stated knowledge can find out from a synthetic table, in figures with baselines."""

from __future__ import annotations

from raysynth.privacy.attack import Attack, ClaimAttack, MembershipAttack, Outcome, RecordAttack
from raysynth.privacy.audit import AuditedAttack, EpsilonAudit, audit_epsilon
from raysynth.privacy.registry import ATTACKS, FAMILIES
from raysynth.privacy.results import AttackResult, AttackResults
from raysynth.privacy.run import run_privacy_attacks
from raysynth.privacy.threat import Records, Scene, ThreatModel, View
from raysynth.privacy.vulnerable import vulnerable_records

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
