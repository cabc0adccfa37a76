"""Membership by nearest records: a training row tends to have a synthetic row nearer than it should be."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import Attack, MembershipAttack, Outcome, Records, Scene, ThreatModel, View
from raysynth.comparison.neighbours import gower_metric, nearest

_FLOOR = 1e-3  # of the median distance in the reference: nearer is all the same


class DistanceAttack(MembershipAttack):
    """Distance to the nearest synthetic row, calibrated by the distance to the nearest row of a reference sample.

    A row in a crowd is near to everything; what counts is whether it is nearer to the synthetic rows than to as
    unrelated rows (calibration: Watson et al. 2022; distance: Chen et al. 2020, GAN-Leaks, equation 4).
    """

    name: ClassVar[str] = "distance"
    title: ClassVar[str] = "Nearest record, calibrated"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Log of the distance to the reference over the distance to the synthetic rows."""
        assert view.reference is not None
        metric = gower_metric(view.reference.rows)
        to_synthetic = nearest(targets.rows, view.synthetic.rows, metric).distances_QK[:, 0]
        to_reference = nearest(targets.rows, view.reference.rows, metric).distances_QK[:, 0]
        floor = max(_FLOOR * float(np.median(to_reference)), 1e-9)
        return np.log(to_reference + floor) - np.log(to_synthetic + floor)


class NearestAttack(MembershipAttack):
    """Distance to the nearest synthetic row as it is (GAN-Leaks, equation 4), which asks for no reference.

    Of rows that were moved a little it tells more than the calibrated distance, to which the reference adds noise of
    its own; where crowds differ, less. Among the figures of an evaluation it stands as 'membership by distance'.
    """

    name: ClassVar[str] = "nearest"
    title: ClassVar[str] = "Nearest record"

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Less the distance to the synthetic rows (N,)."""
        metric = gower_metric(view.synthetic.rows)
        return -nearest(targets.rows, view.synthetic.rows, metric).distances_QK[:, 0]


class ProximityAttack(Attack):
    """Share of real rows nearer to the synthetic table than to equally many other real rows.

    Not membership: without rows that the synthesizer never saw, there is nobody to tell members from. 0.5 is what
    rows of people in neither table give; more says that the synthetic table lies too near to the real rows. Keep a
    holdout to measure membership.
    """

    name: ClassVar[str] = "proximity"
    title: ClassVar[str] = "Proximity (no holdout, so no membership)"
    family: ClassVar[str] = "membership_inference"
    threat: ClassVar[ThreatModel] = ThreatModel()

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """1 where the synthetic side is nearer, 0.5 for a tie, 0 else; the nearest row of both sides is the cluster."""
        assert scene.stand_in is not None
        metric = gower_metric(scene.training.rows)
        n = min(len(scene.view.synthetic), len(scene.stand_in))
        sides = [records.sample(n, rng).rows for records in (scene.view.synthetic, scene.stand_in)]
        found = [nearest(scene.members.rows, side, metric) for side in sides]
        gap = np.round(found[1].distances_QK[:, 0] - found[0].distances_QK[:, 0], 6)
        clusters = np.where(gap >= 0, found[0].rows_QK[:, 0], n + found[1].rows_QK[:, 0])
        return Outcome((np.sign(gap) + 1) / 2, np.zeros(0), clusters, known_baseline=0.5)

    def baseline(self, has_holdout: bool) -> str:
        """Rows that are in neither table are as near to one as to the other."""
        return "rows of people in neither table, by symmetry"
