"""Linkability: whether the synthetic table ties two halves of a person's record together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from raysynth.attacks.attack import RecordAttack, Records, View
from raysynth.attacks.attribute import check_columns, metric_on
from raysynth.comparison.neighbours import nearest
from raysynth.comparison.rows import Rows
from raysynth.errors import ParameterError


class LinkabilityAttack(RecordAttack):
    """The attacker knows some columns of a person from one source and others from another, and wants to know that both
    are of one person: a link is found where a synthetic row is among the k nearest in both (Giomi et al. 2023, section
    3.2; linkability as in opinion 05/2014 of the Article 29 working party).

    Args:
        columns: the two sets of columns; None: each experiment deals all columns into two halves at random.
        n_neighbours: k.
    """

    name: ClassVar[str] = "linkability"
    title: ClassVar[str] = "Linkability"
    family: ClassVar[str] = "linkability"
    min_columns: ClassVar[int] = 2

    def __init__(self, columns: tuple[Sequence[str], Sequence[str]] | None = None, n_neighbours: int = 1) -> None:
        self.columns = columns
        self.n_neighbours = n_neighbours

    def succeed(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Whether a link is found (N,)."""
        synthetic = view.synthetic.rows
        found = []
        for part in self._parts(synthetic, rng):
            order = rng.permutation(len(synthetic))  # equally near rows are taken at random
            metric = metric_on(part, targets.rows, synthetic)
            found.append(order[nearest(targets.rows, synthetic.take(order), metric, self.n_neighbours).rows_QK])
        links = (found[0][:, :, None] == found[1][:, None, :]).any(axis=(1, 2))
        return links.astype(float)

    def _parts(self, rows: Rows, rng: np.random.Generator) -> tuple[list[str], list[str]]:
        names = list(rows.space.names)
        if self.columns is not None:
            first, second = (list(part) for part in self.columns)
            check_columns(rows, [*first, *second])
            if not first or not second or set(first) & set(second):
                raise ParameterError("linkability needs two sets of columns that are not empty and share none")
            return first, second
        order = [str(n) for n in rng.permutation(names)]
        return order[: len(order) // 2], order[len(order) // 2 :]
