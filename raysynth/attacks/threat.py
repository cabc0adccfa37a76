"""What an attacker has: the threat model in words, and the rows and models that go with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

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
