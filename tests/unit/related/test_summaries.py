"""What parents say of their children: ends and places of a family, values that stay, families as near as real ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import RelationalSynthesizer
from raysynth.related.grouping import Family, nearest_of, reaching
from raysynth.related.kinds import Sample, children_codes, share_of_parents
from raysynth.related.making import nearest_families
from raysynth.related.siblings import AS_BEFORE, Siblings
from raysynth.related.summaries import Summaries, choose_summaries, with_most, with_spots
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.relations import Relation

RELATION = Relation.parse("ratings.user -> users.id")
COLUMNS = (
    ColumnSchema("time", Kind.DATETIME, "timestamp[us]", nullable=False),
    ColumnSchema("stars", Kind.CONTINUOUS, "int64", nullable=False, decimals=0),
    ColumnSchema("noise", Kind.CONTINUOUS, "double", nullable=True),
    ColumnSchema("device", Kind.CATEGORICAL, "string"),
)


def ratings(n_users: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Users, and ratings of one evening each: their own mean of stars, a device that mostly stays."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(n_users), rng.poisson(4, n_users))
    evening, device = rng.integers(0, 10_000_000, n_users), rng.choice(list("abcdefgh"), n_users)
    table = pd.DataFrame({"user": of, "film": rng.integers(0, 30, len(of))})
    table["time"] = pd.to_datetime(8e8 + evening[of] + rng.integers(0, 3000, len(of)), unit="s")
    table["stars"] = np.clip(np.round(3 + rng.normal(size=n_users)[of] + rng.normal(size=len(of))), 1, 5).astype(int)
    table["noise"] = np.where(rng.random(len(of)) < 0.1, np.nan, rng.normal(size=len(of)))
    table["device"] = np.where(rng.random(len(of)) < 0.8, device[of], rng.choice(list("abcdefgh"), len(of)))
    return pd.DataFrame({"id": np.arange(n_users), "sex": rng.choice(list("mf"), n_users)}), table


@pytest.fixture(scope="module")
def rows() -> tuple[pa.Table, np.ndarray, Summaries]:
    _, table = ratings(300, 0)
    children, parent_N = pa.Table.from_pandas(table), table.user.to_numpy()
    chosen = choose_summaries(RELATION, Sample(children, COLUMNS), parent_N, 300, frozenset())
    assert chosen is not None
    return children, parent_N, chosen


def test_columns_are_chosen_by_how_much_families_differ(rows: tuple[pa.Table, np.ndarray, Summaries]) -> None:
    children, parent_N, chosen = rows
    assert {c.name for c in chosen.numbers} == {"time", "stars"}
    assert chosen.relative == {"time": 1_000_000} and chosen.order == "time"
    assert [c.name for c in chosen.categories] == ["device"]
    assert choose_summaries(RELATION, Sample(children, COLUMNS), parent_N % 20, 20, frozenset()) is None  # few families
    without = choose_summaries(RELATION, Sample(children, COLUMNS), parent_N, 300, frozenset(["time"]))
    assert without is not None and without.order is None
    again = Summaries.from_dict(RELATION, chosen.to_dict())
    assert again.to_dict() == chosen.to_dict()


def test_families_say_what_is_typical_of_them_and_how_many_values_they_have(
    rows: tuple[pa.Table, np.ndarray, Summaries],
) -> None:
    children, parent_N, chosen = rows
    parents = chosen.of(children, parent_N, 300)
    devices = children.to_pandas().groupby("user").device
    found = {n: pd.Series(v.to_pylist(), dtype=object) for n, v in parents.items() if "device" in n}
    for words, wanted in (
        ("different", devices.nunique()),
        ("typical share", devices.agg(lambda d: d.value_counts(normalize=True).iloc[0])),
    ):
        (said,) = (v for n, v in found.items() if n.startswith(words))
        pd.testing.assert_series_equal(
            said.dropna(), wanted, check_dtype=False, check_names=False, check_index_type=False
        )
        assert said.isna().sum() == 300 - len(wanted) > 0, "those without children say nothing"


def test_share_of_parents_is_that_of_an_analysis_of_variance() -> None:
    """Effects of variance 4 among noise of variance 1: 4 of 5 lie between parents, and of means 4 of 4.1."""
    rng, parent_N = np.random.default_rng(0), np.repeat(np.arange(2000), 10)
    x = 2 * rng.normal(size=2000)[parent_N] + rng.normal(size=20_000)
    of_means, of_rows = share_of_parents(parent_N, x, np.full(2000, 10))
    assert of_means == pytest.approx(4 / 4.1, abs=0.01) and of_rows == pytest.approx(0.8, abs=0.02)
    assert max(share_of_parents(parent_N, rng.normal(size=20_000), np.full(2000, 10))) < 0.1
    assert share_of_parents(parent_N, np.ones(20_000), np.full(2000, 10)) == (0.0, 0.0)


def test_places_within_a_family_come_back_as_values(rows: tuple[pa.Table, np.ndarray, Summaries]) -> None:
    children, parent_N, chosen = rows
    parents = chosen.of(children, parent_N, 300)
    family = Family.of(parent_N, 300, children["time"].cast(pa.int64()).to_numpy())
    order = np.lexsort((family.place, parent_N))
    table = children.take(pa.array(order))
    sorted_family = Family(parent_N[order], family.place[order], family.number)
    learned = chosen.forward({"time": table["time"]}, parents, sorted_family.parent)
    place = learned["time"].to_numpy()
    assert place.min() == 0.0 and place.max() == 1.0
    drawn = table.set_column(table.column_names.index("time"), "time", learned["time"])
    back = chosen.inverse(drawn, pa.table(parents), sorted_family)
    assert back["time"].to_pylist() == table["time"].to_pylist()
    assert back["stars"].to_pylist() == table["stars"].to_pylist()


def test_made_families_reach_their_ends_and_lie_between(rows: tuple[pa.Table, np.ndarray, Summaries]) -> None:
    """Whatever is drawn: times in ascending order within the family's hour, stars cut to the family's range."""
    children, parent_N, chosen = rows
    rng, number = np.random.default_rng(1), np.bincount(parent_N, minlength=300)
    parents = chosen.of(children, parent_N, 300)
    family = Family.made(number)
    n = len(family.parent)
    drawn = pa.table({"time": rng.random(n), "stars": rng.integers(1, 6, n), "device": children["device"]})
    made = chosen.inverse(drawn, pa.table(parents), family).to_pandas().assign(user=family.parent)
    real = children.to_pandas()
    for column in ("time", "stars"):
        ends, wanted = (t.groupby("user")[column].agg(["min", "max"]) for t in (made, real))
        pd.testing.assert_frame_equal(ends, wanted)
    assert made.groupby("user").time.apply(lambda t: t.is_monotonic_increasing).all()


def test_parents_that_contradict_themselves_say_what_others_do(rows: tuple[pa.Table, np.ndarray, Summaries]) -> None:
    children, parent_N, chosen = rows
    number = np.bincount(parent_N, minlength=300)
    parents = pa.table(chosen.of(children, parent_N, 300))
    more = number + (number == 0) + 2 * (number == 1)  # some are to have children that said nothing of any
    least, width = (
        next(c.name for c in chosen.schema if c.name.startswith(f"{w} time")) for w in ("least", "range of")
    )
    assert parents[least].null_count == (number == 0).sum() and parents[width].null_count == (number < 2).sum()
    mended = value_of(lambda: chosen.repaired(parents, more))
    assert mended[least].null_count == 0
    assert mended[width].filter(pa.array(more > 1)).null_count == 0
    assert chosen.repaired(parents, number).equals(parents)
    more[np.flatnonzero(number == 0)[0]] = 10_000  # more children than any that are known
    assert value_of(lambda: chosen.repaired(parents, more))[least].null_count == 0


def test_no_made_family_goes_further_than_persons_do(rows: tuple[pa.Table, np.ndarray, Summaries]) -> None:
    """The most is what five persons reach, however many families one person has; a range that goes beyond is cut."""
    children, parent_N, chosen = rows
    parents, number = chosen.of(children, parent_N, 300), np.bincount(parent_N, minlength=300)
    bounded = with_most(chosen, parents, np.arange(300), 5)
    time = pd.Series(children["time"].cast(pa.int64()).to_numpy())
    largest = time.groupby(parent_N).max().sort_values(ascending=False)
    assert bounded.most == {"time": largest.iloc[4], "stars": 5}
    of_one = np.where(np.isin(np.arange(300), largest.index[:3]), 0, 1 + np.arange(300))
    assert with_most(chosen, parents, of_one, 5).most["time"] == largest.iloc[6]
    assert not with_most(chosen, parents, np.arange(300) % 4, 5).most  # of four persons nobody's is known
    least, end = (next(c.name for c in chosen.schema if c.name.startswith(f"{w} stars")) for w in ("least", "largest"))
    table = pa.table(parents)
    some = table.set_column(table.column_names.index(end), end, pa.array(np.where(np.arange(300) % 2, 7, 5)))
    mended = bounded.repaired(some, number).to_pandas()[number > 0]
    assert mended[end].max() <= 5
    assert (mended[least] == some[least].to_pandas()[number > 0]).all()  # where it begins, it stays


def test_ends_of_families_are_values_of_rows_and_rows_that_repeat_an_end_reach_it_together() -> None:
    prices = np.array([1.0, 20.0, 400.0])
    assert nearest_of(np.array([-5.0, 3.0, 399.0, 900.0, np.nan]), prices)[:4].tolist() == [1.0, 1.0, 400.0, 400.0]
    assert np.isnan(nearest_of(np.array([np.nan]), prices)).all() and nearest_of(prices, prices[:0]) is prices
    parent_N, least, width = np.array([0, 0, 0, 0, 1, 1]), np.array([0.0, 5.0]), np.array([9.0, 2.0])
    for together, wanted in ((True, [0, 9, 9, 4, 5, 7]), (False, [0, 8, 9, 4, 5, 7])):
        x = np.array([2.0, 8.0, 8.0, 4.0, 6.0, 6.0])
        assert reaching(x, parent_N, least, width, together).tolist() == wanted


def test_kinds_that_children_find_follow_what_tells_parents_apart() -> None:
    """One column of twelve names the hour; in the others parents differ clearly, but each child lies anywhere."""
    rng = np.random.default_rng(0)
    hour, parent_N = rng.integers(0, 20, 800), np.repeat(np.arange(800), 4)
    columns = {"time": 100.0 * hour[parent_N] + rng.integers(0, 60, 3200)}
    columns |= {f"x{k}": rng.normal(size=800)[parent_N] + rng.normal(0, 2, 3200) for k in range(11)}
    children = Sample(pa.table(columns), tuple(ColumnSchema(n, Kind.CONTINUOUS, "double") for n in columns))
    parents = Sample(pa.table({"y": rng.random(800)}), (ColumnSchema("y", Kind.CONTINUOUS, "double"),))
    code = children_codes(children, parent_N, np.arange(800), 5, 0, parents)
    spread = pd.Series(hour).groupby(code).std().fillna(0.0)
    assert spread.mean() < 0.3 and len(spread) > 20


def test_of_many_tries_the_families_are_kept_that_do_what_their_parents_say(
    rows: tuple[pa.Table, np.ndarray, Summaries],
) -> None:
    children, parent_N, chosen = rows
    asked = chosen.seen(chosen.of(children, parent_N, 300))
    assert (chosen.apart(children, asked, parent_N) == 0).all()
    order = np.random.default_rng(0).permutation(len(parent_N))  # families of other parents' children
    twice = pa.concat_tables([children.take(pa.array(order)), children])
    above = {n: pa.chunked_array([x, x]).combine_chunks() for n, x in asked.items()}
    apart_F = chosen.apart(twice, above, np.concatenate([parent_N, parent_N + 300]))
    assert apart_F[:300][np.bincount(parent_N, minlength=300) > 0].mean() > 1 and (apart_F[300:] == 0).all()
    number = np.bincount(parent_N, minlength=300)
    both = Family.made(np.tile(number, 2))
    alone = Family(np.append(both.parent, [-1, -1]), np.append(both.place, [0, 0]), both.number)
    n = len(parent_N)  # the second try of each parent, then the rows without one
    assert nearest_families(apart_F, alone, 300).tolist() == [*range(n, 2 * n), 2 * n, 2 * n + 1]
    last_first = np.where(np.arange(600) % 600 < 300, np.arange(600) % 2, 0.5)  # even parents from the first try
    kept = nearest_families(last_first, both, 300)
    assert (both.parent[kept] % 300 == np.repeat(np.arange(300), number)).all()
    assert ((both.parent[kept] < 300) == (both.parent[kept] % 2 == 0)).all()


def test_values_that_stay_are_learned_as_staying() -> None:
    column = ColumnSchema("team", Kind.CATEGORICAL, "string")
    rows = pa.table({"team": ["a", "a", "b", "b", None, None, "c", "c", "c", "d"]})
    family = Family(np.repeat([0, 1], [6, 4]), np.r_[0:6, 0:4], np.array([6, 4]))
    siblings = Siblings((column,), is_sequence=True).with_repeated(rows, family)
    assert siblings.repeated == {"team"} and not Siblings((column,), False).with_repeated(rows, family).repeated
    learned = siblings.forward(rows, family)["team"]
    stays = AS_BEFORE
    assert learned.to_pylist() == ["a", stays, "b", stays, None, None, "c", stays, stays, "d"]
    first = siblings.inverse(pa.table({"team": pa.array([stays, "b"])}), None)
    assert first["team"].to_pylist() == ["b", "b"]  # nothing was before: as others begin
    second = siblings.inverse(pa.table({"team": pa.array([stays, None])}), first)
    assert second["team"].to_pylist() == ["b", None]


@pytest.mark.statistical
def test_children_of_one_parent_are_as_near_to_each_other_as_real_ones() -> None:
    """Seeds are fixed. Deviations of time within a user are of 40 minutes, between users of weeks; devices stay."""
    users, table = ratings(300, 0)
    films = pd.DataFrame({"id": np.arange(30), "kind": list("abc") * 10})
    tables = {"users": users, "films": films, "ratings": table}
    keys = ["ratings.user -> users.id", "ratings.film -> films.id"]
    model = value_of(
        lambda: RelationalSynthesizer(relations=keys, seed=0, verbose=False, parameters={"n_trees": 2}).fit(tables)
    )
    primary = model.database_.tables["ratings"].plan.primary
    assert primary is not None and primary.parent == "users"  # films come in any evening
    made = model.sample(seed=1)["ratings"]
    within = [t.groupby("user").time.std().dt.total_seconds().mean() for t in (table, made)]
    assert within[1] == pytest.approx(within[0], rel=0.15)
    assert made.time.std() == pytest.approx(table.time.std(), rel=0.15)
    means = [t.groupby("user").stars.mean().std() for t in (table, made)]
    assert means[1] == pytest.approx(means[0], rel=0.15)
    different = [t.groupby("user").device.nunique().mean() for t in (table, made)]
    assert different[1] == pytest.approx(different[0], rel=0.15)
    assert (made.time.dt.microsecond == 0).all()  # whole seconds stay whole


def test_the_parent_has_the_largest_value_of_numbers_and_files_of_before_have_ranges(
    rows: tuple[pa.Table, np.ndarray, Summaries],
) -> None:
    children, parent_N, chosen = rows
    assert chosen.ended == {"stars"}  # times are relative
    assert Summaries.from_dict(RELATION, chosen.to_dict()) == chosen
    earlier = Summaries.from_dict(RELATION, {k: v for k, v in chosen.to_dict().items() if k != "ended"})
    largest, width = (
        next(v for n, v in s.of(children, parent_N, 300).items() if n.startswith(w))
        for s, w in ((chosen, "largest stars"), (earlier, "range of stars"))
    )
    stars = pd.Series(children["stars"].to_numpy()).groupby(parent_N).agg(["min", "max", "size"]).query("size > 1")
    assert largest.to_pandas().dropna().tolist() == stars["max"].tolist()
    assert width.to_pandas().dropna().tolist() == (stars["max"] - stars["min"]).tolist()
    number = np.bincount(parent_N, minlength=300)
    both = [pa.table(s.of(children, parent_N, 300)) for s in (chosen, earlier)]
    ends = [s._numbers(t, s.numbers[1]) for s, t in zip((chosen, earlier), both, strict=True)]
    assert all(np.array_equal(ends[0][k], ends[1][k], equal_nan=True) for k in ("least", "width"))
    assert [s.repaired(t, number).equals(t) for s, t in zip((chosen, earlier), both, strict=True)] == [True, True]


def test_a_column_is_summarised_in_whose_spread_alone_families_differ() -> None:
    rng = np.random.default_rng(5)
    parent_N = np.repeat(np.arange(400), 6)
    spread = np.where(np.arange(400) % 2, 0.1, 3.0)
    children = pa.table({"even": rng.normal(size=2400), "spread": rng.normal(size=2400) * spread[parent_N]})
    columns = tuple(ColumnSchema(n, Kind.CONTINUOUS, "double") for n in children.column_names)
    chosen = choose_summaries(RELATION, Sample(children, columns), parent_N, 400, frozenset())
    assert chosen is not None and [c.name for c in chosen.numbers] == ["spread"]


def test_relative_numbers_that_are_names_are_made_among_those_that_enough_persons_share() -> None:
    """Lines of a region have numbers of their hundred; a year, whose values fill its range, is no name."""
    rng = np.random.default_rng(0)
    parent_N = np.repeat(np.arange(400), 6)
    region = np.repeat(rng.integers(0, 30, 400), 6)
    line = 100 * region + 7 * rng.integers(0, 5, len(parent_N)) + 1
    line[::40] = 100 * region[::40] + rng.integers(50, 99, len(line[::40]))  # lines of one person or two
    year = 1950 + 2 * region + rng.integers(0, 3, len(parent_N))
    children = pa.table({"line": line, "year": year})
    columns = tuple(ColumnSchema(n, Kind.CONTINUOUS, "int64", decimals=0) for n in children.column_names)
    chosen = choose_summaries(RELATION, Sample(children, columns), parent_N, 400, frozenset())
    assert chosen is not None and set(chosen.relative) == {"line", "year"}
    spotted = with_spots(chosen, children, parent_N, 5)
    assert set(spotted.spots) == {"line"} and Summaries.from_dict(RELATION, spotted.to_dict()) == spotted
    for value in spotted.spots["line"]:
        assert len(set(parent_N[line == value])) >= 5
    family, parents = Family.made(np.full(400, 6)), chosen.of(children, parent_N, 400)
    drawn = pa.table({"line": rng.random(2400), "year": rng.random(2400)})
    plain, made = (x.inverse(drawn, pa.table(parents), family) for x in (chosen, spotted))
    assert set(made["line"].to_pylist()) <= set(spotted.spots["line"]) and plain["year"].equals(made["year"])
    assert np.isin(plain["line"].to_numpy(), spotted.spots["line"]).mean() < 0.5
    assert not with_spots(chosen, children, parent_N % 4, 5).spots  # of four persons none is known
