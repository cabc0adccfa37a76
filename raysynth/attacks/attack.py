"""The interface of an attack: what an attacker has (the threat model), what an attack needs, what an experiment gives.

A user's own attack derives from one of three classes and fills in one or two methods:
`MembershipAttack.score` (how likely was each target in the training table?), `RecordAttack.succeed` (was something
about each target found out?), `ClaimAttack.claim` and `.check` (are these claims about the training table true?).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from raysynth.comparison.coding import numbers
from raysynth.comparison.rows import Rows, RowSpace, divided, one_of_each


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker has beside the synthetic table, which every attacker has.

    Args:
        reference: rows of the same population that no training table held.
        method: the synthesizer's method and hyper-parameters, so that models of the same kind can be fitted (shadow
            models).
        model: the fitted model itself (white box): its likelihood, critic, encoder or conditions.
    """

    reference: bool = False
    method: bool = False
    model: bool = False

    def __str__(self) -> str:
        has = (("a reference sample", self.reference), ("the method", self.method), ("the model", self.model))
        return ", ".join(["the synthetic table", *(name for name, given in has if given)])

    def covers(self, other: ThreatModel) -> bool:
        """Whether an attacker of this model has all that `other` asks for."""
        return all(
            has or not asked
            for has, asked in (
                (self.reference, other.reference),
                (self.method, other.method),
                (self.model, other.model),
            )
        )


@dataclass(frozen=True)
class Records:
    """Rows in two forms: as arrays for distances, and as an Arrow table for models.

    Args:
        rows: numbers and codes, N rows.
        table: the same N rows as they were read.
        numbers_N: the number of each row in its table, from 0; None: not known.
        keys: columns of `table`, whole numbers that `rows` leaves out, whose order tells of other columns.
    """

    rows: Rows
    table: pa.Table
    numbers_N: np.ndarray | None = None
    keys: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: np.ndarray) -> Records:
        """The rows at the indices `chosen`."""
        numbers = None if self.numbers_N is None else self.numbers_N[chosen]
        return Records(self.rows.take(chosen), self.table.take(pa.array(chosen)), numbers, self.keys)

    def with_keys(self) -> Rows:
        """The rows with the keys as columns of numbers, behind the other numbers."""
        rows, space = self.rows, self.rows.space
        if not self.keys:
            return rows
        keys_NK = np.column_stack([numbers(self.table.column(k).combine_chunks()) for k in self.keys])
        space = RowSpace((*space.numbers, *self.keys), space.coders)
        return Rows(space, np.hstack([rows.numbers_NV, keys_NK]), rows.codes_NC, rows.owners_N)

    def sample(self, n: int, rng: np.random.Generator) -> Records:
        """`n` rows that `rng` draws without replacement, in random order; all where there are no more."""
        return self.take(rng.permutation(len(self))[:n])

    def split(self, n: int, rng: np.random.Generator) -> tuple[Records, Records]:
        """Two parts that `rng` draws: `n` rows, and the rest; about `n` where whole persons are divided."""
        first, rest = divided(len(self), n, self.rows.owners_N, rng)
        return self.take(first), self.take(rest)

    def independent(self, rng: np.random.Generator) -> Records:
        """One row of each person, in an order that `rng` draws; all rows, as they are, where each is a person."""
        owners_N = self.rows.owners_N
        return self if owners_N is None else self.take(one_of_each(owners_N, rng))

    def joined(self, other: Records) -> Records:
        """These rows, then those of `other`."""
        rows = Rows(
            self.rows.space,
            np.concatenate([self.rows.numbers_NV, other.rows.numbers_NV]),
            np.concatenate([self.rows.codes_NC, other.rows.codes_NC]),
            _joined_owners(self.rows.owners_N, other.rows.owners_N),
        )
        return Records(rows, pa.concat_tables([self.table, other.table], promote_options="permissive"), keys=self.keys)


def _joined_owners(first_N: np.ndarray | None, second_M: np.ndarray | None) -> np.ndarray | None:
    """Owners of both, those of one side kept apart from the other's; None where either side's are unknown."""
    if first_N is None or second_M is None:
        return None
    return np.concatenate([first_N, second_M + first_N.max(initial=-1) + 1])


@dataclass(frozen=True)
class View:
    """Everything that an attacker may look at.

    Args:
        synthetic: the published rows.
        reference: rows of the same population, outside every training table; or None.
        method: an unfitted synthesizer to clone and fit; or None.
        model: the fitted synthesizer; or None.
        n_training: rows that the synthesizer was fitted to (taken as public: attacks that fit models need it).
    """

    synthetic: Records
    reference: Records | None = None
    method: Any = None
    model: Any = None
    n_training: int = 0

    @property
    def threat(self) -> ThreatModel:
        """The threat model that this view stands for."""
        return ThreatModel(self.reference is not None, self.method is not None, self.model is not None)

    def limited_to(self, threat: ThreatModel) -> View:
        """The same view without what `threat` does not grant, so that an attack cannot use more than it says."""
        return replace(
            self,
            reference=self.reference if threat.reference else None,
            method=self.method if threat.method else None,
            model=self.model if threat.model else None,
        )


@dataclass(frozen=True)
class Scene:
    """One experiment with its truth: who was in the training table, who was not, and what the attacker sees.

    Args:
        members: targets from the training table.
        others: as many targets that no training table held; None without holdout rows.
        training: rows of the training table that claims about it are checked against.
        control: as many rows outside it; None without holdout rows.
        stand_in: without holdout rows, other real rows that take the synthetic table's place for the baseline.
        view: the attacker's.
    """

    members: Records
    others: Records | None
    training: Records
    control: Records | None
    view: View
    stand_in: Records | None = None


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
