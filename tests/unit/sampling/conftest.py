"""A table of every kind of column, a copula fitted to it, and generators that condition in their own ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

from raysynth import GaussianCopula
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.sampling.chunks import SamplingModel

N = 3000
TOWNS = np.array(["Aachen", "Bonn", "Celle", "Dresden"])


@dataclass(frozen=True)
class Independent:
    """Codes of each column drawn by their frequency; heeds conditions exactly, or not at all."""

    encoder: TableEncoder
    exact_conditions: bool

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        codes = np.empty((n, len(self.encoder.columns)), np.uint16)
        for i, share in enumerate(self.encoder.frequencies()):
            if self.exact_conditions and weights and i in weights:
                share = share * weights[i]
            codes[:, i] = rng.choice(len(share), n, p=share / share.sum())
        return EncodedBlock(codes, np.empty((n, 0), np.float32))


@pytest.fixture(scope="package")
def people() -> pd.DataFrame:
    """Town decides the district; income grows with age; weight is missing for a third, more often for the young."""
    rng = np.random.default_rng(3)
    town = TOWNS[rng.choice(4, N, p=[0.4, 0.3, 0.2, 0.1])]
    age = rng.integers(18, 80, N)
    young = (age < 40) & (rng.random(N) < 0.7)
    return pd.DataFrame(
        {
            "person_id": np.arange(N) + 10_000,
            "town": town,
            "age": age,
            "income": age * 500 + rng.normal(0, 4000, N),
            "price": rng.integers(0, 400, N) / 4,
            "smoker": rng.random(N) < 0.3,
            "since": pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 2000, N), unit="D"),
            "took": pd.to_timedelta(rng.integers(0, 3600, N), unit="s"),
            "weight": np.where(young, np.nan, rng.normal(70, 10, N).round(1)),
            "land": "DE",
        }
    )


@pytest.fixture(scope="package")
def copula(people: pd.DataFrame) -> GaussianCopula:
    return value_of(lambda: GaussianCopula(seed=1, verbose=False).fit(people))


@pytest.fixture(scope="package")
def sampling_model(copula: GaussianCopula) -> Callable[[str], SamplingModel]:
    """What workers get, with a generator that conditions exactly ('exact'), not at all ('blind'), or the copula's."""

    def make(kind: str) -> SamplingModel:
        model = copula._fitted()
        return model if kind == "copula" else replace(model, generator=Independent(model.encoder, kind == "exact"))

    return make
