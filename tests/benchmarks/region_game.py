"""A membership game on a synthesizer's own private fits, sharp enough to leave the region where noise is lacking.

One column of declared categories; the target is one of the first category's rows. Almost all of the budget goes to the
column's counts, and delta is large, so that the game comes near the border of the (epsilon, delta) region.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from raysynth.api import new_synthesizer
from raysynth.campaigns import AttackCampaign
from raysynth.dp.mechanisms import counts
from raysynth.dp.mechanisms.noise import OsNoise
from raysynth.privacy import MembershipAttack, Records, ThreatModel, View
from raysynth.schema import ColumnSchema, Kind, TableSchema

EPSILONS = (0.1, 0.5)
DELTA = 0.01
ROWS = {"x": 300, "y": 900, "z": 400}  # the target is the first x


class ReleasedCounts(MembershipAttack):
    """Reads the target's count off the model file, in units that a noised number of rows leaves as they are."""

    name = "released_counts"
    title = "Counts in the model file"
    threat = ThreatModel(model=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Released counts are shifted and scaled to the number of rows, so differences over a difference (N,)."""
        x, y, z = view.model._content().arrays["encoder.0.shares"][:3]
        return np.full(len(targets), (x - y) / (y - z) if y != z else 0.0)


def region_campaign(folder: str | os.PathLike[str], game: str, n_models: int) -> AttackCampaign:
    """`n_models` copulas for each epsilon, half of them fitted with the target."""
    column = ColumnSchema("a", Kind.CATEGORICAL, "string", categories=tuple(ROWS), nullable=False)
    model = new_synthesizer("copula", schema=TableSchema((column,)), statistics_share=0.97)
    return AttackCampaign(
        pd.DataFrame({"a": [v for v, n in ROWS.items() for _ in range(n)]}),
        {"copula": model},
        folder,
        attacks=[ReleasedCounts()],
        epsilons=EPSILONS,
        n_models=n_models,
        targets=[0],
        n_synthetic=20,
        game=game,
        delta=DELTA,
        where="local",
    )


@contextmanager
def noise_times(factor: float) -> Iterator[None]:
    """The same code with all noise scaled by a factor; 0 removes it."""
    normal, uniform, of_counts, of_one = (
        OsNoise.normal,
        OsNoise.uniform,
        counts.discrete_gaussian,
        counts.discrete_laplace,
    )

    def scaled(self: OsNoise, shape: Any) -> np.ndarray:
        return factor * normal(self, shape)

    def to_the_middle(self: OsNoise, shape: Any) -> np.ndarray:
        return uniform(self, shape) if factor else np.full(shape, 0.5)

    def scaled_counts(sigma: float, n: int, noise: Any) -> np.ndarray:
        return of_counts(factor * sigma, n, noise) if factor else np.zeros(n, np.int64)

    def scaled_one(scale: float, n: int, noise: Any) -> np.ndarray:
        return of_one(scale, n, noise) if factor else np.zeros(n, np.int64)

    OsNoise.normal, OsNoise.uniform = scaled, to_the_middle  # type: ignore[method-assign]
    counts.discrete_gaussian, counts.discrete_laplace = scaled_counts, scaled_one  # type: ignore[attr-defined]
    try:
        yield
    finally:
        OsNoise.normal, OsNoise.uniform = normal, uniform  # type: ignore[method-assign]
        counts.discrete_gaussian, counts.discrete_laplace = of_counts, of_one  # type: ignore[attr-defined]
