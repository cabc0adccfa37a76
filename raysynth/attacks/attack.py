"""The interface of an attack: what it needs, and what one experiment with it gives.

A user's own attack derives from one of three classes and fills in one or two methods:
`MembershipAttack.score` (how likely was each target in the training table?), `RecordAttack.succeed` (was something
about each target found out?), `ClaimAttack.claim` and `.check` (are these claims about the training table true?).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from raysynth.attacks.threat import Records, Scene, ThreatModel, View


@dataclass(frozen=True)
class Outcome:
    """What an attack got on members and on others: scores (higher: a member) or successes (0 to 1).

    Args:
        members: of targets in the training table (N,).
        others: of targets outside it, or of the baseline (M,); empty where there is none.
        member_clusters, other_clusters: trials of one number depend on each other; None: all are independent.
        known_baseline: the score on rows of people in neither table, where theory gives it and `others` is empty.
        by_target: each trial is about one target, members first as they were dealt out, and would be the same had the
            target been on the other side: then who is a member can be permuted (`raysynth.attacks.verdicts`).
        by_margins: the score that any table with the training table's margins would give; None: not known.
    """

    members: np.ndarray
    others: np.ndarray
    member_clusters: np.ndarray | None = None
    other_clusters: np.ndarray | None = None
    known_baseline: float | None = None
    by_target: bool = False
    by_margins: float | None = None


class Attack:
    """An attack on a synthetic table.

    Attributes:
        name: short, for tables and options.
        title: for people.
        family: 'membership_inference', 'attribute_inference', 'linkability', 'singling_out' or 'model_inversion'.
        threat: what the attacker must have.
        scores: True where an outcome holds scores (judged by ROC), False where it holds successes (judged by shares).
        min_columns: fewest compared columns that the attack can be run on.
        needs_keys: whether it is run on tables with keys whose order tells of other columns only, in silence elsewhere.
        in_one_go: True where experiments would repeat the same costly work (shadow models): all targets are attacked
            together, in one experiment.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    threat: ClassVar[ThreatModel] = ThreatModel()
    scores: ClassVar[bool] = False
    in_one_go: ClassVar[bool] = False
    min_columns: ClassVar[int] = 1
    needs_keys: ClassVar[bool] = False

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """The trials of one experiment: attack what `scene` shows, and return hits or scores on both sides.

        `rng` is the only source of chance.
        """
        raise NotImplementedError

    def fits(self, view: View) -> bool:
        """Whether the attack can be run on `view`, what an attacker sees."""
        enough = len(view.synthetic.rows.space.names) >= self.min_columns
        return enough and bool(view.synthetic.keys or not self.needs_keys) and view.threat.covers(self.threat)

    def baseline(self, has_holdout: bool) -> str:
        """What the baseline is, in words; `has_holdout`: whether there are rows that the synthesizer never saw."""
        if has_holdout:
            return "the same attack on rows that the synthesizer never saw"
        return "the same attack from as many other real rows in place of the synthetic ones"


class MembershipAttack(Attack):
    """An attack that scores each target: the higher, the likelier it was in the training table."""

    family: ClassVar[str] = "membership_inference"
    scores: ClassVar[bool] = True

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """How likely each of the N `targets` was in the training table (N,); any scale, higher is likelier.

        `view` is all that the attacker sees, `rng` the only source of chance.
        """
        raise NotImplementedError

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """Scores of the members and others of `scene`, which the attacker gets in one table, in an order of `rng`."""
        assert scene.others is not None, "membership needs rows outside the training table"
        targets = scene.members.joined(scene.others)
        order = rng.permutation(len(targets))
        found = np.empty(len(targets))
        found[order] = self.score(targets.take(order), scene.view.limited_to(self.threat), rng)
        return Outcome(found[: len(scene.members)], found[len(scene.members) :], by_target=True)

    def baseline(self, has_holdout: bool) -> str:
        """A score that knows nothing orders members and others at random, whatever `has_holdout` says."""
        return "guessing"


class RecordAttack(Attack):
    """An attack that finds out something secret about each target from the columns that it is given."""

    def succeed(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Success on each of the N `targets` (N,), 0 to 1, from what `view` shows; `rng` is the only source of chance.

        The attack must look at the secret part of a target to judge only.
        """
        raise NotImplementedError

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """Successes on members and others of `scene`, as one table; or on members, and on them from other real rows.

        The baseline meets the same random choices of `rng`.
        """
        view = scene.view.limited_to(self.threat)
        if scene.others is not None:
            found = self.succeed(scene.members.joined(scene.others), view, rng)
            return Outcome(found[: len(scene.members)], found[len(scene.members) :], by_target=True)
        state = rng.bit_generator.state
        members = self.succeed(scene.members, view, rng)
        if scene.stand_in is None or view.model is not None:
            return Outcome(members, np.zeros(0))
        rng.bit_generator.state = state  # the baseline meets the same random choices
        return Outcome(members, self.succeed(scene.members, replace(view, synthetic=scene.stand_in), rng))


class ClaimAttack(Attack):
    """An attack that makes claims about the training table, each of which its rows confirm or not."""

    def claim(self, view: View, rng: np.random.Generator) -> Any:
        """Claims from what `view` shows, in any form that `check` reads; `rng` is the only source of chance."""
        raise NotImplementedError

    def check(self, claims: Any, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """Of each of N `claims` whether one of `records` bears it out (N,), and which row does (N,), -1 for none."""
        raise NotImplementedError

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """Claims checked against the training rows of `scene`; and against others, or claims from other real rows.

        Both are made with the same random choices of `rng`.

        Claims that one row bears out depend on each other: the row is their cluster.
        """
        view = scene.view.limited_to(self.threat)
        state = rng.bit_generator.state
        claims = self.claim(view, rng)
        hits, rows = self.check(claims, scene.training)
        if scene.control is not None:
            others, other_rows = self.check(claims, scene.control)
        elif scene.stand_in is not None and view.model is None:
            rng.bit_generator.state = state
            stand_in = replace(view, synthetic=scene.stand_in)
            others, other_rows = self.check(self.claim(stand_in, rng), scene.training)
        else:
            others, other_rows = np.zeros(0), np.zeros(0, dtype=np.int64)
        return Outcome(hits, others, own_cluster_where_none(rows), own_cluster_where_none(other_rows))


def own_cluster_where_none(rows: np.ndarray) -> np.ndarray:
    """Cluster numbers: the row, and a number of its own for each entry without one (-1)."""
    free = np.flatnonzero(rows < 0)
    clusters = rows.astype(np.int64)
    clusters[free] = -1 - np.arange(len(free))
    return clusters
