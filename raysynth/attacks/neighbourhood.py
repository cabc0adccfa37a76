"""Membership by the neighbourhood of a target: what the synthetic rows around it are likelier under, and how many.

Shape legend: N targets, K neighbours, U synthetic rows that are a neighbour of any target.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import MembershipAttack
from raysynth.attacks.density import NEIGHBOURS, log_mean_kernel, sharp_bandwidth
from raysynth.attacks.threat import Records, ThreatModel, View
from raysynth.comparison.neighbours import gower_metric, nearest

LOCAL = 10  # synthetic rows around a target
AROUND = 20  # rows of both tables together


class LocalLikelihoodAttack(MembershipAttack):
    """Gen-LRA (Ward et al. 2025, "Privacy auditing synthetic data release through local likelihood attacks"): how much
    likelier the synthetic rows around a target are when it joins the reference sample.

    A target far from the reference and near to synthetic rows explains what nobody else does. Densities are those of
    `density.py`: with the target as one row more, each of the K synthetic rows s has a ratio of
    (n p(s) + kernel(s, target)) / ((n + 1) p(s)).
    """

    name: ClassVar[str] = "local_likelihood"
    title: ClassVar[str] = "Local likelihood ratio (Gen-LRA)"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Sum of the log ratios over the synthetic rows nearest to each target (N,)."""
        assert view.reference is not None
        reference, synthetic = view.reference.rows, view.synthetic.rows
        metric, n = gower_metric(reference), len(reference)
        bandwidth = sharp_bandwidth(reference, metric, rng)
        near = nearest(targets.rows, synthetic, metric, min(LOCAL, len(synthetic)))
        rows_U, place = np.unique(near.rows_QK, return_inverse=True)
        found = nearest(synthetic.take(rows_U), reference, metric, min(NEIGHBOURS, n)).distances_QK
        log_p_U = log_mean_kernel(found, bandwidth, n)
        log_share_NK = -near.distances_QK / bandwidth - np.log(n) - log_p_U[place].reshape(near.rows_QK.shape)
        result: np.ndarray = np.logaddexp(0.0, log_share_NK).sum(axis=1)  # log (n + 1) / n is the same for all
        return result


class PlagiarismAttack(MembershipAttack):
    """Data plagiarism index (Ward et al. 2024, "Data plagiarism index: characterizing the privacy risk of data-copying
    in tabular generative models"): how many of the rows nearest to a target are synthetic rather than of the
    reference sample. Both sides are given as many rows.
    """

    name: ClassVar[str] = "plagiarism"
    title: ClassVar[str] = "Data plagiarism index"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Log of synthetic over reference rows among the nearest of both, one added to each (N,)."""
        assert view.reference is not None
        n = min(len(view.synthetic), len(view.reference))
        metric, k = gower_metric(view.reference.rows), min(AROUND, n)
        sides = [r.sample(n, rng).rows for r in (view.synthetic, view.reference)]
        own, other = (nearest(targets.rows, rows, metric, k).distances_QK for rows in sides)
        both = np.sort(np.hstack([own, other]), axis=1)
        radius_N1 = both[:, k - 1 : k] + 1e-9
        counts = [(d <= radius_N1).sum(axis=1) for d in (own, other)]
        result: np.ndarray = np.log((counts[0] + 1) / (counts[1] + 1))
        return result
