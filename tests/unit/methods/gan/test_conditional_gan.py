"""ConditionalTabularGAN: the document's snippet, exact conditions of every kind, errors before long work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import ConditionalTabularGAN, load_synthetic_model
from raysynth.errors import ConditionError, ParameterError


def people(n: int = 3000) -> pd.DataFrame:
    """Women are younger; income follows from gender and age; the job from the gender."""
    rng = np.random.default_rng(0)
    gender = rng.choice(["male", "female"], n, p=[0.6, 0.4])
    age = np.where(gender == "male", rng.integers(30, 80, n), rng.integers(18, 60, n))
    income = np.round(age * 500 + np.where(gender == "male", 0, 20_000) + rng.normal(0, 1000, n), 2)
    job = np.where(rng.random(n) < 0.9, np.where(gender == "male", "cook", "nurse"), "driver")
    return pd.DataFrame({"gender": gender, "age": age, "income": income, "job": job})


@pytest.fixture(scope="module")
def model() -> ConditionalTabularGAN:
    cgan = ConditionalTabularGAN(
        categorical_columns=["gender", "job"],
        continuous_columns=["age", "income"],
        conditional_columns=["gender", "age"],
        epochs=60,
        batch_size=100,
        pac=1,
        generator_dim=(64, 64),
        discriminator_dim=(64, 64),
        generator_lr=2e-3,
        discriminator_lr=2e-3,
        ema_decay=0.99,
        seed=1,
        verbose=False,
    )
    return cgan.fit(people())


def test_the_documents_conditions(model: ConditionalTabularGAN) -> None:
    rows = model.sample(n_samples=1000, conditions={"gender": "male", "age": (25, 40)}, seed=0)
    assert len(rows) == 1000
    assert (rows["gender"] == "male").all() and rows["age"].between(25, 40).all()
    real = people()[lambda d: (d["gender"] == "male") & d["age"].between(25, 40)]
    assert rows["age"].mean() == pytest.approx(real["age"].mean(), abs=1)  # men of 25 to 29 do not exist
    assert rows["age"].min() >= 30
    assert rows["income"].mean() == pytest.approx(real["income"].mean(), rel=0.25)
    assert (rows["job"] == "cook").mean() > 0.75


@pytest.mark.statistical
def test_what_is_given_keeps_its_own_joint_distribution(model: ConditionalTabularGAN) -> None:
    """Without conditions too: the share of men, and their ages (5 standard errors of 5,000 rows)."""
    rows = model.sample(5000, seed=0)
    real = people()
    for gender in ("male", "female"):
        share = (real["gender"] == gender).mean()
        assert (rows["gender"] == gender).mean() == pytest.approx(share, abs=5 * (0.25 / 5000) ** 0.5)
        own = real["age"][real["gender"] == gender]
        assert rows["age"][rows["gender"] == gender].mean() == pytest.approx(own.mean(), abs=5 * own.std() / 2000**0.5)


def test_a_rare_condition_costs_no_more_than_none(model: ConditionalTabularGAN) -> None:
    """Women of 59 are 1 row in 100; the generator makes no row in vain. Bound: 20 times the unconditional time."""
    conditions = {"gender": "female", "age": (59, 59)}
    model.sample(1000, conditions, seed=0)
    seconds = []
    for asked in (None, conditions):
        tries = []
        for _ in range(3):
            begun = time.perf_counter()
            rows = model.sample(1000, asked, seed=1)
            tries.append(time.perf_counter() - begun)
        seconds.append(min(tries))
    assert (rows["age"] == 59).all() and (rows["gender"] == "female").all()
    assert seconds[1] < 20 * seconds[0]


@pytest.mark.parametrize(
    "conditions",
    [
        {"age": 33},
        {"gender": ["male", "female"], "age": (None, 25)},
        {"gender": "male", "job": "driver"},
        {"job": "nurse"},
    ],
)
def test_conditions_hold_in_every_row(model: ConditionalTabularGAN, conditions: dict[str, Any]) -> None:
    rows = model.sample(50, conditions, seed=0)
    assert len(rows) == 50
    for column, wanted in conditions.items():
        if isinstance(wanted, tuple):
            assert (rows[column] <= wanted[1]).all()
        else:
            assert rows[column].isin(wanted if isinstance(wanted, list) else [wanted]).all()


def test_quotas_and_rows_to_complete(model: ConditionalTabularGAN) -> None:
    rows = model.sample(conditions=[({"gender": "male"}, 30), ({"age": (18, 25)}, 20)], seed=0)
    assert (rows["gender"][:30] == "male").all() and rows["age"][30:].between(18, 25).all()
    known = pd.DataFrame({"gender": ["male", None], "age": [44, 50], "job": [None, "nurse"]})
    rows = model.sample(conditions=known, seed=0)
    assert rows["age"].tolist() == [44, 50] and rows["gender"][0] == "male" and rows["job"][1] == "nurse"


def test_an_impossible_combination_is_an_error(model: ConditionalTabularGAN) -> None:
    with pytest.raises(ConditionError, match="no row of the model"):
        model.sample(10, {"gender": "other"})


def test_a_file_gives_the_same_rows(model: ConditionalTabularGAN, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    loaded = load_synthetic_model(tmp_path / "m")
    asked = {"gender": "female", "age": (20, 30)}
    assert loaded.sample(200, asked, seed=5).equals(model.sample(200, asked, seed=5))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "at least one column"),
        ("gender", "must be a list of names"),
        (["gender", "gender"], "twice"),
        (["sex"], "no modelled column"),
        (["gender", "age", "income", "job"], "leave some out"),
    ],
)
def test_conditional_columns_that_cannot_be(columns: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ConditionalTabularGAN(conditional_columns=columns, epochs=1, verbose=False).fit(people(60))


def test_one_conditional_column_of_numbers() -> None:
    rows = people(300).assign(age=lambda d: d["age"].astype(float) + 0.25)
    model = ConditionalTabularGAN(conditional_columns=["age"], epochs=1, seed=1, verbose=False).fit(rows)
    assert model.sample(40, {"age": (50.0, 55.0)}, seed=0)["age"].between(50, 55).all()
