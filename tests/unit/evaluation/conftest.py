"""Tables for the tests of evaluation: real ones that come with statsmodels and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def health() -> pd.DataFrame:
    """6,000 rows of the table below."""
    return health_insurance().head(6000)


@pytest.fixture(scope="session")
def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two halves of one table: a synthetic table cannot do better than the second against the first."""
    data = health_insurance()
    half = len(data) // 2
    return data[:half], data[half:].reset_index(drop=True)


def health_insurance() -> pd.DataFrame:
    """The RAND Health Insurance Experiment, shuffled, with three columns of text, and missing values in two columns."""
    from statsmodels.datasets import randhie

    data = randhie.load_pandas().data.sample(frac=1, random_state=0).reset_index(drop=True)
    data = data[["mdvis", "lncoins", "lpi", "fmde", "disea", "hlthg", "hlthf", "physlm"]]
    data = data.rename(columns={"disea": "ndisease"})
    rng = np.random.default_rng(0)
    data["health"] = np.select([data.pop("hlthg") == 1, data.pop("hlthf") == 1], ["good", "fair"], "excellent")
    data["plan"] = np.where(data["lncoins"] == 0, "free", np.where(data["lncoins"] > 4, "costly", "shared"))
    data["visits"] = np.where(data["mdvis"] == 0, "none", np.where(data["mdvis"] > 4, "many", "few"))
    data.loc[rng.random(len(data)) < 0.1, "ndisease"] = np.nan
    data.loc[rng.random(len(data)) < 0.05, "plan"] = None
    return data
