"""Rules between columns that were planted: which are found, in how many rows they hold, which are switched on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.constraints import Expression, FixedCombinations, Inequality
from raysynth.data.table import as_table
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics import relations as module
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.relations import Relation, chosen, relations, said, sampled_rows
from raysynth.statistics.table_statistics import collect

N = 600
RNG = np.random.default_rng(0)
TOWN = RNG.integers(0, 12, N)
LAND = TOWN // 3
SHOP = RNG.integers(0, 4, N)
X = RNG.normal(0, 9, N).round(2)


def text(prefix: str, code: np.ndarray) -> np.ndarray:
    return np.array([f"{prefix}{c}" for c in code], object)


def found_in(entity: str | None = None, **columns: Any) -> list[Relation]:
    table = as_table(pd.DataFrame(columns))
    schema = value_of(lambda: infer_schema(table, collect(table)))
    schema = TableSchema(schema.columns, entity=entity)
    return value_of(lambda: list(relations(table, schema)))


def test_columns_that_follow_from_one_are_one_combination() -> None:
    town, land = text("t", TOWN), text("l", LAND)
    (one,) = found_in(town=town, land=land, shop=text("s", SHOP), x=X)
    assert one.constraint == FixedCombinations(("town", "land")) and one.is_combination and one.by_construction
    assert one.words == "'land' follows from 'town'" and (one.rows, one.exceptions) == (N, 0)
    (two,) = found_in(land=land, town=town, side=text("e", LAND // 2), shop=text("s", SHOP))
    assert two.constraint.involves == ("town", "land", "side")
    assert two.words == "'land', 'side' follow from 'town'" and str(two).startswith(f"{two.words}, in all {N} rows: {{")
    assert not found_in(town=town, shop=text("s", SHOP), x=X)


@pytest.mark.parametrize(("n_broken", "exceptions"), [(1, 1), (2, 2), (3, None)])
def test_few_exceptions_are_counted_and_more_are_none(n_broken: int, exceptions: int | None) -> None:
    """Half a percent of 591 rows are 2.955; a missing value breaks nothing."""
    land = text("l", LAND)
    land[:n_broken] = text("l", (LAND[:n_broken] + 1) % 4)
    land[-9:] = None
    found = [f for f in found_in(town=text("t", TOWN), land=land, shop=text("s", SHOP)) if f.is_combination]
    assert [(f.rows, f.exceptions) for f in found] == ([] if exceptions is None else [(N - 9, exceptions)])
    if exceptions is not None:
        assert str(found[0]) == f"'land' follows from 'town', but for {exceptions} of {N - 9} rows"
        assert not chosen(found, TableSchema(()))


def test_what_is_too_rare_or_too_even_decides_nothing() -> None:
    """Of values of fewer rows than leave; of a column that hardly varies; of one with a value for each row."""
    land = text("l", LAND)
    assert not found_in(town=text("t", np.arange(N) // 4), land=text("l", np.arange(N) // 40 % 4), shop=text("s", SHOP))
    even = np.where(np.arange(N) < 9, "a", "b").astype(object)
    assert not found_in(town=text("t", np.where(np.arange(N) < 9, 0, 1 + TOWN)), even=even)
    assert found_in(town=text("t", TOWN), land=land)


@pytest.mark.parametrize(("n", "is_found"), [(31, True), (29, False)])
def test_few_numbers_decide_and_many_do_not(n: int, is_found: bool) -> None:
    """Up to thirty different numbers; of these those of few values are no numbers by then."""
    code = np.arange(2000) % n
    a, b = module._codes(pa.array(code)), module._codes(pa.array(code // 3))
    assert module._decides(a, b)
    columns = [ColumnSchema("a", Kind.CONTINUOUS, "int64"), ColumnSchema("b", Kind.CATEGORICAL, "int64")]
    rows = pa.table({"a": code * 1.0, "b": code // 3})
    shared = module._Shared(None, 5)
    found = list(module._of_categories(rows, columns, 5.0, shared))
    assert bool(found) != is_found


def decided(a: Sequence[int], b: Sequence[int]) -> bool:
    return value_of(lambda: module._decides(np.array(a), np.array(b)))


def test_one_column_decides_another_where_chance_would_break_it() -> None:
    """Thirty rows; twenty would differ, were they independent; half a percent may."""
    a = [0, 1, 2] * 20
    assert decided(a, a) and decided(a, [0, 0, 1] * 20) and not decided([0, 1, 1] * 20, a)
    assert decided([0, 1] * 20 + [0, 1, 0], [0, 1] * 20 + [0, 1, 0])
    assert not decided([0, 1] * 14, [0, 1] * 14), "fewer than thirty rows"
    assert not decided([0, 1, -1] * 14, [0, 1, 0] * 14), "with both values"
    assert not decided(list(range(60)), list(range(60))), "no value comes again"
    assert not decided(a, [0] * 60), "nothing differs"
    assert decided([0, 1] * 100, [0, 1] * 99 + [0, 0]) and not decided([0, 1] * 100, [0, 1] * 98 + [0, 0, 0, 0])


def test_what_a_value_says_of_other_columns() -> None:
    """Missing, or one value, in a case; nothing of a case that few persons have."""
    kind = np.array(["own", "hired", "lent"], object)[RNG.integers(0, 3, N)]
    rent = np.where(kind == "own", np.nan, RNG.integers(300, 900, N) * 1.0)
    deposit = np.where(kind == "lent", 250.0, RNG.integers(0, 900, N) * 1.0)
    found = found_in(kind=kind, rent=rent, deposit=deposit)
    rules = {f.constraint.text: f for f in found if isinstance(f.constraint, Expression)}
    assert set(rules) == {"kind != 'own' or isnull(rent)", "kind != 'lent' or deposit == 250.0"}
    last = rules["kind != 'lent' or deposit == 250.0"]
    assert last.words == "'deposit' is 250.0 where 'kind' is 'lent'" and last.rows == N and not last.by_construction
    who = np.where(kind == "lent", RNG.integers(0, 4, N), RNG.integers(4, 90, N))
    schema = TableSchema((), entity="who")
    shared = module._Shared(who.astype(np.uint64), schema.rare_threshold)
    rows = pa.table({"kind": kind, "deposit": deposit})
    columns = [ColumnSchema("kind", Kind.CATEGORICAL, "string"), ColumnSchema("deposit", Kind.CONTINUOUS, "double")]
    for by, n in ((shared, 0), (module._Shared(who.astype(np.uint64), 4), 1), (module._Shared(None, 5), 1)):
        assert len(value_of(lambda by=by: list(module._implications(rows, columns[:1], columns[1:], by)))) == n


def implied(case: int, inside: list[Any], outside: list[Any]) -> tuple[str, str] | None:
    values = pa.array([*inside, *outside], pa.float64())
    is_case = np.arange(len(values)) < len(inside)
    effect = ColumnSchema("x", Kind.CONTINUOUS, "double")
    codes, rows, shared = module._codes(values), pa.table({"x": values}), module._Shared(None, case)
    return value_of(lambda: module._implied(is_case, codes, effect, rows, shared))


def test_an_implication_needs_rows_on_both_sides_that_differ() -> None:
    many = [float(i) for i in range(30)]
    assert implied(5, [7.0] * 20, many) == ("x == 7.0", "'x' is 7.0")
    assert implied(5, [None] * 20, many) == ("isnull(x)", "'x' is missing")
    assert implied(5, [None] * 20, [None] * 15 + many[:15]) is None, "half of the others are missing, too"
    assert implied(5, [7.0] * 19, many) is None and implied(5, [7.0] * 20, many[:19]) is None
    assert implied(5, [7.0] * 19 + [8.0] * 9, many) is None and implied(5, [None] * 9 + [7.0] * 19, many) is None
    assert implied(5, [7.0] * 20, [7.0] * 31 + many) is None, "most of the others have it, too"
    assert implied(5, [7.0] * 20, [7.0] * 28 + many) is not None


def test_rules_are_switched_on_that_are_kept_by_construction_together() -> None:
    names = ("a", "b", "c", "d")
    schema = TableSchema(tuple(ColumnSchema(n, Kind.CONTINUOUS, "int64", decimals=0) for n in names))

    def of(*rules: Any, **given: Any) -> tuple[Any, ...]:
        return value_of(lambda: chosen([Relation(r, "w", 9, **given) for r in rules], schema))

    total, link = Expression("c == a + b"), Inequality("a", "b")
    assert of(total) == (total,) and of(total, exceptions=1) == () and of(link, is_costly=True) == ()
    assert of(total, Inequality("c", "d")) == (total,), "an equality's columns have no gaps"
    assert of(total, Expression("c == a - b")) == (total,), "computed once"
    assert of(link, Inequality("b", "c")) == (link, Inequality("b", "c")), "a chain"
    assert of(FixedCombinations(("a", "b"))) == () and of(Expression("a > 1 or b > 1")) == ()
    lines = said([Relation(total, f"w{i}", 9) for i in range(9)])
    assert lines[0].startswith("rule found: w0, in all 9 rows") and lines[8].startswith("and 1 more rules")
    assert lines[9].startswith("keep them by rules='auto'") and len(lines) == 10
    assert len(said([Relation(total, "w", 9)] * 8)) == 9 and len(said([Relation(total, "w", 9, 1)])) == 1


@pytest.mark.parametrize(("gaps", "costly"), [(16, True), (14, False)])
def test_an_ordering_is_costly_whose_gaps_are_half_as_many_again_as_the_upper_values(gaps: int, costly: bool) -> None:
    high = np.tile(np.arange(10) * 5.0, 20)
    low = high - np.tile(np.arange(gaps) / 8, 20)[:200]
    rows = pa.table({"a": low, "b": high})
    assert module._is_costly(rows, Inequality("a", "b")) == costly
    assert not module._is_costly(rows, Expression("a == b"))


def test_a_sample_comes_from_all_of_a_table() -> None:
    table = as_table(pd.DataFrame({"x": np.arange(50_000)}))
    rows = value_of(lambda: sampled_rows(table)).column("x").to_numpy()
    assert 2_000 <= len(rows) <= 4_100 and rows[0] == 0 and rows[-1] == 49_999 and len(set(rows.tolist())) == len(rows)
    few = as_table(pd.DataFrame({"x": np.arange(40)}))
    assert sampled_rows(few).column("x").to_pylist() == list(range(40))


@pytest.mark.parametrize("cuts", [(), (1,), (100, 350)])
def test_rows_and_exceptions_are_counted_however_rows_are_split(cuts: tuple[int, ...]) -> None:
    """By loops: of an implication the rows with its cause, of others those with all values; of what follows, all that
    have not the most frequent value of their case."""
    rng = np.random.default_rng(3)
    gaps = pd.Series(rng.random(N) < 0.1)
    frame = pd.DataFrame({"town": text("t", TOWN), "land": text("l", np.where(rng.random(N) < 0.04, 9, LAND))})
    frame["low"], frame["high"] = rng.integers(0, 9, N), rng.integers(5, 15, N)
    frame["land"] = frame.land.mask(gaps)
    frame["high"] = frame.high.astype("Int64").mask(gaps.sample(frac=1, random_state=1).to_numpy())
    rules = (FixedCombinations(("town", "land")), Inequality("low", "high"), Expression("town != 't3' or high == 7"))
    (batch,) = pa.Table.from_pandas(frame).to_batches()
    counts = module._Counts(rules)
    for start, stop in zip((0, *cuts), (*cuts, N), strict=True):
        part = module._Counts(rules)
        part.update(batch.slice(start, stop - start))
        value_of(lambda part=part: counts.merge(part))
    known = frame.dropna(subset="land")
    follows = sum(len(g) - g.land.value_counts().iloc[0] for _, g in known.groupby("town"))
    above = frame.dropna(subset="high")
    broken = frame[(frame.town == "t3")].dropna(subset="high")
    assert counts.present == [len(known), len(above), N]
    assert value_of(counts.exceptions) == [follows, int((above.low > above.high).sum()), int((broken.high != 7).sum())]
    assert 0 < follows < 40
