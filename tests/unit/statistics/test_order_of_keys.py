"""Whether the order of a key tells of other columns: by hand, without a fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of
from scipy.stats import chi2_contingency, kruskal, spearmanr

from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema
from raysynth.statistics import key_order as module
from raysynth.statistics.key_order import SAID

N = 800
KEY = ColumnSchema("id", Kind.IDENTIFIER, "int64", pattern="integer(1, 800)")
X, G = ColumnSchema("x", Kind.CONTINUOUS, "double"), ColumnSchema("g", Kind.CATEGORICAL, "string")


def test_numbers_are_compared_by_ranks_and_categories_by_counts() -> None:
    """Against scipy on the values themselves; missing ones are a category, and left out of numbers."""
    rng = np.random.default_rng(0)
    group_N = np.arange(N) * 8 // N
    x = np.where(rng.random(N) < 0.1, np.nan, rng.integers(0, 40, N) + group_N / 4)
    own = [x[(group_N == g) & ~np.isnan(x)] for g in range(8)]
    values = pa.chunked_array([pa.array(x, from_pandas=True)])
    trend = spearmanr(group_N[~np.isnan(x)], x[~np.isnan(x)]).pvalue
    expected = 2 * min(kruskal(*own).pvalue, trend)
    assert value_of(lambda: module._p_value(values, X, group_N, 8)) == pytest.approx(expected)
    g = np.where(rng.random(N) < 0.2, None, rng.choice(["a", "b", "c"], N))  # type: ignore[call-overload]
    table = pd.crosstab(group_N, pd.Series(g).fillna("none")).to_numpy()
    values = pa.chunked_array([pa.array(g, pa.string())])
    expected = chi2_contingency(table, correction=False).pvalue
    assert value_of(lambda: module._p_value(values, G, group_N, 8)) == pytest.approx(expected)
    for same, column in ((np.ones(N), X), (np.full(N, "a"), G)):
        assert value_of(lambda s=same, c=column: module._p_value(pa.chunked_array([s]), c, group_N, 8)) == 1.0
    rare = np.where(np.arange(N) % 21 == 0, "r", "a")  # 39 rows of eight groups: fewer than five of each
    assert module._p_value(pa.chunked_array([rare]), G, group_N, 8) == 1.0


def test_of_many_categories_the_rest_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CLASSES", 2)
    group_N = np.arange(N) * 4 // N
    g = np.random.default_rng(1).choice(list("aaabbcdef"), N)
    shown = np.where(np.isin(g, ["a", "b"]), g, "rest")
    expected = chi2_contingency(pd.crosstab(group_N, shown).to_numpy(), correction=False).pvalue
    assert value_of(lambda: module._p_value(pa.chunked_array([g]), G, group_N, 4)) == pytest.approx(expected)


def tells(key: np.ndarray, x: np.ndarray, pattern: str = "integer(1, 800)", *others: ColumnSchema) -> bool:
    rows = pa.table({"id": key, "x": x, "g": np.array(["a", "b"])[np.arange(len(key)) % 2]})
    schema = TableSchema((KEY, *(others or (X, G))))
    own = ColumnSchema("id", Kind.IDENTIFIER, "int64", pattern=pattern)
    return value_of(lambda: module._tells(rows, own, schema))


def test_a_key_tells_where_neighbours_are_alike_or_its_range_is_not_filled() -> None:
    rng = np.random.default_rng(2)
    key = np.arange(N) + 1
    assert tells(key, key / 50 + rng.normal(size=N)) and not tells(key, rng.normal(size=N))
    assert not tells(rng.permutation(key), key / 50 + rng.normal(size=N))
    assert tells(key, rng.normal(size=N), "integer(1, 1600)"), "the upper half is empty"
    assert tells(key + 400, rng.normal(size=N), "integer(1, 1200)")
    assert not tells(np.repeat(key[::2], 2), rng.normal(size=N), "integer(1, 1600)"), (
        "keys of persons, whatever their range"
    )
    assert not tells(key[:99], key[:99] / 5.0, "integer(1, 99)"), "fewer than two groups of fifty"
    assert tells(key[:100], np.repeat([0.0, 9.0], 50) + rng.random(100), "integer(1, 100)")
    assert not tells(key, key / 50.0, "integer(1, 800)", ColumnSchema("x", Kind.IDENTIFIER, "int64")), (
        "nothing is modelled"
    )


@pytest.mark.parametrize(
    ("change", "seen", "may"),
    [
        ({}, {}, True),
        ({"kind": Kind.CATEGORICAL}, {}, False),
        ({"dtype": "string", "pattern": "A-[0-9]{4}"}, {}, False),
        ({"within": "who"}, {"unique": False}, False),
        ({"within": "who", "entity": "who"}, {"unique": False}, True),
        ({}, {"missing": 1}, False),
        ({}, {"n_distinct": 32}, False),
        ({}, {"n_distinct": 33}, True),
        ({}, {"unique": False}, False),
        ({"entity": "id"}, {"unique": False}, True),
    ],
)
def test_keys_of_whole_numbers_that_none_lacks_may_stand_in_order(
    change: dict[str, Any], seen: dict[str, Any], may: bool
) -> None:
    entity = change.get("entity")
    given = {n: v for n, v in change.items() if n != "entity"}
    column = ColumnSchema(**{"name": "id", "kind": Kind.IDENTIFIER, "dtype": "int64", **given})
    known = {"n_distinct": 500, "missing": 0, "unique": True, **seen}
    summary = SimpleNamespace(all_unique=known.pop("unique"))
    statistics: Any = SimpleNamespace(columns={"id": SimpleNamespace(summary=summary, **known)})
    schema: Any = SimpleNamespace(entity=entity)
    assert value_of(lambda: module._may_be(column, schema, statistics)) == may


@pytest.mark.parametrize(
    ("extremes", "reason", "said"),
    [
        ((1, 100), "", SAID),
        ((1, 100), "a key", f"a key; {SAID}"),
        ((1, 1000), "a key", f"a key; {SAID}; where these lie, one number in 10 is a real key"),
        ((11, 410), "", SAID),
        ((11, 420), "", f"{SAID}; where these lie, one number in 4.1 is a real key"),
    ],
)
def test_how_many_numbers_are_real_keys_is_said(extremes: tuple[int, int], reason: str, said: str) -> None:
    seen: Any = SimpleNamespace(extremes=extremes, n_distinct=100)
    column = ColumnSchema("id", Kind.IDENTIFIER, "int64", reason=reason, inferred=("kind",))
    found = value_of(lambda: module._in_order(column, seen))
    assert found.in_order and found.reason == said and found.inferred == ("kind", "in_order")
