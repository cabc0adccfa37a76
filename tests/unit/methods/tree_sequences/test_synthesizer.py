"""TreeSequences recovers what holds along a sequence; what it takes and gives: `sequences/test_synthesizer.py`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth import TreeSequences

QUIET = {"seed": 0, "verbose": False}


def test_autocorrelation_of_a_series_is_recovered() -> None:
    """x_t = 0.8 x_{t-1} + e_t from its stationary law: autocorrelation 0.8^k at every lag, variance 1 / (1 - 0.64).

    600 real and 1,500 made series of 20 steps: the standard error of a lag's correlation is 0.02, the bound 4 of them.
    """
    rng = np.random.default_rng(0)
    x = np.empty((600, 20, 1))
    x[:, 0] = rng.normal(0, 1 / 0.6, (600, 1))
    for t in range(1, 20):
        x[:, t] = 0.8 * x[:, t - 1] + rng.normal(0, 1, (600, 1))
    made = TreeSequences(**QUIET).fit(x).sample(1500)
    assert abs(made.mean()) < 0.25 and abs(made.std() * 0.6 - 1) < 0.1
    for lag in (1, 2, 5):
        found = np.corrcoef(made[:, lag:].ravel(), made[:, :-lag].ravel())[0, 1]
        assert abs(found - 0.8**lag) < 0.08
    assert abs(made[:, 0].std() * 0.6 - 1) < 0.15  # the first step has the stationary law too


@pytest.fixture(scope="module")
def shifts() -> pd.DataFrame:
    """Wards of two kinds: a state follows the last one by the kind's matrix; a level moves by whole steps of 0.25,
    stays in two rows of five, is 0 in one of four, and missing in one of ten."""
    rng = np.random.default_rng(1)
    matrices = {"calm": [[0.9, 0.1], [0.5, 0.5]], "wild": [[0.2, 0.8], [0.9, 0.1]]}
    rows = []
    for ward in range(300):
        kind, state, level = (
            str(rng.choice(["calm", "wild"])),
            int(rng.integers(0, 2)),
            float(rng.integers(80, 120)) / 4,
        )
        for t in range(int(rng.integers(3, 12))):
            shown = [np.nan, 0.0, level][rng.choice(3, p=[0.1, 0.25, 0.65])]
            rows.append((ward, kind, t, "ab"[state], shown))
            state = int(rng.choice(2, p=matrices[kind][state]))
            level += 0.25 * int(rng.choice([0, 0, 1, -1, 2]))
    return pd.DataFrame(rows, columns=["ward", "kind", "t", "state", "level"])


@pytest.fixture(scope="module")
def of_shifts(shifts: pd.DataFrame) -> TreeSequences:
    return TreeSequences(sequence_key="ward", time_column="t", **QUIET).fit(shifts)


def test_states_follow_one_another_as_the_context_says(shifts: pd.DataFrame, of_shifts: TreeSequences) -> None:
    made = of_shifts.sample(1500, seed=2)
    for kind in ("calm", "wild"):
        found = []
        for rows in (shifts, made):
            own = rows[rows["kind"] == kind]
            found.append(
                pd.crosstab(own["state"], own.groupby("ward")["state"].shift(-1), normalize="index").to_numpy()
            )
        assert np.abs(found[0] - found[1]).max() < 0.06


def test_numbers_keep_their_grid_their_spikes_and_their_gaps(shifts: pd.DataFrame, of_shifts: TreeSequences) -> None:
    made = of_shifts.sample(1500, seed=2)["level"]
    assert (made.dropna() * 4 % 1 == 0).all() and made.dropna().isin(shifts["level"]).mean() > 0.98
    assert abs(made.isna().mean() - 0.1) < 0.03 and abs((made == 0).mean() - 0.25) < 0.04


def test_a_number_stays_as_it_is_as_often_as_it_does() -> None:
    """Levels that stay in two rows of five: a sum with what a prediction leaves would stay more or less often."""
    rng = np.random.default_rng(3)
    walks = 20 + 0.5 * rng.choice([0, 0, 1, -1, 3], (250, 15, 1)).cumsum(1)
    made = TreeSequences(**QUIET).fit(walks).sample(500)
    stays = [(np.diff(x, axis=1) == 0).mean() for x in (walks, made)]
    assert abs(stays[0] - stays[1]) < 0.03


def test_numbers_keep_their_distance_from_each_other() -> None:
    """Walks over a wide range whose second number is a little above the first: cells of the level would lose that."""
    rng = np.random.default_rng(2)
    low = 100 + rng.normal(0, 30, (300, 1)) + rng.normal(0, 0.5, (300, 15)).cumsum(1)
    bars = np.stack([low, low + rng.uniform(0.1, 0.6, low.shape)], 2)
    made = TreeSequences(**QUIET).fit(bars).sample(300)
    gap = np.diff(made, axis=2)
    assert (gap > 0).mean() > 0.97 and abs(gap.mean() - 0.35) < 0.05
    assert 0.8 < np.diff(made, axis=1).std() / np.diff(bars, axis=1).std() < 1.25
    assert 0.85 < made.std() / bars.std() < 1.15


def test_every_leaf_holds_enough_rows_and_none_is_drawn_from_that_few_sequences_stand_behind(
    of_shifts: TreeSequences,
) -> None:
    grown = 0
    for part in (of_shifts.sampler_.first, of_shifts.sampler_.later):
        for (role, _), forest in zip(part.table.sources, part.forests, strict=True):
            if role in ("code", "kind", "change"):
                leaf = forest.feature < 0
                assert (forest.stop - forest.start)[leaf].min() >= 20, role
                grown += int(leaf.sum()) > len(forest.roots)
    assert grown >= 4


def test_sequences_of_one_row(shifts: pd.DataFrame) -> None:
    made = TreeSequences(sequence_key="ward", **QUIET).fit(shifts.drop_duplicates("ward")).sample(30)
    assert len(made) == 30 and made["ward"].nunique() == 30
