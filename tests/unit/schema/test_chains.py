"""Chains of inequalities with gaps, and dates beside times."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import raysynth as rs
from raysynth.constraints import ConstraintSet, Expression, Inequality
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.numbers import implied
from raysynth.schema.table import TableSchema


def test_what_follows_from_a_chain() -> None:
    chain = (Inequality("a", "b"), Inequality("b", "c", strict=True), Inequality("c", "d"))
    assert set(implied(chain)) == {
        Inequality("a", "c", strict=True),
        Inequality("b", "d", strict=True),
        Inequality("a", "d", strict=True),
    }
    assert implied((Inequality("a", "b"), Inequality("b", "a"))) == ()
    assert implied((Inequality("a", "b"), Inequality("c", "d"))) == ()


def test_sampled_rows_keep_the_chain_where_the_middle_is_missing() -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(100, 30, 1500)
    middle = low + rng.exponential(5, 1500)
    frame = pd.DataFrame({"a": low, "b": middle, "c": middle + rng.exponential(5, 1500)})
    frame.loc[rng.random(1500) < 0.3, "b"] = np.nan
    rules = (Inequality("a", "b"), Inequality("b", "c"))
    schema = TableSchema(
        tuple(ColumnSchema(n, Kind.CONTINUOUS, "double", nullable=n == "b") for n in "abc"), constraints=rules
    )
    made = rs.GaussianCopula(seed=0, schema=schema, verbose=False).fit(frame).sample(3000, seed=1)
    assert 0.2 < made.b.isna().mean() < 0.4
    assert (made.a <= made.c).all() and not ((made.a > made.b) | (made.b > made.c)).any()


@pytest.mark.parametrize("rule", [Inequality("admitted", "left"), Expression("admitted <= left")])
def test_a_time_beside_a_date_is_compared_by_its_day(rule: Inequality | Expression) -> None:
    schema = TableSchema(
        (ColumnSchema("admitted", Kind.DATETIME, "date32[day]"), ColumnSchema("left", Kind.DATETIME, "timestamp[us]"))
    )
    rules = ConstraintSet((rule,), schema)
    rules.validate()
    day = datetime.date(2024, 3, 5)
    rows = pa.table(
        {
            "admitted": pa.array([day, day, day, None]),
            "left": pa.array([datetime.datetime(2024, 3, d, 9) for d in (5, 6, 4, 1)], pa.timestamp("us")),
        }
    )
    assert rules.holds(rows).tolist() == [True, True, False, True]
    reverse = ConstraintSet((Inequality("left", "admitted"),), schema)
    assert reverse.holds(rows).tolist() == [True, False, True, True]


def test_a_time_with_a_zone_beside_a_date_is_refused() -> None:
    schema = TableSchema(
        (
            ColumnSchema("day", Kind.DATETIME, "date32[day]"),
            ColumnSchema("time", Kind.DATETIME, "timestamp[us, tz=UTC]"),
        )
    )
    with pytest.raises(rs.ConstraintError, match="'time' holds times with a zone.*one type"):
        ConstraintSet((Inequality("day", "time"),), schema).validate()
