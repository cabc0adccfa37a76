"""Sequences that several tests learn from: an array of waves, and a long table of visits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def waves() -> np.ndarray:
    rng = np.random.default_rng(0)
    phase, height = rng.uniform(0, 2 * np.pi, (200, 1, 1)), rng.uniform(0.5, 1, (200, 1, 2))
    return 10 + height * np.sin(np.arange(12)[None, :, None] / 2 + phase)


@pytest.fixture(scope="session")
def visits() -> pd.DataFrame:
    """90 patients of two clinics with 1 to 9 visits; columns of many kinds, some values missing, rows shuffled."""
    rng = np.random.default_rng(1)
    rows = []
    for patient in range(90):
        clinic, born = rng.choice(["north", "south"], p=[0.7, 0.3]), int(rng.integers(1940, 2000))
        day = pd.Timestamp("2024-01-01") + pd.Timedelta(days=int(rng.integers(0, 300)))
        for _ in range(int(rng.integers(1, 10))):
            pressure = None if rng.random() < 0.2 else float(np.round(rng.normal(120, 10), 1))
            drug = rng.choice(["none", "a", "b"])
            rows.append(
                (f"P-{patient:05d}", clinic, day, pressure, drug, int(rng.poisson(3)), bool(rng.random() < 0.4), born)
            )
            day += pd.Timedelta(days=int(rng.choice([1, 7, 30])))
    names = ["patient", "clinic", "day", "pressure", "drug", "pills", "pain", "born"]
    frame = pd.DataFrame(rows, columns=names).sample(frac=1, random_state=0, ignore_index=True)
    return frame.astype({"drug": "category", "pills": "int32"})
