"""Intervals of released figures hold the table's own as often as they say, by repeated releases of one table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from raysynth import BayesianNetworkSynthesizer, GaussianCopula, load_synthetic_model, released_intervals
from raysynth.data.table import as_table
from raysynth.dp import InsecureSeededNoise, PrivacyBudget, PrivacyScope
from raysynth.dp.mechanisms.histogram import LevelCounts, exact_levels, unbiased_mean
from raysynth.encoding.table_encoder import build_encoder
from raysynth.errors import ParameterError
from raysynth.fitting.released_intervals import intervals_of
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.noised import release_statistics

SCHEMA = TableSchema(
    (
        ColumnSchema("sort", Kind.CATEGORICAL, "string", categories=("x", "y", "z")),
        ColumnSchema("level", Kind.CONTINUOUS, "int64", bounds=(0, 9), decimals=0),
    )
)
REPEATED = 300


def rows(n: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sort = rng.choice(["x", "y", "z"], n, p=[0.5, 0.4, 0.1])
    return pd.DataFrame({"sort": pd.Series(sort).mask(rng.random(n) < 0.1), "level": rng.binomial(9, 0.5, n)})


@pytest.mark.statistical
def test_intervals_cover_the_table_s_own_figures() -> None:
    """300 releases, level .95: each figure's coverage is at least .92, and all together at most .995.

    By chance one of the ten figures is below: 300 draws of .95 give fewer than 276 with probability .014; the seed is
    fixed.
    """
    data = rows()
    table, n = as_table(data), len(data)
    truth: dict[tuple[str, str, object], float] = {("", "rows", None): n}
    for value in ("x", "y", "z", None):
        count = int(data["sort"].isna().sum() if value is None else (data["sort"] == value).sum())
        truth |= {("sort", "rows", value): count, ("sort", "share", value): count / n}
    truth["level", "mean", None] = float(data["level"].mean())
    covered = dict.fromkeys(truth, 0)
    for i in range(REPEATED):
        scope = PrivacyScope(PrivacyBudget(1.0, 1e-5), noise=InsecureSeededNoise(i))
        found = release_statistics(table, SCHEMA, scope, share=scope.preprocessing_share)
        encoder = build_encoder(SCHEMA, found.columns, numeric="bins", n_bins=10)
        for one in intervals_of(encoder, scope.ledger, found.n_rows, 0.95):
            key = (one.column, one.figure, one.value)
            if key in truth:
                covered[key] += one.low <= truth[key] <= one.high
                assert one.figure == "mean" or one.low <= one.estimate <= one.high
    shares = {key: hits / REPEATED for key, hits in covered.items()}
    assert min(shares.values()) >= 0.92, shares
    assert np.mean(list(shares.values())) <= 0.995, "they are no wider than the noise asks for"
    assert stats.binom.cdf(275, REPEATED, 0.95) < 0.015


@pytest.mark.statistical
@pytest.mark.parametrize(("largest", "digits"), [(99, None), (9_999, None), (99, 2)])
def test_a_mean_in_a_range_that_is_mostly_empty_is_covered(largest: int, digits: int | None) -> None:
    """Numbers below 25 in a range of 100, or of 10,000 values: noise that stays where nothing is pulls a model's mean.

    Of 120 releases at level .95 fewer than 104, or all, hold the mean with probability .0005 and .002; seeds are fixed.
    """
    x = np.random.default_rng(5).gamma(2, 3, 20_000).round(digits or 0).clip(0, 99)
    kind = "double" if digits else "int64"
    column = ColumnSchema("x", Kind.CONTINUOUS, kind, bounds=(0, largest), decimals=digits or 0, nullable=False)
    schema, table, held = TableSchema((column,)), as_table(pd.DataFrame({"x": x.astype(kind)})), 0
    for i in range(120):
        scope = PrivacyScope(PrivacyBudget(0.3, 1e-5), noise=InsecureSeededNoise(i))
        found = release_statistics(table, schema, scope, share=scope.preprocessing_share)
        encoder = build_encoder(schema, found.columns, numeric="bins", n_bins=10)
        mean = next(one for one in intervals_of(encoder, scope.ledger, found.n_rows, 0.95) if one.figure == "mean")
        held += mean.low - mean.within_cells <= x.mean() <= mean.high + mean.within_cells
    assert 104 <= held < 120


@pytest.mark.statistical
def test_a_model_says_its_intervals_and_its_file_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    """False alarm: about 1e-5, of an interval that has the real mean but for so many draws of noise."""
    real = rows(800)
    model = GaussianCopula(epsilon=1.0, delta=1e-5, schema=SCHEMA, verbose=False).fit(real)
    frame = released_intervals(model)
    assert set(frame["figure"]) == {"rows", "share", "mean"} and set(frame["column"]) == {"", "sort", "level"}
    wide = released_intervals(model, level=0.99)
    width = (wide["high"] - wide["low"]) - (frame["high"] - frame["low"])
    assert (width >= 0).all() and width.sum() > 0
    mean = frame[frame["figure"] == "mean"].iloc[0]
    sure = released_intervals(model, level=1 - 1e-5)
    low, high = sure[sure["figure"] == "mean"].iloc[0][["low", "high"]]
    assert mean["within_cells"] >= 0 and low < real["level"].mean() < high
    path = tmp_path_factory.mktemp("model") / "m"
    model.save(path)
    pd.testing.assert_frame_equal(released_intervals(load_synthetic_model(path)), frame)


@pytest.mark.statistical
@pytest.mark.parametrize("n", [9, 128, 129, 5000, 65_540])
def test_the_noise_of_a_mean_is_that_of_repeated_draws(n: int) -> None:
    """Its standard deviation and bias over 300 draws, for one to four levels, the last node of each with few children.

    False alarm: 4 standard errors, about 1e-4.
    """
    rng = np.random.default_rng(n)
    leaves, values, sigma = rng.poisson(0.3, n) * (np.arange(n) < n // 3 + 1), np.sort(rng.normal(5, 2, n)), 3.0
    exact, total = exact_levels(leaves), float(leaves.sum())

    def noised() -> list[LevelCounts]:
        return [LevelCounts(k + rng.normal(0, sigma, len(k)), sigma) for k in exact]

    drawn = np.array([unbiased_mean(noised(), values, total)[0] for _ in range(300)])
    _, stated, _ = unbiased_mean(noised(), values, total)
    assert abs(drawn.std(ddof=1) / stated - 1) < 4 / 600**0.5
    assert abs(drawn.mean() - leaves @ values / total) < 4 * stated / 300**0.5
    own, _, per_row = unbiased_mean([LevelCounts(k, sigma) for k in exact], values, total)
    off, _, _ = unbiased_mean([LevelCounts(k, sigma) for k in exact], values, total + 0.01)
    assert own == pytest.approx(leaves @ values / total)
    assert abs(off - own) == pytest.approx(abs(per_row) * 0.01, rel=1e-2)


def test_what_has_no_noise_has_no_intervals() -> None:
    model = BayesianNetworkSynthesizer(verbose=False).fit(rows(100))
    with pytest.raises(ParameterError, match="fitted with epsilon"):
        released_intervals(model)
    private = GaussianCopula(epsilon=1.0, schema=SCHEMA, verbose=False).fit(rows(100))
    with pytest.raises(ParameterError, match="between 0 and 1"):
        released_intervals(private, level=95)
