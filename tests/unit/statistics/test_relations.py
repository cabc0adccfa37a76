"""Relations between columns: found where all rows keep them, not where chance does; exceptions are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from outcome import value_of

import raysynth as rs
from raysynth.comparison.pairing import pair_tables
from raysynth.constraints import Expression, FixedCombinations, Inequality
from raysynth.data.table import as_table
from raysynth.errors import ParameterError
from raysynth.evaluation.evaluate import compare_tables
from raysynth.statistics.findings import find
from raysynth.statistics.numeric_relations import FEWEST, _fill, _hits
from raysynth.statistics.relations import Relation

N = 1_500


def table(seed: int) -> pd.DataFrame:
    """Parts and totals in cents, amounts, times, areas in regions, a follow-up that only some have."""
    rng = np.random.default_rng(seed)
    area = rng.integers(0, 30, N)
    data = pd.DataFrame({name: rng.lognormal(2, 1, N).round(2) for name in ("rent", "food", "fuel", "rest")})
    data["all costs"] = (data.rent + data.food + data.fuel + data.rest).round(2)
    data["items"], data["each"] = rng.integers(1, 9, N), rng.integers(2, 60, N)
    data["paid"] = data["items"] * data.each
    data["low"] = rng.normal(50, 9, N).round(1)
    data["high"] = (data.low + rng.gamma(2, 4, N)).round(1)
    data["born"] = rng.integers(1940, 2000, N)
    data["full_age"] = data.born + 18
    data["until 2060"] = 2060 - data.born
    data["begin"] = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 400, N), unit="D")
    data["end"] = data.begin + pd.to_timedelta(rng.integers(0, 60, N), unit="D")
    data["area"] = [f"area {i}" for i in area]
    data["region"] = [f"region {i // 6}" for i in area]
    data["code"] = area // 6 + 10
    data["moved"] = rng.choice(["yes", "no"], N)
    data["since"] = pd.Series(rng.integers(1, 200, N).astype(float)).where(data.moved == "yes")
    data.loc[rng.random(N) < 0.1, "food"] = np.nan
    data.loc[data.food.isna(), "all costs"] = np.nan
    return data


def rules(data: pd.DataFrame) -> dict[str, Relation]:
    found = find(as_table(data)).rules
    return {str(r.constraint): r for r in found}


@pytest.mark.parametrize("seed", [1, 2])
def test_what_all_rows_keep_is_found(seed: int) -> None:
    found = rules(table(seed))
    expected = [
        Expression("col('all costs') == rent + food + fuel + rest"),
        Expression("paid == items * each"),
        Expression("full_age == born + 18"),
        Expression("col('until 2060') == 2060 - born"),
        Inequality("low", "high"),
        Inequality("begin", "end"),
        FixedCombinations(("area", "region", "code")),
        Expression("moved != 'no' or isnull(since)"),
    ]
    assert {str(c) for c in expected} <= set(found)
    assert all(r.exceptions == 0 for r in found.values())
    assert found[str(expected[0])].rows == table(seed)["all costs"].notna().sum()
    assert len(found) <= len(expected) + 3  # low < high of other kinds may hold, too; nothing of independent columns


@pytest.mark.statistical
@pytest.mark.parametrize("seed", range(10))
def test_independent_columns_have_no_rules(seed: int) -> None:
    """A false rule has at least 20 rows that would each break it with a chance of a half or more: below 1e-6 a pair."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({f"x{i}": rng.normal(i, 2, 400).round(1) for i in range(8)})
    data["n"], data["m"], data["k"] = rng.poisson(1, 400), rng.poisson(2, 400), rng.integers(0, 2, 400)
    data["a"], data["b"] = (
        rng.choice(list("uvw"), 400, p=[0.9, 0.05, 0.05]),
        rng.choice(["x", "y"], 400, p=[0.95, 0.05]),
    )
    assert rules(data) == {}


def test_exceptions_are_counted_and_never_switched_on() -> None:
    data = table(3)
    data.loc[[4, 700], "high"] = 0.0
    data.loc[9, "region"] = "region 0" if data.region[9] != "region 0" else "region 1"
    found = rules(data)
    order, areas = Inequality("low", "high"), FixedCombinations(("area", "region", "code"), beside=True)
    assert found[str(order)].exceptions == 2 and found[str(areas)].exceptions == 1
    kept = find(as_table(data)).with_rules().constraints
    assert order not in kept and areas not in kept and Inequality("begin", "end") in kept


@pytest.mark.parametrize("method", [rs.GaussianCopula, rs.BayesianNetworkSynthesizer])
def test_rules_auto_keeps_them_in_every_row(method: type, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(4)
    made = value_of(lambda: method(seed=1, rules="auto").fit(data).sample(800, seed=2))
    printed = capsys.readouterr().out
    assert "rule kept: 'paid' is 'items' * 'each'" in printed and "rule found: 'since' is missing" in printed
    assert (made["until 2060"] + made.born == 2060).all()
    assert (made.paid == made["items"] * made.each).all() and (made.end >= made.begin).all()
    parts = (made.rent + made.food + made.fuel + made["rest"]).round(2)
    assert np.allclose(parts[parts.notna()], made["all costs"][parts.notna()], atol=1e-9)
    assert made["all costs"].dropna().map(lambda v: len(str(v).split(".")[1]) <= 2).all()
    assert (made.low <= made.high).all()
    assert made.paid.between(data.paid.min(), data.paid.max()).all() and made.high.max() <= data.high.max()
    assert not len(
        made[["area", "region", "code"]]
        .drop_duplicates()
        .merge(data, how="left", indicator=True)
        .query("_merge == 'left_only'")
    )
    assert abs(made["all costs"].isna().mean() - data["all costs"].isna().mean()) < 0.05


def stays(seed: int) -> pd.DataFrame:
    """Days and times that others and a number make; the number of days is missing in some rows."""
    rng = np.random.default_rng(seed)
    came = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 700, N), unit="D"))
    stay = pd.Series(rng.integers(0, 30, N)).astype("Int64").mask(rng.random(N) < 0.1)
    ride = pd.Series(pd.Timestamp("2021-03-01 06:00") + pd.to_timedelta(rng.integers(0, 99_999, N), unit="min"))
    data = pd.DataFrame({"came": came, "stay days": stay, "begun": ride, "minutes": rng.integers(5, 300, N)})
    data["left"] = came + pd.to_timedelta(stay.astype("float"), unit="D")
    data["bill"] = came + pd.Timedelta(days=30)
    data["ended"] = ride + pd.to_timedelta(data.minutes, unit="min")
    return data


@pytest.mark.parametrize("method", [rs.GaussianCopula, rs.BayesianNetworkSynthesizer, rs.SequentialTrees])
def test_spans_between_times_are_found_and_kept_in_every_row(method: type, tmp_path: Path) -> None:
    data = stays(3)
    expected = [
        Expression("left == came + days(col('stay days'))"),
        Expression("bill == came + days(30)"),
        Expression("ended == begun + minutes(minutes)"),
    ]
    assert set(map(str, expected)) <= set(rules(data))
    method(seed=1, rules="auto", verbose=False).fit(data).save(tmp_path / "m")
    model = rs.load_synthetic_model(tmp_path / "m")
    asked = [
        model.sample(500, seed=2),
        model.sample(60, {"left": ("2020-06-01", "2020-09-01")}, seed=3),
        model.sample(conditions=data[["came", "minutes"]].head(40), seed=4),
    ]
    for made in asked:
        days, known = made["stay days"].astype("float"), made["stay days"].notna()
        assert (made.left == made.came + pd.to_timedelta(days, unit="D"))[known].all() and made.left[
            ~known
        ].isna().all()
        assert (made.bill == made.came + pd.Timedelta(days=30)).all()
        assert (made.ended == made.begun + pd.to_timedelta(made.minutes, unit="min")).all()
    assert abs(asked[0].left.isna().mean() - data.left.isna().mean()) < 0.06
    assert asked[1].left.between("2020-06-01", "2020-09-01").all()


@pytest.mark.parametrize("form", ["dates", "text"])
def test_parts_of_a_date_beside_it_are_found_and_kept_in_every_row(form: str, tmp_path: Path) -> None:
    """Year, a number and the year, month, weekday (from Sunday, 1), hour; what only looks like a month is none."""
    rng = np.random.default_rng(8)
    sold = pd.Series(pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 24 * 1500, N), unit="h"))
    data = pd.DataFrame({"sold": sold, "Year": sold.dt.year, "month": sold.dt.month, "hr": sold.dt.hour})
    data["dow"] = (sold.dt.weekday + 1) % 7 + 1
    data["age"], data["fiscal"] = 2026 - sold.dt.year, sold.dt.year + 1
    data["shop"] = rng.integers(1, 13, N)
    data.loc[rng.random(N) < 0.1, "month"] = None
    source: Path | pd.DataFrame = data
    if form == "text":
        source = tmp_path / "sold.csv"
        data.assign(sold=sold.dt.strftime("%d/%m/%Y %H:%M")).to_csv(source, index=False)
    found = {str(r.constraint) for r in find(as_table(source)).rules}
    wanted = ["Year == year(sold)", "month == month(sold)", "hr == hour(sold)", "dow == (weekday(sold) + 1) % 7 + 1"]
    wanted += ["age == 2026 - year(sold)", "fiscal == year(sold) + 1"]
    assert {str(Expression(text)) for text in wanted} <= found and not any("shop" in text for text in found)
    model = value_of(lambda: rs.GaussianCopula(seed=0, rules="auto", verbose=False).fit(source))
    made = model.sample(400, seed=1)
    when = made.sold if form == "dates" else pd.to_datetime(made.sold, format="%d/%m/%Y %H:%M")
    assert (made.Year == when.dt.year).all() and (made.hr == when.dt.hour).all()
    assert (made.age == 2026 - when.dt.year).all() and (made.fiscal == when.dt.year + 1).all()
    assert (made.dow == (when.dt.weekday + 1) % 7 + 1).all()
    assert (made.month.isna() | (made.month == when.dt.month)).all() and 0.04 < made.month.isna().mean() < 0.17


def test_without_rules_they_are_proposed(capsys: pytest.CaptureFixture[str]) -> None:
    rs.GaussianCopula(seed=1).fit(table(5))
    printed = capsys.readouterr().out
    assert "rule found: 'paid' is 'items' * 'each', in all 1,500 rows: {\"kind\": \"expression\"" in printed
    assert "--rules auto" in printed
    model = value_of(lambda: rs.GaussianCopula(seed=1, verbose=False).fit(table(5)))
    assert model.schema_.constraints == (FixedCombinations(("area", "region", "code")),)  # of many values
    assert capsys.readouterr().out == ""


def test_no_rules_by_rows_under_a_budget_or_of_sequences() -> None:
    with pytest.raises(ParameterError, match="rules='auto' reads single rows and is not for a privacy budget"):
        rs.GaussianCopula(rules="auto", epsilon=1.0).fit(table(6))
    with pytest.raises(ParameterError, match="'auto'"):
        rs.GaussianCopula(rules="all").fit(table(6))


def sales(seed: int, n: int = 1500) -> pd.DataFrame:
    """Prices of few values, discounts at some of them, and what is paid: most values of the three."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=n)
    price = np.array([1.69, 1.75, 1.86, 1.99, 2.29])[np.searchsorted([-1, -0.2, 0.4, 1], level)]
    cut = np.where(level > 0.3, rng.choice([0, 0.1, 0.3, 0.5], n), rng.choice([0, 0.05], n, p=[0.9, 0.1]))
    share = (cut / price).round(3)
    return pd.DataFrame({"price": price, "cut": cut, "paid": (price - cut).round(2), "share": share, "level": level})


@pytest.mark.parametrize("method", [rs.GaussianCopula, rs.BayesianNetworkSynthesizer, rs.SequentialTrees])
def test_rules_auto_keeps_a_chain_whose_links_have_gaps(method: type) -> None:
    """Two gaps cannot both take the place of a column that can be missing: the second link is kept by rejection."""
    rng = np.random.default_rng(6)
    came = pd.Series(pd.Timestamp("2022-05-01") + pd.to_timedelta(rng.integers(0, 500, N), unit="D"))
    seen = came + pd.to_timedelta(rng.integers(0, 40, N), unit="D")
    left = seen + pd.to_timedelta(rng.integers(0, 60, N), unit="D")
    data = pd.DataFrame({"came": came, "seen": seen.mask(rng.random(N) < 0.25), "left": left.mask(rng.random(N) < 0.1)})
    model = value_of(lambda: method(seed=0, rules="auto", verbose=False).fit(data))
    assert {str(c) for c in model.schema_.constraints} == {
        str(Inequality(*e)) for e in (("came", "seen"), ("seen", "left"))
    }
    made = model.sample(2 * N, seed=1)
    for low, high in (("came", "seen"), ("seen", "left"), ("came", "left")):
        assert not (made[low] > made[high]).any()
    assert (abs(made.isna().mean() - data.isna().mean()) < 0.05).all()


def test_rules_auto_leaves_an_ordering_that_would_cost_a_column_its_steps() -> None:
    """Tickets in steps of 50 cents, always above the kilometres: found and said, but a ticket stays one of its own."""
    rng = np.random.default_rng(4)
    km = rng.gamma(2, 2, N).round(2)
    ticket = np.ceil(2 * (km * rng.uniform(1.0, 2.5, N) + 0.5)) / 2
    data = pd.DataFrame({"km": km, "ticket": ticket, "paid": (ticket + rng.gamma(1, 1, N)).round(2)})
    assert any(r.constraint == Inequality("km", "ticket") for r in find(as_table(data)).rules)
    model = value_of(lambda: rs.GaussianCopula(seed=0, rules="auto", verbose=False).fit(data))
    assert model.schema_.constraints == (Inequality("ticket", "paid"),)
    made = model.sample(N, seed=1)
    assert (made.ticket <= made.paid).all() and ((made.ticket * 2) % 1 == 0).mean() > 0.9


@pytest.mark.statistical
def test_rules_auto_costs_no_quality() -> None:
    """The part with most values is computed, and weighted where it is off; figures of a seeded fit, with its seeds."""
    data = sales(1)
    plain = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False).fit(data))
    ruled = value_of(lambda: rs.GaussianCopula(seed=0, verbose=False, rules="auto").fit(data))
    assert [str(c) for c in ruled.schema_.constraints] == ["Expression(text='paid == price - cut')"]
    quality = []
    for model in (plain, ruled):
        made = model.sample(4000, seed=1)
        quality.append(compare_tables(pair_tables(data, made)).quality)
    assert np.allclose(made.paid, made.price - made.cut)
    assert quality[1] > quality[0] - 0.003, quality


@pytest.mark.parametrize("method", [rs.GaussianCopula, rs.SequentialTrees])
def test_a_number_of_many_values_follows_from_a_category(method: type) -> None:
    rng = np.random.default_rng(6)
    article = rng.integers(0, 90, 2_500)
    data = pd.DataFrame(
        {"article": [f"A{a:02d}" for a in article], "price": 3.5 + article * 0.7, "n": rng.poisson(3, 2_500)}
    )
    made = value_of(lambda: method(seed=0, rules="auto", verbose=False).fit(data).sample(600, seed=1))
    pairs = set(zip(data.article, data.price, strict=True))
    assert made.price.nunique() > 40 and all(pair in pairs for pair in zip(made.article, made.price, strict=True))


@pytest.mark.parametrize("whole", [1.0, 100.0])
def test_shares_that_have_one_sum_are_found_and_keep_it(whole: float) -> None:
    shares = np.random.default_rng(8).dirichlet([2, 3, 4, 2], 900) * whole
    data = pd.DataFrame(shares.round(3), columns=["rent", "food", "fuel", "rest"])
    data["rest"] = (whole - data[["rent", "food", "fuel"]].sum(axis=1)).round(3)
    data.insert(0, "age", np.random.default_rng(9).integers(20, 80, 900))
    assert f"'rent' + 'food' + 'fuel' + 'rest' is {whole:g}" in [r.words for r in find(as_table(data)).rules]
    made = value_of(lambda: rs.GaussianCopula(seed=0, rules="auto", verbose=False).fit(data).sample(500, seed=1))
    assert np.allclose(made[["rent", "food", "fuel", "rest"]].sum(axis=1), whole, atol=1e-9)
    assert made.rest.between(data.rest.min(), data.rest.max()).all()


@pytest.mark.parametrize("method", [rs.SequentialTrees, rs.BayesianNetworkSynthesizer, rs.GaussianCopula])
@pytest.mark.parametrize("verbose", [True, False])
def test_what_follows_from_a_column_of_many_values_does_so_in_made_rows(method: type, verbose: bool) -> None:
    """Codes and names of towns, 40 in 900 rows: no method learns them value by value, and pairs were mixed up."""
    rng = np.random.default_rng(3)
    town = rng.choice(40, 900, p=rng.dirichlet(np.full(40, 20.0)))
    real = pd.DataFrame({"town": [f"town {t}" for t in town], "size": rng.normal(town / 9, 1).round(2)})
    real["mayor"] = [f"mayor {7 * t % 40}" for t in town]
    real["county"] = [f"county {t // 8}" for t in town]
    fitted = value_of(lambda: method(seed=0, verbose=verbose).fit(real))
    made = fitted.sample(900, seed=1)
    pairs = set(map(tuple, real[["town", "mayor", "county"]].values))
    assert set(map(tuple, made[["town", "mayor", "county"]].values)) <= pairs and made.town.nunique() > 30
    assert set(fitted.sample(50, conditions={"mayor": "mayor 7"}, seed=1).town) == {"town 1"}
    assert not method(seed=0, verbose=False, rules="none").fit(real).schema_.constraints


def test_columns_of_a_sum_have_enough_values_that_tell() -> None:
    """Neither zeros nor, in products, ones."""
    enough = np.append(np.full(FEWEST, 2.0), [0.0, 1.0, np.nan])
    assert _fill(enough[None], trivial=1.0) and not _fill(enough[None, 1:], trivial=1.0)


def test_a_sum_is_looked_into_with_one_exception_among_the_probes_and_not_with_two() -> None:
    made = np.arange(24.0)
    once, twice = made.copy(), made.copy()
    once[3], twice[[3, 9]] = 99, 99
    assert value_of(lambda: _hits(np.array([made, once, twice, made + 1]), made)) == [0, 1]


def test_what_follows_from_a_column_that_single_persons_own_is_no_joint_column() -> None:
    """Firms of one customer each are protected, and so would be the countries that follow from them."""
    rng = np.random.default_rng(9)
    customer = np.repeat(np.arange(90), 20)
    data = pd.DataFrame({"customer_id": [f"C{c:03d}" for c in customer], "firm": [f"Firm {c}" for c in customer]})
    data["country"] = [("France", "Spain", "Italy")[c % 3] for c in customer]
    data["amount"] = rng.gamma(2, 50, len(data)).round(2)
    model = value_of(lambda: rs.SequentialTrees(seed=0, entity="customer_id", verbose=False).fit(data))
    assert not any("firm" in c.involves for c in model.schema_.constraints)
    made = model.sample(1_000, seed=1)
    assert set(made.country) == {"France", "Spain", "Italy"} and (made.firm == "(rare)").all()
    alone = rs.SequentialTrees(seed=0, entity="customer_id", verbose=False, rules="none")
    alone.set_params(schema=rs.TableSchema(constraints=(FixedCombinations(("firm", "country")),)))
    assert set(alone.fit(data).sample(100, seed=1).country) == {"(rare)"}, "said, and not missing"


@pytest.mark.parametrize("seed", [5, 6])
def test_numbers_of_rare_texts_are_not_lost(seed: int) -> None:
    """Towns of too few rows took their inhabitants with them: such rows had those of any town."""
    rng = np.random.default_rng(seed)
    town = np.concatenate([np.repeat(np.arange(90), 15), np.repeat(np.arange(90, 110), 3)])
    data = pd.DataFrame({"town": [f"town {t}" for t in town], "inhabitants": 5_000 + 37 * town.astype(int)})
    data.loc[town >= 90, "inhabitants"] += 90_000
    data["paid"] = (data.inhabitants / 1_000 + rng.normal(0, 1, len(town))).round(2)
    model = value_of(lambda: rs.SequentialTrees(seed=0, verbose=False).fit(data))
    assert [c.beside for c in model.schema_.constraints] == [True]
    made = model.sample(4_000, seed=1)
    is_rare = made.town == "(rare)"
    assert 0.02 < is_rare.mean() < 0.07 and (made.inhabitants[is_rare] > 50_000).mean() > 0.9
    assert set(map(tuple, made[~is_rare][["town", "inhabitants"]].values)) <= set(map(tuple, data.iloc[:, :2].values))
    assert made[["inhabitants", "paid"]].corr().iloc[0, 1] > 0.98
    again = model.sample(300, conditions={"inhabitants": 5_370}, seed=2)
    assert set(again.town) <= {"town 10", "(rare)"} and (again.inhabitants == 5_370).all()


def test_what_is_missing_here_and_there_does_not_follow() -> None:
    """A status of some years, null in others, split each country's rows into combinations of too few."""
    rng = np.random.default_rng(0)
    country = np.repeat(np.arange(100), 12)
    data = pd.DataFrame({"code": [f"C{c:03d}" for c in country], "region": [f"region {c // 20}" for c in country]})
    data["status"] = np.where(rng.random(len(country)) < 0.3, country % 3 * 5.0, np.nan)
    data["spent"] = (rng.gamma(2, 1, len(country)) + country % 3).round(3)
    model = value_of(lambda: rs.SequentialTrees(seed=0, verbose=False).fit(data))
    assert [c.columns for c in model.schema_.constraints] == [("code", "region")]
    made = model.sample(1_000, seed=1)
    assert 0.2 < made.status.notna().mean() < 0.4 and set(made.status.dropna()) == {0.0, 5.0, 10.0}
