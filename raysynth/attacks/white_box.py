"""Membership with the model in hand: the critic of a GAN, the reconstruction error of a VAE."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import MembershipAttack, Records, ThreatModel, View


class CriticAttack(MembershipAttack):
    """A GAN's critic finds training rows more real than others (Hayes et al. 2019, LOGAN, white-box attack).

    A model file holds no critic; the attacker has the training's last state.
    """

    name: ClassVar[str] = "critic"
    title: ClassVar[str] = "Score of the GAN's critic"
    threat: ClassVar[ThreatModel] = ThreatModel(model=True)

    def fits(self, view: View) -> bool:
        """Where the model still has its critic."""
        return super().fits(view) and getattr(view.model, "critic_", None) is not None

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """The critic's score (N,)."""
        return np.asarray(view.model.critic_score(targets.table), dtype=float)


class ReconstructionAttack(MembershipAttack):
    """A VAE rebuilds training rows better than others (Hilprecht et al. 2019, reconstruction attack).

    A model file holds no encoder; the attacker has the training's last state.
    """

    name: ClassVar[str] = "reconstruction"
    title: ClassVar[str] = "Reconstruction error of the VAE"
    threat: ClassVar[ThreatModel] = ThreatModel(model=True)

    def fits(self, view: View) -> bool:
        """Where the model still has its encoder."""
        return super().fits(view) and getattr(view.model, "rebuilder_", None) is not None

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Minus the reconstruction error (N,)."""
        return -np.asarray(view.model.reconstruction_error(targets.table), dtype=float)
