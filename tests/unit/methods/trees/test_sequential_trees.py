"""SequentialTrees as a user meets it: relations that stay, conditions, files, likelihoods, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysynth import SequentialTrees, load_synthetic_model
from raysynth.errors import ConditionError, ModelFileError, ParameterError
from raysynth.files.model_file import read_model, write_model


def made(n: int = 3000) -> pd.DataFrame:
    """A table of every kind, with missing cells, an equal pair of columns and a sum of two others."""
    rng = np.random.default_rng(1)
    hour = rng.integers(0, 24, n)
    few, many = rng.poisson(2 + hour / 4), rng.poisson(40 + 30 * np.sin(hour / 4))
    town = np.where(hour < 8, "night", rng.choice(["north", "south"], n))
    income = np.where(rng.random(n) < 0.2, np.nan, np.exp(rng.normal(8 + (town == "north"), 0.5)).round(2))
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D")
    return pd.DataFrame(
        {
            "hour": hour,
            "hour_again": hour,
            "few": few,
            "many": many,
            "all": few + many,
            "town": town,
            "income": income,
            "day": day,
            "paid": rng.random(n) < np.where(np.isnan(income), 0.9, 0.3),
            "version": 3,
        }
    )


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    return made()


@pytest.fixture(scope="module")
def model(real: pd.DataFrame) -> SequentialTrees:
    return SequentialTrees(seed=1, verbose=False).fit(real)


@pytest.fixture(scope="module")
def rows(model: SequentialTrees) -> pd.DataFrame:
    return model.sample(6000, seed=2)


def test_columns_kinds_and_constants_stay(real: pd.DataFrame, rows: pd.DataFrame) -> None:
    assert rows.dtypes.to_dict() == real.dtypes.to_dict()
    assert (rows.version == 3).all() and set(rows.town) == set(real.town)


@pytest.mark.statistical
def test_relations_stay(real: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Standard errors of the shares are below .01; a table without relations fails each by ten times the bound."""
    assert (rows.hour == rows.hour_again).mean() > 0.95
    assert ((rows.town == "night") == (rows.hour < 8)).mean() > 0.95
    assert (rows["all"] - rows.few - rows.many).abs().median() <= 4
    for gone in (True, False):
        shares = [t.paid[t.income.isna() == gone].mean() for t in (real, rows)]
        assert shares[0] == pytest.approx(shares[1], abs=0.05)
    assert rows.income.isna().mean() == pytest.approx(real.income.isna().mean(), abs=0.03)


@pytest.mark.statistical
def test_conditions_are_exact(model: SequentialTrees, rows: pd.DataFrame) -> None:
    """Chi-square of hours under a condition against the rows that meet it by chance; false alarm 1e-4."""
    from scipy.stats import chi2_contingency

    asked = model.sample(2000, {"town": "north", "few": (4, 9)}, seed=3)
    assert (asked.town == "north").all() and asked.few.between(4, 9).all()
    by_chance = model.sample(20_000, seed=4).query("town == 'north' and 4 <= few <= 9")
    counts = [np.bincount(t.hour // 4, minlength=6) for t in (asked, by_chance)]
    table = np.stack(counts)[:, np.sum(counts, 0) >= 10]
    assert chi2_contingency(table).pvalue > 1e-4


def test_first_column_is_conditioned_without_rejection(real: pd.DataFrame) -> None:
    model = SequentialTrees(seed=1, verbose=False, order=["day"], n_trees=2).fit(real)
    assert model.order_[0] == "day"
    asked = model.sample(300, {"day": (pd.Timestamp("2024-02-01"), pd.Timestamp("2024-02-02"))}, seed=1)
    assert set(asked.day.dt.day) <= {1, 2} and set(asked.day.dt.month) == {2}


def test_what_no_row_meets_says_so(model: SequentialTrees) -> None:
    with pytest.raises(ConditionError, match="'hour', 'hour_again'"):
        model.sample(50, {"hour": 3, "hour_again": 20})


def test_a_file_gives_the_same_rows(model: SequentialTrees, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = load_synthetic_model(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.sample(500, seed=5), model.sample(500, seed=5))
    assert isinstance(loaded, SequentialTrees) and loaded.order_ == model.order_


def test_a_file_of_before_draws_each_row_by_itself(model: SequentialTrees, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    content = read_model(tmp_path / "model")
    assert content.meta["model"].pop("even") is True
    write_model(tmp_path / "before", content)
    loaded = load_synthetic_model(tmp_path / "before")
    assert isinstance(loaded, SequentialTrees) and not loaded.model_.even
    assert not loaded.sample(50, seed=5).equals(model.sample(50, seed=5))


@pytest.mark.parametrize("name", ["left", "start", "stop", "codes", "feature", "keep", "roots"])
def test_a_hostile_file_is_refused(model: SequentialTrees, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "model")
    content = read_model(tmp_path / "model")
    last = len(model.order_) - 1
    array = content.arrays[f"model.{last}.{name}"].copy()
    array[0 if name == "left" else len(array) // 2] = array.max() + 7 if name != "keep" else 2.0  # a root splits
    content.arrays[f"model.{last}.{name}"] = array
    write_model(tmp_path / "bad", content)
    with pytest.raises(ModelFileError, match="trees are inconsistent"):
        load_synthetic_model(tmp_path / "bad")


def test_log_prob_prefers_real_rows(model: SequentialTrees, real: pd.DataFrame) -> None:
    held_out = made(6000)[3000:]
    rng = np.random.default_rng(1)
    shuffled = held_out.apply(lambda c: c.iloc[rng.permutation(len(c))].to_numpy())
    assert model.log_prob(held_out).mean() > model.log_prob(shuffled).mean() + 3


@pytest.mark.statistical
def test_larger_tables_are_learned_from_a_sample(real: pd.DataFrame) -> None:
    model = SequentialTrees(seed=1, verbose=False, max_rows=1000, n_trees=2).fit(real)
    entries = len(model.model_.forests[0].codes) / 2
    assert 850 < entries < 1150  # binomial, five standard deviations
    assert model.n_rows_ == len(real)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_trees": 0}, "n_trees"),
        ({"leaf_rows": 1.5}, "leaf_rows"),
        ({"bag_share": 1.0}, "bag_share"),
        ({"order": ["hour", "hour"]}, "twice"),
        ({"order": ["nowhere"]}, "'nowhere'"),
        ({"epsilon": 1.0}, "differential privacy"),
    ],
)
def test_what_is_refused(real: pd.DataFrame, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        SequentialTrees(seed=1, verbose=False, **wrong).fit(real[:200])


def test_values_with_as_many_rows_as_a_leaf_are_learned_as_they_are() -> None:
    """Each country has its own level, which groups of countries would blur."""
    rng = np.random.default_rng(2)
    country = np.repeat(np.arange(90), 50)
    level = rng.normal(0, 10, 90)
    real = pd.DataFrame(
        {"country": [f"c{c:02d}" for c in country], "x": (level[country] + rng.normal(0, 1, 4_500)).round(2)}
    )
    model = SequentialTrees(seed=0, verbose=False).fit(real)
    made = model.sample(4_500, seed=1)
    assert model.grouping_ is None and SequentialTrees(seed=0, verbose=False).fit(real[::2]).grouping_ is not None
    means = real.groupby("country").x.mean()
    assert np.corrcoef(made.country.map(means), made.x)[0, 1] ** 2 > 0.95
