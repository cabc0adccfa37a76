"""Membership with the model in hand: a row's likelihood, the critic of a GAN, the reconstruction error of a VAE."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from raysynth.attacks.attack import MembershipAttack, Records, ThreatModel, View
from raysynth.attacks.shadow import ShadowAttack
from raysynth.comparison.neighbours import gower_metric, nearest


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


_NEIGHBOURS, _REFERENCE = 8, 4_000


class LikelihoodRatioAttack(ShadowAttack):
    """LiRA (Carlini et al. 2022, section V), online form, on the model's log-likelihood of a row.

    For each target a normal distribution is fitted to its log-likelihood under shadow models with it, another to those
    without it; the score is the log ratio of both at the attacked model's. With few shadows all targets share their
    variances (section VI-D).
    """

    name: ClassVar[str] = "likelihood_ratio"
    title: ClassVar[str] = "Likelihood ratio (LiRA)"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True, method=True, model=True)

    def fits(self, view: View) -> bool:
        """Where the model has a likelihood."""
        return super().fits(view) and hasattr(view.model, "log_prob")

    def look(self, targets: Records, view: View, seed: int) -> np.ndarray:
        """Log-likelihood of each target under the model (N, 1)."""
        return log_likelihood(view.model, targets.table)[:, None]

    def tell(self, found_NF: np.ndarray, shadows_SNF: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
        """Log likelihood ratio of membership (N,)."""
        return likelihood_ratio(found_NF[:, 0], shadows_SNF[:, :, 0], inside_SN)


class NeighbourLikelihoodAttack(MembershipAttack):
    """The model's log-likelihood of a row beside that of its neighbours, real rows of other people (Mattern et al.
    2023, "Membership inference attacks against language models via neighbourhood comparison", equation 2).

    No shadow models: a row that the model has learned by heart is likelier than rows like it.
    """

    name: ClassVar[str] = "likelihood"
    title: ClassVar[str] = "Likelihood beside that of neighbours"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True, model=True)

    def fits(self, view: View) -> bool:
        """Where the model has a likelihood."""
        return super().fits(view) and hasattr(view.model, "log_prob")

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Log-likelihood of each target minus the mean of its neighbours' (N,)."""
        assert view.reference is not None
        reference = view.reference.sample(_REFERENCE, rng)
        k = min(_NEIGHBOURS, len(reference))
        near_NK = nearest(targets.rows, reference.rows, gower_metric(reference.rows), k).rows_QK
        result: np.ndarray = log_likelihood(view.model, targets.table) - log_likelihood(view.model, reference.table)[
            near_NK
        ].mean(axis=1)
        return result


def likelihood_ratio(found_N: np.ndarray, shadows_SN: np.ndarray, inside_SN: np.ndarray) -> np.ndarray:
    """log N(found | models with the row) - log N(found | models without it), means by row, variances shared (N,)."""
    means, variances = [], []
    for side in (inside_SN, ~inside_SN):
        count_N = side.sum(axis=0)
        mean_N = np.where(side, shadows_SN, 0).sum(axis=0) / count_N
        squares = np.where(side, (shadows_SN - mean_N) ** 2, 0).sum()
        means.append(mean_N)
        variances.append(max(squares / max(count_N.sum() - len(count_N), 1), 1e-12))
    scores = [
        -0.5 * ((found_N - mean) ** 2 / variance + np.log(variance))
        for mean, variance in zip(means, variances, strict=True)
    ]
    result: np.ndarray = scores[0] - scores[1]
    return result


def log_likelihood(model: Any, table: pa.Table) -> np.ndarray:
    """Log-probability of each row under a model with `log_prob` (N,)."""
    found = model.log_prob(table)
    return np.asarray(found if isinstance(found, np.ndarray) else found["log_prob"], dtype=float)
