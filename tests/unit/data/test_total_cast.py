"""Casts of any value to any type: what has no counterpart is missing, nothing raises, and no value changes another."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from raysynth.data.total_cast import total_cast

NUMBERS = [1.0, 2.6, None, float("nan"), float("inf"), -float("inf"), 300.0, -1e300, 1e19]
TYPES = [
    *(pa.int8(), pa.int64(), pa.uint8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string()),
    *(pa.timestamp(u) for u in ("s", "ms", "us", "ns")),
    *(pa.timestamp("us", tz="Europe/Berlin"), pa.date32(), pa.duration("s"), pa.duration("ns"), pa.decimal128(9, 2)),
    pa.dictionary(pa.int32(), pa.string()),
]
EXTREME = [0, 1, -1, (1 << 63) - 1, -(1 << 63), 1 << 53, None]
WILD = [
    pa.array(NUMBERS),
    *(pa.array(EXTREME, pa.int64()).cast(t) for t in TYPES if pa.types.is_timestamp(t) or pa.types.is_duration(t)),
    pa.array([(1 << 31) - 1, -(1 << 31), 0, None], pa.int32()).cast(pa.date32()),
    pa.array([(1 << 64) - 1, 0, None], pa.uint64()),
    pa.array([True, False, None]),
    pa.array([Decimal("9" * 30), Decimal("-0.01"), None], pa.decimal128(38, 2)),
    pa.array(["", " ", "1", "-0", "nan", "inf", "1e999", "9" * 5000, "0x1", "1_0", "٣", "é", None, "true", "\x00"]),
    pa.array(["9999-12-31T23:59:59.999999999", "0001-01-01", "10000-01-01", "0000-00-00", "2020-02-30", "12:00"]),
    pa.array(["1 day", "-1 day, 23:59:59", "999999999999 days", "1:2:3", ":", "1 days +00:00:00.1"]),
    pa.DictionaryArray.from_arrays([0, 1, 2, None], pa.array(["1", "x", "1"])),
    pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\x00\0\0\0\x01\0\0\0\x02\0\0\0"), pa.py_buffer(b"\xff1")]
    ),
]


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (pa.array(NUMBERS), pa.int64(), [1, 3, None, None, None, None, 300, None, None]),
        (pa.array(NUMBERS), pa.int8(), [1, 3, None, None, None, None, None, None, None]),
        (pa.array(NUMBERS), pa.uint64(), [1, 3, None, None, None, None, 300, None, 10**19]),
        (pa.array([2**62, -1, None]), pa.int32(), [None, -1, None]),
        (pa.array([2**62 + 1, None]), pa.uint64(), [2**62 + 1, None]),
        (pa.array(NUMBERS[:7]), pa.decimal128(4, 2), [Decimal(1), Decimal("2.60"), *[None] * 5]),
        (pa.array([2**60 + 1, None]), pa.float64(), [float(2**60), None]),
        (pa.array([1e300, 0.5]), pa.float32(), [None, 0.5]),
        (pa.nulls(2), pa.int64(), [None, None]),
        (pa.array([" 7 ", "7.0", "7.4", "1e3", "x", "", None, "9" * 19]), pa.int64(), [7, 7, 7, 1000, *[None] * 4]),
        (pa.array(["9007199254740993", "-9223372036854775808"]), pa.int64(), [(1 << 53) + 1, -(1 << 63)]),
        (pa.array(["1.5", "-0", "nan", "inf", "1e999", "1_0", "٣"]), pa.float64(), [1.5, 0.0, *[None] * 5]),
        (pa.array(["12.345", "1e9", "12345678.9"]), pa.decimal128(6, 2), [Decimal("12.34"), None, None]),
        (pa.array(["True", "0", "yes", None]), pa.bool_(), [True, False, None, None]),
        (pa.array([1, 0]), pa.bool_(), [True, False]),
        (pa.array([True, None]), pa.int64(), [None, None]),
        (pa.array([1.5, None]), pa.string(), ["1.5", None]),
        (pa.array(["2020-05-01", "2020-05-01T01:02:03.5Z", "1 May"]), pa.date32(), [date(2020, 5, 1)] * 2 + [None]),
        (
            pa.array(["2020-05-01 01:02:03.000004", "2020-05-01T03:02:03+02:00", "9999-12-30", "10000-01-01"]),
            pa.timestamp("us", tz="UTC"),
            [
                datetime(2020, 5, 1, 1, 2, 3, 4, tzinfo=UTC),
                datetime(2020, 5, 1, 1, 2, 3, tzinfo=UTC),
                datetime(9999, 12, 30, tzinfo=UTC),
                None,
            ],
        ),
        (
            pa.array(["1 day, 0:00:01", "1 days 00:00:01", "-1 day, 23:59:59", "-1 days +23:59:59", "90", "1 week"]),
            pa.duration("s"),
            [timedelta(seconds=s) for s in (86401, 86401, -1, -1, 90)] + [None],
        ),
        (pa.array([date(1500, 1, 1), date(2020, 5, 1)]), pa.timestamp("ns"), [None, datetime(2020, 5, 1)]),
    ],
)
def test_each_value_becomes_its_counterpart(values: pa.Array, type_: pa.DataType, expected: list[Any]) -> None:
    found = total_cast(values, type_)
    assert found.type == type_ and found.to_pylist() == expected


@pytest.mark.parametrize("type_", TYPES, ids=str)
@pytest.mark.parametrize("values", WILD, ids=lambda a: str(a.type))
def test_nothing_raises_and_each_value_is_cast_by_itself(values: pa.Array, type_: pa.DataType) -> None:
    together = total_cast(values, type_)
    together.validate(full=True)
    alone = [total_cast(values.slice(i, 1), type_)[0].as_py() for i in range(len(values))]
    assert str(together.to_pylist()) == str(alone), "and Python can hold what comes out"
