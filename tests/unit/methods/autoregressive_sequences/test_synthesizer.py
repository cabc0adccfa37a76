"""AutoregressiveSequences recovers dependencies in time; what it takes and gives: `sequences/test_synthesizer.py`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import AutoregressiveSequences
from raysynth.evaluation.sequence_metrics import autocorrelations, pair_arrays

QUICK: dict[str, Any] = {"epochs": 3, "units": 16, "width": 16, "hidden": 8, "seed": 3, "verbose": False}
SMALL: dict[str, Any] = {"units": 24, "width": 24, "hidden": 12, "dropout": 0.1, "seed": 0, "verbose": False}


@pytest.fixture(scope="module")
def of_visits(visits: pd.DataFrame) -> AutoregressiveSequences:
    return AutoregressiveSequences(sequence_key="patient", time_column="day", **QUICK).fit(visits)


def test_autocorrelation_of_a_series_is_recovered() -> None:
    """x_t = 0.8 x_{t-1} + e_t from its stationary law: autocorrelation 0.8^k at every lag, variance 1 / (1 - 0.64).

    600 real and 1,500 made series of 20 steps: the standard error of a lag's correlation is 0.02, the bound 4 of them.
    """
    rng = np.random.default_rng(0)
    x = np.empty((600, 20, 1))
    x[:, 0] = rng.normal(0, 1 / 0.6, (600, 1))
    for t in range(1, 20):
        x[:, t] = 0.8 * x[:, t - 1] + rng.normal(0, 1, (600, 1))
    made = AutoregressiveSequences(epochs=6, **SMALL).fit(x).sample(1500)
    assert abs(made.mean()) < 0.25 and abs(made.std() * 0.6 - 1) < 0.1
    for lag in (1, 2, 5):
        found = np.corrcoef(made[:, lag:].ravel(), made[:, :-lag].ravel())[0, 1]
        assert abs(found - 0.8**lag) < 0.08
    assert abs(made[:, 0].std() * 0.6 - 1) < 0.15  # the first step has the stationary law too


@pytest.mark.statistical
def test_transitions_of_a_chain_are_recovered() -> None:
    """States that follow one another by a matrix that depends on the entity's group, in sequences of 3 to 14 rows.

    About 8,500 real transitions, 550 or more from each state and group: standard errors below 0.022, the bound 5.
    """
    rng = np.random.default_rng(1)
    matrices = {
        "calm": np.array([[0.8, 0.15, 0.05], [0.3, 0.6, 0.1], [0.2, 0.4, 0.4]]),
        "wild": np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]]),
    }
    rows = []
    for entity in range(1100):
        group, state = str(rng.choice(["calm", "wild"])), int(rng.integers(0, 3))
        for t in range(int(rng.integers(3, 15))):
            rows.append((entity, group, t, "abc"[state]))
            state = int(rng.choice(3, p=matrices[group][state]))
    table = pd.DataFrame(rows, columns=["id", "group", "t", "state"])
    model = AutoregressiveSequences(sequence_key="id", time_column="t", epochs=12, **SMALL).fit(table)
    for group, wanted in matrices.items():
        made = model.sample(1000, conditions={"group": group})
        assert set(made["group"]) == {group}
        followed = made.groupby("id")["state"].shift(-1)
        found = pd.crosstab(made["state"], followed, normalize="index").to_numpy()
        assert np.abs(found - wanted).max() < 0.11
    lengths = model.sample(2000).groupby("id").size()
    assert lengths.between(3, 14).all() and abs(lengths.mean() - 8.5) < 0.5


def test_numbers_keep_their_distance_from_each_other() -> None:
    """Walks over a wide range whose second number is a little above the first: bins of the level would lose that."""
    rng = np.random.default_rng(2)
    low = 100 + rng.normal(0, 30, (300, 1)) + rng.normal(0, 0.5, (300, 15)).cumsum(1)
    bars = np.stack([low, low + rng.uniform(0.1, 0.6, low.shape)], 2)
    made = AutoregressiveSequences(epochs=10, **SMALL).fit(bars).sample(300)
    gap = np.diff(made, axis=2)
    assert (gap > 0).mean() > 0.97 and abs(gap.mean() - 0.35) < 0.05
    assert 0.8 < np.diff(made, axis=1).std() / np.diff(bars, axis=1).std() < 1.25
    assert 0.85 < made.std() / bars.std() < 1.15


def test_whole_entities_are_held_back_and_training_ends_early() -> None:
    rng = np.random.default_rng(4)
    walks = [
        pd.DataFrame({"share": f"S{i}", "close": rng.normal(size=40).cumsum(), "up": rng.choice(["y", "n"], 40)})
        for i in range(30)
    ]
    frame = pd.concat(walks, ignore_index=True)
    parameters = {**QUICK, "epochs": 60, "patience": 1, "validation_share": 0.2, "learning_rate": 0.1}
    model = AutoregressiveSequences(sequence_key="share", sequence_length=10, **parameters).fit(frame)
    assert len(model.history_) < 60 and all("validation" in entry for entry in model.history_)
    made = model.sample()
    assert (made.groupby("share").size() == 10).all()


def test_temperature_makes_rows_more_typical(of_visits: AutoregressiveSequences) -> None:
    usual = of_visits.sample(200, seed=1)["drug"].value_counts(normalize=True)
    of_visits.temperature = 0.05
    try:
        typical = of_visits.sample(200, seed=1)["drug"].value_counts(normalize=True)
    finally:
        of_visits.temperature = 1.0
    assert typical.max() > usual.max() + 0.1
    pd.testing.assert_series_equal(of_visits.sample(200, seed=1)["drug"].value_counts(normalize=True), usual)


def test_sequences_of_one_row(visits: pd.DataFrame) -> None:
    frame = visits.drop_duplicates("patient")
    made = AutoregressiveSequences(sequence_key="patient", **QUICK).fit(frame).sample(30)
    assert len(made) == 30 and made["patient"].nunique() == 30


@pytest.mark.statistical
def test_within_a_budget_it_learns_how_steps_hang_together() -> None:
    """Waves of two features at epsilon 3: autocorrelations differ by less than a third of what independent steps show.

    Noise is fresh; in three fits the difference was .055, .063 and .074, of .50.
    """
    rng = np.random.default_rng(0)
    phase, height = rng.uniform(0, 2 * np.pi, (1500, 1, 1)), rng.uniform(0.5, 1, (1500, 1, 2))
    waves = 10 + height * np.sin(np.arange(12)[None, :, None] / 2 + phase)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # delta over the noised number of sequences
        model = AutoregressiveSequences(epsilon=3.0, delta=1e-5, verbose=False).fit(waves)
    made, shuffled = model.sample(1000, seed=0), rng.permuted(waves, axis=1)
    real, learned, independent = (autocorrelations(pair_arrays(waves, x)[1], 3) for x in (waves, made, shuffled))
    assert np.abs(learned - real).mean() < 0.3 * np.abs(independent - real).mean()
    assert abs(made.mean() - waves.mean()) < 0.1 and 0.8 < made.std() / waves.std() < 1.2
