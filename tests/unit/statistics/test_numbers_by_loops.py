"""Digits, steps, calendars and relations of numbers, against decimals, pandas and rules that were planted."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics import numeric_relations as found
from raysynth.statistics.steps import (
    CLOCK,
    GRIDS,
    CalendarCounts,
    Step,
    decimal_step,
    joint_step,
    needed_decimals,
    needed_digits,
    universal,
)


def digits_of(x: float) -> int:
    """Digits after the point of the shortest decimal that is this double."""
    return max(0, -Decimal(repr(x)).normalize().as_tuple().exponent)  # type: ignore[operator]


def test_digits_are_those_of_the_shortest_decimal() -> None:
    rng = np.random.default_rng(0)
    x = np.array(
        [round(float(v), int(d)) for v, d in zip(rng.normal(0, 30, 400), rng.integers(0, 8, 400), strict=True)]
    )
    expected = [digits_of(v) for v in x.tolist()]
    assert value_of(lambda: needed_digits(x, 6)).tolist() == [min(d, 7) for d in expected]
    for n in (1, 3, 300, 400):
        assert value_of(lambda n=n: needed_decimals(x[:n])) == max(expected[:n])
    assert needed_decimals(x[:3], 9) == 9 and needed_decimals(np.array([1 / 3])) == 16 == needed_decimals(x, 16)
    assert needed_decimals(np.array([0.1 + 0.2, sum([0.1] * 1000)])) == 1, "what arithmetic leaves"
    assert needed_decimals(np.array([1e20, 3.0])) == 0 and needed_decimals(np.array([], float)) == 0


def test_steps_are_common_divisors_of_differences() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 86_400, 1 << 40):
        keys = rng.integers(-500, 500, 600) * size + 3
        whole = value_of(lambda keys=keys: joint_step(Step(), keys))
        assert whole.anchor == keys.min() or size == 1
        assert whole.size == math.gcd(*(keys - keys[0]).tolist())
        parts = Step()
        for part in np.array_split(keys, 7):
            parts = value_of(lambda parts=parts, part=part: joint_step(parts, part))
        assert parts.size == whole.size
    late = np.append(np.zeros(300, np.int64), [6, 9])
    assert joint_step(Step(), late).size == 3 and joint_step(Step(), late[:5]) == Step(0, 0)
    assert joint_step(Step(5, 4), np.array([9, 13])) == Step(5, 4) and joint_step(Step(5, 4), late[:0]) == Step(5, 4)
    assert Step().merged(Step(4, 6)) == Step(4, 6) == Step(4, 6).merged(Step())
    assert Step(4, 6).merged(Step(1, 9)) == Step(1, 3)
    assert decimal_step(np.array([0.99, 1.99, 7.99]), 2) == 1.0 and decimal_step(np.array([0.25, 0.75]), 2) == 0.5
    assert decimal_step(np.array([0.01, 0.02]), 2) is None and decimal_step(np.array([1e14, 2.5]), 2) is None
    assert decimal_step(np.array([]), 2) is None and decimal_step(np.array([0.5, 1.0]), 16) is None


@pytest.mark.parametrize(
    "type_", [pa.timestamp("s"), pa.timestamp("us"), pa.date32(), pa.timestamp("ms", "Europe/Berlin")]
)
def test_rows_on_the_grids_of_the_calendar_are_counted(type_: pa.DataType) -> None:
    rng = np.random.default_rng(2)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 800, 500), unit="D")
    day = day.where(
        rng.random(500) < 0.6,
        day.to_period("M").to_timestamp().where(rng.random(500) < 0.5, day + pd.offsets.MonthEnd(0)),
    )
    clock = rng.choice([0, 0, 3600, 1800, 900, 300, 60, 61, 7], 500) * rng.integers(0, 9, 500)
    shown = pd.Series(day if pa.types.is_date32(type_) else day + pd.to_timedelta(clock, unit="s"))
    if getattr(type_, "tz", None):
        shown = shown.dt.tz_localize(type_.tz, ambiguous=True, nonexistent="shift_forward")
    keys = pa.array(shown).cast(type_).cast(pa.int32() if pa.types.is_date32(type_) else pa.int64()).to_numpy()
    keys, weights = keys.astype(np.int64), rng.integers(1, 4, 500)
    counts = CalendarCounts(type_)
    value_of(lambda: counts.update(keys, weights))
    local = shown.dt.tz_localize(None) if getattr(type_, "tz", None) else shown
    seconds = (local - local.dt.normalize()).dt.total_seconds()
    midnight, month = seconds == 0, local.dt.month
    on: dict[str, Any] = {
        "year": midnight & local.dt.is_year_start,
        "quarter": midnight & local.dt.is_quarter_start,
        "month": midnight & local.dt.is_month_start,
        "day": midnight,
        "any": month > 0,
        **{f"{s} s": seconds % s == 0 for s in CLOCK},
    }
    assert counts.grids.tolist() == [int(weights[on[g].to_numpy()].sum()) for g in GRIDS]
    assert counts.month_ends == weights[(midnight & local.dt.is_month_end).to_numpy()].sum()
    assert counts.weekdays.tolist() == np.bincount(local.dt.weekday, weights, 7).tolist()
    assert counts.hours.tolist() == np.bincount(local.dt.hour, weights, 24).tolist()
    minute = (local.dt.hour * 60 + local.dt.minute).to_numpy()
    whole = (seconds % 60 == 0).to_numpy()
    assert counts.minutes.tolist() == np.bincount(minute[whole], weights[whole], 1440).tolist()
    once = CalendarCounts(type_)
    once.update(keys, None)
    assert once.grids[-1] == 500
    once.merge(counts)
    assert once.grids[-1] == 500 + weights.sum() and once.minutes.sum() == (whole * (weights + 1)).sum()
    if getattr(type_, "tz", None):
        naive = pa.array(local).cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
        back = value_of(lambda: universal(naive, type_))
        assert (back == keys)[seconds.to_numpy() > 3 * 3600].all()


N = 200
RNG = np.random.default_rng(3)
PRICE = RNG.integers(1, 500, N) / 4
PIECES = RNG.integers(2, 30, N).astype(float)
FEE = RNG.integers(1, 90, N) / 10


def rules(kinds: dict[str, Kind] | None = None, **columns: Any) -> list[str]:
    """What is found between some columns, as expressions and orderings."""
    table = pa.table({n: pa.array(v, from_pandas=True) for n, v in columns.items()})
    dtypes = {n: "timestamp[s]" if pa.types.is_timestamp(table[n].type) else "double" for n in columns}
    schemas = [ColumnSchema(n, Kind.DATETIME if d != "double" else Kind.CONTINUOUS, d) for n, d in dtypes.items()]
    result = value_of(lambda: list(found.of_numbers(table, schemas)))
    return [
        rule.text if hasattr(rule, "text") else f"{rule.low} {'<' if rule.strict else '<='} {rule.high}"  # type: ignore[attr-defined]
        for rule, _ in result
    ]


def broken(x: np.ndarray, rows: int) -> np.ndarray:
    """The same with a few values off."""
    return x + np.where(np.arange(len(x)) < rows, 0.123, 0.0)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": PRICE, "b": PRICE}, ["b == a"]),
        ({"a": PRICE, "b": broken(PRICE, 1)}, ["b == a"]),  # half a percent may be exceptions
        ({"a": PRICE, "b": broken(PRICE, 2)}, ["a <= b"]),
        ({"a": PRICE, "b": FEE, "c": PRICE + FEE}, ["c == a + b"]),
        ({"a": PRICE, "b": FEE, "c": broken(PRICE + FEE, 9)}, ["a <= c"]),
        ({"a": PIECES, "b": FEE, "c": PIECES * FEE}, ["c == a * b"]),
        ({"a": PRICE, "b": PRICE + 7}, ["b == a + 7"]),
        ({"a": PRICE, "b": PRICE - 7}, ["b == a - 7"]),
        ({"a": PRICE, "b": 150 - PRICE}, ["b == 150 - a"]),
        ({"a": PRICE, "b": FEE, "c": PIECES, "d": PRICE + FEE + PIECES}, ["d == a + b + c"]),
        ({"a": PRICE, "b": FEE, "c": 300 - PRICE - FEE}, ["c == 300 - a - b"]),
        ({"a": PRICE, "b b": FEE, "c": PRICE + FEE}, ["c == a + col('b b')"]),
        ({"a": PRICE, "b": PRICE + RNG.integers(0, 40, N)}, ["a <= b"]),
        ({"a": PRICE, "b": PRICE + RNG.integers(1, 40, N)}, ["a <= b"]),  # ties would be rare by chance, too
        ({"a": PIECES, "b": PIECES + RNG.integers(1, 9, N)}, ["a <= b"]),
        ({"a": PIECES // 4, "b": PIECES // 4 + RNG.integers(1, 4, N)}, ["a < b"]),
        ({"a": PRICE, "b": PRICE + 900 + FEE}, []),  # apart by themselves
        ({"a": np.full(N, 3.0), "b": np.full(N, 3.0)}, []),  # constants
    ],
)
def test_planted_relations_of_numbers_are_found_and_no_others(columns: dict[str, Any], expected: list[str]) -> None:
    assert rules(**columns) == expected


def test_of_a_total_with_few_values_the_part_with_more_is_computed() -> None:
    """And of a product of whole numbers the quotient, since made factors hardly multiply to whole numbers."""
    price = RNG.choice([10.0, 20.0, 50.0], N)
    off = np.minimum(RNG.integers(1, 900, N) / 100, price - 0.01)
    assert rules(off=off, left=price - off, price=price) in (["left == price - off"], ["off == price - left"])
    hours, count = RNG.integers(2, 30, N).astype(float), RNG.integers(40, 900, N).astype(float)
    assert rules(hours=hours, rate=count / hours, count=count) == ["rate == count / hours"]


def test_few_rows_tell_nothing() -> None:
    for n, expected in ((29, []), (30, ["c == a + b"])):
        assert rules(a=PRICE[:n], b=FEE[:n], c=(PRICE + FEE)[:n]) == expected
        assert rules(a=PRICE[:n], b=PRICE[:n]) == (["b == a"] if expected else [])


def test_times_are_others_and_a_number_of_days_or_hours() -> None:
    day = np.array("2021-03-01", "datetime64[s]") + RNG.integers(0, 900, N) * np.timedelta64(86_400, "s")
    stay = RNG.integers(1, 20, N).astype(float)
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        later = day + (stay * size).astype("timedelta64[s]")
        assert rules(come=day, gone=later, stay=stay) == [f"gone == come + {unit}(stay)"]
        assert rules(come=day, gone=day + np.timedelta64(9 * size, "s")) == [f"gone == come + {unit}(9)"]
    assert rules(gone=day + np.timedelta64(86_400, "s"), come=day) == ["gone == come + days(1)"]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda d: d.year, "year(d)"),
        (lambda d: d.month, "month(d)"),
        (lambda d: d.weekday(), "weekday(d)"),
        (lambda d: d.weekday() + 1, "weekday(d) + 1"),
        (lambda d: (d.weekday() + 1) % 7, "(weekday(d) + 1) % 7"),
        (lambda d: (d.weekday() + 1) % 7 + 1, "(weekday(d) + 1) % 7 + 1"),
        (lambda d: 2030 - d.year, "2030 - year(d)"),
        (lambda d: d.year - 1900, "year(d) - 1900"),
        (lambda d: d.year + d.month, None),
    ],
)
def test_parts_of_a_date_are_found(made: Any, text: str | None) -> None:
    days = pd.date_range("2019-05-05", periods=N, freq="9D")
    table = pa.table({"d": pa.array(days, pa.timestamp("s")), "p": [made(d) for d in days]})
    date, part = ColumnSchema("d", Kind.DATETIME, "timestamp[s]"), ColumnSchema("p", Kind.CONTINUOUS, "int64")
    result = value_of(lambda: [r.text for r, _ in found.of_calendar(table, [date], [part])])  # type: ignore[attr-defined]
    assert result == ([] if text is None else [f"p == {text}"])
