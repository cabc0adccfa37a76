"""A population and synthesizers for the tests of campaigns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest


class Simple:
    """What the synthesizers of these tests share: hyper-parameters by name."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = parameters

    def get_params(self) -> dict[str, Any]:
        return dict(self.parameters)

    def set_params(self, **parameters: Any) -> Simple:
        self.parameters |= parameters
        return self

    def clone(self) -> Simple:
        return type(self)(**self.parameters)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self.parameters)})"


class Memoriser(Simple):
    """Publishes its training rows."""

    def fit(self, table: pa.Table) -> Memoriser:
        self.table = table
        return self

    def sample_arrow(self, n: int, seed: int | None = None) -> pa.Table:
        rng = np.random.default_rng(seed)
        return self.table.take(pa.array(rng.permutation(len(self.table))[:n]))


class Independent(Simple):
    """Publishes rows of the same population that have nothing to do with its training rows."""

    def fit(self, table: pa.Table) -> Independent:
        self.schema = table.schema
        return self

    def sample_arrow(self, n: int, seed: int | None = None) -> pa.Table:
        return pa.Table.from_pandas(people(n, seed or 0), schema=self.schema, preserve_index=False)


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    height = rng.normal(170, 9, n)
    group = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    return pd.DataFrame({"height": height, "weight": rng.normal(0.9 * height - 85, 8), "group": group})


@pytest.fixture(scope="session")
def data() -> pd.DataFrame:
    """400 rows."""
    return people(400, 11)
