"""Tables for the tests of privacy: independent samples of one population, and synthesizers that memorise."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth.privacy import EpsilonAudit, audit_epsilon

FALSE_ALARM = 2e-5  # of each audit of a correct build; some 15 of them
WITH_BUG = 1e-4  # of an audit where a bug is planted, which must find it although it guesses one wrong


def population(n: int, seed: int) -> pd.DataFrame:
    """n people with four numbers and three categories that go together; endless, so that samples are independent."""
    rng = np.random.default_rng(seed)
    age = rng.gamma(9, 5, n)
    group = rng.choice(["a", "b", "c", "d"], n, p=[0.4, 0.3, 0.2, 0.1])
    income = np.exp(rng.normal(10 + 0.01 * age, 0.5))
    weight = rng.normal(70 + 5 * (group == "a"), 12)
    status = np.where(income > np.median(income), "high", "low")
    status = np.where(rng.random(n) < 0.2, "other", status)
    city = rng.choice([f"city {i}" for i in range(12)], n)
    columns = {"age": age, "income": income, "weight": weight, "height": rng.normal(170, 9, n)}
    return pd.DataFrame({**columns, "group": group, "status": status, "city": city})


def memorised(real: pd.DataFrame, seed: int, noise: float = 0.02) -> pd.DataFrame:
    """What a memorising synthesizer publishes: its training rows, each number moved a little."""
    rng = np.random.default_rng(seed)
    rows = real.sample(frac=1, random_state=seed).reset_index(drop=True)
    for name in rows.select_dtypes("number"):
        rows[name] += rng.normal(0, noise * float(real[name].std()), len(rows))
    return rows


def audited(
    model: Any, data: Any, attack: str, canary: dict[str, Any] | None, false_alarm: float, n_refits: int = 72
) -> EpsilonAudit:
    """The one adversary of all tests of audits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return audit_epsilon(
            model,
            data,
            canary=canary,
            n_refits=n_refits,
            n_canaries=100,
            confidence=1 - false_alarm,
            attacks=[attack],
            where="local",
        )


@pytest.fixture(scope="session")
def real() -> pd.DataFrame:
    """800 training rows."""
    return population(800, 1)


@pytest.fixture(scope="session")
def holdout() -> pd.DataFrame:
    """1,600 other rows."""
    return population(1600, 2)


@pytest.fixture(scope="session")
def copies(real: pd.DataFrame) -> pd.DataFrame:
    """The training rows with a little noise."""
    return memorised(real, 3)


@pytest.fixture(scope="session")
def fresh() -> pd.DataFrame:
    """A table that has nothing to do with the training rows but the population."""
    return population(800, 4)
