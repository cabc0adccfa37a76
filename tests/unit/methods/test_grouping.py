"""Columns of many values: grouped by what they predict, drawn within groups, conditioned exactly, kept in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth import AutoregressiveSynthesizer, BayesianNetworkSynthesizer, SequentialTrees, load_synthetic_model
from raysynth.errors import ModelFileError
from raysynth.methods.shared.grouping import Grouping

N_SHOPS = 1_500


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    """24,000 rows of 1,500 shops, more than have codes by default; which shop it is explains .8 of the price."""
    rng = np.random.default_rng(0)
    level = rng.choice(np.linspace(-2, 2, 9), N_SHOPS)
    shop = rng.choice(N_SHOPS, 24_000, p=rng.dirichlet(np.full(N_SHOPS, 8.0)))
    price = level[shop] + rng.standard_normal(24_000) * level.std() / 2
    return pd.DataFrame({"shop": [f"s{k}" for k in shop], "price": price, "kind": np.where(price > 0, "dear", "cheap")})


def explained(rows: pd.DataFrame, sales: pd.DataFrame) -> float:
    """Share of the price's variance that the shop's mean price in the real rows explains."""
    means = sales.groupby("shop")["price"].mean()
    return float(np.corrcoef(rows["shop"].map(means).fillna(0.0), rows["price"])[0, 1] ** 2)


@pytest.mark.parametrize("method", [BayesianNetworkSynthesizer, SequentialTrees])
def test_what_a_key_of_many_values_explains_is_kept(
    method: type, sales: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(sales, sales) > 0.78
    model = method(seed=0).fit(sales)
    assert "'shop' (1," in (said := capsys.readouterr().out) and "what they predict" in said
    rows = model.sample(6_000, seed=1)
    assert explained(rows, sales) > 0.65
    shares = (f["shop"].value_counts(normalize=True).reindex(sales["shop"].unique()).fillna(0) for f in (sales, rows))
    real, made = shares
    assert np.abs(real - made).sum() < 2.2 * np.sqrt(N_SHOPS / 6_000) * 0.6 and rows["shop"].nunique() > 1_200
    model.save(tmp_path / "model.zip")
    again = load_synthetic_model(tmp_path / "model.zip")
    pd.testing.assert_frame_equal(again.sample(500, seed=3), model.sample(500, seed=3))
    np.testing.assert_allclose(again.log_prob(sales.head(50)), model.log_prob(sales.head(50)))
    shuffled = sales.head(200).assign(price=sales["price"].to_numpy()[199::-1])
    assert model.log_prob(sales.head(200)).mean() > model.log_prob(shuffled).mean() + 0.5
    if method is SequentialTrees:  # completes rows of known shops
        codes = model.encoder_.encode(pa.table(sales.head(2_000))).codes_NC
        completed = model._generator().generate_given(codes, [model.model_.order[0]], np.random.default_rng(0))
        first = model.model_.order[0]
        np.testing.assert_array_equal(completed[:, first], codes[:, first])
        assert (completed != codes).any()
    assert set(model.sample(40, conditions={"shop": ["s3", "s17"]}, seed=2)["shop"]) <= {"s3", "s17"}


def test_the_any_order_network_learns_groups_and_completes_rows_by_values(sales: pd.DataFrame, tmp_path: Path) -> None:
    model = AutoregressiveSynthesizer(seed=0, verbose=False, epochs=4).fit(sales)
    assert model.grouping_ is not None and model.sampler_.layout.cardinalities[0] < 40
    assert explained(model.sample(6_000, seed=1), sales) > 0.6
    model.save(tmp_path / "model.zip")
    again = load_synthetic_model(tmp_path / "model.zip")
    pd.testing.assert_frame_equal(again.sample(300, seed=3), model.sample(300, seed=3))
    holes = sales.head(300).copy()
    holes.loc[:149, "shop"] = None
    filled, sure = model.impute(holes, seed=0, confidence=True)
    assert (filled["shop"][150:] == holes["shop"][150:]).all() and filled["shop"][:150].isin(sales["shop"]).all()
    assert (sure["shop"][:150] < 0.2).all() and sure["shop"][150:].isna().all()
    best = model.impute(holes, how="best")
    level = sales.groupby("shop")["price"].mean()
    assert best["shop"][:150].map(level).corr(sales["price"][:150]) > 0.7
    shuffled = sales.head(300).assign(price=sales["price"].to_numpy()[299::-1])
    assert model.log_prob(sales.head(300))["log_prob"].mean() > model.log_prob(shuffled)["log_prob"].mean() + 0.3


@pytest.mark.statistical
def test_values_are_drawn_by_their_shares_within_groups_and_by_the_evidence() -> None:
    """Shares of 30,000 draws are within .02 of theirs: a false alarm in fewer than 1 of 10^6 seeds."""
    shares = np.array([0.3, 0.1, 0.2, 0.0, 0.3, 0.1])
    grouping = Grouping((np.array([0, 0, 1, 1, 1, 2]), None), (shares, None))
    codes_NC = np.repeat(np.array([[0, 7], [1, 8], [2, 9]], np.uint16), 30_000, axis=0)
    rng = np.random.default_rng(0)
    drawn = grouping.values(codes_NC, rng)
    found = [np.bincount(part, minlength=6) / 30_000 for part in np.split(drawn[:, 0], 3)]
    np.testing.assert_allclose(found, [[0.75, 0.25, 0, 0, 0, 0], [0, 0, 0.4, 0, 0.6, 0], [0, 0, 0, 0, 0, 1]], atol=0.02)
    np.testing.assert_array_equal(drawn[:, 1], codes_NC[:, 1])
    np.testing.assert_array_equal(grouping.codes(drawn), codes_NC)
    evidence = {0: np.array([1.0, 1.0, 0.5, 0.0, 0.0, 0.0])}
    np.testing.assert_allclose(grouping.weights(evidence)[0], [1.0, 0.2, 0.0])
    assert set(grouping.values(codes_NC[30_000:60_000], rng, evidence)[:, 0]) == {2}
    within = grouping.log_prob_within(drawn[:1])
    np.testing.assert_allclose(np.exp(within), [0.75 if drawn[0, 0] == 0 else 0.25])


def test_groups_that_do_not_fit_the_encoder_are_refused(sales: pd.DataFrame) -> None:
    model = BayesianNetworkSynthesizer(seed=0, verbose=False, restarts=0).fit(sales.head(6_000))
    assert model.grouping_ is not None
    groups = model.grouping_.to_arrays()
    for bad in (groups["group.0"][:-1], groups["group.0"] * 2, np.zeros_like(groups["group.0"])):
        with pytest.raises(ModelFileError, match="shop"):
            Grouping.from_arrays(model.encoder_, {"group.0": bad})


def test_columns_with_rows_enough_are_not_grouped() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": [f"v{k}" for k in rng.integers(0, 40, 3_000)], "b": rng.integers(0, 3, 3_000)})
    assert BayesianNetworkSynthesizer(seed=0, verbose=False).fit(table).grouping_ is None
