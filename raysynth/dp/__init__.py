"""Differential privacy: budget, ledger, accountant, calibration, noise and mechanisms. Pure: no table, model or Ray.

The only place that draws privacy noise. A fit under a budget carries one `scope.PrivacyScope`, and every release made
from the private rows is charged to it before the work is done.
"""

from raysynth.dp.accounting.accountant import Spent, spent, total_epsilon
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import Event, Ledger, Mechanism
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.dp.accounting.scope import PrivacyScope
from raysynth.dp.mechanisms.noise import InsecureSeededNoise, NoiseSource, OsNoise, SecureNoise

__all__ = [
    "Event",
    "InsecureSeededNoise",
    "Ledger",
    "Mechanism",
    "NoiseSource",
    "OsNoise",
    "PrivacyBudget",
    "PrivacyScope",
    "PrivacySpent",
    "SecureNoise",
    "Spent",
    "spent",
    "total_epsilon",
]
